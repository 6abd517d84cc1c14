import _script
import combine
import pytest

from bbb.audio.datadir import DataDir, Segment, Side
from bbb.errors import DataError


@pytest.fixture
def sre(tmp_path):
    """Two sides of a call."""
    sides = {"1-a": Side("x", "A"), "2-b": Side("x", "B")}
    return DataDir(
        tmp_path / "sre",
        dict.fromkeys(sides, "/x.sph"),
        {"1-a": "1", "2-b": "2"},
        durations={"1-a": 5.0, "2-b": 5.0},
        genders={"1": "f", "2": "m"},
        sides=sides,
    ).write()


@pytest.fixture
def swbd(tmp_path):
    return DataDir(
        tmp_path / "swbd",
        {"3-y": "/y.sph"},
        {"3-y": "3"},
        durations={"3-y": 4.0},
        genders={"3": "f"},
    ).write()


def test_union(sre, swbd, tmp_path):
    combine.combine_data_dirs([sre.path, swbd.path], tmp_path / "train")
    data = DataDir.read(tmp_path / "train")
    assert data.utt2spk == {"1-a": "1", "2-b": "2", "3-y": "3"}
    assert data.wavs == {**sre.wavs, **swbd.wavs}
    assert data.durations == {"1-a": 5.0, "2-b": 5.0, "3-y": 4.0}
    assert data.genders == {"1": "f", "2": "m", "3": "f"}
    assert data.sides == sre.sides


def test_tables_that_only_some_have(sre, swbd, tmp_path):
    (swbd.path / "utt2dur").unlink()
    (swbd.path / "spk2gender").unlink()
    data = combine.combine_data_dirs([sre.path, swbd.path], tmp_path / "train")
    assert (data.durations, data.genders) == ({}, {})


def test_segments_of_some(sre, tmp_path):
    cut = DataDir(
        tmp_path / "cut", {"r": "/r.wav"}, {"4-r": "4"}, {"4-r": Segment("r", 1.0, 2.0)}
    ).write()
    data = combine.combine_data_dirs([sre.path, cut.path], tmp_path / "train")
    assert data.segments["4-r"] == Segment("r", 1.0, 2.0)
    assert data.segments["2-b"] == Segment("2-b", 0.0, 5.0)
    (sre.path / "utt2dur").unlink()
    with pytest.raises(DataError, match=r"1 directories without utt2dur.*bbb data fix"):
        combine.combine_data_dirs([sre.path, cut.path], tmp_path / "other")


def test_ids_that_mean_two_things(sre, tmp_path):
    other = DataDir(
        tmp_path / "o", {"1-a": "/z.sph"}, {"1-a": "1"}, durations={"1-a": 1.0}, genders={"1": "m"}
    ).write()
    with pytest.raises(DataError) as error:
        combine.combine_data_dirs([sre.path, other.path], tmp_path / "train")
    for words in ("1 utterances that differ", "1 recordings that", "1 speakers that", ": 1-a;"):
        assert words in str(error.value)
    assert not (tmp_path / "train").exists()


def test_speakers_of_an_evaluation(sre, swbd, tmp_path):
    evaluation = DataDir(tmp_path / "eval", {"2-e": "/e.sph"}, {"2-e": "2"}).write().path
    folders = [str(sre.path), str(swbd.path), "--output", str(tmp_path / "train")]
    folders += ["--exclude", str(evaluation)]
    with pytest.raises(DataError, match=r"1 speakers both here and in .*: 2; .*--drop-excluded"):
        combine.main(folders)
    assert _script.run(combine.main, [*folders, "--drop-excluded"]) == 0
    data = DataDir.read(tmp_path / "train")
    assert set(data.spk2utt) == {"1", "3"}
    assert set(data.sides) == {"1-a"}


def test_nothing_is_left(swbd, tmp_path):
    with pytest.raises(DataError, match="no utterance is left"):
        combine.combine_data_dirs(
            [swbd.path], tmp_path / "train", exclude=[swbd.path], drop_excluded=True
        )
