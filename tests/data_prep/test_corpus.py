import threading
from pathlib import Path

import _corpus
import numpy as np
import pytest
import soundfile

from bbb.errors import ConfigError, DataError

RATE = 16_000


def write(file, seconds=0.5, rate=RATE, channels=1):
    file.parent.mkdir(parents=True, exist_ok=True)
    shape = (int(seconds * rate), channels)
    soundfile.write(file, np.random.default_rng(0).uniform(-0.1, 0.1, shape), rate)
    return file


class TestFaults:
    def test_none(self):
        faults = _corpus.Faults("here")
        faults.add("files that are missing", [], "unpack")
        assert not faults
        faults.check()

    def test_one_kind_is_one_line(self):
        faults = _corpus.Faults("here")
        faults.add("files that are missing", ["a", "b"], "unpack again")
        assert faults
        with pytest.raises(
            DataError, match=r"^here: 2 files that are missing: a, b; unpack again$"
        ):
            faults.check()

    def test_several_kinds_with_first_names(self):
        faults = _corpus.Faults("here")
        faults.add("files that are missing", range(9), "unpack")
        faults.add("ids that are doubled", ["x"], "drop one")
        with pytest.raises(DataError) as caught:
            faults.check()
        assert str(caught.value).splitlines() == [
            "here: 2 kinds of faults, nothing was written",
            "  9 files that are missing: 0, 1, 2, 3, 4, ...; unpack",
            "  1 ids that are doubled: x; drop one",
        ]


class TestParallel:
    @pytest.mark.parametrize("count", [0, 1, 7, 32, 100])
    @pytest.mark.parametrize("jobs", [1, 3])
    def test_order(self, count, jobs):
        items = list(range(count))
        assert _corpus.parallel(lambda n: n * n, items, "x", jobs=jobs) == [n * n for n in items]

    def test_an_error_stops_the_rest(self):
        done = []

        def work(number):
            done.append(number)
            if number == 3:
                raise KeyboardInterrupt
            threading.Event().wait(0.001)

        with pytest.raises(KeyboardInterrupt):
            _corpus.parallel(work, list(range(5000)), "x", jobs=2, chunk=1)
        assert len(done) < 4000

    def test_jobs_must_be_positive(self):
        with pytest.raises(ConfigError, match="--jobs must be at least 1, got 0"):
            _corpus.parallel(str, [1], "x", jobs=0)


class TestFindFiles:
    def test_is_what_rglob_finds(self, tmp_path):
        rng = np.random.default_rng(1)
        for number in range(60):
            depth = [f"d{n}" for n in rng.integers(3, size=rng.integers(4))]
            file = tmp_path.joinpath(*depth, f"{number}.{rng.choice(['wav', 'WAV', 'txt'])}")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        wanted = sorted([*tmp_path.rglob("*.wav"), *tmp_path.rglob("*.WAV")])
        assert _corpus.find_files(tmp_path, (".wav",)) == wanted
        assert len(wanted) > 20

    def test_links_and_notes(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "real/a.wav").touch()
        (tmp_path / "real/._a.wav").touch()
        (tmp_path / "tree").mkdir()
        (tmp_path / "tree/link").symlink_to(tmp_path / "real")
        (tmp_path / "tree/gone.wav").symlink_to(tmp_path / "nowhere")
        found = _corpus.find_files(tmp_path / "tree", (".wav",))
        assert [str(file.relative_to(tmp_path / "tree")) for file in found] == [
            "gone.wav",
            "link/a.wav",
        ]


class TestDurations:
    def test_lengths_in_order(self, tmp_path):
        files = {f"u{n}": write(tmp_path / f"{n}.wav", 0.1 * (n + 1)) for n in (2, 0, 1)}
        found = _corpus.durations(files, 2, sample_rate=RATE)
        assert found == {"u2": 0.3, "u0": 0.1, "u1": 0.2}
        assert list(found) == list(files)

    def test_bad_files_are_all_named(self, tmp_path):
        whole = write(tmp_path / "a.wav")
        empty, cut, text = (tmp_path / name for name in ("empty.wav", "cut.wav", "text.wav"))
        empty.touch()
        cut.write_bytes(whole.read_bytes()[:-99])
        text.write_text("hello")
        files = [whole, empty, cut, text, tmp_path / "gone.wav"]
        files += [write(tmp_path / "slow.wav", rate=8000), write(tmp_path / "two.wav", channels=2)]
        faults = _corpus.Faults("here")
        named = {str(n): Path(file) for n, file in enumerate(files)}
        assert _corpus.durations(named, sample_rate=RATE, faults=faults) == {"0": 0.5}
        with pytest.raises(DataError, match=r"^here: 6 audio files that cannot be used: .*empty"):
            faults.check()
        with pytest.raises(DataError, match=r"^7 audio files: 6 audio files that cannot be used"):
            _corpus.durations(named, sample_rate=RATE)


def test_count_table(capsys):
    _corpus.count_table([("train", 10_000, 10_000), ("test", 3, 4), ("hours", 1.25, None)])
    assert capsys.readouterr().out.splitlines() == [
        "        found  published",
        "train  10,000     10,000",
        "test        3          4  differs",
        "hours     1.2          -",
    ]
