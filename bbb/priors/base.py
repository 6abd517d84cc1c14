"""The contract of a prior.

A `Prior` is what the user hands to a layer. Most priors are densities already; some, such as
`Pretrained`, become one only when they see the weights that the layer had before conversion. So a
layer asks ``prior.at(centre)`` for the `Density`, and from the density

* ``kl(mu, rho)``: the closed form, where ``closed_form`` is true, else
* ``log_prob(weight)``: for the Monte Carlo KL, at the draw that the forward used.

Priors are immutable, hold no parameter and may be shared by all layers of a model.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor


class Prior(ABC):
    """What a Bayesian layer takes as ``prior=``.

    Attributes:
        needs_centre: The layer keeps its initial weights for this prior, as a buffer
            ``weight_prior_loc`` in the state dict.
        closed_form: The KL divergence from a Gaussian posterior has a closed form.
    """

    needs_centre: ClassVar[bool] = False
    closed_form: ClassVar[bool] = False

    @abstractmethod
    def at(self, centre: Tensor | None) -> "Density":
        """Return the density for a layer.

        Args:
            centre: The weights before conversion, any shape; None unless ``needs_centre``.

        Returns:
            The density of each weight.
        """


class Density(Prior):
    """A prior that needs to see no weights."""

    def at(self, centre: Tensor | None) -> "Density":  # noqa: ARG002
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

    @abstractmethod
    def sample(self, shape: torch.Size, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw weights from the prior.

        Args:
            shape: Shape of the draw.
            generator: Source of randomness, on the CPU; default torch's own.

        Returns:
            Weights of that shape, float32, on the CPU.
        """

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
