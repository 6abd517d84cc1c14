"""The mixin that makes any torch.nn layer Bayesian.

A Bayesian layer is its torch.nn twin with each Bayesian parameter ``weight`` replaced by
``weight_mu`` and ``weight_rho``; the posterior is ``N(mu, sigma^2)``, ``sigma = softplus(rho)``.
``forward`` draws the weights and hands them to torch's own forward, so that every option of the
twin works; it returns what the twin returns, writes no attribute, and draws anew each time.

A subclass is a few lines: the base class pair and the twin ::

    class BayesBilinear(BayesianLayer, nn.Bilinear):
        twin = nn.Bilinear

A layer that is linear in its weight derives from `bbb.layers.linear_map.LinearMapLayer` instead
and gains the "local" and "flipout" estimators: its `linear_map` is the twin's forward with explicit
weights.

State dict: ``weight_mu``, ``weight_rho``, ``bias`` (or ``bias_mu``, ``bias_rho``), what the prior
keeps (`bbb.priors.Pretrained`: the buffer ``weight_prior_loc``), and the buffer ``weight_mask`` of
a layer that `bbb.prune` has pruned. A state dict of the twin may be loaded: it fills the means and
what the prior derives from them, and leaves the rest.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from bbb import _gaussian, _numerics
from bbb.errors import ConfigError
from bbb.layers.modes import Draw, Draws, Policy, policy_of, recorders
from bbb.layers.options import Estimator, Exact, LayerOptions
from bbb.layers.posterior import PosteriorModule
from bbb.layers.standin import Standin, UndrawnWeight
from bbb.priors import Normal, Prior


class BayesianLayer(PosteriorModule):
    """A layer of torch.nn with a Gaussian posterior over its weights; see the module docstring.

    Args:
        *args: Positional arguments of the twin.
        prior: p(w); default ``Normal(0, 0.1)``.
        sigma_init: Initial standard deviation of the posterior, > 0.
        estimator: "auto", "weight", or what ``estimators`` lists.
        bayesian_bias: Give biases a posterior too.
        tie_sigma: One sigma for all output rows.
        **kwargs: Keyword arguments of the twin, among them ``device`` and ``dtype``.

    Attributes:
        twin: The torch.nn class that this class makes Bayesian.
        estimators: The estimators that make sense for it.
        tied_axis: Axis of the weight that counts outputs.
        options: Its Bayesian arguments.
        bayesian_names: Names of the twin's parameters that have a posterior.
        prior_keys: What the prior keeps for each of them, as ``{name}_prior_{key}``.

    Raises:
        ConfigError: If an option is out of range, or the layer lacks the estimator.
    """

    def __init__(
        self,
        *args: object,
        prior: Prior | None = None,
        sigma_init: float = 0.02,
        estimator: Estimator = "auto",
        bayesian_bias: bool = False,
        tie_sigma: bool = False,
        **kwargs: object,
    ) -> None:
        options = LayerOptions(
            prior=Normal() if prior is None else prior,
            sigma_init=sigma_init,
            estimator=estimator,
            bayesian_bias=bayesian_bias,
            tie_sigma=tie_sigma,
        )
        super().__init__(*args, **kwargs)
        self.check(options, self)
        self.make_bayesian_(options)

    # -- divergence from the prior ----------------------------------------------------------

    def kl(
        self, name: str, draws: Draws | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """KL divergence of the posterior of one weight tensor from its prior, summed.

        Args:
            name: A name of ``bayesian_names``.
            draws: Where the forwards' draws were recorded, for a prior without closed form.
            generator: Source of the fresh draw that such a prior takes where nothing is recorded.

        Returns:
            Nats, shape (), float32 or better.
        """
        recorded = draws.of(self, name) if draws is not None else []
        if recorded:
            terms = [self._kl_of(name, draw) for draw in recorded]
            return terms[0] if len(terms) == 1 else torch.stack(terms).mean()
        mu, rho, density = self._kept(name)
        if density.closed_form:
            return density.kl(mu, rho)
        eps = _numerics.standard_normal(mu.shape, mu, generator)
        return density.kl_at(rho, _gaussian.draw_gaussian(mu, rho, eps), eps)

    def _kl_of(self, name: str, draw: Draw) -> Tensor:
        """KL divergence at one recorded draw."""
        if draw.part is not None:
            return self.density(name).kl_from(draw.part, draw.weight)
        _, rho, density = self._kept(name)
        weight, eps = (self._random(name, cast("Tensor", part)) for part in (draw.weight, draw.eps))
        return density.kl_at(rho, weight, eps)

    # -- forward ----------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the twin's
        """Run torch's own forward with drawn weights, or with the means; see `bbb.layers.modes`."""
        return self.twin.forward(self.drawn(), *args, **kwargs)

    def drawn(self) -> Standin:
        """Return this layer with weights drawn, or with the means, for one forward of the twin."""
        return self._standin(self._weights(policy_of(self)))

    def estimator_for(self, input: Tensor, policy: Policy) -> Exact:  # noqa: A002, ARG002
        """Return the estimator that a forward of ``input`` uses."""
        return "weight"

    def _weights(self, policy: Policy) -> dict[str, Tensor]:
        """Return mean or draw of each Bayesian weight."""
        if policy.mean:
            return {name: self.posterior(name).mu for name in self.bayesian_names}
        return {name: self._draw(name, policy) for name in self.bayesian_names}

    def _draw(self, name: str, policy: Policy) -> Tensor:
        eps = self._eps(name, policy)
        if self._is_simple(name):
            return self._moment(name, eps)
        weight = _gaussian.draw_gaussian(*self.posterior(name), eps)
        self._record(name, Draw(weight, eps))
        return weight

    def _is_simple(self, name: str) -> bool:
        """Whether every entry of a weight is random, and in float32 or better."""
        whole = self.is_whole and self.mask(name) is None
        return whole and self.mean_parameter(name).dtype not in _numerics.HALF

    def _moment(self, name: str, eps: Tensor | None) -> Tensor:
        """Return the draw with ``eps``, or without it the variance; record what belongs to it."""
        mu, rho = self.posterior(name)
        density, records = self.density(name), self._records()
        weight, part = density.draw(mu, rho, eps, with_kl=bool(records))
        draw = Draw(None if density.closed_form else weight, part=part)
        recorded = density.comes_with_draw and (eps is not None or density.closed_form)
        for record in records if recorded else ():
            record.add(self, name, draw)
        return weight

    def _eps(self, name: str, policy: Policy) -> Tensor:
        """Return noise of the shape of the weight ``name``."""
        if policy.eps is not None:
            return policy.eps[name]
        mu = self.mean_parameter(name)
        return _numerics.standard_normal(mu.shape, mu, policy.generator)

    def _record(self, name: str, draw: Draw) -> None:
        """Record a draw from which the KL divergence is still to be computed."""
        if not self.options.prior.closed_form:
            for record in self._records():
                record.add(self, name, draw)

    def _records(self) -> list[Draws]:
        # A draw without a graph, as of reentrant checkpointing, would give the KL no gradient.
        return recorders(self) if torch.is_grad_enabled() else []

    def _standin(self, weights: Mapping[str, object]) -> Standin:
        """Return this layer with plain weights, for methods of the twin."""
        return Standin(self, weights)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as torch's
        """Give code that reads a plain weight what ``forward`` would use, if it can be told."""
        if name not in self.bayesian_names:
            return super().__getattr__(name)
        policy = policy_of(self)
        if policy.mean:
            return self.posterior(name).mu
        if policy.eps is not None:
            return self._draw(name, policy)
        return self.mean_parameter(name).as_subclass(UndrawnWeight)

    # -- torch.nn manners -------------------------------------------------------------------

    def reset_parameters(self) -> None:
        """Give means the twin's initial values, and sigma and the prior those that follow."""
        # The twin's own __init__ calls this before there is a posterior; then the dict is empty.
        means = {name: self.mean_parameter(name) for name in self.bayesian_names}
        self._reset_twin(self._standin(means))
        with torch.no_grad():
            for name in self.bayesian_names:
                rho = getattr(self, f"{name}_rho")
                rho.copy_(self._initial_rho(means[name], rho.shape))
                for key, value in self.options.prior.state(means[name]).items():
                    getattr(self, f"{name}_prior_{key}").copy_(value)

    def _reset_twin(self, standin: Standin) -> None:
        twin: Any = self.twin
        twin.reset_parameters(standin)

    def extra_repr(self) -> str:
        """The twin's, and prior, initial sigma and estimator."""
        bayes = self.options
        parts = [
            self.twin.extra_repr(self),
            f"prior={bayes.prior}, sigma_init={bayes.sigma_init:g}, estimator={bayes.estimator!r}",
        ]
        parts += [f"{name}=True" for name in ("bayesian_bias", "tie_sigma") if getattr(bayes, name)]
        return ", ".join(filter(None, parts))


def bayesian_layers(model: nn.Module, who: str) -> list[BayesianLayer]:
    """Return each Bayesian layer of ``model`` once, in the order of ``modules()``.

    Args:
        model: Any module.
        who: Name of the caller, for the message.

    Returns:
        At least one layer.

    Raises:
        ConfigError: If there is none.
    """
    layers = [module for module in model.modules() if isinstance(module, BayesianLayer)]
    if not layers:
        msg = (
            f"{who} needs a model with a Bayesian layer, got {type(model).__name__} with none; "
            "convert it first: model = bbb.bayesianize(model)"
        )
        raise ConfigError(msg)
    return layers


def posteriors(layers: list[BayesianLayer]) -> Iterator[tuple[BayesianLayer, str]]:
    """Yield ``(layer, name)`` of each weight tensor, a shared one only once."""
    found: dict[Tensor, tuple[BayesianLayer, str]] = {}
    for layer in layers:
        for name in layer.bayesian_names:
            mu = layer.mean_parameter(name)
            # A row that is padding for an embedding is a weight for an output layer tied to it.
            if mu not in found or (layer.is_whole and not found[mu][0].is_whole):
                found[mu] = layer, name
    yield from found.values()
