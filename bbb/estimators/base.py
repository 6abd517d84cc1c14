r"""What every estimator of :math:`\nabla\,\mathrm{E}_{z \sim q}[f(z)]` has in common.

An estimator is a module that is called with a cost ``f`` and a distribution ``q`` and returns one
tensor: its value is the Monte Carlo mean of ``f``, and what ``backward`` puts into the parameters
of ``q`` is the estimator's own gradient. Parameters inside ``f`` get theirs by the same
``backward``, and so do those of the estimator itself (a baseline, a control variate, a
temperature): the gradient of the loss that it has for them, at no harm to all others.
"""

from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from bbb.errors import ConfigError, ShapeError, UnsupportedDistributionError

Cost: TypeAlias = Callable[[Tensor], Tensor]


class Estimator(nn.Module):
    r"""Base of all estimators; one of your own needs ``forward`` and says whether it is unbiased.

    Args:
        num_samples: Draws of ``z`` for each batch element, >= ``min_samples``.
        generator: Source of randomness; default torch's own.

    Raises:
        ConfigError: If ``num_samples`` is too small.

    Example:
        >>> import torch, bbb.estimators as G
        >>> class Mine(G.Estimator):
        ...     unbiased = True
        ...
        ...     def forward(self, f, q, ctx=None):
        ...         z = q.sample((self.num_samples,))
        ...         cost = f(z)
        ...         return G.attach(cost, cost.detach() * q.log_prob(z) + cost).mean(0)
        >>> q = torch.distributions.Bernoulli(logits=torch.zeros(3, requires_grad=True))
        >>> G.expectation(lambda z: z**2, q, Mine()).shape
        torch.Size([3])
    """

    unbiased: ClassVar[bool] = True
    """Whether the gradient's mean is the exact one, for every cost."""
    needs_slope: ClassVar[bool] = False
    """Whether the cost has to be differentiable in ``z``."""
    min_samples: ClassVar[int] = 1
    evals_per_sample: ClassVar[int] = 1

    def __init__(self, num_samples: int = 1, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if num_samples < self.min_samples:
            msg = (
                f"{type(self).__name__} needs num_samples >= {self.min_samples}, got {num_samples}"
            )
            raise ConfigError(msg)
        self.num_samples = num_samples
        self.generator = generator

    @property
    def sample_shape(self) -> torch.Size:
        """Leading axes of the draws of one call, (samples,)."""
        return torch.Size((self.num_samples,))

    def evals(self, q: Distribution) -> int:  # noqa: ARG002
        """Return how often one call evaluates the cost, for each batch element of ``q``."""
        return self.num_samples * self.evals_per_sample

    def forward(self, f: Cost, q: Distribution, ctx: Tensor | None = None) -> Tensor:
        """Estimate; arguments, result and errors as of `expectation`."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Show the number of draws."""
        return f"num_samples={self.num_samples}"


class PathEstimator(Estimator):
    """Base of the estimators whose gradient flows back through ``z`` itself.

    A subclass says how ``z`` is drawn; `bbb.estimators.sample` gives that draw to code that has no
    cost function to hand over.
    """

    needs_slope: ClassVar[bool] = True

    def rsample(self, q: Distribution, sample_shape: torch.Size) -> Tensor:
        """Draw, with the estimator's gradient in the parameters of ``q``.

        Args:
            q: The distribution.
            sample_shape: Leading axes of the draw.

        Returns:
            The draws, (*sample_shape, *batch, *event).
        """
        raise NotImplementedError

    def forward(self, f: Cost, q: Distribution, ctx: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Estimate; arguments and result as of `expectation`.

        Raises:
            UnsupportedDistributionError: If ``q`` does not fit, or the cost is constant in ``z``.
        """
        z = self.rsample(q, self.sample_shape)
        cost = evaluate(f, z, q)
        if z.requires_grad and not cost.requires_grad:
            msg = (
                f"{type(self).__name__} needs a cost that is differentiable in z, and this one is "
                "constant in it (a step, an argmax, a detach?); use RLOO(), which needs no slope"
            )
            raise UnsupportedDistributionError(msg)
        return average(cost)


def expectation(
    f: Cost, q: Distribution, estimator: Estimator, ctx: Tensor | None = None
) -> Tensor:
    r"""Estimate :math:`\mathrm{E}_{z \sim q}[f(z)]` and, in ``backward``, its gradient.

    Args:
        f: The cost, (samples, *batch, *event) -> (samples, *batch). It may hold parameters, those
            of ``q`` included.
        q: Distribution of ``z``, with its batch and event axes.
        estimator: The estimator, which also says how many samples are drawn.
        ctx: What a learned baseline or control variate sees beside ``z``, (*batch, ...).

    Returns:
        One value for each batch element, (*batch). In a loss, take its mean.

    Raises:
        UnsupportedDistributionError: If the estimator cannot be used with ``q`` or ``f``; the
            message names one that can. It is a TypeError.
        ShapeError: If ``f`` returns another shape.

    Example:
        >>> import torch, bbb.estimators as G
        >>> logits = torch.zeros(5, 3, requires_grad=True)
        >>> q = torch.distributions.Independent(torch.distributions.Bernoulli(logits=logits), 1)
        >>> loss = G.expectation(lambda z: (z - 0.45).square().sum(-1), q, G.RLOO(4)).mean()
        >>> loss.backward()
        >>> logits.grad.shape
        torch.Size([5, 3])
    """  # noqa: DOC502 (raised by the estimator)
    return cast("Tensor", estimator(f, q, ctx))


def sample(
    q: Distribution, estimator: Estimator, sample_shape: torch.Size | tuple[int, ...] = ()
) -> Tensor:
    """Draw ``z`` so that ``backward`` through it gives the estimator's gradient.

    Args:
        q: The distribution.
        estimator: A path estimator: Pathwise, GumbelSoftmax, STGumbel, StraightThrough, GumbelRao,
            ReinMax or DARN. Its ``num_samples`` does not matter here.
        sample_shape: Leading axes of the draw.

    Returns:
        The draws, (*sample_shape, *batch, *event).

    Raises:
        UnsupportedDistributionError: If the estimator has no such draw, or not for ``q``.

    Example:
        >>> import torch, bbb.estimators as G
        >>> q = torch.distributions.OneHotCategorical(logits=torch.zeros(5, 4))
        >>> G.sample(q, G.ReinMax()).shape
        torch.Size([5, 4])
    """
    if not isinstance(estimator, PathEstimator):
        msg = (
            f"{type(estimator).__name__} has no draw that a gradient flows through; use "
            "expectation(f, q, ...), or a path estimator such as ReinMax() or GumbelSoftmax()"
        )
        raise UnsupportedDistributionError(msg)
    return estimator.rsample(q, torch.Size(sample_shape))


def attach(value: Tensor, surrogate: Tensor) -> Tensor:
    """Return ``value`` with the gradient of ``surrogate``, of the same shape."""
    return value.detach() + zero(surrogate)


def zero(surrogate: Tensor) -> Tensor:
    """Return zeros with the gradient of ``surrogate``."""
    return surrogate - surrogate.detach()


def average(values: Tensor) -> Tensor:
    """Mean over the samples, (samples, *batch) -> (*batch)."""
    # Beside a small network a mean of one costs some percent of a step.
    return values.squeeze(0) if len(values) == 1 else values.mean(0)


def innermost(q: Distribution) -> Distribution:
    """Take off all `Independent` wrappers."""
    while isinstance(q, Independent):
        q = q.base_dist
    return q


def sum_event(values: Tensor, event_dims: int) -> Tensor:
    """Sum over the last ``event_dims`` axes, of which there may be none."""
    return values.sum(tuple(range(-event_dims, 0))) if event_dims else values


def over_event(values: Tensor, like: Tensor) -> Tensor:
    """Give values of (samples, *batch) the axes of an event, so that they multiply ``like``."""
    return values.reshape(values.shape + (1,) * (like.dim() - values.dim()))


def evaluate(f: Cost, z: Tensor, q: Distribution) -> Tensor:
    """Call ``f`` and check the shape of what it returns.

    Args:
        f: The cost.
        z: Draws, (samples, *batch, *event).
        q: Their distribution.

    Returns:
        The costs, (samples, *batch), in float32 where they were no floating-point numbers.

    Raises:
        ShapeError: If they have another shape.
    """
    cost = f(z)
    expected = z.shape[: z.dim() - len(q.event_shape)]
    if cost.shape != expected:
        msg = (
            f"the cost of z {tuple(z.shape)} has to be one value for each sample and batch "
            f"element, {tuple(expected)}, got {tuple(cost.shape)}; sum over the event's axes, "
            "or wrap q in torch.distributions.Independent if its last axes are no batch"
        )
        raise ShapeError(msg)
    return cost if cost.is_floating_point() else cost.float()


def slopes(f: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """Value and gradient of a function of each element alone.

    ``torch.func`` and not ``autograd.grad``: it runs under ``vmap(grad)`` and ``torch.compile``,
    and the slope itself is differentiable in whatever ``f`` holds.

    Args:
        f: (samples, *batch, *event) -> (samples, *batch).
        at: Where, (samples, *batch, *event).

    Returns:
        The values, (samples, *batch), and the gradients, of the shape of ``at``.
    """
    found: Any = torch.func.vjp(f, at)
    value, pull = found
    (slope,) = pull(torch.ones_like(value))
    return value, slope
