"""Batches by step, over the borders of epochs."""

from collections.abc import Callable

import pytest
import torch

from bbb.audio.datadir import DataDir
from bbb.audio.dataset import ChunkBatches
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
