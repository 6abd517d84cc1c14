r"""Path estimators of discrete variables: biased, of low variance, one evaluation of the cost.

Each is right about a straight line; `ReinMax` and `DARN` are right about quadratics. What is
returned forward is a real draw, except for the soft Gumbel-softmax.
"""

import torch
from torch import Tensor
from torch.distributions import Distribution

from bbb.errors import ConfigError
from bbb.estimators.base import PathEstimator, zero
from bbb.estimators.discrete import Discrete, need_discrete
from bbb.estimators.temperature import Tau, as_tau, current, shown


class _DiscretePath(PathEstimator):
    """Base of the path estimators of discrete variables."""

    unbiased = False
    bits_only = False

    def rsample(self, q: Distribution, sample_shape: torch.Size) -> Tensor:
        """Draw; arguments, result and errors as of `bbb.estimators.sample`."""
        variables = need_discrete(q, type(self).__name__, bits=self.bits_only)
        return self.relax(variables, sample_shape)

    def relax(self, variables: Discrete, sample_shape: torch.Size) -> Tensor:
        """Draw with the estimator's gradient in the logits, (*sample_shape, *batch, *event)."""
        raise NotImplementedError


class RelaxedEstimator(_DiscretePath):
    """Base of those with a temperature.

    Args:
        num_samples: Draws for each batch element.
        tau: Temperature, > 0: a number, or a module such as `Anneal` that returns one.
        generator: Source of randomness; default torch's own.

    Raises:
        ConfigError: If a number ``tau`` is not positive.
    """

    def __init__(
        self,
        num_samples: int = 1,
        *,
        tau: Tau = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(num_samples, generator=generator)
        self.tau = as_tau(tau)

    def extra_repr(self) -> str:
        """Show the number of draws and a fixed temperature."""
        return super().extra_repr() + shown(self.tau)


class GumbelSoftmax(RelaxedEstimator):
    """The relaxed draw, softmax((logits + Gumbel noise) / tau): the Concrete distribution.

    Args:
        num_samples: Draws for each batch element.
        tau: Temperature, > 0: a number, or a module such as `Anneal` that returns one.
        hard: Return the one-hot draw that the relaxed one is closest to, with its gradient.
        generator: Source of randomness; default torch's own.

    Raises:
        ConfigError: If a number ``tau`` is not positive.

    References:
        Jang et al. 2017, Categorical Reparameterization with Gumbel-Softmax. Maddison et al. 2017,
        The Concrete Distribution.
    """

    def __init__(
        self,
        num_samples: int = 1,
        *,
        tau: Tau = 1.0,
        hard: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(num_samples, tau=tau, generator=generator)
        self.hard = hard

    def relax(self, variables: Discrete, sample_shape: torch.Size) -> Tensor:
        """Draw with the estimator's gradient in the logits, (*sample_shape, *batch, *event)."""
        perturbed = variables.logits + variables.noise(sample_shape, self.generator)
        soft = variables.soften(perturbed, current(self.tau))
        return variables.harden(perturbed) + zero(soft) if self.hard else soft


class STGumbel(GumbelSoftmax):
    """The straight-through Gumbel-softmax: a one-hot draw forward, the relaxed one backward.

    Args:
        num_samples: Draws for each batch element.
        tau: Temperature, > 0: a number, or a module such as `Anneal` that returns one.
        generator: Source of randomness; default torch's own.

    Raises:
        ConfigError: If a number ``tau`` is not positive.

    References:
        Jang et al. 2017, section 2.2.
    """

    def __init__(
        self,
        num_samples: int = 1,
        *,
        tau: Tau = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(num_samples, tau=tau, hard=True, generator=generator)


class StraightThrough(RelaxedEstimator):
    """A draw forward, the mean backward.

    Args:
        num_samples: Draws for each batch element.
        tau: Temperature of the mean that is used backward; 1 is the mean itself.
        generator: Source of randomness; default torch's own.

    Raises:
        ConfigError: If a number ``tau`` is not positive.

    References:
        Bengio et al. 2013, Estimating or Propagating Gradients Through Stochastic Neurons.
    """

    def relax(self, variables: Discrete, sample_shape: torch.Size) -> Tensor:
        """Draw with the estimator's gradient in the logits, (*sample_shape, *batch, *event)."""
        z = variables.sample(sample_shape, self.generator)
        return z + zero(variables.soften(variables.logits, current(self.tau)))


class GumbelRao(RelaxedEstimator):
    """`STGumbel`, averaged over the noise that leads to the same draw: less variance, same bias.

    Args:
        num_draws: Noises that are averaged.
        num_samples: Draws for each batch element.
        tau: Temperature, > 0: a number, or a module such as `Anneal` that returns one.
        generator: Source of randomness; default torch's own.

    Raises:
        ConfigError: If a number ``tau`` is not positive, or ``num_draws`` below 1.

    References:
        Paulus, Maddison and Krause 2021, Rao-Blackwellizing the Straight-Through Gumbel-Softmax.
    """

    def __init__(
        self,
        num_draws: int = 10,
        *,
        num_samples: int = 1,
        tau: Tau = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(num_samples, tau=tau, generator=generator)
        if num_draws < 1:
            msg = f"GumbelRao needs num_draws >= 1, got {num_draws}"
            raise ConfigError(msg)
        self.num_draws = num_draws

    def extra_repr(self) -> str:
        """Show the number of noises too."""
        return f"num_draws={self.num_draws}, {super().extra_repr()}"

    def relax(self, variables: Discrete, sample_shape: torch.Size) -> Tensor:
        """Draw with the estimator's gradient in the logits, (*sample_shape, *batch, *event)."""
        z = variables.sample(sample_shape, self.generator)
        noise = variables.noise(torch.Size((self.num_draws, *sample_shape)), self.generator)
        logits = variables.logits
        # What is averaged is the slope at the noise that z allows, with the noise held fixed.
        perturbed = variables.conditional(z, logits.detach(), noise) + zero(logits)
        return z + zero(variables.soften(perturbed, current(self.tau)).mean(0))


class ReinMax(RelaxedEstimator):
    r"""A draw forward, backward Heun's second-order rule between the draw and the mean.

    With :math:`J(m)` the Jacobian of the mean at :math:`m`, the gradient in the logits is
    :math:`(2 J((p + z) / 2) - J(p) / 2)\,\nabla f(z)`: exact for quadratic costs at ``tau=1``.

    Args:
        num_samples: Draws for each batch element.
        tau: Temperature of the mean in the first term, > 0. Other values than 1 lose the exactness.
        generator: Source of randomness; default torch's own.

    Raises:
        ConfigError: If a number ``tau`` is not positive.

    References:
        Liu et al. 2023, Bridging Discrete and Backpropagation: Straight-Through and Beyond.
    """

    def relax(self, variables: Discrete, sample_shape: torch.Size) -> Tensor:
        """Draw with the estimator's gradient in the logits, (*sample_shape, *batch, *event)."""
        z = variables.sample(sample_shape, self.generator)
        mean = variables.probs.detach()
        between = (variables.soften(variables.logits.detach(), current(self.tau)) + z) / 2
        carrier = 2 * variables.jacobian(between, variables.logits)
        return z + zero(carrier - variables.jacobian(mean, variables.logits) / 2)


class DARN(_DiscretePath):
    r"""The 1/2-estimator: each bit's score times the cost's linear part around the draw.

    The gradient in a logit is :math:`f'(z) (z - 1/2) (z - p)`: exact for quadratic costs, and for
    Bernoulli variables the same as `ReinMax` at ``tau=1``. It expands the cost around the *draw*
    and looks at it at 1/2; around 1/2, as some texts have it, the mean gradient of a quadratic
    would be 0.

    Args:
        num_samples: Draws for each batch element.
        generator: Source of randomness; default torch's own.

    References:
        Gregor et al. 2014, Deep AutoRegressive Networks.
    """

    bits_only = True

    def relax(self, variables: Discrete, sample_shape: torch.Size) -> Tensor:
        """Draw with the estimator's gradient in the logits, (*sample_shape, *batch, *event)."""
        z = variables.sample(sample_shape, self.generator)
        return z + zero((z - 0.5) * (z - variables.probs.detach()) * variables.logits)
