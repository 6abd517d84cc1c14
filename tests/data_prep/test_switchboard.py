import _script
import pytest
import switchboard
from _ldc import TrainingOptions

from bbb.audio.datadir import DataDir
from bbb.audio.validate import validate_data_dir
from bbb.errors import DataError

TABLES = {
    "LDC98S75/docs/callinfo.tbl": (
        'sw_10001.sph,960401,1288,A,0,0,0,""\nsw_10001.sph,960401,1290,B,0,0,0,""\n'
    ),
    "LDC98S75/docs/spkrinfo.tbl": "1288,M,21,16,PA\n1290,F,20,15,NJ\n",
    # On the first disc, with upper-case names, and calls without 'sw_'.
    "LDC99S79/DISC1/DOC/CALLINFO.TBL": "11545,970125,3196,B,0,0,0,x\n11545,970125,1288,A,0,0,0,\n",
    "LDC99S79/DISC1/DOC/SPKRINFO.TBL": "3196,F,30,16\n1288,M,22,16\n",
    "LDC2001S13/doc/swb_callstats.tbl": (
        "40001,5001,5002,F,M,extra\n40019,5001,5002,F,M,\n40002,5002,5003,M,F,\n"
    ),
}
CALLS = [
    "LDC98S75/data/sw_10001",
    "LDC99S79/DISC1/sw_11545",
    "LDC2001S13/data/sw_40001",
    "LDC2001S13/data/sw_40019",
]


@pytest.fixture
def source(tmp_path, write_call):
    folder = tmp_path / "LDC"
    for name, text in TABLES.items():
        path = folder / name
        if name.startswith("LDC99S79"):
            path = folder / "LDC99S79/DISC1/doc" / path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for call in CALLS:
        write_call(folder / f"{call}.sph")
    return folder


@pytest.fixture
def output(tmp_path):
    return tmp_path / "data"


def refused(source, output, *patterns, **options):
    with pytest.raises(DataError) as error:
        switchboard.prepare_switchboard(source, output, options=TrainingOptions(**options))
    for pattern in patterns:
        assert pattern in str(error.value)
    assert not output.exists()


def test_every_collection(source, output, capsys):
    switchboard.prepare_switchboard(source, output)
    data = DataDir.read(output / "swbd")
    assert data.spk2utt == {
        "sw-1288": ["sw-1288-swbp1-10001-a", "sw-1288-swbp2-11545-a"],
        "sw-1290": ["sw-1290-swbp1-10001-b"],
        "sw-3196": ["sw-3196-swbp2-11545-b"],
        "sw-5001": ["sw-5001-swbc1-40001-a"],
        "sw-5002": ["sw-5002-swbc1-40001-b"],
    }
    assert data.genders["sw-3196"] == "f"
    assert [data.channel(name) for name in data.spk2utt["sw-1288"]] == [0, 0]
    assert data.channel("sw-3196-swbp2-11545-b") == 1
    assert [f for f in validate_data_dir(data.path) if f.level == "error"] == []
    printed = capsys.readouterr().out
    assert "Switchboard-2 phase 1: calls         1      3,638  differs" in printed
    assert "note: LDC2004S07 (Switchboard Cellular part 2) is not there" in printed


class TestBadInput:
    def test_everything_at_once(self, source, output, write_call):
        (source / "LDC98S75/docs/spkrinfo.tbl").unlink()
        path = source / "LDC99S79/DISC1/doc/SPKRINFO.TBL"
        path.write_text("3196,F,30\n1288,,22\nnothing\n")
        write_call(source / "LDC2001S13/data/sw_40001.sph", pitches=(440.0,))
        refused(
            source,
            output,
            "1 tables that are missing, of LDC98S75: spkrinfo.tbl",
            "1 broken lines: SPKRINFO.TBL:3; expected 2 columns",
            "1 speakers without sex, M or F",
            "sw_40001.sph: channel B is wanted, the file has 1",
        )

    def test_a_wrong_channel(self, source, output):
        path = source / "LDC98S75/docs/callinfo.tbl"
        path.write_text(path.read_text().replace("1290,B", "1290,C"))
        refused(source, output, "with a wrong channel: 10001:C; expected A or B")

    def test_no_audio(self, source, output):
        (source / "LDC98S75/data/sw_10001.sph").unlink()
        refused(source, output, "no side of a call is left", releases=["LDC98S75"])


def test_command_line(source, output):
    arguments = ["prepare", "--source", str(source), "--output", str(output)]
    assert _script.run(switchboard.main, arguments) == 0
    assert _script.run(switchboard.main, [*arguments, "--releases", "LDC2004S07"]) == 1
