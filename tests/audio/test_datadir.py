import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbb.audio.datadir import DataDir, Segment, parse_data_dir
from bbb.errors import DataError, FormatError

IDS = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=8)


@pytest.fixture
def folder(tmp_path):
    """A hand-written directory with segments."""
    path = tmp_path / "data"
    path.mkdir()
    (path / "wav.scp").write_text("rec1 /x/one.wav\nrec2 /x/two words.flac\n")
    (path / "utt2spk").write_text("ann-1 ann\nann-2 ann\nbob-1 bob\n")
    (path / "segments").write_text("ann-1 rec1 0 1.5\nann-2 rec1 1.5 3\nbob-1 rec2 0.25 2\n")
    (path / "utt2dur").write_text("ann-1 1.5\nann-2 1.5\nbob-1 1.75\n")
    (path / "spk2gender").write_text("ann f\nbob m\n")
    return path


def test_reads_every_table(folder):
    data = DataDir.read(folder)
    assert data.wavs == {"rec1": "/x/one.wav", "rec2": "/x/two words.flac"}
    assert data.utt2spk == {"ann-1": "ann", "ann-2": "ann", "bob-1": "bob"}
    assert data.segments["bob-1"] == Segment("rec2", 0.25, 2.0)
    assert data.durations["bob-1"] == 1.75
    assert data.genders == {"ann": "f", "bob": "m"}
    assert data.path == folder


def test_derived_views(folder):
    data = DataDir.read(folder)
    assert len(data) == 3
    assert data.utterances == ["ann-1", "ann-2", "bob-1"]
    assert data.spk2utt == {"ann": ["ann-1", "ann-2"], "bob": ["bob-1"]}
    assert data.recording("ann-2") == "rec1"


def test_without_segments_an_utterance_is_its_recording(folder):
    data = DataDir(folder, {"u": "/x.wav"}, {"u": "s"})
    assert data.recording("u") == "u"


def test_order_and_line_ends_do_not_matter_for_reading(folder):
    (folder / "utt2spk").write_bytes(b"bob-1 bob\r\nann-2\tann\r\nann-1 ann\r\n")
    assert DataDir.read(folder).utterances == ["ann-1", "ann-2", "bob-1"]


def test_write_sorts_and_makes_spk2utt(tmp_path):
    data = DataDir(
        tmp_path, {"b": "/b.wav", "a": "/a.wav", "B": "/c.wav"}, {"b": "t", "a": "t", "B": "s"}
    )
    data.write()
    assert (tmp_path / "wav.scp").read_text() == "B /c.wav\na /a.wav\nb /b.wav\n"
    assert (tmp_path / "spk2utt").read_text() == "s B\nt a b\n"
    assert not (tmp_path / "segments").exists()


def test_write_elsewhere_returns_the_new_place(folder, tmp_path):
    written = DataDir.read(folder).write(tmp_path / "new" / "place")
    assert written.path == tmp_path / "new" / "place"
    assert DataDir.read(written.path) == written


def test_write_removes_tables_of_an_earlier_write(folder):
    data = dataclasses.replace(DataDir.read(folder), durations={})
    (folder / "trials").write_text("ann-1 ann-2 target\n")
    data.write()
    assert not (folder / "utt2dur").exists()
    assert (folder / "trials").exists()


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(IDS, IDS, min_size=1, max_size=6), st.floats(0.01, 1e4), st.floats(1e-3, 1e3)
)
def test_what_is_written_is_read_back(tmp_path_factory, utt2spk, start, length):
    folder = tmp_path_factory.mktemp("roundtrip")
    segments = {utterance: Segment("rec", start, start + length) for utterance in utt2spk}
    durations = dict.fromkeys(utt2spk, length)
    data = DataDir(folder, {"rec": "/a b.wav"}, utt2spk, segments, durations)
    data.write()
    assert DataDir.read(folder) == data


def test_subset_keeps_only_what_is_used(folder):
    part = DataDir.read(folder).subset(["bob-1"])
    assert part.wavs == {"rec2": "/x/two words.flac"}
    assert part.utt2spk == {"bob-1": "bob"}
    assert part.segments.keys() == part.durations.keys() == {"bob-1"}
    assert part.genders == {"bob": "m"}


def test_subset_of_unknown_ids_names_them(folder):
    with pytest.raises(DataError, match=r"2 utterances .* first nobody-1, nobody-2; take ids"):
        DataDir.read(folder).subset(["ann-1", "nobody-2", "nobody-1"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "wav.scp",
            "rec1 sox a.sph -t wav - |\nrec2 /x.wav\n",
            r"wav.scp:1: .* is a command; bbb runs no",
        ),
        ("wav.scp", "rec1 |cat\nrec2 /x.wav\n", r"wav.scp:1: .* is a command"),
        ("wav.scp", "rec1 /x.wav\n", r"segments:3: recording 'rec2' is not in wav.scp"),
        ("utt2spk", "ann-1 ann\nann-2 ann x\nbob-1 bob\n", r"utt2spk:2: .* got 3 fields"),
        ("utt2spk", "ann-1 ann\nann-2 ann\n", r"segments:3: utterance 'bob-1' has no speaker"),
        ("utt2spk", "ann-1 ann\nann-1 bob\n", r"utt2spk:2: duplicate key 'ann-1'"),
        (
            "segments",
            "ann-1 rec1 0 1.5\nbob-1 rec2 0 1\n",
            r"utt2spk:2: utterance 'ann-2' is not in segm",
        ),
        ("segments", "ann-1 rec1 0\n", r"segments:1: expected 'utterance recording start end'"),
        (
            "segments",
            "ann-1 rec1 zero 1\n",
            r"segments:1: expected 'utterance recording start end'",
        ),
        ("segments", "ann-1 rec1 0 1 A\n", r"segments:1: expected 4 fields, got 5; name channels"),
        (
            "segments",
            "ann-1 rec1 2 2\n",
            r"segments:1: needs 0 <= start < end, got start 2.0 and end 2.0",
        ),
        ("segments", "ann-1 rec1 0 -1\n", r"segments:1: needs 0 <= start < end"),
        ("segments", "ann-1 rec1 -1 1\n", r"segments:1: needs 0 <= start < end"),
        ("segments", "ann-1 rec1 0 inf\n", r"segments:1: needs 0 <= start < end"),
        ("segments", "ann-1 rec1 nan 1\n", r"segments:1: needs 0 <= start < end"),
        ("utt2dur", "ann-1 0\n", r"utt2dur:1: expected a positive duration in seconds, got '0'"),
        ("utt2dur", "ann-1 long\n", r"utt2dur:1: expected a positive duration"),
        ("spk2gender", "ann w\n", r"spk2gender:1: expected 'm' or 'f', got 'w'"),
    ],
)
def test_unusable_tables_name_file_and_line(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(FormatError, match=message):
        DataDir.read(folder)


def test_utterance_without_audio(folder):
    (folder / "segments").unlink()
    with pytest.raises(FormatError, match=r"utt2spk:1: utterance 'ann-1' is not in wav.scp"):
        DataDir.read(folder)


def test_a_missing_folder_is_a_format_error(tmp_path):
    with pytest.raises(FormatError, match=r"wav.scp:0: no such file"):
        DataDir.read(tmp_path / "nowhere")


def test_the_number_of_further_faults_is_told(folder):
    (folder / "utt2dur").write_text("ann-1 0\nann-2 0\nbob-1 0\n")
    with pytest.raises(FormatError, match=r"2 more; bbb data validate .* lists all"):
        DataDir.read(folder)


def test_a_broken_line_is_one_fault_not_two(folder):
    (folder / "segments").write_text("ann-1 rec1 0 1\nann-2 rec1 2 1\nbob-1 rec2 0 1\n")
    (fault,) = parse_data_dir(folder).faults
    assert (fault.file.name, fault.line, fault.key) == ("segments", 2, "ann-2")


def test_a_blank_line_is_one_fault(folder):
    with (folder / "segments").open("a") as stream:
        stream.write("\n")
    (fault,) = parse_data_dir(folder).faults
    assert (fault.file.name, fault.line) == ("segments", 4)


def test_no_shell_runs_for_a_pipe(folder, tmp_path):
    (folder / "wav.scp").write_text(f"rec1 touch {tmp_path}/ran |\nrec2 /x.wav\n")
    with pytest.raises(FormatError):
        DataDir.read(folder)
    assert not (tmp_path / "ran").exists()


def test_a_failed_write_leaves_the_former_table(folder, monkeypatch):
    before = (folder / "wav.scp").read_bytes()

    def full_disk(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full_disk)
    with pytest.raises(OSError, match="No space left"):
        DataDir.read(folder).write()
    assert (folder / "wav.scp").read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        ["wav.scp", "utt2spk", "segments", "utt2dur", "spk2gender"]
    )
