"""Estimators that need only the values of the cost: the score function and its baselines."""

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from bbb.distributions import drawn_by
from bbb.errors import UnsupportedDistributionError
from bbb.estimators.base import Cost, Estimator, average, evaluate, zero
from bbb.estimators.baselines import Baseline
from bbb.estimators.discrete import discrete


def draw(
    q: Distribution, num_samples: int, generator: torch.Generator | None, who: str
) -> tuple[Tensor, Tensor]:
    """Draw without a gradient.

    Args:
        q: Any distribution whose support does not move with its parameters.
        num_samples: How many draws.
        generator: Source of randomness.
        who: Name of the estimator, for the message.

    Returns:
        The draws, (samples, *batch, *event), and their log-probabilities, (samples, *batch), with
        their gradient in the parameters of ``q``.

    Raises:
        UnsupportedDistributionError: If the support depends on a parameter.
    """  # noqa: DOC502 (by _check_support)
    variables = discrete(q)
    if variables is not None:
        z = variables.sample(torch.Size((num_samples,)), generator)
        return z, variables.log_prob(z)
    _check_support(q, who)
    with drawn_by(generator), torch.no_grad():
        z = q.sample((num_samples,))
    return z, q.log_prob(z)


def moving_support(q: Distribution) -> bool:
    """Whether the support of ``q`` depends on a parameter that needs a gradient."""
    support = q.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    bounds = (getattr(support, name, None) for name in ("lower_bound", "upper_bound"))
    return any(isinstance(bound, Tensor) and bound.requires_grad for bound in bounds)


def _check_support(q: Distribution, who: str) -> None:
    if moving_support(q):
        msg = (
            f"{who} is wrong for {type(q).__name__}: its support moves with a parameter, which the "
            "score function does not see; use Pathwise()"
        )
        raise UnsupportedDistributionError(msg)


class ScoreFunction(Estimator):
    r"""The score function, also called REINFORCE: :math:`(f(z) - b)\,\nabla \log q(z)`.

    Args:
        baseline: What is subtracted from the cost: None, `EMA`, `Net` or `NVIL`.
        num_samples: Draws for each batch element.
        generator: Source of randomness; default torch's own.

    References:
        Williams 1992, Simple Statistical Gradient-Following Algorithms.
    """

    def __init__(
        self,
        baseline: Baseline | None = None,
        *,
        num_samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(num_samples, generator=generator)
        self.baseline = baseline

    def forward(self, f: Cost, q: Distribution, ctx: Tensor | None = None) -> Tensor:
        """Estimate; arguments, result and errors as of `expectation`."""
        z, log_prob = draw(q, self.num_samples, self.generator, type(self).__name__)
        cost = evaluate(f, z, q)
        advantage, loss = self.advantage(cost.detach(), ctx)
        surrogate = advantage * log_prob
        return average(cost + zero(surrogate if loss is None else surrogate + loss))

    def advantage(self, cost: Tensor, ctx: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return costs less the baseline, and the loss that trains it; as `Baseline.forward`."""
        if self.baseline is None:
            return cost, None
        advantage, loss = self.baseline(cost, ctx)
        return advantage, loss


class RLOO(ScoreFunction):
    """The score function with the mean cost of the other draws as its baseline.

    Args:
        num_samples: Draws for each batch element, >= 2.
        generator: Source of randomness; default torch's own.

    Raises:
        ConfigError: If there are fewer than two draws.

    References:
        Kool, van Hoof and Welling 2019, Buy 4 REINFORCE Samples, Get a Baseline for Free.
    """

    min_samples = 2

    def __init__(self, num_samples: int = 2, *, generator: torch.Generator | None = None) -> None:
        super().__init__(num_samples=num_samples, generator=generator)

    def advantage(self, cost: Tensor, ctx: Tensor | None) -> tuple[Tensor, Tensor | None]:  # noqa: ARG002
        """Return costs less the mean of the others."""
        return (cost - cost.mean(0)) * (self.num_samples / (self.num_samples - 1)), None
