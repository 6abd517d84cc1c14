"""The table of utterances: the same audio as the data directory, in arrays."""

import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
from hypothesis import given

from bbb.audio.datadir import DataDir, Segment, Side
from bbb.audio.utterances import Utterances, Words
from bbb.audio.waveform import load_utterance
from bbb.errors import DataError

RATE = 16000


@given(st.lists(st.text()))
def test_words_come_back(words):
    for kept in (Words(words), pickle.loads(pickle.dumps(Words(words)))):  # noqa: S301 (made here)
        assert [kept[index] for index in range(len(words))] == words


@pytest.fixture
def cut(tmp_path, voice):
    """Segments of both sides of a call, the last a little beyond its end."""
    soundfile.write(tmp_path / "call.wav", np.stack([voice(2.0), voice(2.0, 90)], axis=1), RATE)
    segments = {
        f"{side}-{k}": Segment(f"call-{side}", 1.5 - k / 2, 2.005 - k / 2)
        for side in "BA"
        for k in range(4)
    }
    return DataDir(
        tmp_path / "data",
        {f"call-{s}": str(tmp_path / "call.wav") for s in "AB"},
        {u: u[0] for u in segments},
        segments,
        sides={f"call-{s}": Side("call", s) for s in "AB"},
    )


def test_reads_what_load_utterance_reads(cut, make_corpus):
    for data in (cut, make_corpus()):
        table = Utterances(data, RATE)
        assert len(table) == len(data)
        for index, utterance in enumerate(data.utterances):
            whole = load_utterance(data, utterance, RATE)
            assert table.names[index] == utterance
            assert table.speakers[table.speaker[index]] == data.utt2spk[utterance]
            assert table.samples[index] == len(whole)
            assert np.array_equal(table.read(index), whole)
            assert np.array_equal(table.read(index, 777, 4000), whole[777:4777])
            assert np.array_equal(table.read(index, len(whole) - 5, 10), whole[-5:])


def test_stored_is_the_order_in_the_files(cut, make_corpus):
    table = Utterances(cut, RATE)
    # By time, and of equal times by id.
    names = [table.names[index] for index in table.stored]
    assert names == ["A-3", "B-3", "A-2", "B-2", "A-1", "B-1", "A-0", "B-0"]
    assert table.shards.tolist() == [8]
    assert Utterances(make_corpus(), RATE).shards.tolist() == [1] * 6


def test_it_keeps_no_object_for_an_utterance(make_corpus):
    one, many = (Utterances(make_corpus(2, n, seconds=0.05), RATE) for n in (1, 40))
    sizes = [len(pickle.dumps(table)) for table in (one, many)]
    objects = [sum(1 for _ in pickle_ops(table)) for table in (one, many)]
    assert sizes[1] > sizes[0]
    assert objects[0] == objects[1]


def pickle_ops(value):
    import pickletools  # noqa: PLC0415

    return (op for op, *_ in pickletools.genops(pickle.dumps(value)) if "UNICODE" in op.name)


def test_a_segment_beyond_its_recording_is_named(cut):
    cut.segments["A-0"] = Segment("call-A", 1.0, 2.5)
    with pytest.raises(DataError, match=r"utterance 'A-0': .* 1.0 to 2.5 s does not lie in the"):
        Utterances(cut, RATE)
