"""One training step: the draws behind its KL, the optimiser's groups, what a checkpoint gets."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bbb.audio.datadir import DataDir
from bbb.audio.dataset import ChunkBatches
from bbb.errors import DataError
from bbb.objective import kl_divergence
from bbb.speaker.batches import StepBatches
from bbb.speaker.build import build_network, make_bayesian
from bbb.speaker.config import BayesConfig, NetworkConfig, OptimConfig, TrainConfig
from bbb.speaker.module import SpeakerModule

Logged = dict[str, Tensor]


@pytest.fixture
def make_module(
    corpus: DataDir, make_config: Callable[..., TrainConfig]
) -> Callable[..., tuple[SpeakerModule, Logged]]:
    """A function that makes a module without a Trainer, and a dictionary of what it logs."""

    def make(**changes: Any) -> tuple[SpeakerModule, Logged]:
        config = make_config(**changes)
        torch.manual_seed(0)
        network = build_network(config)
        make_bayesian(network, config.bayes)
        chunks = ChunkBatches(corpus, config.features, config.chunks)
        module = SpeakerModule(config, network, StepBatches(chunks, config.updates))
        logged: Logged = {}
        module.log_dict = lambda values, **_: logged.update(values)  # type: ignore[assignment]
        return module, logged

    return make


@pytest.mark.parametrize("draws", [1, 3])
def test_the_mixtures_kl_takes_the_forwards_draws(
    make_module: Callable[..., tuple[SpeakerModule, Logged]], draws: int
) -> None:
    bayes = BayesConfig(layers=("frame1",), prior="scale_mixture", draws=draws, estimator="weight")
    module, _ = make_module(bayes=bayes)
    batch = module.batches[0]
    torch.manual_seed(1)
    module.training_step(batch, 0)
    with_kl = torch.get_rng_state()
    torch.manual_seed(1)
    for _ in range(draws):
        module.network(batch[0])
    # Not one random number more than the forwards took.
    assert torch.equal(with_kl, torch.get_rng_state())


def test_the_closed_form_kl_and_the_accuracy_are_logged(
    make_module: Callable[..., tuple[SpeakerModule, Logged]],
) -> None:
    bayes = BayesConfig(layers=("frame*",), draws=2, kl_weight=2.0)
    module, logged = make_module(bayes=bayes)
    features, labels = module.batches[0]
    torch.manual_seed(1)
    loss = module.training_step((features, labels), 0)
    torch.manual_seed(1)
    logits = [module.head(module.network.head_input(module(features))) for _ in range(2)]
    right = torch.stack([(row.argmax(1) == labels).float().mean() for row in logits]).mean()
    nll = torch.stack([torch.nn.functional.cross_entropy(row, labels) for row in logits]).mean()
    kl = kl_divergence(module.network)
    torch.testing.assert_close(logged["kl"], kl.detach())
    torch.testing.assert_close(logged["accuracy"], right)
    torch.testing.assert_close(loss, nll + 2.0 * kl / 20)
    torch.testing.assert_close(logged["loss"], loss.detach())
    assert not any(value.requires_grad for value in logged.values())


def test_a_plain_network_is_run_once_whatever_the_draws(
    make_module: Callable[..., tuple[SpeakerModule, Logged]],
) -> None:
    module, logged = make_module(bayes=BayesConfig(draws=5))
    calls: list[int] = []
    module.network.register_forward_hook(lambda *_: calls.append(1))
    module.training_step(module.batches[0], 0)
    assert len(calls) == 1
    assert float(logged["kl"]) == 0.0


def test_forward_embeds(make_module: Callable[..., tuple[SpeakerModule, Logged]]) -> None:
    module, _ = make_module()
    features, _ = module.batches[0]
    module.eval()
    assert torch.equal(module(features), module.network(features))


def test_weight_decay_is_for_plain_matrices_alone(
    make_module: Callable[..., tuple[SpeakerModule, Logged]],
) -> None:
    module, _ = make_module(bayes=BayesConfig(layers=("frame1", "segment6")))
    optimizer = module.configure_optimizers()["optimizer"]
    assert isinstance(optimizer, torch.optim.AdamW)
    names = {parameter: name for name, parameter in module.named_parameters()}
    decayed, others = (
        {names[parameter] for parameter in group["params"]} for group in optimizer.param_groups
    )
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]
    assert decayed == {
        *(f"network.frame{i}.affine.weight" for i in range(2, 6)),
        "network.segment7.affine.weight",
        "head.weight",
    }
    assert decayed | others == set(names.values())
    assert {"network.frame1.affine.weight_mu", "network.frame1.affine.weight_rho"} <= others


def test_sgd_has_nesterov_momentum(
    make_module: Callable[..., tuple[SpeakerModule, Logged]],
) -> None:
    module, _ = make_module(optim=OptimConfig(name="sgd", lr=0.3))
    optimizer = module.configure_optimizers()["optimizer"]
    assert isinstance(optimizer, torch.optim.SGD)
    group = optimizer.param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0.9, True)
    assert group["lr"] == pytest.approx(0.3 * module.config.optim.factor(0, 12))


def test_the_configurations_margin_is_not_changed_by_the_schedule(
    make_module: Callable[..., tuple[SpeakerModule, Logged]],
) -> None:
    network = NetworkConfig(channels=6, pooled_channels=8, embed_dim=6, head="am", margin=0.3)
    module, _ = make_module(network=network)
    module.on_train_batch_start(module.batches[0], 0)
    assert module.head.margin == 0.0
    assert module.config.network.margin == 0.3


def test_no_margin_warmup_is_the_whole_margin_at_once(
    make_module: Callable[..., tuple[SpeakerModule, Logged]],
) -> None:
    network = NetworkConfig(channels=6, pooled_channels=8, embed_dim=6, head="am", margin_warmup=0)
    module, _ = make_module(network=network)
    module.head.margin = 0.1
    module.on_train_batch_start(module.batches[0], 0)
    assert module.head.margin == 0.2


def test_random_state_comes_back_before_the_next_batch_and_once(
    make_module: Callable[..., tuple[SpeakerModule, Logged]],
) -> None:
    module, _ = make_module()
    torch.manual_seed(3)
    checkpoint: dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint["bbb"]["num_classes"] == 5
    expected = torch.rand(2)
    torch.manual_seed(4)
    module.on_load_checkpoint(checkpoint)
    module.on_train_batch_start(module.batches[0], 0)
    assert torch.equal(torch.rand(2), expected)
    module.on_train_batch_start(module.batches[0], 1)
    assert not torch.equal(torch.rand(2), expected)


def test_weights_that_are_no_number_are_not_saved(
    make_module: Callable[..., tuple[SpeakerModule, Logged]],
) -> None:
    module, _ = make_module()
    with torch.no_grad():
        module.network.frame2.affine.bias[0] = torch.nan
    with pytest.raises(DataError, match=r"'network.frame2.affine.bias' is not finite at step 0;"):
        module.on_save_checkpoint({})
