"""What a Bayesian layer keeps: the posterior of each weight, the prior's state, masks.

This half of the mixin replaces the twin's parameters, gives them back, and reads state dicts; the
other half, `bbb.layers.base`, computes with them.
"""

import math
from collections.abc import Mapping, MutableMapping
from typing import Any, ClassVar, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor, nn

from bbb import _numerics
from bbb.errors import ConfigError
from bbb.layers.options import Estimator, LayerOptions
from bbb.priors import Density

Shared: TypeAlias = MutableMapping[Tensor, tuple[nn.Parameter, Mapping[str, Tensor]]]
"""Rho and prior state, by mean."""


class Posterior(NamedTuple):
    """The posterior of one weight tensor: its mean and softplus-inverse standard deviation."""

    mu: Tensor
    rho: Tensor

    @property
    def sigma(self) -> Tensor:
        """Standard deviation; broadcasts to the shape of ``mu``."""
        return _numerics.softplus(self.rho)


class PosteriorModule(nn.Module):
    """The parameters and buffers of a Bayesian layer; see `bbb.layers.base.BayesianLayer`."""

    twin: ClassVar[type[nn.Module]]
    estimators: ClassVar[tuple[Estimator, ...]] = ("auto", "weight")
    tied_axis: ClassVar[int] = 0

    options: LayerOptions
    bayesian_names: tuple[str, ...] = ()
    prior_keys: tuple[str, ...] = ()

    # -- conversion -------------------------------------------------------------------------

    def weight_names(self) -> tuple[str, ...]:
        """Names of the twin's parameters that always get a posterior."""
        return ("weight",)

    def bias_names(self) -> tuple[str, ...]:
        """Names of the twin's parameters that get one where ``bayesian_bias`` is set."""
        return ("bias",) if getattr(self, "bias", None) is not None else ()

    @classmethod
    def refusal(cls, plain: nn.Module) -> str | None:
        """Return why ``plain``, of the twin's type, cannot become Bayesian; None if it can."""
        layer: Any = plain  # the twin has the attributes that its names follow from
        return _computed(plain, cls.weight_names(layer))

    def make_bayesian_(self, options: LayerOptions, shared: Shared | None = None) -> None:
        """Replace each weight by its posterior, whose mean is that very parameter; see `check`.

        Args:
            options: Prior and posterior.
            shared: Rho and prior state of each mean met so far, so that weights that two layers
                share stay shared; extended.
        """
        weights = self.weight_names()
        names = weights + (self.bias_names() if options.bayesian_bias else ())
        shared = {} if shared is None else shared
        own = dict(self.named_parameters(recurse=False, remove_duplicate=False))
        self.options = options
        # All are registered anew, so that the order in the state dict stays weight before bias.
        for name in own:
            delattr(self, name)
        for name, parameter in own.items():
            if name not in names:
                self.register_parameter(name, parameter)
                continue
            if parameter not in shared:
                shape = list(parameter.shape)
                if options.tie_sigma and name in weights:
                    shape[self.tied_axis] = 1
                rho = self._initial_rho(parameter, torch.Size(shape))
                shared[parameter] = nn.Parameter(rho), options.prior.state(parameter)
            rho, state = shared[parameter]
            self.register_parameter(f"{name}_mu", parameter)
            self.register_parameter(f"{name}_rho", rho)
            rho.requires_grad_(parameter.requires_grad)
            for key, value in state.items():
                if isinstance(value, nn.Parameter):
                    self.register_parameter(f"{name}_prior_{key}", value)
                    value.requires_grad_(parameter.requires_grad)
                else:
                    self.register_buffer(f"{name}_prior_{key}", value)
            self.prior_keys = tuple(state)
        self.bayesian_names = names

    @classmethod
    def check(cls, options: LayerOptions, plain: nn.Module) -> None:
        """Refuse what cannot become Bayesian with these options.

        Args:
            options: Prior and posterior.
            plain: A layer of the twin's type.

        Raises:
            ConfigError: If the layer lacks the estimator, or cannot become Bayesian.
        """
        if options.estimator not in cls.estimators:
            known = ", ".join(map(repr, cls.estimators))
            msg = (
                f"{cls.__name__} needs an estimator of {known}, got {options.estimator!r}, which "
                "is for layers whose output is one linear map of weight and input; "
                "'auto' chooses for each layer"
            )
            raise ConfigError(msg)
        reason = cls.refusal(plain)
        if reason is None and options.bayesian_bias:
            layer: Any = plain
            reason = _computed(plain, cls.bias_names(layer))
        if reason is not None:
            msg = f"{cls.__name__} cannot have a posterior: {reason}; use {cls.twin.__name__}"
            raise ConfigError(msg)

    def make_deterministic_(self, weights: Mapping[str, Tensor]) -> None:
        """Become the torch.nn twin again, with the given parameters in place of the posteriors."""
        own = dict(self.named_parameters(recurse=False, remove_duplicate=False))
        names = self.bayesian_names
        keys = ("rho", "mask", *(f"prior_{key}" for key in self.prior_keys))
        extras = {f"{name}_{key}" for name in names for key in keys}
        for name in own.keys() | (extras & self._buffers.keys()):
            delattr(self, name)
        del self.bayesian_names, self.prior_keys, self.options
        for name, parameter in own.items():
            plain = name.removesuffix("_mu")
            if plain in names:
                self.register_parameter(plain, cast("nn.Parameter", weights[plain]))
            elif name not in extras:
                self.register_parameter(name, parameter)
        self.__class__ = self.twin  # type: ignore[assignment]

    def _initial_rho(self, mu: Tensor, shape: torch.Size) -> Tensor:
        """Return rho, of the given shape, for a weight of initial value ``mu``."""
        sigma = self.options.prior.sigma_at(mu.detach())
        if sigma is None:
            sigma = torch.tensor(self.options.sigma_init, dtype=torch.float64)
        elif shape != mu.shape:
            sigma = sigma.square().mean(self.tied_axis, keepdim=True).sqrt()
        return mu.detach().new_empty(shape).copy_(_numerics.inverse_softplus(sigma))

    # -- access -----------------------------------------------------------------------------

    @property
    def is_whole(self) -> bool:
        """Whether all entries of the weights are random, but for pruned ones."""
        return True

    def posterior(self, name: str = "weight") -> Posterior:
        """Return mean and rho of the weight ``name``; half precision stays half.

        They are the parameters themselves, unless the layer is pruned: then pruned weights have
        mean 0, sigma 0 and no gradient.
        """
        mu, rho = self.mean_parameter(name), getattr(self, f"{name}_rho")
        mask = self.mask(name)
        if mask is None:
            return Posterior(mu, rho)
        return Posterior(torch.where(mask, mu, 0.0), torch.where(mask, rho, -math.inf))

    def mean_parameter(self, name: str = "weight") -> Tensor:
        """Return the parameter ``{name}_mu``, whose identity tells which layers share a weight."""
        return cast("Tensor", getattr(self, f"{name}_mu"))

    def mask(self, name: str = "weight") -> Tensor | None:
        """Return which entries of the weight ``name`` are kept, boolean; None if it is whole."""
        return self._buffers.get(f"{name}_mask")

    def set_mask(self, name: str, mask: Tensor) -> None:
        """Prune the weight ``name`` where ``mask``, boolean and of its shape, is false."""
        self.register_buffer(f"{name}_mask", mask)

    def density(self, name: str = "weight") -> Density:
        """Return the prior of the weight ``name``."""
        return self.options.prior.at(self._prior_state(name))

    def _prior_state(self, name: str) -> dict[str, Tensor]:
        return {key: getattr(self, f"{name}_prior_{key}") for key in self.prior_keys}

    def _kept(self, name: str) -> tuple[Tensor, Tensor, Density]:
        """Return mean, rho and prior of the weights that are random."""
        mu, rho = self.mean_parameter(name), getattr(self, f"{name}_rho")
        state = {key: self._random(name, value) for key, value in self._prior_state(name).items()}
        return self._random(name, mu), self._random(name, rho), self.options.prior.at(state)

    def _random(self, name: str, tensor: Tensor) -> Tensor:
        """Return the entries, of what goes with a weight, where the weight is random."""
        mask = self.mask(name)
        return tensor if mask is None else tensor.expand_as(mask)[mask]

    # -- state dict -------------------------------------------------------------------------

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        *args: Any,  # noqa: ANN401 - as torch's
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Accept the twin's state dict as means, and one of another pruning."""
        for name in self.bayesian_names:
            key = f"{prefix}{name}"
            if key in state_dict and f"{key}_mu" not in state_dict:
                self._add_posterior(name, state_dict, prefix)
            mask = self.mask(name)
            if mask is not None:
                state_dict.setdefault(f"{key}_mask", mask)
            elif f"{key}_mask" in state_dict:
                self.set_mask(name, torch.ones_like(self.mean_parameter(name), dtype=torch.bool))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _add_posterior(self, name: str, state_dict: dict[str, Any], prefix: str) -> None:
        """Turn the plain weight ``name`` of a state dict into what this layer has for it."""
        weight = state_dict.pop(f"{prefix}{name}")
        rho = getattr(self, f"{name}_rho").detach()
        if rho.is_meta or self.options.prior.sigma_at(weight) is not None:
            rho = self._initial_rho(weight, rho.shape)
        state = {f"prior_{key}": value for key, value in self.options.prior.state(weight).items()}
        for key, value in {"mu": weight, "rho": rho, **state}.items():
            # What is trained follows from more than the weight, and stays, unless it is on meta.
            own = getattr(self, f"{name}_{key}")
            stays = isinstance(value, nn.Parameter) and not own.is_meta
            state_dict.setdefault(f"{prefix}{name}_{key}", own if stays else value)


def _computed(plain: nn.Module, names: tuple[str, ...]) -> str | None:
    # Weight norm and torch's pruning turn a parameter into something computed.
    own = dict(plain.named_parameters(recurse=False, remove_duplicate=False))
    missing = [name for name in names if name not in own]
    return f"its {missing[0]} is not a plain parameter" if missing else None
