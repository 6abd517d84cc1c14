"""The gradient of an estimator, drawn many times at once, and its moments."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.distributions import Distribution

from bbb.estimators.base import Cost, Estimator, expectation
from bbb.estimators.rebuild import replicate

# Numbers in one call of the cost: enough to be fast, and some megabytes for each intermediate.
CHUNK = 2**18


@dataclass(frozen=True)
class Problem:
    """What is estimated: the gradient of E f(z) in the parameters of ``q``.

    Attributes:
        f: The cost, (samples, copies, *batch, *event) -> (samples, copies, *batch).
        q: Distribution of ``z``.
        ctx: What learned baselines see, (*batch, ...).

    Raises:
        UnsupportedDistributionError: If ``q`` cannot be built again from its parameters.
    """

    f: Cost
    q: Distribution
    ctx: Tensor | None = None

    def __post_init__(self) -> None:
        self.parameters  # noqa: B018 (raises early)

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        """The parameters of ``q`` by name, each of its own shape."""
        return {name: leaf[0].detach() for name, leaf in replicate(self.q, 1)[1].items()}

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Their shapes."""
        return {name: value.shape for name, value in self.parameters.items()}

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.parameters.values())).device

    @property
    def dtype(self) -> torch.dtype:
        """The coarsest of the parameters' types."""
        return max((p.dtype for p in self.parameters.values()), key=lambda d: torch.finfo(d).eps)

    def value(
        self, estimator: Estimator, copies: int, f: Cost | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Estimate for independent copies: values (copies, *batch), and the parameters."""
        built, leaves = replicate(self.q, copies)
        ctx = None if self.ctx is None else self.ctx.expand(copies, *self.ctx.shape)
        return expectation(f or self.f, built, estimator, ctx), leaves

    def gradients(self, estimator: Estimator, copies: int, f: Cost | None = None) -> Tensor:
        """Estimate the gradient for independent copies.

        Args:
            estimator: The estimator.
            copies: How many.
            f: Stands in for the cost.

        Returns:
            All parameters in a row, (copies, coordinates), float64, on the CPU.
        """
        value, leaves = self.value(estimator, copies, f)
        if not value.requires_grad:  # An estimator without any gradient; the bias will show it.
            return torch.zeros(copies, self.size, dtype=torch.float64)
        return slopes_in(leaves, value.sum()).reshape(copies, -1)

    @property
    def size(self) -> int:
        """The number of coordinates."""
        return sum(shape.numel() for shape in self.shapes.values())

    def by_name(self, row: Tensor) -> dict[str, Tensor]:
        """Cut (coordinates,) into the parameters."""
        sizes = [shape.numel() for shape in self.shapes.values()]
        parts = torch.split(row, sizes)
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


def slopes_in(leaves: Mapping[str, Tensor], total: Tensor) -> Tensor:
    """Differentiate a sum in the parameters of copies, whether they have a part in it or not.

    Args:
        leaves: The parameters, (copies, ...).
        total: The sum, shape ().

    Returns:
        The gradients in a row, (copies * coordinates,), float64, on the CPU.
    """
    leaf = list(leaves.values())
    found = torch.autograd.grad(total, leaf, retain_graph=True, materialize_grads=True)
    rows = [gradient.reshape(len(gradient), -1).cpu().double() for gradient in found]
    return torch.cat(rows, 1).flatten()


@dataclass(frozen=True)
class Moments:
    """Moments of single estimates.

    Attributes:
        mean: (coordinates,).
        variance: (coordinates,).
        count: Replicas.
        evals: Evaluations of the cost for one estimate.
        seconds: Time of one estimate, among those made at once.
    """

    mean: Tensor
    variance: Tensor
    count: int
    evals: float
    seconds: float

    @property
    def standard_error(self) -> Tensor:
        """Standard error of the mean, (coordinates,)."""
        return (self.variance / self.count).sqrt()


def measure(
    problem: Problem, estimator: Estimator, replicas: int, chunk: int | None = None
) -> Moments:
    """Draw the gradient of an estimator many times.

    Args:
        problem: The problem.
        estimator: The estimator, used as it is.
        replicas: How many independent estimates, >= 2.
        chunk: How many of them at once; default by size, so that memory stays within bounds.

    Returns:
        Their moments, taken in float64.
    """
    size = max(1, problem.q.batch_shape.numel() * problem.q.event_shape.numel())
    chunk = chunk or max(1, CHUNK // (size * estimator.evals(problem.q)))
    calls = 0

    def counted(z: Tensor) -> Tensor:
        nonlocal calls
        calls += len(z) * z.shape[1]
        return problem.f(z)

    mean = torch.zeros(problem.size, dtype=torch.float64)
    squares = torch.zeros_like(mean)
    start, done = _clock(), 0
    while done < replicas:
        # Chunks are merged around their own means (Chan et al. 1983): no cancellation.
        found = problem.gradients(estimator, min(chunk, replicas - done), counted)
        shift = found.mean(0) - mean
        total = done + len(found)
        squares += (found - found.mean(0)).square().sum(0)
        squares += shift.square() * (done * len(found) / total)
        mean = mean + shift * (len(found) / total)
        done = total
    seconds = (_clock() - start) / replicas
    return Moments(mean, squares / (replicas - 1), replicas, calls / replicas, seconds)


_clock: Callable[[], float] = time.perf_counter
