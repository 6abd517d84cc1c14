"""Bernoulli and one-hot variables as the discrete estimators see them: by their logits.

Each of these estimators is, for every sample, an estimate of the gradient in the logits; what lies
behind the logits is torch's to differentiate.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, OneHotCategorical

from bbb.distributions import gumbel_noise, logistic_noise, sample_bernoulli, sample_one_hot
from bbb.errors import UnsupportedDistributionError

# Any logit below is the end of its class in every dtype, and 0 * -inf would be NaN.
LOWEST = -1e4


class Discrete:
    """Independent discrete variables.

    Args:
        logits: (*batch, *event).
        event_dims: How many of the last axes are the event.
    """

    name: ClassVar[str]

    def __init__(self, logits: Tensor, event_dims: int) -> None:
        self.logits = logits
        self.event_dims = event_dims

    @property
    def probs(self) -> Tensor:
        """The mean, (*batch, *event)."""
        return self.soften(self.logits, 1.0)

    def sample(self, num_samples: int, generator: torch.Generator | None) -> Tensor:
        """Draw, (samples, *batch, *event), without a gradient."""
        raise NotImplementedError

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-probability of draws, (samples, *batch)."""
        raise NotImplementedError

    def noise(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Noise that, added to the logits, makes the perturbed logits of a draw."""
        raise NotImplementedError

    def harden(self, perturbed: Tensor) -> Tensor:
        """The draw that perturbed logits stand for."""
        raise NotImplementedError

    def soften(self, perturbed: Tensor, tau: Tensor | float) -> Tensor:
        """The relaxed draw of perturbed logits at a temperature."""
        raise NotImplementedError

    def conditional(self, z: Tensor, logits: Tensor, noise: Tensor) -> Tensor:
        """Perturbed logits given the draw ``z``, differentiable in ``logits``."""
        raise NotImplementedError

    def jacobian(self, mean: Tensor, vector: Tensor) -> Tensor:
        """Product of a vector with the (symmetric) Jacobian of the mean in the logits."""
        raise NotImplementedError

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """Inner product over the event's axes."""
        return self.total(a * b)

    def total(self, values: Tensor) -> Tensor:
        """Sum over the event's axes."""
        return values.sum(tuple(range(-self.event_dims, 0))) if self.event_dims else values


class Bits(Discrete):
    """Bernoulli variables."""

    name = "Bernoulli"

    def sample(self, num_samples: int, generator: torch.Generator | None) -> Tensor:
        """Draw, (samples, *batch, *event), without a gradient."""
        return sample_bernoulli(self.logits.detach(), (num_samples,), generator)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-probability of draws, (samples, *batch)."""
        # What does not depend on the draw is summed once for all of them.
        return self.dot(z, self.logits) - self.total(F.softplus(self.logits))

    def noise(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Logistic noise."""
        return logistic_noise(shape, self.logits, generator)

    def harden(self, perturbed: Tensor) -> Tensor:
        """The draw that perturbed logits stand for."""
        return (perturbed > 0).to(perturbed.dtype)

    def soften(self, perturbed: Tensor, tau: Tensor | float) -> Tensor:
        """The relaxed draw of perturbed logits at a temperature."""
        return torch.sigmoid(cooled(perturbed, tau))

    def conditional(self, z: Tensor, logits: Tensor, noise: Tensor) -> Tensor:
        """Perturbed logits given the draw ``z``, differentiable in ``logits``."""
        # With v = sigmoid(noise): a logistic variable at `logits` cut to > 0 or to <= 0, its
        # quantile function written so that nothing saturates.
        above = F.softplus(logits + F.logsigmoid(noise)) - F.logsigmoid(-noise)
        below = F.logsigmoid(noise) - F.softplus(F.logsigmoid(-noise) - logits)
        return torch.where(z > 0, above, below)

    def jacobian(self, mean: Tensor, vector: Tensor) -> Tensor:
        """Product of a vector with the (symmetric) Jacobian of the mean in the logits."""
        return mean * (1 - mean) * vector


class OneHots(Discrete):
    """One-hot variables, classes along the last axis."""

    name = "OneHotCategorical"

    def __init__(self, logits: Tensor, event_dims: int) -> None:
        super().__init__(logits.clamp(min=LOWEST), event_dims)

    def sample(self, num_samples: int, generator: torch.Generator | None) -> Tensor:
        """Draw, (samples, *batch, *event), without a gradient."""
        return sample_one_hot(self.logits.detach(), (num_samples,), generator)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-probability of draws, (samples, *batch)."""
        return self.dot(z, torch.log_softmax(self.logits, -1))

    def noise(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Gumbel noise."""
        return gumbel_noise(shape, self.logits, generator)

    def harden(self, perturbed: Tensor) -> Tensor:
        """The draw that perturbed logits stand for."""
        largest = perturbed.detach().argmax(-1, keepdim=True)
        return torch.zeros_like(perturbed).scatter(-1, largest, 1.0)

    def soften(self, perturbed: Tensor, tau: Tensor | float) -> Tensor:
        """The relaxed draw of perturbed logits at a temperature."""
        return torch.softmax(cooled(perturbed, tau), -1)

    def conditional(self, z: Tensor, logits: Tensor, noise: Tensor) -> Tensor:
        """Perturbed logits given the draw ``z``, differentiable in ``logits``."""
        # The largest is a standard Gumbel whatever the logits are; the others are cut at it.
        top = (z * noise).sum(-1, keepdim=True)
        others = -torch.logaddexp(-noise - torch.log_softmax(logits, -1), -top)
        return torch.where(z > 0, top, others)

    def jacobian(self, mean: Tensor, vector: Tensor) -> Tensor:
        """Product of a vector with the (symmetric) Jacobian of the mean in the logits."""
        return mean * (vector - (mean * vector).sum(-1, keepdim=True))


def cooled(logits: Tensor, tau: Tensor | float) -> Tensor:
    """Divide by a temperature; by 1, at no cost."""
    return logits if isinstance(tau, float) and tau == 1.0 else logits / tau


def discrete(q: Distribution) -> Discrete | None:
    """Read ``q`` as independent Bernoulli or one-hot variables; None if it is something else."""
    event_dims = len(q.event_shape)
    base = q
    while isinstance(base, Independent):
        base = base.base_dist
    if isinstance(base, Bernoulli):
        return Bits(base.logits, event_dims)
    if isinstance(base, OneHotCategorical):
        return OneHots(base.logits, event_dims)
    return None


def need_discrete(q: Distribution, who: str, *, bits: bool = False) -> Discrete:
    """Read ``q`` as independent discrete variables.

    Args:
        q: The distribution.
        who: Name of the estimator, for the message.
        bits: Whether only Bernoulli variables will do.

    Returns:
        The variables.

    Raises:
        UnsupportedDistributionError: If ``q`` is something else.
    """
    found = discrete(q)
    if isinstance(found, Bits) or (found is not None and not bits):
        return found
    base = q
    while isinstance(base, Independent):
        base = base.base_dist
    if q.has_rsample:
        remedy = "use Pathwise()"
    elif isinstance(base, torch.distributions.Categorical):
        remedy = "use OneHotCategorical with the same logits, or RLOO()"
    elif found is not None:
        remedy = "use ReinMax() (biased), REBAR() or RLOO() (unbiased)"
    else:
        remedy = "use RLOO(), which takes every distribution"
    kinds = "Bernoulli" if bits else "Bernoulli or OneHotCategorical"
    msg = (
        f"{who} needs {kinds} variables (or Independent of them), got {type(base).__name__}; "
        f"{remedy}"
    )
    raise UnsupportedDistributionError(msg)
