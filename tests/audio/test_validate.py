from collections import Counter

import numpy as np
import pytest
import soundfile

from bbb.audio.datadir import DataDir, Segment
from bbb.audio.validate import validate_data_dir

RATE = 16000


def find(faults, name, text):
    """The one fault of a file whose message holds ``text``."""
    found = [fault for fault in faults if fault.file.name == name and text in fault.message]
    assert len(found) == 1, [str(fault) for fault in faults]
    return found[0]


@pytest.fixture
def corpus(make_corpus):
    """Three speakers with two sound utterances each."""
    return make_corpus()


def edit(data: DataDir, name: str, old: str, new: str) -> None:
    path = data.path / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_sound_directory_has_no_fault(corpus):
    assert validate_data_dir(corpus.path) == []
    assert validate_data_dir(str(corpus.path), sample_rate=RATE) == []


def test_a_sound_directory_with_segments_has_no_fault(corpus):
    segments = {f"{u}-{k}": Segment(u, 0.5 * k, 0.5 * k + 0.5) for u in corpus.wavs for k in (0, 1)}
    utt2spk = {u: u[:4] for u in segments}
    cut = DataDir(corpus.path, corpus.wavs, utt2spk, segments).write()
    assert validate_data_dir(cut.path) == []


def test_progress_is_told(corpus):
    calls = []
    validate_data_dir(corpus.path, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 6) for done in range(1, 7)]


def test_unsorted_and_duplicate_keys(corpus):
    path = corpus.path / "utt2spk"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[1], lines[0], *lines[2:], lines[5]]) + "\n")
    faults = validate_data_dir(corpus.path, audio=False)
    assert find(faults, "utt2spk", "sort the file with LC_ALL=C sort").line == 2
    assert find(faults, "utt2spk", "duplicate key 'spk2-utt1', first on line 6").line == 7


def test_spk2utt_that_disagrees(corpus):
    edit(corpus, "spk2utt", "spk1 spk1-utt0 spk1-utt1", "spk1 spk1-utt0")
    fault = find(
        validate_data_dir(corpus.path, audio=False), "spk2utt", "'spk1' has other utterances"
    )
    assert fault.line == 2
    assert "first 'spk1-utt1'; bbb data fix rebuilds" in fault.message


def test_spk2utt_that_lacks_or_adds_a_speaker(corpus):
    edit(corpus, "spk2utt", "spk0 spk0-utt0 spk0-utt1\n", "")
    edit(corpus, "spk2utt", "spk2 ", "spk9 ")
    faults = validate_data_dir(corpus.path, audio=False)
    for speaker, line in (("spk0", 0), ("spk2", 0), ("spk9", 2)):
        assert find(faults, "spk2utt", f"'{speaker}' has other utterances").line == line


def test_missing_spk2utt(corpus):
    (corpus.path / "spk2utt").unlink()
    (fault,) = validate_data_dir(corpus.path, audio=False)
    assert "no such file" in fault.message


def test_utterance_without_speaker_or_audio(corpus):
    edit(corpus, "utt2spk", "spk0-utt0 spk0\n", "")
    edit(corpus, "wav.scp", "spk2-utt0 ", "stray ")
    faults = validate_data_dir(corpus.path, audio=False)
    assert find(faults, "wav.scp", "utterance 'spk0-utt0' has no speaker").line == 1
    assert find(faults, "utt2spk", "'spk2-utt0' is not in wav.scp; add its audio").line == 4


def test_a_speaker_with_one_utterance_is_a_warning(corpus):
    part = corpus.subset(["spk0-utt0", "spk0-utt1", "spk1-utt1"]).write()
    (fault,) = validate_data_dir(part.path)
    assert (fault.file.name, fault.line, fault.level) == ("utt2spk", 3, "warning")
    assert "speaker 'spk1' has one utterance; it makes no target trial" in fault.message


def test_speakers_that_are_no_prefixes_are_a_warning(corpus):
    speakers = {u: {"spk0": "z", "spk1": "y", "spk2": "x"}[u[:4]] for u in corpus.utt2spk}
    DataDir(corpus.path, corpus.wavs, speakers).write()
    (fault,) = validate_data_dir(corpus.path)
    assert (fault.line, fault.level) == (3, "warning")
    assert "speaker ids as prefixes of utterance ids" in fault.message


def test_crlf_and_tabs(corpus):
    path = corpus.path / "utt2spk"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n").replace(b" ", b"\t"))
    faults = validate_data_dir(corpus.path, audio=False)
    assert find(faults, "utt2spk", "CRLF").level == "error"
    assert find(faults, "utt2spk", "tab between fields").level == "warning"
    assert len(faults) == 2


def test_optional_tables_that_do_not_fit(corpus):
    edit(corpus, "utt2dur", "spk0-utt0 ", "ghost ")
    (corpus.path / "spk2gender").write_text("spk0 m\nspk1 f\nspk7 f\n")
    faults = validate_data_dir(corpus.path, audio=False)
    assert find(faults, "utt2dur", "'ghost' is not in utt2spk").line == 1
    assert find(faults, "utt2dur", "no line for 'spk0-utt0'").line == 0
    assert find(faults, "spk2gender", "'spk7' is not in utt2spk").line == 3
    assert find(faults, "spk2gender", "no line for 'spk2'").line == 0


def test_trials_that_name_unknown_utterances(corpus):
    (corpus.path / "trials").write_text(
        "spk0-utt0 spk0-utt1 target\nspk0 ghost nontarget\nnobody ghost nontarget\n"
    )
    (corpus.path / "trials_vox").write_text("1 spk0-utt0 spk0-utt1\n0 spk0-utt0 spirit\n")
    (corpus.path / "trials_bad").write_text("spk0-utt0 spk0-utt1 target\nspk0-utt0\n")
    faults = validate_data_dir(corpus.path, audio=False)
    assert find(faults, "trials", "unknown utterance 'ghost' (2 trials); drop its trials").line == 2
    assert find(faults, "trials", "unknown utterance 'nobody' (1 trials)").line == 3
    assert find(faults, "trials_vox", "unknown utterance 'spirit'").line == 2
    assert find(faults, "trials_bad", "expected 'enroll test target|nontarget'").line == 2
    assert len(faults) == 4


def test_speakers_called_0_and_1_are_no_labels(corpus):
    edit(corpus, "utt2spk", "spk0-utt0 spk0", "spk0-utt0 1")
    (corpus.path / "trials").write_text("1 spk0-utt0 target\n1 spk1-utt0 nontarget\n")
    faults = validate_data_dir(corpus.path, audio=False)
    assert not [str(fault) for fault in faults if fault.file.name == "trials"]


def test_folders_and_binary_lists_of_trials_are_left_alone(corpus):
    (corpus.path / "trials").mkdir()
    (corpus.path / "trials.npz").write_bytes(b"PK\3\4\xff")
    assert validate_data_dir(corpus.path, audio=False) == []


def test_trials_that_are_no_text(corpus):
    (corpus.path / "trials").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in find(validate_data_dir(corpus.path, audio=False), "trials", "").message


def test_every_fault_of_the_audio_is_listed_at_its_line(corpus, tmp_path):
    wav = tmp_path / "wav"
    (wav / "spk0-utt0.wav").unlink()
    (wav / "spk0-utt1.wav").write_bytes(b"")
    content = (wav / "spk1-utt0.wav").read_bytes()
    (wav / "spk1-utt0.wav").write_bytes(content[: len(content) // 2])
    soundfile.write(wav / "spk1-utt1.wav", np.full((RATE, 2), 0.1), RATE)
    soundfile.write(wav / "spk2-utt0.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    soundfile.write(wav / "spk2-utt1.wav", np.zeros(RATE), RATE)
    faults = validate_data_dir(corpus.path)
    expected = [
        "no such audio file",
        "the file is empty",
        "truncated",
        "expected one channel, got 2",
        "sample 0 is not finite",
        "'spk2-utt1' is silent",
    ]
    assert [fault.line for fault in faults] == [1, 2, 3, 4, 5, 6]
    for fault, text in zip(faults, expected, strict=True):
        assert text in fault.message
        assert fault.file == corpus.path / "wav.scp"
        assert fault.level == "error"


def test_mixed_sample_rates(corpus, tmp_path, voice):
    soundfile.write(tmp_path / "wav" / "spk1-utt0.wav", voice(1.0, rate=8000), 8000)
    (fault,) = validate_data_dir(corpus.path)
    assert fault.line == 3
    assert "8000 Hz, not the 16000 Hz of most recordings; resample it" in fault.message


def test_a_sample_rate_that_is_asked_for(corpus):
    faults = validate_data_dir(corpus.path, sample_rate=8000)
    assert len(faults) == 6
    assert "16000 Hz, not the 8000 Hz asked for" in faults[0].message


def test_utterances_too_short(corpus, tmp_path):
    soundfile.write(tmp_path / "wav" / "spk1-utt0.wav", np.full(399, 0.1), RATE)
    (corpus.path / "utt2dur").unlink()
    (fault,) = validate_data_dir(corpus.path)
    assert "utterance 'spk1-utt0' has 0.025 s, at least 0.025 s are needed" in fault.message
    faults = validate_data_dir(corpus.path, min_seconds=1.5)
    assert Counter("at least 1.5 s are needed" in fault.message for fault in faults) == {True: 6}


def test_stated_durations_that_are_wrong(corpus):
    edit(corpus, "utt2dur", "spk1-utt0 1.0", "spk1-utt0 1.2")
    edit(corpus, "utt2dur", "spk2-utt0 1.0", "spk2-utt0 1.02")
    (fault,) = validate_data_dir(corpus.path)
    assert (fault.file.name, fault.line) == ("utt2dur", 3)
    assert "'spk1-utt0' has 1.000 s, not 1.2 s; bbb data fix remakes utt2dur" in fault.message


def test_segments_against_their_recording(corpus):
    samples = soundfile.read(corpus.wavs["spk0-utt0"])[0]
    samples[:4000] = 0
    soundfile.write(corpus.wavs["spk0-utt0"], samples, RATE)
    segments = {
        "spk0-a": Segment("spk0-utt0", 0.0, 0.2),
        "spk0-b": Segment("spk0-utt0", 0.5, 1.01),
        "spk1-a": Segment("spk1-utt0", 0.5, 1.5),
        "spk1-b": Segment("spk1-utt0", 2.0, 2.5),
        "spk1-c": Segment("spk1-utt0", 0.2, 0.22),
    }
    speakers = {u: u[:4] for u in segments}
    DataDir(corpus.path, corpus.wavs, speakers, segments).write()
    faults = validate_data_dir(corpus.path)
    assert find(faults, "segments", "utterance 'spk0-a' is silent").line == 1
    assert (
        find(faults, "segments", "segment 0.5 to 1.5 s leaves the recording of 1.000 s").line == 3
    )
    assert find(faults, "segments", "segment 2.0 to 2.5 s leaves the recording").line == 4
    assert find(faults, "segments", "'spk1-c' has 0.020 s").line == 5
    warnings = [fault for fault in faults if fault.level == "warning"]
    assert Counter(fault.message[:22] for fault in warnings) == {"no segment uses record": 4}
    assert len(faults) == 8


def test_faults_of_text_and_audio_come_together(corpus, tmp_path):
    (tmp_path / "wav" / "spk0-utt0.wav").unlink()
    edit(corpus, "utt2spk", "spk1-utt0 spk1", "spk1-utt0")
    names = {fault.file.name for fault in validate_data_dir(corpus.path)}
    assert names >= {"wav.scp", "utt2spk", "spk2utt"}


def test_a_missing_folder(tmp_path):
    faults = validate_data_dir(tmp_path / "nowhere")
    assert {fault.file.name for fault in faults} == {"wav.scp", "utt2spk", "spk2utt"}
