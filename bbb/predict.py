"""Sampling contexts and Monte Carlo prediction.

The contexts apply to the Bayesian layers of the module that they are given, also a part of a model;
the innermost wins. They change no module, and a thread or asyncio task sees only its own.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bbb import _numerics
from bbb._module import make_callable
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
    *,
    joint: bool = False,
    seed: int | None = None,
) -> Tensor:
    """Output of ``model`` under several draws of its weights.

    Dropout and batch norm are as in ``eval()``, without gradients; the model is left as it was.

    Each row of the result has exactly the distribution that the posterior gives it. Where every
    layer is "local" for ``x`` (as "auto" makes linear layers of small batches) the rows of one
    sample do not come from one network, which is faster; else they do. What rows have in common, as
    a curve drawn through them or a Thompson sample needs it, takes ``joint=True``: one draw of all
    weights for the whole batch. With ``seed`` sample s is moreover the same network in every call:
    call it batch by batch for function samples over a whole dataset.

    Args:
        model: A module with Bayesian layers that returns one tensor.
        x: Its input, shape (batch, ...).
        num_samples: Number of samples S, >= 1.
        chunk_size: Samples that ``torch.vmap`` evaluates together, >= 1; memory grows with it. None
            means all where every layer is "local" for ``x``, which shares work among samples, and
            else one after the other, which any model allows and which is as fast on a CPU.
        generator: Source of randomness; default torch's own.
        joint: One draw of all weights per sample, whatever the layers' estimators.
        seed: Names the networks of a joint prediction, instead of ``generator``.

    Returns:
        Outputs, shape (samples, batch, ...).

    Raises:
        ConfigError: If ``model`` has no Bayesian layer, does not return one tensor, or cannot be
            run in chunks; if a number is not positive, or ``generator`` and ``seed`` are given.
    """
    layers = bayesian_layers(model, "predict")
    for name, value in (("num_samples", num_samples), ("chunk_size", chunk_size)):
        if value is not None and value < 1:
            msg = f"predict needs {name} >= 1, got {value}"
            raise ConfigError(msg)
    if seed is not None:
        if generator is not None:
            msg = "predict needs a generator or a seed, got both; seed makes its own generator"
            raise ConfigError(msg)
        joint, generator = True, torch.Generator().manual_seed(seed)
    policy = Policy(generator=generator, many=num_samples > 1)
    local = not joint and all(layer.estimator_for(x, policy) == "local" for layer in layers)

    def run(size: int) -> Tensor:
        """Draw some samples."""
        if local:
            return _run_local(model, layers, x, size, policy)
        return _run(model, layers, x, [_draw_eps(layers, generator) for _ in range(size)])

    with _evaluating(model):
        return _in_chunks(run, num_samples, chunk_size, num_samples if local else 1)


def _in_chunks(
    run: Callable[[int], Tensor], num_samples: int, chunk_size: int | None, default: int
) -> Tensor:
    """Call ``run`` for chunks of samples; one by one where vmap fails and nobody asked for chunks.

    Raises:
        ConfigError: If somebody did.
        RuntimeError: If the model fails.
    """
    chunk = chunk_size or default
    try:
        return torch.cat(
            [run(min(chunk, num_samples - start)) for start in range(0, num_samples, chunk)]
        )
    except RuntimeError as error:
        # Of nested tensors torch says NotImplementedError.
        if chunk == 1 or not (isinstance(error, NotImplementedError) or _NO_RULE in str(error)):
            raise
        if chunk_size is not None:
            got = str(error).partition(". ")[0]  # many lines may follow
            msg = f"predict needs a model that torch.vmap can run, got: {got}; drop chunk_size"
            raise ConfigError(msg) from error
    return torch.cat([run(1) for _ in range(num_samples)])


_NO_RULE = "Batching rule not implemented"
_Noise = dict[str, Tensor]


def _output(model: nn.Module, x: Tensor, policies: Mapping[nn.Module, Policy]) -> Tensor:
    """Output of one draw.

    Raises:
        ConfigError: If it is no tensor.
    """
    with overriding(policies):
        output = model(x)
    if not isinstance(output, Tensor):
        msg = (
            f"predict needs a model that returns one tensor, got {type(output).__name__}; "
            "wrap the model, or loop with bbb.sampling"
        )
        raise ConfigError(msg)
    return output


def _run_local(
    model: nn.Module, layers: list[BayesianLayer], x: Tensor, size: int, policy: Policy
) -> Tensor:
    """Return ``size`` samples by the layers' own estimators, shape (size, batch, ...)."""
    policies: dict[nn.Module, Policy] = dict.fromkeys(layers, policy)
    if size == 1:
        return _output(model, x, policies).unsqueeze(0)
    # Nothing depends on the index, so that vmap computes once what comes before the first noise:
    # mean and variance of the first layer's output.
    index = torch.empty(size, 0)
    return torch.vmap(lambda _: _output(model, x, policies), randomness="different")(index)


def _run(
    model: nn.Module, layers: list[BayesianLayer], x: Tensor, draws: list[list[_Noise]]
) -> Tensor:
    """Return outputs for each of the draws, shape (samples, batch, ...)."""
    if len(draws) == 1:
        return _output(model, x, _fixed(layers, draws[0])).unsqueeze(0)
    stacked = [
        {name: torch.stack([draw[i][name] for draw in draws]) for name in layer.bayesian_names}
        for i, layer in enumerate(layers)
    ]
    return torch.vmap(lambda eps: _output(model, x, _fixed(layers, eps)))(stacked)


def _fixed(layers: list[BayesianLayer], noise: list[_Noise]) -> Mapping[nn.Module, Policy]:
    return {layer: Policy(eps=eps) for layer, eps in zip(layers, noise, strict=True)}


def _draw_eps(layers: list[BayesianLayer], generator: torch.Generator | None) -> list[_Noise]:
    """Return noise for each weight of each layer; layers that share a weight share its noise."""
    drawn: dict[Tensor, Tensor] = {}
    noise: list[_Noise] = []
    for layer in layers:
        noise.append({})
        for name in layer.bayesian_names:
            mu = layer.mean_parameter(name)
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


make_callable(__name__, predict)
