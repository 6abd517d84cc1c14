"""How good an estimator is on a problem: bias, variance and cost, against the exact gradient."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from bbb.distributions import drawn_by
from bbb.errors import ConfigError
from bbb.estimators.base import Cost, Estimator, innermost
from bbb.estimators.replicas import Problem, measure
from bbb.estimators.training import fit
from bbb.estimators.truth import Given, Truth, find_truth

SIGMA = 4.5


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found. Gradients are by parameter of ``q``, each of its shape, in float64.

    Attributes:
        estimator: Its name and settings.
        distribution: Name of ``q``.
        replicas: How many estimates were made.
        mean: Mean of the estimates.
        exact: The exact gradient.
        bias: Their difference.
        standard_error: Standard error of ``mean``.
        exact_error: How far off ``exact`` may be: see `diagnose`.
        source: How ``exact`` was found.
        z: Largest bias of a coordinate in units of its (joint) standard error.
        z_limit: The least ``z`` that counts as a bias.
        variance: Of one estimate, summed over coordinates.
        evals: Evaluations of the cost for one estimate, each batch element.
        seconds: Wall time for one estimate, forward and backward, among those made at once.
        unbiased: Whether the estimator says that it has no bias.
    """

    estimator: str
    distribution: str
    replicas: int
    mean: dict[str, Tensor]
    exact: dict[str, Tensor]
    bias: dict[str, Tensor]
    standard_error: dict[str, Tensor]
    exact_error: dict[str, Tensor]
    source: str
    z: float
    z_limit: float
    variance: float
    evals: float
    seconds: float
    unbiased: bool

    @property
    def squared_bias(self) -> float:
        """The measured bias squared, summed over coordinates."""
        return float(sum(part.square().sum() for part in self.bias.values()))

    @property
    def mse(self) -> float:
        """Mean squared error of one estimate: squared bias and variance."""
        return self.squared_bias + self.variance

    @property
    def snr(self) -> float:
        """Length of the exact gradient over the standard deviation of one estimate."""
        size = float(sum(part.square().sum() for part in self.exact.values())) ** 0.5
        return size / self.variance**0.5 if self.variance > 0 else float("inf")

    @property
    def biased(self) -> bool:
        """Whether a bias was seen."""
        return not self.z < self.z_limit  # A gradient that is not finite is biased too.

    @property
    def verdict(self) -> str:
        """The finding in words."""
        if self.biased:
            return "BIASED, against its own word" if self.unbiased else "BIASED"
        return "no bias seen" if self.unbiased else "no bias seen (theory: biased in general)"

    def worst(self) -> tuple[float, float]:
        """Bias of the coordinate with the largest ``z``, and its joint standard error."""
        bias = _row(self.bias)
        error = (_row(self.standard_error).square() + _row(self.exact_error).square()).sqrt()
        place = int(_scores(bias, error).argmax())
        return float(bias[place]), float(error[place])

    def __str__(self) -> str:
        bias, error = self.worst()
        return (
            f"{self.estimator} on {self.distribution}, {self.replicas:,} replicas; "
            f"exact: {self.source}\n"
            f"bias {bias:+.2g} +- {error:.2g} (z {self.z:.1f}: {self.verdict}) | "
            f"var {self.variance:.3g} | MSE {self.mse:.3g} | SNR {self.snr:.2g} | "
            f"{self.evals:g} evals | {self.seconds * 1e3:.2g} ms"
        )


def diagnose(
    f: Cost,
    q: Distribution,
    estimator: Estimator,
    replicas: int = 20_000,
    *,
    ctx: Tensor | None = None,
    exact: Given = None,
    warmup: int = 0,
    sigma: float = SIGMA,
    chunk: int | None = None,
    generator: torch.Generator | None = None,
) -> Diagnosis:
    """Measure bias and variance of an estimator's gradient in the parameters of ``q``.

    The parameters are those of the constructor: ``logits`` of discrete laws, ``loc`` and ``scale``
    of a Normal. ``q`` is built again as a batch of replicas. A copy of the estimator in ``eval()``
    mode is measured: what it learned so far, or in ``warmup``, is fixed.

    The exact gradient is a sum over all states, where there are at most 65,536; a quadrature where
    an event has at most 2 axes, for every continuous law with a density on an interval, a half-line
    or the line (vectors and mixtures of them too); otherwise the mean of 4 times as many estimates
    of RLOO with 8 draws. Its own error is part of ``z``.

    A bias is called one if ``z`` >= 4.5, once in 150,000 times by chance for one coordinate (of 12:
    5.0), with a thousand replicas; where gradients are large but rare, with many more.

    Args:
        f: The cost, (samples, replicas, *batch, *event) -> (samples, replicas, *batch).
        q: The distribution.
        estimator: The estimator; it is not changed.
        replicas: How many independent estimates, >= 2.
        ctx: As of `expectation`; the same for all replicas.
        exact: The exact gradient if you know it: for each parameter's name a tensor of its shape,
            or the tensor alone where there is one parameter.
        warmup: Steps of `fit` before.
        sigma: The limit for one coordinate, in standard errors.
        chunk: Replicas at once; default so that memory stays within bounds.
        generator: Source of randomness, on the device of ``q``; default the estimator's own.

    Returns:
        The measurement; ``print`` it.

    Raises:
        UnsupportedDistributionError: If ``q`` cannot be rebuilt, or the estimator does not fit it.
        ConfigError: If there are fewer than 2 replicas, or a count is not positive.
        ShapeError: If ``f`` or ``exact`` has the wrong shape.

    Example:
        >>> import torch, bbb.estimators as G
        >>> q = torch.distributions.Bernoulli(logits=torch.tensor(0.3, dtype=torch.float64))
        >>> r = G.diagnose(lambda z: (z - 0.45) ** 2, q, G.DisARM(), replicas=100)
        >>> r.evals, r.source, r.verdict
        (2.0, 'sum over 2 states', 'no bias seen')
    """  # noqa: DOC502 (by Problem, find_truth and the estimator)
    problem = Problem(f, q, ctx)
    truth = find_truth(problem, exact, replicas, generator)
    return diagnose_against(
        problem, truth, estimator, replicas, warmup, sigma=sigma, chunk=chunk, generator=generator
    )


def diagnose_against(
    problem: Problem,
    truth: Truth,
    estimator: Estimator,
    replicas: int,
    warmup: int,
    *,
    sigma: float = SIGMA,
    chunk: int | None = None,
    generator: torch.Generator | None = None,
) -> Diagnosis:
    """Diagnose, with the exact gradient at hand; arguments and result as of `diagnose`.

    Raises:
        ConfigError: If there are fewer than 2 replicas, or a count is not positive.
    """
    if replicas < 2 or warmup < 0 or (chunk is not None and chunk < 1):  # noqa: PLR2004 (for a variance)
        msg = (
            "diagnose needs replicas >= 2, warmup >= 0 and chunk >= 1, got "
            f"{replicas}, {warmup} and {chunk}"
        )
        raise ConfigError(msg)
    frozen = copy.deepcopy(estimator)
    if warmup:
        fit(frozen, problem.f, problem.q, warmup, ctx=problem.ctx, generator=generator)
    if generator is not None:
        frozen.generator = None
    with drawn_by(generator):
        found = measure(problem, frozen.eval(), replicas, chunk)
    bias = found.mean - truth.gradient
    error = (found.standard_error.square() + truth.error.square()).sqrt()
    return Diagnosis(
        estimator=title(estimator),
        distribution=_name(problem.q),
        replicas=replicas,
        mean=problem.by_name(found.mean),
        exact=problem.by_name(truth.gradient),
        bias=problem.by_name(bias),
        standard_error=problem.by_name(found.standard_error),
        exact_error=problem.by_name(truth.error),
        source=truth.source,
        z=float(_scores(bias, error).max()),
        z_limit=z_limit(sigma, problem.size),
        variance=float(found.variance.sum()),
        evals=found.evals,
        seconds=found.seconds,
        unbiased=estimator.unbiased,
    )


def assert_unbiased(
    f: Cost,
    q: Distribution,
    estimator: Estimator,
    sigma: float = 5.0,
    replicas: int = 20_000,
    *,
    ctx: Tensor | None = None,
    exact: Given = None,
    warmup: int = 0,
    generator: torch.Generator | None = None,
) -> None:
    """Fail if an estimator's gradient is biased: a test for estimators of your own.

    By chance an unbiased one fails once in 1.7 million times (at 5 sigma, however many
    coordinates); give a seeded ``generator``, and it never will.

    Args:
        f: As of `diagnose`.
        q: As of `diagnose`.
        estimator: The estimator; it is not changed.
        sigma: The limit for one coordinate, in standard errors.
        replicas: How many independent estimates, >= 2: more of them find a smaller bias.
        ctx: As of `diagnose`.
        exact: As of `diagnose`.
        warmup: As of `diagnose`.
        generator: As of `diagnose`.

    Raises:
        AssertionError: If a bias was seen; with the diagnosis.
        UnsupportedDistributionError: As of `diagnose`.

    Example:
        >>> import torch, bbb.estimators as G
        >>> q = torch.distributions.Bernoulli(logits=torch.zeros(2))
        >>> G.assert_unbiased(lambda z: z.exp(), q, G.RLOO(4), replicas=1000)
    """  # noqa: DOC502 (by Problem and the estimator)
    found = diagnose(
        f,
        q,
        estimator,
        replicas,
        ctx=ctx,
        exact=exact,
        warmup=warmup,
        sigma=sigma,
        generator=generator,
    )
    if found.biased:
        raise AssertionError(str(found))


def z_limit(sigma: float, coordinates: int) -> float:
    """Raise a limit for one normal variable to one for the largest of several (Bonferroni)."""
    tail = torch.special.ndtr(torch.tensor(-sigma, dtype=torch.float64)) / coordinates
    return -float(torch.special.ndtri(tail))


def title(estimator: Estimator) -> str:
    """Name an estimator and its settings, in one line."""
    parts = [estimator.extra_repr(), *(type(child).__name__ for child in estimator.children())]
    return f"{type(estimator).__name__}({', '.join(part for part in parts if part)})"


def _name(q: Distribution) -> str:
    base = innermost(q)
    name = type(base).__name__ + ("" if base is q else "s")
    return f"{name} {tuple(q.batch_shape + q.event_shape)}"


def _row(parts: dict[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts.values()])


def _scores(bias: Tensor, error: Tensor) -> Tensor:
    """Bias in units of its error; 0 / 0 is no bias."""
    return torch.where(bias == 0, 0.0, bias.abs() / error).nan_to_num(nan=torch.inf)
