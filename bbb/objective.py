r"""The objective of variational inference: expected NLL plus KL divergence.

For ``num_train`` independent examples the negative evidence lower bound, per example, is

.. math:: L = \mathrm{E}_q[\mathrm{mean\ NLL}] + \frac{\mathrm{KL}(q \| p)}{\mathrm{num\_train}}

with the NLL averaged over the minibatch and the KL summed over all weights, both in nats. The
divisor is the size of the training set: not of the batch, not the number of batches.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbb.errors import ConfigError, ShapeError
from bbb.layers import BayesianLayer, Draws, bayesian_layers, posteriors
from bbb.layers.modes import recording


def kl_divergence(
    model: nn.Module, *, draws: Draws | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """KL divergence of the posterior from the prior, summed over all weights of ``model``.

    A weight that several layers share counts once; a model without Bayesian layers is a
    ConfigError. Where the prior has no closed form
    (`bbb.priors.ScaleMixture`) the result is an unbiased Monte Carlo estimate, and so is its
    gradient: at the draws that a forward used if they are handed in, else at a fresh draw.

    Args:
        model: A module with Bayesian layers.
        draws: What `record_draws` recorded; saves drawing once more and is Blundell's objective.
            Layers without a recorded draw (in ``eval()``, or by the "local" estimator, which
            draws no weight) take a fresh one.
        generator: Source of fresh draws; default torch's own.

    Returns:
        Nats, shape (), float32 or better whatever the dtype of the model; differentiable.

    Example:
        >>> import bbb
        >>> layer = bbb.layers.BayesLinear(1, 1, prior=bbb.priors.Normal(0, 0.5), sigma_init=0.5)
        >>> _ = torch.nn.init.constant_(layer.weight_mu, 0.5)
        >>> round(kl_divergence(layer).item(), 4)
        0.5
    """
    layers = bayesian_layers(model, "kl_divergence")
    device = layers[0].mean_parameter(layers[0].bayesian_names[0]).device
    # Autocast would take the sums to half precision.
    with torch.autocast(device.type, enabled=False):
        terms = [layer.kl(name, draws, generator).to(device) for layer, name in posteriors(layers)]
        return torch.stack(terms).sum() if len(terms) > 1 else terms[0]


@contextmanager
def record_draws(model: nn.Module | None = None) -> Iterator[Draws]:
    """Record the weights that forwards draw, for the Monte Carlo KL.

    ``with record_draws() as draws: output = model(x)``, then ``kl_divergence(model, draws=draws)``.
    Use one record per training step: it holds the draws, and with them the step's graph.

    Args:
        model: Record the layers of this module only; default all.

    Yields:
        The record, empty at first; several forwards add several draws, whose KL is averaged.
    """
    layers = None if model is None else frozenset(model.modules())
    with recording(Draws(layers)) as draws:
        yield draws


def kl_weights(num_batches: int, scheme: str = "uniform") -> Tensor:
    r"""Share of the KL divergence that each minibatch of an epoch carries.

    ``"uniform"`` is 1/M. ``"blundell"`` is :math:`\pi_i = 2^{M-i} / (2^M - 1)`, i = 1, ..., M:
    the first batches follow the prior, the last ones the data.

    The shares go with the *summed* NLL of a minibatch. With a mean NLL, as in `ELBO`, the
    factor is ``kl_weight = num_batches * share``, which is 1 for "uniform".

    Args:
        num_batches: Minibatches per epoch M, >= 1.
        scheme: "uniform" or "blundell".

    Returns:
        Shares, shape (num_batches,), float64, sum 1.

    Raises:
        ConfigError: If an argument is out of range.

    Example:
        >>> kl_weights(2, "blundell")
        tensor([0.6667, 0.3333], dtype=torch.float64)

    References:
        Blundell et al. 2015, Weight Uncertainty in Neural Networks, section 3.4.
    """
    if num_batches < 1:
        msg = f"kl_weights needs num_batches >= 1, got {num_batches}"
        raise ConfigError(msg)
    if scheme == "uniform":
        return torch.full((num_batches,), 1.0 / num_batches, dtype=torch.float64)
    if scheme != "blundell":
        msg = f"kl_weights needs 'uniform' or 'blundell', got {scheme!r}"
        raise ConfigError(msg)
    # 2^(M-i) / (2^M - 1) = 2^-i / (1 - 2^-M), which cannot overflow.
    powers = torch.arange(1, num_batches + 1, dtype=torch.float64).neg().exp2()
    return powers / (1.0 - 2.0**-num_batches)


class ELBOParts(NamedTuple):
    """The objective and its parts, scalars in the graph.

    Attributes:
        loss: ``nll + kl_weight * kl / num_train``, nats per example.
        nll: Mean negative log likelihood, nats per example.
        kl: KL divergence, nats, summed over weights, not weighted.
    """

    loss: Tensor
    nll: Tensor
    kl: Tensor

    def backward(self) -> None:
        """Backpropagate the loss, for ``criterion(output, target).backward()``."""
        self.loss.backward()  # type: ignore[no-untyped-call]


class ELBO:
    """Negative evidence lower bound per example, as a criterion that keeps its parts apart.

    ``criterion(output, target).loss.backward()``, or ``criterion(mean_nll)`` for any likelihood.
    For a prior without closed-form KL the forward's own draw is used when it is recorded::

        with criterion.record() as draws:
            output = model(x)
        loss, nll, kl = criterion(output, target, draws=draws)

    Without that, such a prior costs a second draw, and the result is unbiased all the same.

    Args:
        model: The model. One without Bayesian layers is allowed and has KL 0, so that a baseline
            can run through the same code.
        num_train: Number of examples in the training set, >= 1.
        kl_weight: Factor of the KL term, >= 0: 1 is the ELBO, less is tempering. Each call may
            override it, for a warm-up or `kl_weights`.
        nll: Mean NLL of ``(output, target)``; default cross-entropy of logits.

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        num_train: int,
        kl_weight: float = 1.0,
        nll: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    ) -> None:
        if num_train < 1:
            msg = f"ELBO needs num_train >= 1, the size of the training set, got {num_train}"
            raise ConfigError(msg)
        self.model = model
        self.num_train = num_train
        self.kl_weight = kl_weight
        self.nll = nll
        self._checked(kl_weight)

    def __call__(
        self,
        output: Tensor,
        target: Tensor | None = None,
        *,
        kl_weight: float | None = None,
        draws: Draws | None = None,
    ) -> ELBOParts:
        """Return the loss and its parts.

        Args:
            output: Output of the model, or, without ``target``, the mean NLL itself, shape ().
            target: What ``nll`` takes as its second argument.
            kl_weight: Overrides the criterion's, >= 0.
            draws: What `record` recorded.

        Returns:
            Loss, NLL and KL.

        Raises:
            ShapeError: If the NLL is not a scalar.
        """
        nll = output if target is None else self.nll(output, target)
        if nll.dim() != 0:
            msg = (
                f"ELBO expects a mean NLL of shape (), got {tuple(nll.shape)}; "
                "pass (output, target), or average over the batch"
            )
            raise ShapeError(msg)
        weight = self._checked(self.kl_weight if kl_weight is None else kl_weight)
        if any(isinstance(module, BayesianLayer) for module in self.model.modules()):
            kl = kl_divergence(self.model, draws=draws)
        else:
            kl = torch.zeros((), device=nll.device)
        return ELBOParts(nll + kl * (weight / self.num_train), nll, kl)

    @contextmanager
    def record(self) -> Iterator[Draws]:
        """Record the draws of the model's forwards; see `record_draws`.

        Yields:
            The record, for ``draws=``.
        """
        with record_draws(self.model) as draws:
            yield draws

    @staticmethod
    def _checked(kl_weight: float) -> float:
        if not 0 <= kl_weight < math.inf:
            msg = f"ELBO needs a finite kl_weight >= 0, got {kl_weight}"
            raise ConfigError(msg)
        return kl_weight
