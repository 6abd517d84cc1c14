"""Configurations: what they refuse, and the schedule that they describe."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from bbb.audio.chunks import ChunkConfig
from bbb.errors import ConfigError
from bbb.speaker.config import BayesConfig, NetworkConfig, OptimConfig, TrainConfig


def config(**options: Any) -> TrainConfig:
    return TrainConfig(data="data", output="exp", **options)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (NetworkConfig, {"channels": 0}, "channels, pooled_channels and embed_dim are at least 1"),
        (NetworkConfig, {"embed_dim": -1}, "are at least 1, got 512, 1500 and -1"),
        (NetworkConfig, {"dropout": 1.0}, "0 <= dropout < 1 and .*, got 1.0 and 0.4"),
        (NetworkConfig, {"margin_warmup": 1.5}, "margin_warmup <= 1 .*, got 0.0 and 1.5"),
        (NetworkConfig, {"margin": -0.1}, "0 <= margin < pi / 2 and scale > 0, got -0.1 and 30"),
        (NetworkConfig, {"margin": 1.6}, "0 <= margin < pi / 2"),
        (NetworkConfig, {"scale": 0.0}, "scale > 0, got 0.2 and 0.0"),
        (BayesConfig, {"draws": 0}, "bayes.draws is at least 1, got 0"),
        (BayesConfig, {"kl_weight": -1.0}, "kl_weight >= 0 and 0 <= kl_warmup <= 1"),
        (BayesConfig, {"kl_weight": math.nan}, "kl_weight >= 0 .*, got nan"),
        (BayesConfig, {"kl_warmup": 1.5}, "a share of the steps.*1.5"),
        (BayesConfig, {"layers": ("a",), "prior": "pretrained"}, "bayes.baseline names no"),
        (BayesConfig, {"layers": ("a",), "start": "baseline"}, "train a plain x-vector first"),
        (OptimConfig, {"lr": 0.0}, "needs lr > 0"),
        (OptimConfig, {"lr": math.nan}, "needs lr > 0"),
        (OptimConfig, {"warmup": 1.0}, "0 <= warmup < 1"),
        (OptimConfig, {"start": 1.0}, "0 <= start < 1, got 0.002, 0.15 and 1.0"),
        (OptimConfig, {"weight_decay": -0.1}, "weight_decay >= 0 and clip_norm > 0"),
        (OptimConfig, {"clip_norm": 0.0}, "clip_norm > 0 .*, got 0.01 and 0.0"),
        (config, {"max_steps": 0}, "max_steps >= 1"),
        (config, {"checkpoint_every": 0}, "checkpoint_every >= 1"),
        (config, {"seed": -1}, "train: seed is from 0 to 2\\*\\*64 - 1, got -1"),
        (config, {"seed": 2**64}, "train: seed is from 0 to"),
        (config, {"workers": -1}, "workers >= 0, got 1000, 100 and -1"),
        (config, {"threads": 0}, "threads is at least 1"),
        (config, {"cache_gb": -1.0}, "cache_gb is at least 0, or null to choose, got -1.0"),
        (config, {"cache_gb": math.nan}, "cache_gb is at least 0"),
        (config, {"keep_steps": (5, 1001)}, r"keep_steps \[1001\] are not within 1 .. 1000"),
        (config, {"keep_steps": (0,)}, r"keep_steps \[0\]"),
        (config, {"average": 11}, r"average is from 0 to 10, .* \(checkpoint_every 100\), got 11"),
        (config, {"average": -1}, "average is from 0 to 10, .* got -1"),
        (config, {"devices": 0}, "devices, nodes and accumulate are at least 1, got 0, 1 and 1"),
        (config, {"accumulate": -2}, "at least 1, got 1, 1 and -2"),
        (config, {"chunks": ChunkConfig(batch_size=1)}, "2 rows or more in each of 1 parts, got 1"),
        (config, {"accumulate": 64}, "2 rows or more in each of 64 parts, got 1; .* accumulate"),
        (
            config,
            {"devices": 3, "nodes": 2, "accumulate": 4},
            "batch_size 64 is no multiple of devices 3 x nodes 2 x accumulate 4, .* make it 72",
        ),
    ],
)
def test_options_out_of_range_are_an_error(kind: Any, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**options)


def test_steps_that_a_late_start_does_not_make_cannot_be_kept() -> None:
    late = OptimConfig(start=0.5)
    assert config(optim=late, keep_steps=(500,)).keep_steps == (500,)
    with pytest.raises(ConfigError, match=r"keep_steps \[501\] are not within 1 .. 500"):
        config(optim=late, keep_steps=(501,))


def test_a_start_that_leaves_no_step_is_an_error() -> None:
    with pytest.raises(ConfigError, match="leaves none of the 10 steps"):
        config(max_steps=10, optim=OptimConfig(start=0.96))


def test_bayes_options_do_not_matter_without_layers() -> None:
    assert BayesConfig(prior="pretrained", start="baseline").baseline is None


def test_warmup_is_linear_and_the_cosine_ends_near_0() -> None:
    optim = OptimConfig(warmup=0.2)
    factors = [optim.factor(step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.05)
    assert factors[9] == pytest.approx(0.5)
    assert factors[19] == pytest.approx(1.0)
    assert factors[59] == pytest.approx(0.5)
    assert factors[79] == pytest.approx(0.5 * (1 + math.cos(0.75 * math.pi)))
    assert factors[99] == pytest.approx(1e-4)
    assert max(factors) == factors[19]
    assert all(0 < factor <= 1 for factor in factors)


def test_no_warmup_starts_at_the_peak() -> None:
    assert OptimConfig(warmup=0.0).factor(0, 1000) == pytest.approx(1.0, abs=1e-4)


def test_a_start_leaves_out_the_beginning_of_the_schedule() -> None:
    whole, half = OptimConfig(), OptimConfig(start=0.5)
    assert [half.factor(step, 100) for step in range(50)] == pytest.approx(
        [whole.factor(step, 100) for step in range(50, 100)]
    )
    # Lightning asks for one more factor after the last step.
    assert half.factor(50, 100) == 1e-4


def test_updates_are_the_steps_that_are_left() -> None:
    assert config().updates == 1000
    assert config(max_steps=10, optim=OptimConfig(start=0.25)).updates == 8


def test_start_checkpoint_is_that_of_the_step_where_the_schedule_is_entered() -> None:
    bayes = BayesConfig(layers=("frame1",), start="baseline", baseline="exp/b")
    half = OptimConfig(start=0.5)
    assert config(bayes=bayes).start_checkpoint == Path("exp/b/best.ckpt")
    assert config(bayes=bayes, optim=half).start_checkpoint == Path("exp/b/step=500.ckpt")
    scratch = dataclasses.replace(bayes, start="scratch")
    assert config(bayes=scratch, optim=half).start_checkpoint is None
    plain = dataclasses.replace(bayes, layers=())
    assert config(bayes=plain, optim=half).start_checkpoint is None


def test_configurations_are_frozen_and_by_keyword() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        config().seed = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        OptimConfig("sgd")  # type: ignore[misc]
