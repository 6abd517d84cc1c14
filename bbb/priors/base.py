"""The contract of a prior.

A `Prior` is what the user hands to a layer. Most priors are densities already; some become one only
with what the layer keeps for them beside each weight tensor: `Pretrained` the weights before
conversion, `EmpiricalBayes` a scale that is trained. So a layer asks ``prior.state(weight)`` once,
registers what it gets, later asks ``prior.at(state)`` for the `Density`, and from the density

* ``kl(mu, rho)``: the closed form, where ``closed_form`` is true, else
* ``log_prob(weight)``: for the Monte Carlo KL, at the draw that the forward used.

Priors are immutable, hold no parameter and may be shared by all layers of a model.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from bbb import _gaussian
from bbb.errors import ConfigError


class Prior(ABC):
    """What a Bayesian layer takes as ``prior=``.

    Attributes:
        closed_form: The KL divergence from a Gaussian posterior has a closed form.
    """

    closed_form: ClassVar[bool] = False

    def state(self, weight: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """What a layer keeps for this prior beside one weight tensor, by name.

        Args:
            weight: The weight before conversion, any shape.

        Returns:
            New tensors, of the weight's shape or shape (): an ``nn.Parameter`` is trained, another
            one is a buffer. Both are in the state dict, as ``{weight's name}_prior_{key}``.
        """
        return {}

    def sigma_at(self, weight: Tensor) -> Tensor | None:  # noqa: ARG002
        """Initial standard deviation of the posterior, where the prior prescribes one.

        Args:
            weight: The weight before conversion, any shape.

        Returns:
            Sigma > 0 of that shape, float32 or better; None leaves it to ``sigma_init``.
        """
        return None

    @abstractmethod
    def at(self, state: Mapping[str, Tensor]) -> "Density":
        """Return the density for one weight tensor.

        Args:
            state: What `state` returned, as training has changed it.

        Returns:
            The density of each weight.
        """


class Density(Prior):
    """A prior that keeps nothing beside the weights."""

    def at(self, state: Mapping[str, Tensor]) -> "Density":  # noqa: ARG002
        """Return itself."""
        return self

    @abstractmethod
    def log_prob(self, weight: Tensor) -> Tensor:
        """Log density of each weight.

        Args:
            weight: Weights, any shape; half precision is computed in float32.

        Returns:
            Nats per weight, of the same shape, float32 or better.
        """

    def total_log_prob(self, weight: Tensor) -> Tensor:
        """Log density of all weights together.

        Args:
            weight: Weights, any shape.

        Returns:
            Nats, shape (), float32 or better.
        """
        return self.log_prob(weight).sum()

    @abstractmethod
    def sample(self, shape: torch.Size, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw weights from the prior.

        Args:
            shape: Shape of the draw.
            generator: Source of randomness, on the CPU; default torch's own.

        Returns:
            Weights of that shape, float32, on the CPU.
        """

    def draw(
        self, mu: Tensor, rho: Tensor, eps: Tensor | None, *, with_kl: bool
    ) -> tuple[Tensor, Tensor]:
        """Draw weights from the posterior, and what of the KL divergence is cheap on the way.

        Args:
            mu: Posterior means, any shape, float32 or better.
            rho: Softplus-inverse standard deviations; broadcasts to the shape of ``mu``.
            eps: Standard normal noise, the shape of ``mu``; None for the variance and no draw.
            with_kl: Whether the second result is wanted.

        Returns:
            ``mu + softplus(rho) * eps``, or ``softplus(rho)^2``; and what ``kl_from`` takes,
            shape ().
        """
        wanted = with_kl and self.comes_with_draw
        return _gaussian.draw_gaussian_kl(mu, rho, eps, _gaussian.FLAT, with_kl=wanted)

    def kl_from(self, part: Tensor, weight: Tensor | None) -> Tensor:
        """Complete the KL divergence of a draw.

        Args:
            part: What ``draw`` gave beside the weights.
            weight: The weights; None where ``closed_form``.

        Returns:
            Nats, shape ().
        """
        return part if weight is None else part - self.total_log_prob(weight)

    def kl_at(self, rho: Tensor, weight: Tensor, eps: Tensor) -> Tensor:
        """Monte Carlo KL divergence at one draw, Blundell's f(w, theta).

        Args:
            rho: Softplus-inverse standard deviations; broadcasts to the shape of ``weight``.
            weight: The draw.
            eps: Its noise.

        Returns:
            Nats, shape (), float32 or better.
        """
        # One difference per weight before the sum: 0 where q = p.
        return (_gaussian.gaussian_log_prob(rho, eps) - self.log_prob(weight)).sum()

    @property
    def comes_with_draw(self) -> bool:
        """Whether a recorded forward gives the KL divergence, or its part, with the draw."""
        return not self.closed_form

    def kl(self, mu: Tensor, rho: Tensor) -> Tensor:
        """Closed-form KL divergence of ``N(mu, softplus(rho)^2)`` from this density, summed.

        Args:
            mu: Posterior means, any shape.
            rho: Softplus-inverse standard deviations; broadcasts to the shape of ``mu``.

        Returns:
            Nats, shape (), float32 or better.

        Raises:
            NotImplementedError: If ``closed_form`` is false.
        """
        raise NotImplementedError


def check_positive(who: str, **values: float) -> None:
    """Check the arguments of a prior.

    Args:
        who: Name of the prior, for the message.
        **values: Numbers by argument name.

    Raises:
        ConfigError: If one is not a positive finite number.
    """
    for name, value in values.items():
        if not 0 < value < math.inf:
            msg = f"{who} needs a finite {name} > 0, got {value}; try {name}=0.1"
            raise ConfigError(msg)
