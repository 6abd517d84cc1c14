import _script
import pytest
import sre
from _ldc import TrainingOptions

from bbb.audio.datadir import DataDir, Side
from bbb.audio.validate import validate_data_dir
from bbb.audio.waveform import load_utterance
from bbb.errors import DataError

SPEAKERS = """\
1001 m sre2004 tbaa A
1001 m sre2005 kaaa B
1002 f sre2004 tbaa B
1002 f sre2006 taaf A
1003 f sre2006 zzzz A
1004 m sre2012 xxxx A
"""
MODELS = """\
modelid,gender,segment:channel,speaker
20001,f,fdaa:a,1005
20002,m,fdab:b,1006
"""
TRIALS = """\
modelid,segment,channel,targettype
20001,tgaa,b,target
20002,tgaa,b,nontarget
20002,tgab,a,target
"""
KEYS = "LDC2011S08/data/keys/NIST_SRE08_KEYS.v0.1"


@pytest.fixture
def source(tmp_path, write_call):
    """Releases of four years, as they are unpacked."""
    folder = tmp_path / "LDC"
    for file in (
        "LDC2006S44/r93_6_1/sp04-06/train/data/tbaa",
        "LDC2011S04/data/speech/kaaa",
        "LDC2011S09/sp06/data/taaf",
        "LDC2011S05/data/train/data/short2/fdaa",
        "LDC2011S05/data/train/data/short2/fdab",
        "LDC2011S08/data/test/data/short3/tgaa",
        "LDC2011S08/data/test/data/short3/tgab",
    ):
        write_call(folder / f"{file}.sph")
    (folder / "speaker_list").write_text(SPEAKERS)
    for name, text in (
        ("model-keys/NIST_SRE08_short2.model.key", MODELS),
        ("trial-keys/NIST_SRE08_short2-short3.trial.key", TRIALS),
    ):
        path = folder / KEYS / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return folder


def refused(source, output, *patterns, **options):
    with pytest.raises(DataError) as error:
        sre.prepare_sre(source, output, options=TrainingOptions(**options))
    for pattern in patterns:
        assert pattern in str(error.value)
    assert not output.exists()


@pytest.fixture
def output(tmp_path):
    return tmp_path / "data"


def evaluation(folder, *speakers):
    """A data directory of an evaluation with these speakers."""
    names = {f"{speaker}-x": speaker for speaker in speakers}
    return DataDir(folder, dict.fromkeys(names, "/x.sph"), names).write().path


def test_sides_of_all_years(source, output, capsys):
    sre.prepare_sre(source, output)
    data = DataDir.read(output / "sre")
    assert data.spk2utt == {
        "1001": ["1001-sre04-tbaa-a", "1001-sre05-kaaa-b"],
        "1002": ["1002-sre04-tbaa-b", "1002-sre06-taaf-a"],
        "1005": ["1005-sre08-fdaa-a", "1005-sre08-tgaa-b"],
        "1006": ["1006-sre08-fdab-b", "1006-sre08-tgab-a"],
    }
    assert data.genders == {"1001": "m", "1002": "f", "1005": "f", "1006": "m"}
    assert data.sides["1001-sre05-kaaa-b"] == Side("kaaa", "B")
    assert len(load_utterance(data, "1001-sre05-kaaa-b", 8000)) == 4000
    assert [f for f in validate_data_dir(data.path) if f.level == "error"] == []
    printed = capsys.readouterr().out
    assert "note: LDC2012S01 (SRE 2006 test set part 2) is not there" in printed
    assert "SRE 2006: sides, of those listed      1          2  differs" in printed


def test_only_the_releases_asked_for(source, output):
    (source / "speaker_list").rename(output.with_name("list"))
    options = TrainingOptions(releases=["LDC2006S44"])
    sre.prepare_sre(source, output, speakers=output.with_name("list"), options=options)
    assert DataDir.read(output / "sre").utterances == ["1001-sre04-tbaa-a", "1002-sre04-tbaa-b"]


class TestBadInput:
    def test_everything_at_once(self, source, output, write_call):
        (source / "speaker_list").unlink()
        (source / KEYS / "model-keys/NIST_SRE08_short2.model.key").unlink()
        write_call(source / "LDC2011S05/other/fdaa.sph", pitches=(440.0,))
        refused(
            source,
            output,
            "lists that are missing, of OpenSLR SLR15",
            "https://www.openslr.org/resources/15/speaker_list.tgz",
            "1 keys that are missing, of LDC2011S08",
            "1 names that two different files have",
            "3 releases that are missing: LDC2011S01 (SRE 2005 training data), LDC2011S10",
            releases=[*sre.RELEASES],
        )

    def test_keys_of_2008_without_the_test_set(self, source, output):
        refused(source, output, "keys that are missing, of LDC2011S08", releases=["LDC2011S05"])

    def test_bad_audio(self, source, output, write_call):
        cut = source / "LDC2011S09/sp06/data/taaf.sph"
        cut.write_bytes(cut.read_bytes()[:-10])
        write_call(source / "LDC2011S04/data/speech/kaaa.sph", pitches=(440.0,))
        refused(
            source, output, "2 audio files that cannot be used", "truncated, 10 bytes", "channel B"
        )
        sre.prepare_sre(source, output, options=TrainingOptions(drop_bad=True))
        data = DataDir.read(output / "sre")
        assert len(data) == 6
        assert "1001-sre05-kaaa-b" not in data.utt2spk

    def test_a_side_of_two_speakers(self, source, output):
        with (source / "speaker_list").open("a") as stream:
            stream.write("1009 m sre2004 tbaa A\n")
        refused(source, output, "1 channels of two speakers", "tbaa.sph:A (1001 and 1009)")
        sre.prepare_sre(source, output, options=TrainingOptions(drop_bad=True))
        assert "1001-sre04-tbaa-a" not in DataDir.read(output / "sre").utt2spk

    def test_a_speaker_of_two_genders(self, source, output, capsys):
        text = (source / "speaker_list").read_text()
        (source / "speaker_list").write_text(text.replace("1002 f sre2006", "1002 m sre2006"))
        sre.prepare_sre(source, output)
        assert DataDir.read(output / "sre").genders["1002"] == "f"
        assert "1 speakers have two genders, the first counts: 1002" in capsys.readouterr().out

    def test_speakers_of_an_evaluation(self, source, output, tmp_path):
        exclude = [evaluation(tmp_path / "eval", "1005", "1006", "9999")]
        refused(source, output, "2 speakers both here and in", "1005, 1006; an evaluation needs",
                exclude=exclude)  # fmt: skip
        options = TrainingOptions(exclude=exclude, drop_excluded=True)
        sre.prepare_sre(source, output, options=options)
        assert set(DataDir.read(output / "sre").spk2utt) == {"1001", "1002"}

    def test_nothing_is_left(self, source, output, tmp_path):
        exclude = [evaluation(tmp_path / "eval", "1001", "1002", "1005", "1006")]
        refused(source, output, "no side of a call is left", exclude=exclude, drop_excluded=True)

    @pytest.mark.parametrize("line", ["1001 m sre2004 tbaa", "1001 x sre2004 tbaa A"])
    def test_a_broken_line_of_the_list(self, source, output, line):
        (source / "speaker_list").write_text(line + "\n")
        refused(source, output, "1 broken lines: speaker_list:1; expected 'speaker f|m sre2004")

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("fdaa:a,1005", "fdaa:a", "1 broken lines: NIST_SRE08_short2.model.key:2; expected 4"),
            ("fdaa:a", "fdaa", "1 sides with a wrong channel or gender in the keys of 2008: fdaa:"),
            ("20001,f", "20001,x", "2 sides with a wrong channel or gender"),
        ],
    )
    def test_a_broken_line_of_the_keys(self, source, output, old, new, message):
        path = source / KEYS / "model-keys/NIST_SRE08_short2.model.key"
        path.write_text(path.read_text().replace(old, new))
        refused(source, output, message)

    def test_no_release(self, tmp_path, output):
        refused(tmp_path, output, "no folder of it is named like LDC2006S44")
        refused(tmp_path / "gone", output, "no such folder; check --source")


def test_command_line(source, output):
    arguments = ["prepare", "--source", str(source), "--output", str(output), "--jobs", "2"]
    assert _script.run(sre.main, [*arguments, "--releases", "LDC2006S44"]) == 0
    assert _script.run(sre.main, [*arguments, "--releases", "LDC2006S99"]) == 1
