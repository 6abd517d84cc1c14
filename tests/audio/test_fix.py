import dataclasses

import numpy as np
import pytest
import soundfile

from bbb.audio.datadir import DataDir, Segment
from bbb.audio.fix import fix_data_dir
from bbb.audio.validate import validate_data_dir
from bbb.errors import DataError

RATE = 16000


@pytest.fixture
def corpus(make_corpus):
    """Three speakers with three sound utterances each."""
    return make_corpus(3, 3, seconds=0.5)


def test_a_sound_directory_is_left_alone(corpus):
    before = {path.name: path.read_bytes() for path in corpus.path.iterdir()}
    report = fix_data_dir(corpus.path)
    assert report.backup is None
    assert report.dropped == {}
    assert report.rewritten == report.remaining == []
    assert report.data == corpus
    assert {path.name: path.read_bytes() for path in corpus.path.iterdir()} == before


def test_order_line_ends_and_tabs_are_repaired(corpus):
    original = (corpus.path / "utt2spk").read_bytes()
    lines = original.decode().splitlines()[::-1]
    (corpus.path / "utt2spk").write_bytes("\r\n".join(lines).replace(" ", "\t").encode())
    report = fix_data_dir(corpus.path)
    assert (corpus.path / "utt2spk").read_bytes() == original
    assert report.rewritten == ["utt2spk"]
    assert report.dropped == {}
    assert validate_data_dir(corpus.path) == []


def test_spk2utt_and_utt2dur_are_made_anew(corpus):
    original = (corpus.path / "spk2utt").read_bytes()
    (corpus.path / "spk2utt").write_text("spk0 ghost\n")
    (corpus.path / "utt2dur").write_text("spk0-utt0 99\nghost 1\n")
    report = fix_data_dir(corpus.path)
    assert (corpus.path / "spk2utt").read_bytes() == original
    assert report.data.durations == dict.fromkeys(corpus.utt2spk, 0.5)
    assert report.rewritten == ["spk2utt", "utt2dur"]
    assert validate_data_dir(corpus.path) == []


@pytest.mark.parametrize(("stated", "kept"), [(0.4999, 0.4999), (0.49, 0.4999375)])
def test_durations_of_four_decimals_are_left_alone(corpus, voice, stated, kept):
    soundfile.write(corpus.wavs["spk0-utt0"], voice(0.5)[:-1], RATE)
    dataclasses.replace(corpus, durations={**corpus.durations, "spk0-utt0": stated}).write()
    report = fix_data_dir(corpus.path)
    assert report.rewritten == ([] if stated == kept else ["utt2dur"])
    assert DataDir.read(corpus.path).durations == {**corpus.durations, "spk0-utt0": kept}


def test_unusable_audio_is_dropped_with_its_reason(corpus, tmp_path):
    wav = tmp_path / "wav"
    (wav / "spk0-utt0.wav").unlink()
    soundfile.write(wav / "spk1-utt0.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    soundfile.write(wav / "spk2-utt0.wav", np.full(RATE, 0.1), 8000)
    report = fix_data_dir(corpus.path)
    assert report.dropped.keys() == {"spk0-utt0", "spk1-utt0", "spk2-utt0"}
    assert "wav.scp:1: " in report.dropped["spk0-utt0"]
    assert "no such audio file" in report.dropped["spk0-utt0"]
    assert "sample 0 is not finite" in report.dropped["spk1-utt0"]
    assert "8000 Hz, not the 16000 Hz" in report.dropped["spk2-utt0"]
    assert len(report.data) == 6
    assert validate_data_dir(corpus.path) == []


def test_entries_without_their_other_half_are_dropped(corpus):
    for name, key in (("utt2spk", "spk0-utt0"), ("wav.scp", "spk1-utt1")):
        lines = (corpus.path / name).read_text().splitlines(keepends=True)
        (corpus.path / name).write_text("".join(x for x in lines if not x.startswith(key)))
    report = fix_data_dir(corpus.path)
    assert report.dropped.keys() == {"spk0-utt0", "spk1-utt1"}
    assert "has no speaker" in report.dropped["spk0-utt0"]
    assert "is not in wav.scp" in report.dropped["spk1-utt1"]
    assert validate_data_dir(corpus.path) == []


def test_lines_that_cannot_be_read_are_dropped(corpus):
    text = (corpus.path / "utt2spk").read_text()
    (corpus.path / "utt2spk").write_text(text.replace("spk2-utt2 spk2", "spk2-utt2"))
    report = fix_data_dir(corpus.path)
    assert report.dropped.keys() == {"spk2-utt2"}
    assert "expected 'key value'" in report.dropped["spk2-utt2"]
    assert validate_data_dir(corpus.path) == []


def test_commands_are_dropped_not_run(corpus, tmp_path):
    lines = (corpus.path / "wav.scp").read_text().splitlines()
    lines[0] = f"spk0-utt0 touch {tmp_path}/ran |"
    (corpus.path / "wav.scp").write_text("\n".join(lines) + "\n")
    report = fix_data_dir(corpus.path)
    assert "is a command" in report.dropped["spk0-utt0"]
    assert not (tmp_path / "ran").exists()


def test_of_duplicates_the_first_is_kept(corpus):
    with (corpus.path / "utt2spk").open("a") as stream:
        stream.write("spk0-utt0 spk2\n")
    report = fix_data_dir(corpus.path)
    assert report.dropped == {}
    assert report.data.utt2spk["spk0-utt0"] == "spk0"


def test_bad_gender_lines_do_not_cost_utterances(corpus):
    (corpus.path / "spk2gender").write_text("spk0 m\nspk1 female\nspk2 f\nspk9 f\n")
    report = fix_data_dir(corpus.path)
    assert len(report.data) == 9
    assert report.data.genders == {"spk0": "m", "spk2": "f"}


def test_segments_are_dropped_one_by_one_and_idle_recordings_too(corpus):
    segments = {
        "spk0-a": Segment("spk0-utt0", 0.0, 0.25),
        "spk0-b": Segment("spk0-utt0", 0.25, 0.51),
        "spk0-c": Segment("spk0-utt0", 0.25, 1.5),
        "spk1-a": Segment("spk1-utt0", 0.0, 0.5),
        "spk1-b": Segment("spk1-utt0", 0.0, 0.4),
    }
    speakers = {u: u[:4] for u in segments}
    DataDir(corpus.path, corpus.wavs, speakers, segments).write()
    report = fix_data_dir(corpus.path)
    assert report.data.utterances == ["spk0-a", "spk0-b", "spk1-a", "spk1-b"]
    assert report.data.durations == {"spk0-a": 0.25, "spk0-b": 0.25, "spk1-a": 0.5, "spk1-b": 0.4}
    assert "leaves the recording" in report.dropped["spk0-c"]
    assert report.dropped["spk2-utt2"] == "no utterance uses it"
    assert report.data.wavs.keys() == {"spk0-utt0", "spk1-utt0"}
    assert validate_data_dir(corpus.path) == []


def test_segments_of_a_lost_recording_are_dropped_with_its_reason(corpus, tmp_path):
    segments = {
        "spk0-a": Segment("spk0-utt0", 0.0, 0.25),
        "spk1-a": Segment("spk1-utt0", 0.0, 0.5),
        "spk1-b": Segment("spk1-utt0", 0.0, 0.4),
    }
    DataDir(corpus.path, corpus.wavs, {u: u[:4] for u in segments}, segments).write()
    (tmp_path / "wav" / "spk0-utt0.wav").unlink()
    report = fix_data_dir(corpus.path)
    assert "no such audio file" in report.dropped["spk0-a"]
    assert report.data.utterances == ["spk1-a", "spk1-b"]


def test_short_utterances_are_dropped_on_demand(corpus, tmp_path, voice):
    soundfile.write(tmp_path / "wav" / "spk0-utt0.wav", voice(0.3), RATE)
    assert fix_data_dir(corpus.path).dropped == {}
    report = fix_data_dir(corpus.path, min_seconds=0.4)
    assert report.dropped.keys() == {"spk0-utt0"}


def test_a_rate_that_is_asked_for(corpus, tmp_path, voice):
    soundfile.write(tmp_path / "wav" / "spk0-utt0.wav", voice(0.5, rate=8000), 8000)
    report = fix_data_dir(corpus.path, sample_rate=8000)
    assert report.data.utterances == ["spk0-utt0"]


def test_the_former_tables_are_kept(corpus):
    before = {path.name: path.read_bytes() for path in corpus.path.iterdir()}
    broken = before["utt2spk"] + b"spk9-utt9 spk9\n"
    (corpus.path / "utt2spk").write_bytes(broken)
    first = fix_data_dir(corpus.path)
    assert first.backup == corpus.path / ".backup"
    assert (first.backup / "utt2spk").read_bytes() == broken
    assert {p.name for p in first.backup.iterdir()} == set(before)
    (corpus.path / "utt2spk").write_bytes(broken)
    second = fix_data_dir(corpus.path)
    assert second.backup == corpus.path / ".backup.2"
    assert (first.backup / "utt2spk").read_bytes() == broken


def test_trials_are_left_alone_and_what_they_lack_is_told(corpus, tmp_path):
    (corpus.path / "trials").write_text("spk0-utt0 spk0-utt1 target\n")
    (tmp_path / "wav" / "spk0-utt1.wav").unlink()
    report = fix_data_dir(corpus.path)
    (fault,) = report.remaining
    assert "unknown utterance 'spk0-utt1' (1 trials)" in fault.message
    assert (corpus.path / "trials").read_text() == "spk0-utt0 spk0-utt1 target\n"


def test_nothing_is_written_when_nothing_would_be_left(corpus, tmp_path):
    for path in (tmp_path / "wav").iterdir():
        path.unlink()
    before = {path.name: path.read_bytes() for path in corpus.path.iterdir()}
    with pytest.raises(
        DataError, match=r"no utterance would be left \(9 faults, first: .*wav.scp:1"
    ):
        fix_data_dir(corpus.path)
    assert {path.name: path.read_bytes() for path in corpus.path.iterdir()} == before
