"""Unbiased estimators that use the cost's slope, or a learned one, against their variance.

All of them estimate the gradient in the logits directly, sample by sample. That makes it easy to
keep apart what must not mix: the parameters of the cost learn from the cost at the real draw alone,
and those of a control variate from the variance of the estimate alone.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from bbb.errors import ShapeError
from bbb.estimators.base import Cost, Estimator, average, evaluate, over_event, slopes, zero
from bbb.estimators.discrete import Discrete, need_discrete
from bbb.estimators.temperature import Tau, as_tau, current, shown


class LogitEstimator(Estimator):
    """Base of the estimators that are a formula for the gradient in the logits."""

    bits_only = False

    def forward(self, f: Cost, q: Distribution, ctx: Tensor | None = None) -> Tensor:
        """Estimate; arguments, result and errors as of `expectation`."""
        variables = need_discrete(q, type(self).__name__, bits=self.bits_only)
        cost, gradient = self.gradient(lambda z: evaluate(f, z, q), variables, ctx)
        surrogate = variables.dot(gradient.detach(), variables.logits)
        value = average(cost + zero(surrogate))
        learning = self._variance_surrogate(gradient, variables)
        return value if learning is None else value + zero(learning)

    def gradient(self, f: Cost, variables: Discrete, ctx: Tensor | None) -> tuple[Tensor, Tensor]:
        """Draw and estimate.

        Args:
            f: The cost, checked.
            variables: The variables.
            ctx: What a learned control variate sees beside ``z``.

        Returns:
            The costs of the draws, (samples, *batch), and for each the estimate of the gradient in
            the logits, (samples, *batch, *event).
        """
        raise NotImplementedError

    def _variance_surrogate(self, gradient: Tensor, variables: Discrete) -> Tensor | None:
        """Return zero, with the slope of the estimate's variance in the own parameters alone."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        if not (self.training and parameters and gradient.requires_grad):
            return None
        mean = gradient.mean(0)
        # The square of the mean gradient does not depend on them: the second moment will do.
        moment = variables.dot(mean, mean)
        # Taken here, and not by the caller's backward, which would lead through the cost and its
        # parameters as well; retained, because the costs are still to be differentiated.
        found = torch.autograd.grad(
            moment.sum(), parameters, retain_graph=True, materialize_grads=True
        )
        shares = [torch.sum(g * p) for g, p in zip(found, parameters, strict=True)]
        return torch.stack(shares).sum() / moment.numel()


class MuProp(LogitEstimator):
    r"""The score function with the cost's first-order expansion around the mean as baseline.

    .. math:: (f(z) - f(m) - f'(m) (z - m)) \nabla \log q(z) + f'(m) \nabla m,
        \quad m = \mathrm{E} z

    Args:
        num_samples: Draws for each batch element.
        generator: Source of randomness; default torch's own.

    References:
        Gu et al. 2016, MuProp: Unbiased Backpropagation for Stochastic Neural Networks.
    """

    needs_slope = True

    def evals(self, q: Distribution) -> int:  # noqa: ARG002
        """One evaluation at the mean, and one for each draw."""
        return self.num_samples + 1

    def gradient(
        self,
        f: Cost,
        variables: Discrete,
        ctx: Tensor | None,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """Draw and estimate."""
        mean = variables.probs.detach()
        z = variables.sample(self.sample_shape, self.generator)
        cost = f(z)
        at_mean, slope = slopes(f, mean.unsqueeze(0))
        rest = cost.detach() - at_mean - variables.dot(slope, z - mean)
        score = z - mean
        return cost, over_event(rest, score) * score + variables.jacobian(mean, slope)


class DisARM(LogitEstimator):
    """Antithetic pairs of Bernoulli draws, with the noise that leads to them integrated out.

    Args:
        num_samples: Pairs for each batch element.
        generator: Source of randomness; default torch's own.

    References:
        Dong, Mnih and Tucker 2020, DisARM: An Antithetic Gradient Estimator for Binary Latent
        Variables. The same as Yin et al. 2020, Probabilistic Best Subset Selection (U2G).
    """

    bits_only = True
    evals_per_sample = 2

    def gradient(
        self,
        f: Cost,
        variables: Discrete,
        ctx: Tensor | None,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """Draw and estimate."""
        logits = variables.logits.detach()
        noise = variables.noise(self.sample_shape, self.generator)
        z, other = variables.harden(logits + noise), variables.harden(logits - noise)
        first, second = f(torch.cat([z, other])).chunk(2)
        half = (first - second).detach() / 2
        gradient = over_event(half, z) * (z - other) * torch.sigmoid(logits.abs())
        return (first + second) / 2, gradient


class ControlVariate(LogitEstimator):
    r"""Base of REBAR and RELAX: a relaxed cost as control variate, twice.

    With :math:`\zeta` the perturbed logits, :math:`z` the draw that they stand for, and
    :math:`\tilde\zeta` drawn anew given :math:`z`, the gradient is

    .. math:: (f(z) - c(\tilde\zeta)) \nabla \log q(z) + \nabla c(\zeta) - \nabla c(\tilde\zeta),

    where the last term goes through :math:`\tilde\zeta` as a function of the logits.
    """

    def control(
        self, f: Cost, perturbed: Tensor, variables: Discrete, ctx: Tensor | None
    ) -> Tensor:
        """The control variate of perturbed logits, (samples, *batch)."""
        raise NotImplementedError

    def gradient(self, f: Cost, variables: Discrete, ctx: Tensor | None) -> tuple[Tensor, Tensor]:
        """Draw and estimate."""
        logits = variables.logits.detach()
        noise, again = (variables.noise(self.sample_shape, self.generator) for _ in range(2))
        z = variables.harden(logits + noise)
        cost = f(z)

        def difference(at: Tensor) -> tuple[Tensor, Tensor]:
            both = torch.cat([at + noise, variables.conditional(z, at, again)])
            free, given = self.control(f, both, variables, ctx).chunk(2)
            return free - given, given

        found: Any = torch.func.vjp(difference, logits.expand(noise.shape), has_aux=True)
        value, pull, given = found
        (slope,) = pull(torch.ones_like(value))
        score = z - variables.probs.detach()
        return cost, over_event(cost.detach() - given, score) * score + slope


class REBAR(ControlVariate):
    r"""The control variate :math:`c(\zeta) = \eta f(\sigma(\zeta / \tau))`, the relaxed cost.

    Args:
        num_samples: Draws for each batch element.
        tau: Temperature, > 0: a number, or a module such as `Anneal` that returns one.
        eta: Weight of the control variate.
        learn: Whether ``tau`` and ``eta`` are parameters, trained on the estimate's variance by
            the ``backward`` of the loss: give ``parameters()`` to an optimiser.
        generator: Source of randomness; default torch's own.

    Raises:
        ConfigError: If a number ``tau`` is not positive, or a module is to be learned.

    References:
        Tucker et al. 2017, REBAR: Low-Variance, Unbiased Gradient Estimates for Discrete Latent
        Variable Models.
    """

    needs_slope = True
    evals_per_sample = 3

    def __init__(
        self,
        num_samples: int = 1,
        *,
        tau: Tau = 0.5,
        eta: float = 1.0,
        learn: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(num_samples, generator=generator)
        self.tau = as_tau(tau, learn=learn)
        self.eta = nn.Parameter(torch.tensor(float(eta)), requires_grad=learn)

    def extra_repr(self) -> str:
        """Show the number of draws, a fixed temperature and the weight."""
        return f"{super().extra_repr()}{shown(self.tau)}, eta={self.eta.item():.4g}"

    def control(
        self,
        f: Cost,
        perturbed: Tensor,
        variables: Discrete,
        ctx: Tensor | None,  # noqa: ARG002
    ) -> Tensor:
        """The control variate of perturbed logits, (samples, *batch)."""
        return self.eta.to(perturbed.dtype) * f(variables.soften(perturbed, current(self.tau)))


class RELAX(ControlVariate):
    r"""A learned control variate, alone or beside the relaxed cost.

    Its parameters are trained on the estimate's variance by the ``backward`` of the loss: give
    ``parameters()`` to an optimiser.

    Args:
        net: The control variate of perturbed logits, (samples, *batch, *event) -> (samples, *batch)
            or (samples, *batch, 1). Called as ``net(zeta)``, or ``net(zeta, ctx)`` if there is one.
        num_samples: Draws for each batch element.
        tau: Temperature of the relaxed cost that is added to the network; None leaves the cost out,
            which then need not be differentiable.
        learn_tau: Whether the temperature is a parameter too; without a ``tau`` it starts at 0.5.
        generator: Source of randomness; default torch's own.

    Raises:
        ConfigError: If a number ``tau`` is not positive, or a module is to be learned.

    References:
        Grathwohl et al. 2018, Backpropagation through the Void.
    """

    def __init__(
        self,
        net: nn.Module,
        num_samples: int = 1,
        *,
        tau: Tau | None = None,
        learn_tau: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(num_samples, generator=generator)
        self.net = net
        if learn_tau and tau is None:
            tau = 0.5
        self.tau = None if tau is None else as_tau(tau, learn=learn_tau)

    def evals(self, q: Distribution) -> int:  # noqa: ARG002
        """One evaluation for each draw, and two relaxed ones if the cost is in the control."""
        return self.num_samples * (1 if self.tau is None else 3)

    def control(
        self, f: Cost, perturbed: Tensor, variables: Discrete, ctx: Tensor | None
    ) -> Tensor:
        """The control variate of perturbed logits, (samples, *batch).

        Raises:
            ShapeError: If the network returns another shape.
        """
        found: Tensor = self.net(perturbed) if ctx is None else self.net(perturbed, ctx)
        shape = perturbed.shape[: perturbed.dim() - variables.event_dims]
        found = found.squeeze(-1) if found.shape == (*shape, 1) else found
        if found.shape != shape:
            msg = (
                f"RELAX's network has to return {tuple(shape)}, a number for each draw, "
                f"got {tuple(found.shape)}"
            )
            raise ShapeError(msg)
        if self.tau is None:
            return found
        return found + f(variables.soften(perturbed, current(self.tau)))
