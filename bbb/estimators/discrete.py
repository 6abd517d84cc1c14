"""Bernoulli and one-hot variables as the discrete estimators see them: by their logits.

Each of these estimators is, for every sample, an estimate of the gradient in the logits; what lies
behind the logits is torch's to differentiate.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, OneHotCategorical

from bbb.distributions import gumbel_noise, logistic_noise, sample_bernoulli, sample_one_hot
from bbb.distributions.discrete import one_hot_of_largest
from bbb.errors import UnsupportedDistributionError
from bbb.estimators.base import innermost, sum_event

# Any logit below is the end of its class in every dtype, and 0 * -inf would be NaN.
LOWEST = -1e4


class Discrete:
    """Independent discrete variables.

    Args:
        logits: (*batch, *event).
        event_dims: How many of the last axes are the event.
    """

    def __init__(self, logits: Tensor, event_dims: int) -> None:
        self.logits = logits
        self.event_dims = event_dims

    @property
    def probs(self) -> Tensor:
        """The mean, (*batch, *event)."""
        return self.soften(self.logits, 1.0)

    def sample(self, sample_shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Draw, (*sample_shape, *batch, *event), without a gradient."""
        raise NotImplementedError

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-probability of draws, (samples, *batch)."""
        raise NotImplementedError

    def noise(self, sample_shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Noise, of a draw's shape, that added to the logits makes its perturbed logits."""
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
        return sum_event(values, self.event_dims)


class Bits(Discrete):
    """Bernoulli variables."""

    def sample(self, sample_shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Draw, (*sample_shape, *batch, *event), without a gradient."""
        return sample_bernoulli(self.logits, sample_shape, generator)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-probability of draws, (samples, *batch)."""
        # What does not depend on the draw is summed once for all of them.
        return self.dot(z, self.logits) - self.total(F.softplus(self.logits))

    def noise(self, sample_shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Logistic noise."""
        return logistic_noise(sample_shape + self.logits.shape, self.logits, generator)

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

    def __init__(self, logits: Tensor, event_dims: int) -> None:
        super().__init__(logits.clamp(min=LOWEST), event_dims)

    def sample(self, sample_shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Draw, (*sample_shape, *batch, *event), without a gradient."""
        return sample_one_hot(self.logits, sample_shape, generator)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-probability of draws, (samples, *batch)."""
        return self.dot(z, torch.log_softmax(self.logits, -1))

    def noise(self, sample_shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Gumbel noise."""
        return gumbel_noise(sample_shape + self.logits.shape, self.logits, generator)

    def harden(self, perturbed: Tensor) -> Tensor:
        """The draw that perturbed logits stand for."""
        return one_hot_of_largest(perturbed.detach())

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
    base = innermost(q)
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
    base = innermost(q)
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
