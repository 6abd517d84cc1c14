"""Plain models into Bayesian ones, and back."""

import copy
import difflib
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

import torch
from torch import nn

from bbb import _gaussian, _numerics
from bbb.errors import ConfigError, UnsupportedLayerError
from bbb.layers import (
    BAYESIAN,
    BayesianLayer,
    Estimator,
    LayerOptions,
    bayesian_layers,
    make_bayesian_,
    posteriors,
)
from bbb.priors import Normal, Prior

Selector: TypeAlias = str | type[nn.Module] | nn.Module
Layers: TypeAlias = Selector | Iterable[Selector] | Callable[[str, nn.Module], bool]


def bayesianize(
    net: nn.Module,
    layers: Layers | None = None,
    *,
    prior: Prior | None = None,
    sigma_init: float = 0.02,
    estimator: Estimator = "auto",
    bayesian_bias: bool = False,
    tie_sigma: bool = False,
) -> nn.Module:
    """Return a copy of ``net`` whose layers have a posterior over their weights.

    The old weight becomes the posterior mean. Shared modules and shared weights stay shared (layers
    that share mean and rho each draw their own noise, see `bbb.layers.embedding`); dtype, device,
    training flag, hooks and ``requires_grad`` (of a frozen weight, for mean and rho both) are kept;
    ``net`` itself is left alone.

    Args:
        net: Any module, also a bare layer.
        layers: Which layers; None means every supported one. Else one or several of

            * an exact name or a glob on qualified names ("frame1.*"; ``*`` also matches dots);
            * a type, matched exactly;
            * a module of ``net``;

            each of which has to hit at least one supported layer; unsupported ones that it hits
            besides are left; one that hits a container ("frame1") means the supported layers in
            it. Or a predicate ``(name, module) -> bool``, asked about each supported layer.
        prior: p(w); default ``Normal(0.0, 0.1)``.
        sigma_init: Initial standard deviation of the posterior (sigma, not rho), > 0.
        estimator: "auto", "weight", "local" or "flipout"; see `bbb.layers.linear_map`. One that a
            chosen layer lacks (recurrent and attention layers have "weight" only) is an error.
        bayesian_bias: Give biases a posterior too.
        tie_sigma: One sigma for all outputs of a layer: ``weight_rho`` has shape (1, in, ...).

    Returns:
        The Bayesian copy.

    A selector that matches nothing, an option out of range, or a weight of a layer that is Bayesian
    already, is a ConfigError; one that hits only layers without twin an UnsupportedLayerError.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> model = bayesianize(net, layers="0", sigma_init=0.05)
        >>> sorted(model.state_dict())
        ['0.bias', '0.weight_mu', '0.weight_rho', '2.bias', '2.weight']
    """
    # Layers are selected in the original, before the copy hides their identity.
    chosen = _select(net, layers)
    memo: dict[int, nn.Module] = {}
    model = copy.deepcopy(net, memo)
    return bayesianize_(
        model,
        [memo[id(layer)] for layer in chosen],
        prior=prior,
        sigma_init=sigma_init,
        estimator=estimator,
        bayesian_bias=bayesian_bias,
        tie_sigma=tie_sigma,
    )


def bayesianize_(
    net: nn.Module,
    layers: Layers | None = None,
    *,
    prior: Prior | None = None,
    sigma_init: float = 0.02,
    estimator: Estimator = "auto",
    bayesian_bias: bool = False,
    tie_sigma: bool = False,
) -> nn.Module:
    """Make layers of ``net`` Bayesian in place; arguments and errors as of `bayesianize`.

    Modules keep their identity (their class changes), and each mean is the very parameter that the
    weight was, so references and optimisers stay valid; give the optimiser the new rhos.

    Returns:
        ``net`` itself.

    Raises:
        ConfigError: If a layer shares a weight with one that is Bayesian already, and as above.
    """
    options = LayerOptions(
        prior=Normal() if prior is None else prior,
        sigma_init=sigma_init,
        estimator=estimator,
        bayesian_bias=bayesian_bias,
        tie_sigma=tie_sigma,
    )
    shared: dict[torch.Tensor, tuple[nn.Parameter, Mapping[str, torch.Tensor]]] = {}
    chosen = _select(net, layers)
    layers_before = [module for module in net.modules() if isinstance(module, BayesianLayer)]
    taken = {layer.mean_parameter(name) for layer, name in posteriors(layers_before)}
    for module in chosen:  # before the first one is changed
        BAYESIAN[type(module)].check(options, module)
        if not taken.isdisjoint(module.parameters()):
            msg = (
                f"layers: a {type(module).__name__} shares a weight with a layer that is Bayesian "
                "already, whose sigma it would not share; convert both in one call"
            )
            raise ConfigError(msg)
    for module in chosen:
        make_bayesian_(module, options, shared)
    return net


def to_deterministic(model: nn.Module) -> nn.Module:
    """Return a plain torch.nn copy of ``model`` at the posterior mean.

    Its outputs equal those of ``model.eval()`` to the last bit.

    Args:
        model: A module with Bayesian layers.

    Returns:
        The copy, without a trace of bbb: for ONNX, torch.export, anything. Its parameters are the
        copy's own.
    """
    plain = copy.deepcopy(model)
    means: dict[torch.Tensor, torch.Tensor] = {}
    for layer in bayesian_layers(plain, "to_deterministic"):
        weights = {}
        for name in layer.bayesian_names:
            mu = layer.mean_parameter(name)
            if layer.mask(name) is None:
                means[mu] = mu
            elif mu not in means:
                means[mu] = _parameter(layer.posterior(name).mu, mu)
            weights[name] = means[mu]
        layer.make_deterministic_(weights)
    return plain


@torch.no_grad()
def sample_deterministic(
    model: nn.Module, *, generator: torch.Generator | None = None
) -> nn.Module:
    """Return a plain torch.nn copy of ``model`` at one draw from the posterior.

    Args:
        model: A module with Bayesian layers.
        generator: Source of randomness; default torch's own.

    Returns:
        The copy; weights that layers share are drawn once and stay shared.
    """
    plain = copy.deepcopy(model)
    layers = bayesian_layers(plain, "sample_deterministic")
    drawn: dict[torch.Tensor, torch.Tensor] = {}
    for layer, name in posteriors(layers):
        mu = layer.mean_parameter(name)
        eps = _numerics.standard_normal(mu.shape, mu, generator)
        drawn[mu] = _parameter(_gaussian.draw_gaussian(*layer.posterior(name), eps), mu)
    for layer in layers:
        names = layer.bayesian_names
        layer.make_deterministic_({name: drawn[layer.mean_parameter(name)] for name in names})
    return plain


def _parameter(weight: torch.Tensor, mean: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach(), requires_grad=mean.requires_grad)


# -- selection ------------------------------------------------------------------------------


def _supported(net: nn.Module) -> set[nn.Module]:
    layers = [module for module in net.modules() if type(module) in BAYESIAN]
    # The output projection of an attention layer goes with that layer.
    inner = {module for layer in layers for module in layer.modules() if module is not layer}
    return {layer for layer in layers if BAYESIAN[type(layer)].refusal(layer) is None} - inner


def _select(net: nn.Module, layers: Layers | None) -> list[nn.Module]:
    # Returns the supported layers that ``layers`` means, each once, in the order of the model.
    named = list(net.named_modules(remove_duplicate=False))
    supported = _supported(net)
    if layers is None:
        chosen = supported
        if not chosen:
            raise UnsupportedLayerError(_unsupported("bayesianize", named))
    elif isinstance(layers, str | type | nn.Module):
        chosen = set(_matched(layers, named, supported))
    elif isinstance(layers, Iterable):
        chosen = {module for selector in layers for module in _matched(selector, named, supported)}
        if not chosen:
            msg = "layers needs at least one name, type or module, got none; None means all layers"
            raise ConfigError(msg)
    else:
        chosen = {module for name, module in named if module in supported and layers(name, module)}
        if not chosen:
            msg = (
                "layers needs a predicate that accepts a supported layer, got one that accepts none"
            )
            raise ConfigError(msg)
    return [module for module in net.modules() if module in chosen]


def _matched(
    selector: Selector, named: list[tuple[str, nn.Module]], supported: set[nn.Module]
) -> Iterator[nn.Module]:
    # Yields the supported layers that one selector means; at least one.
    if isinstance(selector, str):
        hits = [(n, m) for n, m in named if n == selector or fnmatch.fnmatchcase(n, selector)]
    elif isinstance(selector, type):
        hits = [(n, m) for n, m in named if type(m) is selector]
    else:
        hits = [(n, m) for n, m in named if m is selector]
    if not hits:
        raise ConfigError(_nothing(selector, named))
    found = [module for _, hit in hits for module in hit.modules() if module in supported]
    if not found:
        raise UnsupportedLayerError(_unsupported(_shown(selector), hits))
    yield from found


def _shown(selector: Selector) -> str:
    if isinstance(selector, str):
        return repr(selector)
    return selector.__name__ if isinstance(selector, type) else type(selector).__name__


def _nothing(selector: Selector, named: list[tuple[str, nn.Module]]) -> str:
    names = [name for name, _ in named if name]
    if isinstance(selector, type):
        near = sorted({type(module).__name__ for _, module in named})
    else:
        wanted = selector.strip("*.") if isinstance(selector, str) else ""
        near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.3) or names[:3]
    hint = ", ".join(map(repr, near))
    return f"layers: {_shown(selector)} matches nothing in the model; did you mean one of {hint}?"


def _unsupported(who: str, hits: list[tuple[str, nn.Module]]) -> str:
    kinds = ", ".join(sorted({_described(module) for _, module in hits}))
    known = ", ".join(sorted(kind.__name__ for kind in BAYESIAN))
    if any(isinstance(module, BayesianLayer) for _, module in hits):
        return f"{who} needs plain layers, got {kinds}, which is Bayesian already"
    return (
        f"{who} needs a layer with a Bayesian twin ({known}; not a subclass), got {kinds}; "
        "leave it out of layers"
    )


def _described(module: nn.Module) -> str:
    kind = type(module)
    reason = BAYESIAN[kind].refusal(module) if kind in BAYESIAN else None
    return f"{kind.__name__} ({reason})" if reason else kind.__name__
