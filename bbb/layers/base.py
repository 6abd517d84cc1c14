"""The mixin that makes any torch.nn layer Bayesian.

A Bayesian layer is its torch.nn twin with each Bayesian parameter ``weight`` replaced by
``weight_mu`` and ``weight_rho``; the posterior is ``N(mu, sigma^2)``, ``sigma = softplus(rho)``.
``forward`` draws the weights and hands them to torch's own forward, so that every option of the
twin works; it returns what the twin returns, writes no attribute, and draws anew each time.

A subclass is a few lines: the base class pair and the twin ::

    class BayesBilinear(BayesianLayer, nn.Bilinear):
        twin = nn.Bilinear

A layer that is linear in its weight derives from `bbb.layers.linear_map.LinearMapLayer` instead
and gains the "local" and "flipout" estimators.

State dict: ``weight_mu``, ``weight_rho``, ``bias`` (or ``bias_mu``, ``bias_rho``), and only for a
prior that needs it (`bbb.priors.Pretrained`) the buffer ``weight_prior_loc``. A state dict of the
twin may be loaded: it fills the means (and those centres) and leaves rho.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from bbb import _numerics
from bbb.errors import ConfigError
from bbb.layers.modes import Draw, Draws, Policy, policy_of, recorders
from bbb.layers.options import Estimator, LayerOptions
from bbb.priors import Density, Normal, Prior


class Posterior(NamedTuple):
    """The posterior of one weight tensor: its mean and softplus-inverse standard deviation."""

    mu: Tensor
    rho: Tensor

    @property
    def sigma(self) -> Tensor:
        """Standard deviation; broadcasts to the shape of ``mu``."""
        return _numerics.softplus(self.rho)


class BayesianLayer(nn.Module):
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

    Raises:
        ConfigError: If an option is out of range, or the layer lacks the estimator.
    """

    twin: ClassVar[type[nn.Module]]
    estimators: ClassVar[tuple[Estimator, ...]] = ("auto", "weight")
    tied_axis: ClassVar[int] = 0

    options: LayerOptions
    bayesian_names: tuple[str, ...] = ()

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
        self.make_bayesian_(options)

    # -- conversion -------------------------------------------------------------------------

    def weight_names(self) -> tuple[str, ...]:
        """Names of the twin's parameters that always get a posterior."""
        return ("weight",)

    def bias_names(self) -> tuple[str, ...]:
        """Names of the twin's parameters that get one where ``bayesian_bias`` is set."""
        return ("bias",) if getattr(self, "bias", None) is not None else ()

    def make_bayesian_(
        self, options: LayerOptions, rhos: MutableMapping[Tensor, nn.Parameter] | None = None
    ) -> None:
        """Replace each weight by its posterior, whose mean is that very parameter.

        Args:
            options: Prior and posterior.
            rhos: The rho of each mean met so far, so that weights that two layers share stay
                shared; extended.

        Raises:
            ConfigError: If the layer lacks the estimator.
        """
        if options.estimator not in self.estimators:
            known = ", ".join(map(repr, self.estimators))
            msg = f"{type(self).__name__} needs an estimator of {known}, got {options.estimator!r}"
            raise ConfigError(msg)
        weights = self.weight_names()
        names = weights + (self.bias_names() if options.bayesian_bias else ())
        rhos = {} if rhos is None else rhos
        own = dict(self.named_parameters(recurse=False))
        # All are registered anew, so that the order in the state dict stays weight before bias.
        for name in own:
            delattr(self, name)
        for name, parameter in own.items():
            if name not in names:
                self.register_parameter(name, parameter)
                continue
            if parameter not in rhos:
                tied = options.tie_sigma and name in weights
                rhos[parameter] = self._initial_rho(parameter, options.sigma_init, tied=tied)
            self.register_parameter(f"{name}_mu", parameter)
            self.register_parameter(f"{name}_rho", rhos[parameter])
            if options.prior.needs_centre:
                self.register_buffer(f"{name}_prior_loc", parameter.detach().clone())
        self.bayesian_names = names
        self.options = options

    def make_deterministic_(self, weights: Mapping[str, Tensor]) -> None:
        """Become the torch.nn twin again, with the given parameters in place of the posteriors."""
        own = dict(self.named_parameters(recurse=False))
        names = self.bayesian_names
        for name in own:
            delattr(self, name)
        for name in names:
            if hasattr(self, f"{name}_prior_loc"):
                delattr(self, f"{name}_prior_loc")
        del self.bayesian_names, self.options
        for name, parameter in own.items():
            plain = name.removesuffix("_mu")
            if plain in names:
                self.register_parameter(plain, cast("nn.Parameter", weights[plain]))
            elif name.removesuffix("_rho") not in names:
                self.register_parameter(name, parameter)
        self.__class__ = self.twin  # type: ignore[assignment]

    def _initial_rho(self, mu: Tensor, sigma_init: float, *, tied: bool) -> nn.Parameter:
        shape = list(mu.shape)
        if tied:
            shape[self.tied_axis] = 1
        rho = mu.new_full(shape, _numerics.inverse_softplus(sigma_init))
        return nn.Parameter(rho, requires_grad=mu.requires_grad)

    # -- posterior and prior ----------------------------------------------------------------

    def posterior(self, name: str = "weight") -> Posterior:
        """Return mean and rho of the weight ``name``; half precision stays half."""
        return Posterior(getattr(self, f"{name}_mu"), getattr(self, f"{name}_rho"))

    def density(self, name: str = "weight") -> Density:
        """Return the prior of the weight ``name``, centred where it is to be."""
        return self.options.prior.at(getattr(self, f"{name}_prior_loc", None))

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
        mu, rho = self.posterior(name)
        density = self.density(name)
        if density.closed_form:
            return density.kl(mu, rho)
        recorded = draws.of(self, name) if draws is not None else []
        if not recorded:
            eps = _numerics.standard_normal(mu.shape, mu, generator)
            recorded = [Draw(_numerics.draw_gaussian(mu, rho, eps), eps)]
        # Blundell's f(w, theta). One difference per weight before the sum: 0 where q = p.
        terms = [
            (_numerics.gaussian_log_prob(rho, draw.eps) - density.log_prob(draw.weight)).sum()
            for draw in recorded
        ]
        return terms[0] if len(terms) == 1 else torch.stack(terms).mean()

    # -- forward ----------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the twin's
        """Run torch's own forward with drawn weights, or with the means; see `bbb.layers.modes`."""
        weights = self._weights(policy_of(self))
        return super(BayesianLayer, self._standin(weights)).forward(*args, **kwargs)

    def _weights(self, policy: Policy) -> dict[str, Tensor]:
        """Return mean or draw of each Bayesian weight."""
        if policy.mean:
            return {name: self.posterior(name).mu for name in self.bayesian_names}
        return {name: self._draw(name, policy) for name in self.bayesian_names}

    def _draw(self, name: str, policy: Policy) -> Tensor:
        mu, rho = self.posterior(name)
        eps = self._eps(name, policy)
        weight = _numerics.draw_gaussian(mu, rho, eps)
        self._record(name, weight, eps)
        return weight

    def _eps(self, name: str, policy: Policy) -> Tensor:
        """Return noise of the shape of the weight ``name``."""
        if policy.eps is not None:
            return policy.eps[name]
        mu = self.posterior(name).mu
        return _numerics.standard_normal(mu.shape, mu, policy.generator)

    def _record(self, name: str, weight: Tensor, eps: Tensor) -> None:
        if not self.options.prior.closed_form:
            for draws in recorders():
                draws.add(self, name, Draw(weight, eps))

    def _standin(self, weights: Mapping[str, Tensor]) -> "BayesianLayer":
        """Return a shallow copy of the module that has plain weights, for the twin's methods.

        The copy shares everything with this module and lives for one call. Setting the weights on
        the module itself would break threads, deepcopy and pickle.
        """
        standin = object.__new__(type(self))
        standin.__dict__.update(self.__dict__)
        standin.__dict__.update(weights)
        return standin

    # -- torch.nn manners -------------------------------------------------------------------

    def reset_parameters(self) -> None:
        """Give means (and the prior's centres) the twin's initial values, sigma ``sigma_init``."""
        # The twin's own __init__ calls this before there is a posterior; then the dict is empty.
        means = {name: self.posterior(name).mu for name in self.bayesian_names}
        twin: Any = super(BayesianLayer, self._standin(means))
        twin.reset_parameters()
        with torch.no_grad():
            for name in self.bayesian_names:
                mu, rho = self.posterior(name)
                rho.fill_(_numerics.inverse_softplus(self.options.sigma_init))
                if self.options.prior.needs_centre:
                    getattr(self, f"{name}_prior_loc").copy_(mu)

    def extra_repr(self) -> str:
        """The twin's, and prior, initial sigma and estimator."""
        standin = self._standin(dict.fromkeys(self.bayesian_names, torch.empty(0)))
        bayes = self.options
        parts = [
            super(BayesianLayer, standin).extra_repr(),
            f"prior={bayes.prior}, sigma_init={bayes.sigma_init:g}, estimator={bayes.estimator!r}",
        ]
        parts += [f"{name}=True" for name in ("bayesian_bias", "tie_sigma") if getattr(bayes, name)]
        return ", ".join(parts)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        *args: Any,  # noqa: ANN401 - as torch's
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Accept the twin's state dict: its weights are means, and centres of the prior."""
        for name in self.bayesian_names:
            key = f"{prefix}{name}"
            if key not in state_dict or f"{key}_mu" in state_dict:
                continue
            plain = state_dict.pop(key)
            state_dict[f"{key}_mu"] = plain
            state_dict.setdefault(f"{key}_rho", self.posterior(name).rho.detach())
            if self.options.prior.needs_centre:
                state_dict.setdefault(f"{key}_prior_loc", plain)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


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
    seen: set[Tensor] = set()
    for layer in layers:
        for name in layer.bayesian_names:
            mu = layer.posterior(name).mu
            if mu not in seen:
                seen.add(mu)
                yield layer, name
