"""Training end to end on five speakers: what it learns, draws, writes and refuses."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bbb.audio.datadir import DataDir
from bbb.audio.shards import write_shards
from bbb.audio.specaugment import SpecAugmentConfig
from bbb.errors import ConfigError
from bbb.layers import BayesConv1d, BayesianLayer
from bbb.speaker.checkpoint import load_network, read_checkpoint
from bbb.speaker.config import BayesConfig, NetworkConfig, OptimConfig, TrainConfig
from bbb.speaker.module import SpeakerModule
from bbb.speaker.train import train

Make = Callable[..., TrainConfig]
Weights = Callable[[Path], dict[str, Tensor]]
TINY = {"channels": 6, "pooled_channels": 8, "embed_dim": 6}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether all weights are equal to the last bit."""
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


# -- learning -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network": NetworkConfig(**TINY, embed_from="segment6_norm", head="am", scale=10.0)},
        {"network": NetworkConfig(**TINY, embed_from="segment6_norm", head="aam", scale=10.0)},
        {
            "optim": OptimConfig(name="sgd", lr=0.1),
            "spec_augment": SpecAugmentConfig(time_width=5, freq_width=2),
        },
        {"bayes": BayesConfig(layers=("frame1",), kl_weight=0.01)},
        {"bayes": BayesConfig(layers=("frame1",), kl_weight=0.01), "precision": "bf16-mixed"},
        {"bayes": BayesConfig(layers=("frame*", "segment*"), estimator="local", kl_weight=0.01)},
        {"bayes": BayesConfig(layers=("frame2",), prior="scale_mixture", kl_weight=0.01)},
    ],
    ids=["plain", "am", "aam", "sgd and masks", "frame1", "bfloat16", "local", "mixture"],
)
def test_the_loss_falls(make_config: Make, steps: Any, changes: dict[str, Any]) -> None:
    config = make_config(max_steps=40, **changes)
    best = train(config)
    assert best == Path(config.output) / "best.ckpt"
    nll = [sum(draws) / len(draws) for draws in steps.nll]
    assert len(nll) == 40
    # A margin that grows makes the task harder, and the loss falls all the same.
    assert sum(nll[-8:]) / 8 < 0.7 * sum(nll[:4]) / 4
    network, read = load_network(best)
    assert read == config
    bayesian = [m for m in network.modules() if isinstance(m, BayesianLayer)]
    assert bool(bayesian) == bool(config.bayes.layers)


def test_the_loss_is_the_mean_over_draws_plus_the_warmed_up_kl(
    make_config: Make, steps: Any
) -> None:
    bayes = BayesConfig(layers=("frame*",), draws=2, kl_weight=0.5, kl_warmup=0.5, sigma_init=0.2)
    train(make_config(bayes=bayes))
    chunks_of_an_epoch = 4 * 5
    assert steps.place == list(range(12))
    for step in range(12):
        assert len(set(steps.nll[step])) == 2  # two draws, two losses
        factor = 0.5 * min(1.0, step / 6)
        expected = sum(steps.nll[step]) / 2 + factor * steps.kl[step] / chunks_of_an_epoch
        assert steps.loss[step] == pytest.approx(expected, rel=1e-5)
    assert steps.kl[0] > 100  # so that the factor shows


def test_plain_training_has_no_kl(make_config: Make, steps: Any) -> None:
    train(make_config())
    assert set(steps.kl) == {0.0}
    assert steps.loss == pytest.approx([nll[0] for nll in steps.nll])


def test_learning_rate_and_margin_by_step(make_config: Make, steps: Any) -> None:
    network = NetworkConfig(**TINY, head="am", margin=0.3, margin_warmup=0.5)
    config = make_config(network=network)
    train(config)
    assert steps.lr == pytest.approx([0.02 * config.optim.factor(i, 12) for i in range(12)])
    assert steps.margin == pytest.approx([0.3 * min(1.0, i / 6) for i in range(12)])


def test_a_late_start_enters_the_warmups_where_the_schedule_is(
    make_config: Make, steps: Any
) -> None:
    config = make_config(
        network=NetworkConfig(**TINY, head="aam", margin=0.3, margin_warmup=1.0),
        bayes=BayesConfig(layers=("frame1",), kl_warmup=0.75, kl_weight=1.0),
        optim=OptimConfig(lr=0.02, start=0.5),
    )
    train(config)
    assert steps.place == list(range(6))
    assert steps.margin == pytest.approx([0.3 * (0.5 + i / 12) for i in range(6)])
    assert steps.lr == pytest.approx([0.02 * config.optim.factor(i, 12) for i in range(6)])
    for i in range(6):
        weight = min(1.0, (0.5 + i / 12) / 0.75)
        expected = steps.nll[i][0] + weight * steps.kl[i] / 20
        assert steps.loss[i] == pytest.approx(expected, rel=1e-5)


def test_means_start_from_the_half_trained_baseline_and_the_prior_sits_on_the_trained_one(
    make_config: Make, steps: Any, baseline: Path, weights: Weights
) -> None:
    config = make_config(
        bayes=BayesConfig(
            layers=("frame1",), prior="pretrained", start="baseline", baseline=str(baseline)
        ),
        optim=OptimConfig(lr=0.02, start=0.5),
    )
    best = train(config)
    half, trained = weights(baseline / "step=6.ckpt"), weights(baseline / "best.ckpt")
    name = "network.frame1.affine.weight"
    first = steps.first_state
    assert torch.equal(first[f"{name}_mu"], half[name])
    assert torch.equal(first[f"{name}_prior_loc"], trained[name])
    assert not torch.equal(half[name], trained[name])
    for other in half.keys() - {name}:
        assert torch.equal(first[other], half[other]), other  # the head's too
    assert len(steps.loss) == 6
    network, _ = load_network(best)
    layer = network.frame1.affine
    assert isinstance(layer, BayesConv1d)
    assert torch.equal(layer.weight_prior_loc, trained[name])
    assert not torch.equal(layer.weight_mu, half[name])


def test_a_prior_on_the_baseline_may_start_from_scratch(
    make_config: Make, steps: Any, baseline: Path, weights: Weights
) -> None:
    bayes = BayesConfig(layers=("frame1",), prior="pretrained", baseline=str(baseline))
    train(make_config(bayes=bayes))
    trained = weights(baseline / "best.ckpt")
    name = "network.frame1.affine.weight"
    assert torch.equal(steps.first_state[f"{name}_prior_loc"], trained[name])
    for key, value in trained.items():
        mean = steps.first_state.get(f"{key}_mu", steps.first_state.get(key))
        assert mean is not None
        if key.endswith("affine.weight"):
            assert not torch.equal(mean, value), key


# -- reproducibility ------------------------------------------------------------------------

DRAWING = {
    "bayes": BayesConfig(layers=("frame*",), sigma_init=0.1, draws=2),
    "network": NetworkConfig(**TINY, dropout=0.3),
    "spec_augment": SpecAugmentConfig(freq_width=2),
}


def test_a_seed_names_the_weights_to_the_last_bit(make_config: Make, weights: Weights) -> None:
    first = weights(train(make_config("a", **DRAWING)))
    torch.manual_seed(123)  # the caller's generator has no say
    assert same(first, weights(train(make_config("b", **DRAWING))))
    other = weights(train(make_config("c", **DRAWING, seed=2)))
    moved = [name for name, value in first.items() if not torch.equal(other[name], value)]
    assert set(moved) >= {name for name in first if "affine.weight" in name}


def test_workers_do_not_matter(make_config: Make, weights: Weights) -> None:
    here = weights(train(make_config("a", **DRAWING)))
    assert same(here, weights(train(make_config("b", **DRAWING, workers=1))))


def test_shards_are_read_like_the_files_that_they_are_of(
    make_config: Make, corpus: DataDir, tmp_path: Path, weights: Weights
) -> None:
    packed = write_shards(corpus, tmp_path / "shards", shard_mb=0.03)
    assert packed is not None
    files = weights(train(make_config("a", **DRAWING)))
    assert same(files, weights(train(make_config("b", **DRAWING, data=str(packed.path)))))


def test_the_callers_random_state_is_left_alone(make_config: Make) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train(make_config(max_steps=2))
    assert torch.equal(torch.rand(1), expected)


def test_threads_are_set(make_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    train(make_config(max_steps=1, threads=1))
    assert asked == [1]


# -- averaging ------------------------------------------------------------------------------


def test_best_holds_the_mean_of_the_last_checkpoints(make_config: Make, weights: Weights) -> None:
    bayes = BayesConfig(layers=("frame1",), sigma_init=0.1)
    config = make_config(
        bayes=bayes, max_steps=13, checkpoint_every=3, keep_steps=(3, 6, 9, 12), average=3
    )
    folder = Path(config.output)
    best = weights(train(config))
    kept = [weights(folder / f"step={step}.ckpt") for step in (6, 9, 12)]
    assert {"network.frame1.affine.weight_mu", "network.frame1.affine.weight_rho"} < best.keys()
    for name, value in best.items():
        if value.is_floating_point():
            mean = torch.stack([each[name].double() for each in kept]).mean(0).float()
            torch.testing.assert_close(value, mean, rtol=1e-6, atol=0)
        else:
            assert int(value) == 13  # batches counted
    assert not torch.equal(best["head.weight"], kept[-1]["head.weight"])


def test_an_average_binds_the_checkpoints(make_config: Make) -> None:
    config = make_config(average=2)
    train(config)
    with pytest.raises(ConfigError, match="checkpoint_every"):
        train(dataclasses.replace(config, checkpoint_every=3))


# -- precision ------------------------------------------------------------------------------


def test_the_kl_of_a_bfloat16_training_is_float32(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.dtype, ...]] = []
    inner = SpeakerModule._classify

    def classify(self: SpeakerModule, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        embeddings, kl = self.network(features), self.criterion(features.new_zeros(())).kl
        state = {name: value.double() for name, value in self.network.named_parameters()}
        exact = torch.zeros((), dtype=torch.float64)
        for name in [name for name in state if name.endswith("_mu")]:
            sigma = torch.nn.functional.softplus(state[name.replace("_mu", "_rho")])
            ratio = (sigma**2 + state[name] ** 2) / 0.1**2
            exact += (ratio / 2 - 0.5 - (sigma / 0.1).log()).sum()
        torch.testing.assert_close(kl.double(), exact, rtol=1e-5, atol=0)
        seen.append((embeddings.dtype, kl.dtype))
        return inner(self, features, labels)

    monkeypatch.setattr(SpeakerModule, "_classify", classify)
    bayes = BayesConfig(layers=("frame*",), sigma_init=0.1)
    train(make_config(bayes=bayes, precision="bf16-mixed", max_steps=2))
    assert seen == [(torch.bfloat16, torch.float32)] * 2


# -- folders --------------------------------------------------------------------------------


def test_files_of_an_experiment(baseline: Path) -> None:
    files = {path.name for path in baseline.iterdir()}
    expected = {"best.ckpt", "last.ckpt", "step=6.ckpt", "config.yaml", "versions.json", "metrics"}
    assert files == expected
    assert "loss" in next((baseline / "metrics").rglob("metrics.csv")).read_text()


def test_best_holds_the_last_weights_and_last_the_optimiser_too(
    baseline: Path, weights: Weights
) -> None:
    assert same(weights(baseline / "best.ckpt"), weights(baseline / "last.ckpt"))
    assert "optimizer_states" in read_checkpoint(baseline / "last.ckpt")
    assert "optimizer_states" not in read_checkpoint(baseline / "best.ckpt")


def test_folders_may_be_given_as_paths(make_config: Make, tmp_path: Path) -> None:
    config = make_config(max_steps=2, checkpoint_every=1)
    paths = dataclasses.replace(config, data=Path(config.data), output=tmp_path / "exp")
    best = train(paths)
    assert load_network(best)[1] == config
    assert train(config) == best


def test_a_finished_run_is_not_done_again(make_config: Make, steps: Any) -> None:
    config = make_config()
    best = train(config)
    before = best.read_bytes()
    assert train(config) == best
    assert len(steps.loss) == 12
    assert best.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 2}, r"seed \(1 there, 2 now\)"),
        ({"optim": OptimConfig(lr=0.5)}, r"optim.lr \(0.02 there, 0.5 now\)"),
        ({"bayes": BayesConfig(layers=("frame1",))}, r"bayes.layers \(\[\] there, \['frame1'\]"),
        ({"spec_augment": SpecAugmentConfig()}, r"spec_augment.*choose another output"),
        ({"max_steps": 13, "seed": 3}, r"max_steps \(12 there, 13 now\); seed \(1 there"),
    ],
)
def test_another_experiments_folder_is_refused(
    make_config: Make, changes: dict[str, Any], message: str
) -> None:
    config = make_config()
    best = train(config)
    before = best.read_bytes()
    with pytest.raises(ConfigError, match=f"exp holds a run with other settings: {message}"):
        train(dataclasses.replace(config, **changes))
    assert best.read_bytes() == before


def test_settings_without_influence_may_change(make_config: Make) -> None:
    config = make_config()
    best = train(config)
    changed = dataclasses.replace(config, workers=2, threads=1, checkpoint_every=5)
    assert train(changed) == best
