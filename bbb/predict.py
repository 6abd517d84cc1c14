"""Sampling contexts and Monte Carlo prediction.

The contexts apply to the Bayesian layers of the module that they are given, also a part of a model;
the innermost wins. They change no module, and a thread or asyncio task sees only its own.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor, nn

from bbb import _numerics
from bbb.errors import ConfigError
from bbb.layers import BayesianLayer, bayesian_layers
from bbb.layers.modes import MEAN, Policy, overriding


@contextmanager
def sampling(model: nn.Module, *, generator: torch.Generator | None = None) -> Iterator[None]:
    """Draw fresh weights in each forward, also in ``eval()``.

    Args:
        model: A module with Bayesian layers.
        generator: Source of randomness; default torch's own.

    Yields:
        Nothing.
    """
    policy = Policy(generator=generator)
    with overriding(dict.fromkeys(bayesian_layers(model, "sampling"), policy)):
        yield


@contextmanager
def fixed_sample(
    model: nn.Module, seed: int = 0, *, generator: torch.Generator | None = None
) -> Iterator[None]:
    """Keep one draw of all weights over many forwards: a function sample.

    The noise is kept, not the weights: they follow the parameters, and gradients flow. The
    "weight" estimator is used whatever the layers' own. The draw is the same on every device.

    Args:
        model: A module with Bayesian layers.
        seed: Names the draw; no global generator is touched.
        generator: Source of randomness instead of ``seed``.

    Yields:
        Nothing.
    """
    layers = bayesian_layers(model, "fixed_sample")
    source = torch.Generator().manual_seed(seed) if generator is None else generator
    with overriding(_fixed(layers, _draw_eps(layers, source))):
        yield


@contextmanager
def posterior_mean(model: nn.Module) -> Iterator[None]:
    """Use the posterior mean, also in ``train()``.

    Args:
        model: Any module; one without Bayesian layers has nothing to change.

    Yields:
        Nothing.
    """
    layers = [module for module in model.modules() if isinstance(module, BayesianLayer)]
    with overriding(dict.fromkeys(layers, MEAN)):
        yield


@torch.no_grad()
def predict(
    model: nn.Module,
    x: Tensor,
    num_samples: int = 20,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Output of ``model`` under several draws of its weights.

    Each sample is one draw of all weights, used for the whole batch (the "weight" estimator,
    whatever the layers' own), with dropout and batch norm as in ``eval()``; no gradients. The model
    is left as it was. The same generator state gives the same samples whatever ``chunk_size`` is.

    Args:
        model: A module with Bayesian layers that returns one tensor.
        x: Its input, shape (batch, ...).
        num_samples: Number of draws S, >= 1.
        chunk_size: Draws that ``torch.vmap`` evaluates together, >= 1; memory grows with it. None
            evaluates one after the other, which any model allows and which is as fast on a CPU.
        generator: Source of randomness; default torch's own.

    Returns:
        Outputs, shape (samples, batch, ...).

    Raises:
        ConfigError: If ``model`` has no Bayesian layer or does not return one tensor, or
            a number is not positive.
    """
    layers = bayesian_layers(model, "predict")
    for name, value in (("num_samples", num_samples), ("chunk_size", chunk_size)):
        if value is not None and value < 1:
            msg = f"predict needs {name} >= 1, got {value}"
            raise ConfigError(msg)
    chunk = chunk_size or 1
    outputs: list[Tensor] = []
    with _evaluating(model):
        for start in range(0, num_samples, chunk):
            size = min(chunk, num_samples - start)
            outputs.append(
                _run(model, layers, x, [_draw_eps(layers, generator) for _ in range(size)])
            )
    return torch.cat(outputs)


_Noise = dict[str, Tensor]


def _run(
    model: nn.Module, layers: list[BayesianLayer], x: Tensor, draws: list[list[_Noise]]
) -> Tensor:
    """Return outputs for each of the draws, shape (samples, batch, ...)."""

    def one(eps: list[_Noise]) -> Tensor:
        """Output of one draw.

        Raises:
            ConfigError: If it is no tensor.
        """
        with overriding(_fixed(layers, eps)):
            output = model(x)
        if not isinstance(output, Tensor):
            msg = (
                f"predict needs a model that returns one tensor, got {type(output).__name__}; "
                "wrap the model, or loop with bbb.sampling"
            )
            raise ConfigError(msg)
        return output

    if len(draws) == 1:
        return one(draws[0]).unsqueeze(0)
    stacked = [
        {name: torch.stack([draw[i][name] for draw in draws]) for name in layer.bayesian_names}
        for i, layer in enumerate(layers)
    ]
    return torch.vmap(one)(stacked)


def _fixed(layers: list[BayesianLayer], noise: list[_Noise]) -> Mapping[nn.Module, Policy]:
    return {layer: Policy(eps=eps) for layer, eps in zip(layers, noise, strict=True)}


def _draw_eps(layers: list[BayesianLayer], generator: torch.Generator | None) -> list[_Noise]:
    """Return noise for each weight of each layer; layers that share a weight share its noise."""
    drawn: dict[Tensor, Tensor] = {}
    noise: list[_Noise] = []
    for layer in layers:
        noise.append({})
        for name in layer.bayesian_names:
            mu = layer.posterior(name).mu
            if mu not in drawn:
                drawn[mu] = _numerics.standard_normal(mu.shape, mu, generator)
            noise[-1][name] = drawn[mu]
    return noise


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model into ``eval()`` and each of its modules back to its own mode."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        if any(flag for _, flag in flags):
            model.eval()
        yield
    finally:
        for module, flag in flags:
            module.training = flag


class _CallableModule(ModuleType):
    """This module, callable like its main function.

    Importing a module makes Python store it in its package: ``bbb.predict`` is then this module and
    no longer the function of that name, and ``bbb.predict(model, x)`` has to work all the same.
    """

    __call__ = staticmethod(predict)


sys.modules[__name__].__class__ = _CallableModule
