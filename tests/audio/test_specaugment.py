import numpy as np
import pytest
import torch

from bbb.audio.specaugment import SpecAugmentConfig, spec_augment
from bbb.errors import ConfigError


def mask(config: SpecAugmentConfig, shape=(4, 50, 30), seed=0) -> torch.Tensor:
    """True where features were set to zero."""
    return spec_augment(torch.ones(shape), config, np.random.default_rng(seed)) == 0


def test_masks_are_stripes_no_wider_than_asked():
    for seed in range(50):
        masked = mask(SpecAugmentConfig(time_masks=1, time_width=8, freq_masks=0), seed=seed)
        rows = masked.all(dim=2)
        assert torch.equal(masked, rows.unsqueeze(2).expand_as(masked))
        assert int(rows.sum(dim=1).max()) <= 8
        starts = (rows[:, 1:] & ~rows[:, :-1]).sum(dim=1) + rows[:, 0]
        assert int(starts.max()) <= 1


def test_channels_are_masked_over_all_frames():
    for seed in range(50):
        masked = mask(SpecAugmentConfig(time_masks=0, freq_masks=1, freq_width=5), seed=seed)
        columns = masked.all(dim=1)
        assert torch.equal(masked, columns.unsqueeze(1).expand_as(masked))
        assert int(columns.sum(dim=1).max()) <= 5


def test_the_widest_and_the_narrowest_mask_occur():
    config = SpecAugmentConfig(time_masks=1, time_width=3, freq_masks=0)
    widths = {int(w) for seed in range(60) for w in mask(config, seed=seed).all(dim=2).sum(dim=1)}
    # Each width misses 240 draws with probability 0.75 ** 240 = 1e-30.
    assert widths == {0, 1, 2, 3}


def test_masks_reach_both_ends():
    config = SpecAugmentConfig(time_masks=1, time_width=5, freq_masks=0)
    rows = torch.cat([mask(config, shape=(50, 6, 2), seed=s).all(dim=2) for s in range(10)])
    assert rows.any(dim=0).all()


def test_items_of_a_batch_have_masks_of_their_own():
    masked = mask(SpecAugmentConfig(time_width=20, freq_width=10))
    assert len({item.numpy().tobytes() for item in masked}) == 4


def test_no_axis_is_masked_as_a_whole():
    config = SpecAugmentConfig(time_masks=1, time_width=1000, freq_masks=1, freq_width=1000)
    for seed in range(30):
        assert not mask(config, shape=(2, 5, 3), seed=seed).all()


def test_nothing_asked_for_nothing_masked():
    assert not mask(SpecAugmentConfig(time_masks=0, freq_masks=0)).any()
    assert not mask(SpecAugmentConfig(time_width=0, freq_width=0)).any()


def test_the_input_is_left_alone_and_the_seed_decides():
    features = torch.ones(3, 40, 20)
    config = SpecAugmentConfig()
    one = spec_augment(features, config, np.random.default_rng(7))
    two = spec_augment(features, config, np.random.default_rng(7))
    assert torch.equal(one, two)
    assert bool(features.all())


@pytest.mark.parametrize("name", ["time_masks", "time_width", "freq_masks", "freq_width"])
def test_options_out_of_range(name):
    with pytest.raises(ConfigError, match=f"{name} cannot be negative, got -1"):
        SpecAugmentConfig(**{name: -1})
