"""Other libraries of Bayesian layers, as contenders of ``layers.py``; those that are installed.

Each is used as its own documentation shows: its layers with their default prior and posterior, or
its wrapper, and its KL term of the forward before. ``pip install --no-deps`` keeps the torch that
is there; torch-uncertainty needs torchvision, timm, einops and seaborn as well.
"""

import contextlib
import functools
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeAlias

from torch import Tensor, nn

NUM_TRAIN = 60_000

Contender: TypeAlias = Callable[[nn.Module], tuple[nn.Module, Callable[..., Any]]]
Layers: TypeAlias = Mapping[type[nn.Module], Callable[..., nn.Module]]


def contender(make: Callable[[nn.Module], nn.Module], kl: Callable[[Any], Tensor]) -> Contender:
    """What ``layers.py`` takes: a function that returns a model and a step's loss."""

    def convert(net: nn.Module) -> tuple[nn.Module, Callable[..., Any]]:
        model = make(net)

        def loss(x: Tensor, mean_nll: Callable[[Tensor], Tensor]) -> Tensor:
            nll = mean_nll(model(x))
            return nll + kl(model) / NUM_TRAIN

        return model, loss

    return convert


def swapped(net: nn.Module, layers: Layers) -> nn.Module:
    """Replace each layer that has weights by the library's own of the same size."""
    if type(net) in layers:
        return layers[type(net)](**sizes(net))
    if any(True for _ in net.parameters(recurse=False)):
        msg = f"it has no {type(net).__name__}"
        raise NotImplementedError(msg)
    for name, child in net.named_children():
        setattr(net, name, swapped(child, layers))
    return net


def sizes(layer: nn.Module) -> dict[str, Any]:
    """Arguments that make a layer of the same size; a tuple of one number as that number."""
    conv = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
    names = ("in_features", "out_features") if isinstance(layer, nn.Linear) else conv
    values = {name: getattr(layer, name) for name in names}
    values = {n: v[0] if isinstance(v, tuple) and len(v) == 1 else v for n, v in values.items()}
    return {**values, "bias": layer.bias is not None}


def bayesian_torch() -> dict[str, Contender]:
    """The layers that its converter makes, which itself fails on Conv1d."""
    layers: Any = import_module("bayesian_torch.layers")
    kl = import_module("bayesian_torch.models.dnn_to_bnn").get_kl_loss

    def made(kind: str, **size: Any) -> nn.Module:  # noqa: ANN401
        layer = getattr(layers, kind)(**size)
        layer.dnn_to_bnn_flag = True  # the converter's: forward returns the output alone
        return layer

    found = {}
    for kind, name in (("Reparameterization", "reparam"), ("Flipout", "flipout")):
        twins = {
            plain: functools.partial(made, plain.__name__ + kind)
            for plain in (nn.Linear, nn.Conv1d, nn.Conv2d)
        }
        found[f"bayesian-torch {name}"] = contender(functools.partial(swapped, layers=twins), kl)
    return found


def torchbnn() -> dict[str, Contender]:
    """Its layers with the prior of its demos, N(0, 0.1^2); it has no Conv1d."""
    library: Any = import_module("torchbnn")
    twins = {
        plain: functools.partial(layer, prior_mu=0, prior_sigma=0.1)
        for plain, layer in ((nn.Linear, library.BayesLinear), (nn.Conv2d, library.BayesConv2d))
    }
    return {"torchbnn": contender(functools.partial(swapped, layers=twins), library.BKLLoss())}


def blitz() -> dict[str, Contender]:
    """Its layers, with its default prior."""
    modules: Any = import_module("blitz.modules")
    twins = {
        nn.Linear: modules.BayesianLinear,
        nn.Conv1d: modules.BayesianConv1d,
        nn.Conv2d: modules.BayesianConv2d,
    }
    kl = import_module("blitz.losses").kl_divergence_from_nn
    return {"blitz": contender(functools.partial(swapped, layers=twins), kl)}


def torchbayesian() -> dict[str, Contender]:
    """Its wrapper, which makes every parameter of a network random."""
    wrapper = import_module("torchbayesian.bnn").BayesianModule
    return {"torchbayesian": contender(wrapper, lambda model: model.kl_divergence())}


def bnn_pytorch() -> dict[str, Contender]:
    """Its layers in its wrapper, which adds up the KL of all forwards since it was set to 0."""
    library: Any = import_module("bnn")
    twins = {
        nn.Linear: library.BLinear,
        nn.Conv1d: library.BConv1d,
        nn.Conv2d: library.BConv2d,
    }

    def kl(model: Any) -> Tensor:  # noqa: ANN401
        value: Tensor = model.get_kl_div()
        model.zero_kl_div()
        return value

    return {"bnn-pytorch": contender(lambda n: library.BayesNetWrapper(swapped(n, twins)), kl)}


def torch_uncertainty() -> dict[str, Contender]:
    """Its layers, with its default prior."""
    layers: Any = import_module("torch_uncertainty.layers.bayesian")
    kl = import_module("torch_uncertainty.losses").KLDiv
    twins = {
        nn.Linear: layers.BayesLinear,
        nn.Conv1d: layers.BayesConv1d,
        nn.Conv2d: layers.BayesConv2d,
    }
    make = functools.partial(swapped, layers=twins)
    return {"torch-uncertainty": contender(make, lambda model: kl(model)())}


def installed() -> dict[str, Contender]:
    """The contenders of every peer that can be imported."""
    found: dict[str, Contender] = {}
    peers = (bayesian_torch, torchbnn, blitz, torchbayesian, bnn_pytorch, torch_uncertainty)
    for peer in peers:
        with contextlib.suppress(ImportError):
            found |= peer()
    return found


PEERS = installed()
