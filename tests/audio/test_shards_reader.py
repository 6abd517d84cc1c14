"""Reading in sequence: each utterance once an epoch, whoever reads, and from any place on."""

import dataclasses
from collections import Counter
from itertools import chain, pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch.utils.data import DataLoader

from bbb.audio.datadir import DataDir
from bbb.audio.dataset import ChunkBatches, ChunkConfig
from bbb.audio.features import FeatureConfig
from bbb.audio.shards import write_shards
from bbb.audio.shards_reader import Lanes, ShardReader
from bbb.audio.waveform import load_utterance
from bbb.errors import ConfigError

RATE = 16000
FEATURES = FeatureConfig(num_mels=12, num_ceps=8)


@dataclasses.dataclass
class Stored:
    """Stands for ``Utterances``: utterance ``i`` is the ``i``-th of the files."""

    shards: np.ndarray

    def __len__(self):
        return int(self.shards.sum())

    @property
    def stored(self):
        return np.arange(len(self))


@pytest.fixture
def packed(make_corpus, tmp_path):
    """22 utterances of 2 speakers in 4 shards."""
    data = make_corpus(2, 11, seconds=0.1)
    return write_shards(data, tmp_path / "out", shard_mb=6 * 3200 / 1e6)


def epoch_of(lanes, number, epoch):
    return [
        [lanes.utterance(lane, epoch * lanes.length(lane) + k) for k in range(lanes.length(lane))]
        for lane in range(number)
    ]


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=8),
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(0, 3),
)
def test_every_utterance_once_an_epoch(sizes, number, window, epoch):
    stored = Stored(np.array(sizes))
    number = min(number, len(stored))
    lanes = Lanes(stored, number, seed=1, window=window)
    read = epoch_of(lanes, number, epoch)
    assert sorted(chain(*read)) == list(range(len(stored)))
    assert max(map(len, read)) - min(map(len, read)) <= 1


def test_a_lane_reads_shards_one_after_another():
    stored = Stored(np.full(20, 50))
    lanes = Lanes(stored, 4, window=10)
    for read in epoch_of(lanes, 4, 0):
        shards = [utterance // 50 for utterance in read]
        # Five whole shards, each left before the next is begun.
        assert sum(one != two for one, two in pairwise(shards)) == 4
        # In any order within a window of ten, but windows in the order of storage.
        assert [utterance % 50 // 10 for utterance in read] == [k // 10 % 5 for k in range(250)]
        falls = sum(one > two and one // 50 == two // 50 for one, two in pairwise(read))
        assert 80 < falls < 160  # 112.5 on average, of 225 neighbours in a window


def test_epochs_and_seeds_differ():
    stored = Stored(np.full(6, 5))
    orders = [epoch_of(Lanes(stored, 2, seed=seed), 2, e) for seed in (0, 1) for e in (0, 1)]
    assert len({str(order) for order in orders}) == 4
    assert orders[0] == epoch_of(Lanes(stored, 2), 2, 0)


def test_an_order_is_made_once_however_far_the_lanes_drift(monkeypatch):
    # 31 ms a batch with 5,351 utterances in 64 lanes, once some were two epochs ahead of others.
    made = []
    order = Lanes._order
    monkeypatch.setattr(Lanes, "_order", lambda self, e: made.append(e) or order(self, e))
    lanes = Lanes(Stored(np.array([22])), 4)  # of lengths 5, 6, 5 and 6
    for step in range(1000):
        for lane in range(4):
            lanes.utterance(lane, step)
    # 200 epochs of the short lanes, 167 of the long ones, and a few of them twice.
    assert len(made) <= 1.05 * (200 + 167)


def test_any_step_can_be_asked_for_alone():
    stored = Stored(np.array([3, 8, 2, 6]))
    lanes = Lanes(stored, 3, window=4)
    # 19 utterances in 3 lanes: of lengths 6, 6 and 7, so that they drift apart.
    forward = [[lanes.utterance(lane, step) for lane in range(3)] for step in range(60)]
    for step in (59, 0, 31, 17, 18):
        alone = Lanes(stored, 3, window=4)
        assert [alone.utterance(lane, step) for lane in range(3)] == forward[step]


def test_too_few_utterances():
    with pytest.raises(ConfigError, match=r"one utterance for each of 4 readers .* got 3 and 256"):
        Lanes(Stored(np.array([3])), 4)
    with pytest.raises(ConfigError, match=r"got 3 and 0"):
        Lanes(Stored(np.array([3])), 2, window=0)


# -- the reader ---------------------------------------------------------------------------------


def items(reader, workers, start=0):
    return list(
        DataLoader(
            reader,
            batch_size=None,
            sampler=range(start, len(reader)),
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
        )
    )


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (3, 0), (2, 2), (3, 1)])
def test_ranks_and_workers_share_an_epoch(packed, ranks, workers):
    for epoch in (0, 2):
        seen = Counter()
        for rank in range(ranks):
            reader = ShardReader(packed, RATE, rank=rank, world_size=ranks)
            reader.set_epoch(epoch)
            for utterance, speaker, samples in items(reader, workers):
                assert speaker == packed.utt2spk[utterance]
                expected = load_utterance(packed, utterance, RATE)
                assert np.array_equal(np.asarray(samples), expected)
                seen[utterance] += 1
        assert seen == Counter(packed.utterances)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_it_goes_on_in_mid_epoch(packed, workers):
    reader = ShardReader(packed, RATE, world_size=2, rank=1, seed=4, window=3)
    whole = [utterance for utterance, *_ in items(reader, 0)]
    again = ShardReader(packed, RATE, world_size=2, rank=1, seed=4, window=3)
    assert [utterance for utterance, *_ in items(again, workers, start=7)] == whole[7:]


def test_what_is_in_one_file_is_a_shard(make_corpus):
    data = make_corpus(2, 4, seconds=0.1)
    reader = ShardReader(data, RATE)
    assert sorted(reader[k][0] for k in range(len(reader))) == data.utterances


def test_wrong_ranks_and_places(packed):
    with pytest.raises(ConfigError, match=r"rank is from 0 to world_size - 1 = 1, got 2"):
        ShardReader(packed, RATE, rank=2, world_size=2)
    with pytest.raises(IndexError, match=r"has 22 utterances in an epoch, got index 22"):
        ShardReader(packed, RATE)[22]


# -- training -----------------------------------------------------------------------------------


def chunk_batches(data: DataDir, **options):
    options = {"batch_size": 4, "min_frames": 5, "max_frames": 8, "order": "sequence"} | options
    return ChunkBatches(data, FEATURES, ChunkConfig(**options), memory=0)


def test_training_in_sequence_reads_each_utterance_once(packed, monkeypatch):
    batches = chunk_batches(packed)
    assert len(batches) == 5  # 22 utterances in 4 rows of 5 or 6
    seen = []
    read = type(batches.utterances).read
    monkeypatch.setattr(
        type(batches.utterances),
        "read",
        lambda self, index, *args: seen.append(index) or read(self, index, *args),
    )
    for step in range(33):
        batches.batch(*divmod(step, 5))
    counts = Counter(seen)
    # 132 reads are six epochs of 22: no utterance is ahead of another by more than the drift.
    assert len(counts) == 22
    assert max(counts.values()) - min(counts.values()) <= 2


@pytest.mark.parametrize("ranks", [2, 4])
def test_rows_of_a_rank_are_those_of_all(packed, ranks):
    batches, rows = chunk_batches(packed), 4 // ranks
    for step in range(7):
        features, classes = batches.batch(*divmod(step, 5))
        for rank in range(ranks):
            share = slice(rank * rows, (rank + 1) * rows)
            mine = chunk_batches(packed).batch(*divmod(step, 5), share)
            assert torch.equal(mine[0], features[share])
            assert torch.equal(mine[1], classes[share])


def test_sequence_needs_an_utterance_for_every_row(packed):
    with pytest.raises(ConfigError, match=r"for each of 23 readers .* lower batch_size"):
        chunk_batches(packed, batch_size=23)
