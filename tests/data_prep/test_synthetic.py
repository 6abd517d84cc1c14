import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import _script
import numpy as np
import pytest
import soundfile
import synthetic

from bbb.audio.datadir import DataDir
from bbb.audio.validate import validate_data_dir
from bbb.audio.voices import synthesize
from bbb.errors import ConfigError, DataError

TINY = synthetic.SyntheticConfig(
    train_speakers=2,
    eval_speakers=4,
    sessions=2,
    utterances_per_session=2,
    min_seconds=0.5,
    max_seconds=0.8,
    mismatched=0.5,
)


def make(output, jobs=1, **changes):
    return synthetic.prepare_synthetic(output, dataclasses.replace(TINY, **changes), jobs=jobs)


def table(file):
    return dict(line.split() for line in file.read_text().splitlines())


def samples(output):
    return {file.name: file.read_bytes() for file in sorted(output.rglob("*.flac"))}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    output = tmp_path_factory.mktemp("corpus") / "synthetic"
    assert make(output)
    return output


class TestContent:
    def test_directories_are_valid(self, corpus):
        for split in ("train", "test"):
            faults = validate_data_dir(corpus / split, sample_rate=16_000)
            assert [str(fault) for fault in faults] == []

    def test_sizes_and_disjoint_speakers(self, corpus):
        train, test = DataDir.read(corpus / "train"), DataDir.read(corpus / "test")
        assert (len(train), len(train.spk2utt)) == (8, 2)
        assert (len(test), len(test.spk2utt)) == (16, 4)
        assert not set(train.spk2utt) & set(test.spk2utt)
        assert sorted(test.genders.values()) == ["f", "f", "m", "m"]

    def test_utterances_begin_with_their_speaker_and_session(self, corpus):
        test = DataDir.read(corpus / "test")
        sessions = table(corpus / "test/utt2session")
        for utterance, speaker in test.utt2spk.items():
            assert utterance.startswith(sessions[utterance])
            assert sessions[utterance].startswith(speaker)

    def test_files_are_16_bit_flac_of_the_stated_length(self, corpus):
        test = DataDir.read(corpus / "test")
        for utterance, file in test.wavs.items():
            info = soundfile.info(file)
            assert (info.format, info.subtype, info.channels) == ("FLAC", "PCM_16", 1)
            assert info.duration == pytest.approx(test.durations[utterance], abs=1e-4)
            assert 0.5 <= info.duration <= 0.8

    def test_file_holds_the_utterance_of_its_name(self, corpus):
        file = corpus / "wav/syn-train-0001/syn-train-0001-s01-u00.flac"
        expected = synthesize(0, 0, 1, 1, 0, seconds=(0.5, 0.8))
        assert soundfile.read(file)[0] == pytest.approx(expected, abs=2**-15)

    def test_only_evaluation_has_unseen_channels(self, corpus):
        assert set(table(corpus / "train/utt2channel").values()) == {"seen"}
        assert set(table(corpus / "test/utt2channel").values()) == {"seen", "unseen"}

    def test_unseen_channel_is_narrow_and_seen_ones_are_not_all(self, corpus):
        test, channels = DataDir.read(corpus / "test"), table(corpus / "test/utt2channel")

        def top(utterance):
            power = np.abs(np.fft.rfft(soundfile.read(test.wavs[utterance])[0])) ** 2
            return power[int(0.55 * len(power)) :].sum() / power.sum()

        shares = {u: top(u) for u in test.utterances}
        assert max(shares[u] for u in shares if channels[u] == "unseen") < 1e-3
        assert max(shares[u] for u in shares if channels[u] == "seen") > 1e-3


class TestTrials:
    def test_pairs_cross_sessions(self, corpus):
        test, sessions = DataDir.read(corpus / "test"), table(corpus / "test/utt2session")
        rows = [line.split() for line in (corpus / "test/trials").read_text().splitlines()]
        assert len(rows) == len({frozenset(row[:2]) for row in rows})
        for first, second, label in rows:
            same = test.utt2spk[first] == test.utt2spk[second]
            assert label == ("target" if same else "nontarget")
            assert sessions[first] != sessions[second]
        # 4 speakers x 2 x 2 targets; 6 pairs of speakers x 4 x 4 nontargets.
        assert sum(row[2] == "target" for row in rows) == 16
        assert len(rows) == 16 + 96

    def test_lists_of_parts(self, corpus):
        test, channels = DataDir.read(corpus / "test"), table(corpus / "test/utt2channel")
        everything = set((corpus / "test/trials").read_text().splitlines())
        gender = {u: test.genders[s] for u, s in test.utt2spk.items()}
        same = {line for line in everything if len({gender[u] for u in line.split()[:2]}) == 1}
        hard = {line for line in everything if "unseen" in {channels[u] for u in line.split()[:2]}}
        assert set((corpus / "test/trials_same_gender").read_text().splitlines()) == same
        assert set((corpus / "test/trials_mismatched").read_text().splitlines()) == hard

    def test_limit(self, tmp_path):
        make(tmp_path / "c", max_nontargets=10)
        rows = (tmp_path / "c/test/trials").read_text().splitlines()
        assert sum(line.endswith(" nontarget") for line in rows) == 10

    def test_no_mismatch(self, tmp_path):
        make(tmp_path / "c", mismatched=0.0)
        assert set(table(tmp_path / "c/test/utt2channel").values()) == {"seen"}
        assert not (tmp_path / "c/test/trials_mismatched").exists()


class TestReproducibility:
    def test_processes_do_not_matter(self, corpus, tmp_path):
        make(tmp_path / "c", jobs=2)
        assert samples(tmp_path / "c") == samples(corpus)

    def test_speakers_stay_in_a_larger_corpus(self, corpus, tmp_path):
        make(tmp_path / "c", train_speakers=3, eval_speakers=5, sessions=3)
        small, large = samples(corpus), samples(tmp_path / "c")
        assert len(large) > len(small)
        assert {name: large[name] for name in small} == small

    def test_seed_changes_everything(self, corpus, tmp_path):
        make(tmp_path / "c", seed=1)
        other = samples(tmp_path / "c")
        assert all(other[name] != content for name, content in samples(corpus).items())


class TestRepetition:
    def test_second_run_does_nothing(self, tmp_path):
        assert make(tmp_path)
        times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
        assert not make(tmp_path)
        assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == times

    def test_other_arguments_rebuild(self, tmp_path):
        make(tmp_path)
        assert make(tmp_path, train_speakers=1, eval_speakers=2)
        assert len(samples(tmp_path)) == 3 * 4
        assert not (tmp_path / "wav/syn-train-0001").exists()

    def test_interrupted_run_continues(self, tmp_path, monkeypatch):
        made, real = [], synthetic.synthesize

        def stopping(*key, **options):
            if len(made) == 5:
                raise KeyboardInterrupt
            made.append(key)
            return real(*key, **options)

        monkeypatch.setattr(synthetic, "synthesize", stopping)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path)
        assert not (tmp_path / "synthetic.json").exists()
        assert len(samples(tmp_path)) == 5
        kept = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.flac")}
        monkeypatch.setattr(synthetic, "synthesize", real)
        assert make(tmp_path)
        assert len(samples(tmp_path)) == 24
        assert all(file.stat().st_mtime_ns == time for file, time in kept.items())
        assert not list(tmp_path.rglob(".syn-*"))  # no half-written file

    def test_stamp_holds_the_arguments(self, corpus):
        stamp = json.loads((corpus / "synthetic.json").read_text())
        assert stamp["train_speakers"] == 2
        assert "version" in stamp

    def test_foreign_folder_is_left_alone(self, tmp_path):
        (tmp_path / "thesis.txt").write_text("precious")
        (tmp_path / "wav").mkdir()
        with pytest.raises(DataError, match="not empty and was not made by this script"):
            make(tmp_path)
        assert (tmp_path / "thesis.txt").read_text() == "precious"
        assert (tmp_path / "wav").is_dir()


class TestCommandLine:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"train_speakers": 0}, "--train-speakers must be at least 1, got 0"),
            ({"eval_speakers": 1}, "--eval-speakers must be at least 2, got 1"),
            ({"sessions": 1}, "--sessions must be at least 2, got 1"),
            ({"utterances_per_session": 0}, "--utterances-per-session must be at least 1"),
            ({"min_seconds": 0.1}, "--min-seconds must be at least 0.5, got 0.1"),
            ({"max_seconds": 0.4}, "--max-seconds 0.4 is below --min-seconds 0.5"),
            ({"mismatched": 1.1}, "--mismatched is a share, at most 1, got 1.1"),
            ({"mismatched": -0.1}, "--mismatched must be at least 0.0"),
            ({"max_nontargets": 0}, "--max-nontargets must be at least 1"),
            ({"sample_rate": 44_100}, "--sample-rate must be 8000 or 16000, got 44100"),
            ({"seed": -1}, "--seed must be at least 0, got -1"),
        ],
    )
    def test_bad_numbers(self, changes, message):
        with pytest.raises(ConfigError, match=message):
            dataclasses.replace(TINY, **changes)

    def test_jobs(self, tmp_path, capsys):
        argv = ["prepare", "--output", str(tmp_path / "c"), "--jobs", "0"]
        assert _script.run(synthetic.main, argv) == 1
        assert "--jobs must be at least 1, got 0" in capsys.readouterr().err

    def test_runs_as_a_script_from_anywhere(self, tmp_path):
        script = Path(synthetic.__file__).resolve()
        argv = ["prepare", "--output", "corpus", "--train-speakers", "1", "--eval-speakers", "2"]
        argv += ["--sessions", "2", "--utterances-per-session", "1", "--jobs", "1"]
        argv += ["--min-seconds", "0.5", "--max-seconds", "0.6", "--sample-rate", "8000"]
        for expected in ("corpus: made", "corpus: is there already"):
            done = subprocess.run(
                [sys.executable, str(script), *argv],
                cwd=tmp_path,
                env={"PYTHONPATH": str(script.parents[1]), "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                check=True,
            )
            assert expected in done.stdout
        data = DataDir.read(tmp_path / "corpus/test")
        assert len(data) == 4
        assert all(Path(file).is_absolute() for file in data.wavs.values())
        assert soundfile.info(data.wavs[data.utterances[0]]).samplerate == 8000
