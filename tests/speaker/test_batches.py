"""Batches by step, over the borders of epochs."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

from bbb.audio.datadir import DataDir
from bbb.audio.dataset import ChunkBatches
from bbb.audio.specaugment import SpecAugmentConfig
from bbb.speaker.batches import StepBatches, StepSampler
from bbb.speaker.config import TrainConfig


@pytest.fixture
def chunks(corpus: DataDir, make_config: Callable[..., TrainConfig]) -> ChunkBatches:
    config = make_config()
    return ChunkBatches(corpus, config.features, config.chunks)


def test_step_i_is_the_batch_of_its_epoch(chunks: ChunkBatches) -> None:
    steps = StepBatches(chunks, 11)
    assert (len(steps), len(chunks)) == (11, 4)
    for step, (epoch, index) in {0: (0, 0), 3: (0, 3), 4: (1, 0), 10: (2, 2)}.items():
        features, classes = steps[step]
        expected, speakers = chunks.batch(epoch, index)
        assert torch.equal(features, expected)
        assert torch.equal(classes, speakers)


@pytest.mark.parametrize(("accumulate", "world_size"), [(1, 2), (2, 1), (2, 2), (1, 4)])
def test_parts_and_processes_share_the_batches_of_one(
    corpus: DataDir, make_config: Callable[..., TrainConfig], accumulate: int, world_size: int
) -> None:
    config = make_config()
    size = dataclasses.replace(config.chunks, batch_size=4)
    chunks = ChunkBatches(corpus, config.features, size, spec_augment=SpecAugmentConfig())
    whole = StepBatches(chunks, 6)
    split = StepBatches(chunks, 6, accumulate=accumulate)
    assert len(split) == 6 * accumulate
    assert split.num_train == whole.num_train == 16
    shares = [split.of_rank(rank, world_size) for rank in range(world_size)]
    for step in range(6):
        parts = [share[step * accumulate + part] for part in range(accumulate) for share in shares]
        assert len({len(classes) for _, classes in parts}) == 1
        features, classes = (torch.cat(each) for each in zip(*parts, strict=True))
        assert torch.equal(features, whole[step][0])
        assert torch.equal(classes, whole[step][1])


def test_epochs_differ(chunks: ChunkBatches) -> None:
    steps = StepBatches(chunks, 8)
    assert steps[0][0].shape != steps[4][0].shape or not torch.equal(steps[0][0], steps[4][0])


def test_sizes_for_the_head_and_the_kl(chunks: ChunkBatches) -> None:
    steps = StepBatches(chunks, 100)
    assert steps.num_classes == 5
    assert steps.num_train == 4 * 5  # batches of an epoch x chunks of a batch, not of all steps


def test_sampler_goes_on_from_a_step_and_keeps_its_length() -> None:
    assert list(StepSampler(3, 6)) == [3, 4, 5]
    assert list(StepSampler(6, 6)) == []
    assert len(StepSampler(3, 6)) == 6
