r"""Bounds of several samples, :math:`\log \frac1K \sum_k w_k`, and their gradients."""

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.distributions import Distribution

from bbb.errors import ConfigError, UnsupportedDistributionError
from bbb.estimators.base import Cost, Estimator, attach, evaluate, slopes, sum_event
from bbb.estimators.path import Pathwise
from bbb.estimators.score import draw

LogWeight: TypeAlias = Callable[[Tensor], Tensor]


def multi_sample_bound(log_w: LogWeight, q: Distribution, estimator: Estimator) -> Tensor:
    r"""Estimate :math:`\mathrm{E} \log \frac1K \sum_k w(z_k)` and, in ``backward``, its gradient.

    With :math:`w(z) = p(x, z) / q(z)` it is the importance-weighted bound on :math:`\log p(x)`,
    which grows with the number of samples; with one it is the evidence lower bound. It is a bound
    to be made large: a loss is its negative.

    Args:
        log_w: Log-weight, ``log p(x, z) - log q(z)``, (samples, *batch, *event) ->
            (samples, *batch), with all its parameters.
        q: Distribution of ``z``.
        estimator: `VIMCO` (any ``q``), or for a ``q`` with ``rsample`` `Pathwise` (the gradient of
            Burda et al.) or `DReG`; its ``num_samples`` is K.

    Returns:
        The bound in nats for each batch element, (*batch).

    Raises:
        UnsupportedDistributionError: If the estimator has no such bound, or not for ``q``.
        ShapeError: If ``log_w`` returns another shape.

    References:
        Burda et al. 2016, Importance Weighted Autoencoders.
    """  # noqa: DOC502 (ShapeError, by evaluate)
    if isinstance(estimator, VIMCO | DReG):
        return estimator.bound(log_w, q)
    if isinstance(estimator, Pathwise):
        z = estimator.rsample(q, estimator.sample_shape)
        return log_mean_exp(evaluate(log_w, z, q))
    remedy = "DReG() or Pathwise()" if q.has_rsample else "VIMCO()"
    msg = f"{type(estimator).__name__} has no bound of several samples; use {remedy}"
    raise UnsupportedDistributionError(msg)


def log_mean_exp(values: Tensor) -> Tensor:
    """Log of the mean of the exponentials over the first axis."""
    return torch.logsumexp(values, 0) - math.log(values.shape[0])


class _BoundEstimator(Estimator):
    """An estimator of bounds, which has no use for a cost."""

    def forward(self, f: Cost, q: Distribution, ctx: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Refuse: there are no weights.

        Raises:
            UnsupportedDistributionError: Always.
        """
        msg = (
            f"{type(self).__name__} is for multi_sample_bound(log_w, q, ...); for the expectation "
            "of a cost use RLOO(), or Pathwise() where q has rsample"
        )
        raise UnsupportedDistributionError(msg)


class VIMCO(_BoundEstimator):
    r"""The score function of a multi-sample bound, each sample with a baseline of the others.

    The gradient is :math:`\sum_k (\hat L - \hat L_{-k}) \nabla \log q(z_k) + \sum_k \tilde w_k
    \nabla \log w_k`, with :math:`\hat L_{-k}` the bound in which :math:`w_k` is replaced by a mean
    of the others. Without its second term, which is often left out, it is biased.

    Args:
        num_samples: K, >= 2.
        mean: Which mean replaces a weight: "geometric", "arithmetic", or "none" for no baseline.
        generator: Source of randomness; default torch's own.

    Raises:
        ConfigError: If ``mean`` is unknown, or K too small.

    References:
        Mnih and Rezende 2016, Variational Inference for Monte Carlo Objectives.
    """

    min_samples = 2

    def __init__(
        self,
        num_samples: int = 5,
        *,
        mean: Literal["geometric", "arithmetic", "none"] = "geometric",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(num_samples, generator=generator)
        if mean not in {"geometric", "arithmetic", "none"}:
            msg = f"VIMCO needs mean='geometric', 'arithmetic' or 'none', got {mean!r}"
            raise ConfigError(msg)
        self.mean = mean

    def bound(self, log_w: LogWeight, q: Distribution) -> Tensor:
        """Estimate; arguments, result and errors as of `multi_sample_bound`."""
        z, log_prob = draw(q, self.num_samples, self.generator, "VIMCO")
        log_weights = evaluate(log_w, z, q)
        value = log_mean_exp(log_weights)
        signal = value.detach() - self._without(log_weights.detach())
        # Differentiating the bound itself gives the second term.
        return attach(value, (signal * log_prob).sum(0) + value)

    def _without(self, log_weights: Tensor) -> Tensor:
        """The bound with each weight replaced by a mean of the others, (samples, *batch)."""
        if self.mean == "none":
            return torch.zeros_like(log_weights)
        count = self.num_samples
        own = torch.eye(count, dtype=torch.bool, device=log_weights.device)
        own = own.reshape(count, count, *(1 for _ in log_weights.shape[1:]))
        rows = log_weights.expand(count, *log_weights.shape)  # (left out, sample, *batch)
        if self.mean == "geometric":
            # Not the sum less the own one: where that is -inf, the rest would be NaN.
            others = rows.masked_fill(own, 0.0).sum(1) / (count - 1)
            return torch.where(own, others.unsqueeze(1), rows).logsumexp(1) - math.log(count)
        # Replaced by their arithmetic mean, the K weights have that same mean.
        return rows.masked_fill(own, -math.inf).logsumexp(1) - math.log(count - 1)


class DReG(_BoundEstimator):
    r"""The doubly reparameterised gradient of the importance-weighted bound.

    Where the pathwise gradient in the parameters of ``q`` drowns in noise as K grows, this one
    gets better: :math:`\sum_k \tilde w_k^2 (\partial \log w_k / \partial z_k)\,\nabla z_k`. All
    other parameters get :math:`\sum_k \tilde w_k \nabla \log w_k`. With K = 1 it is "sticking the
    landing" (Roeder et al. 2017).

    ``log_w`` has to contain ``- log q(z)``, with the parameters of this very ``q``.

    Args:
        num_samples: K.
        generator: Source of randomness; default torch's own.

    References:
        Tucker et al. 2019, Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives.
    """

    needs_slope = True

    def bound(self, log_w: LogWeight, q: Distribution) -> Tensor:
        """Estimate; arguments, result and errors as of `multi_sample_bound`."""
        path = Pathwise(self.num_samples, generator=self.generator)
        z = path.rsample(q, self.sample_shape)
        fixed = z.detach()
        log_weights, slope = slopes(lambda at: evaluate(log_w, at, q), fixed)
        weights = torch.softmax(log_weights.detach(), 0)
        along = sum_event(slope.detach() * z, len(q.event_shape))
        # Adding log q takes its own parameters out of the weights again, to the last digit.
        rest = weights * (log_weights + q.log_prob(fixed))
        return attach(log_mean_exp(log_weights), (weights.square() * along + rest).sum(0))
