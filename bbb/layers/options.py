"""The Bayesian arguments that every layer takes beside those of its torch.nn twin."""

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from bbb.errors import ConfigError
from bbb.priors import Normal, Prior

Exact: TypeAlias = Literal["weight", "local", "flipout"]
Estimator: TypeAlias = Literal["auto", "weight", "local", "flipout"]


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """Posterior and prior of one layer.

    Attributes:
        prior: p(w), of every Bayesian weight of the layer.
        sigma_init: Initial standard deviation of the posterior (in sigma units, not rho), > 0.
        estimator: How a forward draws; see `bbb.layers.linear_map`.
        bayesian_bias: Biases get a posterior too; by default they stay ordinary parameters.
        tie_sigma: One sigma for all output rows: ``weight_rho`` has shape (1, in, ...).

    Raises:
        ConfigError: If an option is out of range.
    """

    prior: Prior = field(default_factory=Normal)
    sigma_init: float = 0.02
    estimator: Estimator = "auto"
    bayesian_bias: bool = False
    tie_sigma: bool = False

    def __post_init__(self) -> None:
        prior: object = self.prior  # a config file may bring anything
        if not isinstance(prior, Prior):
            msg = f"prior needs a bbb.priors.Prior, got {prior!r}; try bbb.priors.Normal()"
            raise ConfigError(msg)
        if not 0 < self.sigma_init < math.inf:
            msg = (
                f"sigma_init needs a standard deviation > 0, got {self.sigma_init}; "
                "it is sigma, not rho: try sigma_init=0.02"
            )
            raise ConfigError(msg)
        if self.estimator not in get_args(Estimator):
            known = ", ".join(map(repr, get_args(Estimator)))
            msg = f"estimator needs one of {known}, got {self.estimator!r}"
            raise ConfigError(msg)
