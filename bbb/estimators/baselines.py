"""What the score function subtracts from the cost: none of it may look at the draw."""

import torch
from torch import Tensor, nn

from bbb.errors import ConfigError, ShapeError


class Baseline(nn.Module):
    """Base of the baselines: from costs to advantages.

    A baseline answers with what it knew before it saw the costs, and learns from them afterwards
    (in training mode), so that the gradient stays unbiased.
    """

    def forward(self, cost: Tensor, ctx: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Compare costs with the baseline.

        Args:
            cost: Costs without a gradient, (samples, *batch).
            ctx: What the cost depends on beside the draw, (*batch, ...).

        Returns:
            The advantages, (samples, *batch), and the loss by which the baseline's parameters
            learn, of the same shape, if it has any.
        """
        raise NotImplementedError


class Average(nn.Module):
    """Exponentially weighted mean and variance of all values so far, without a start-up bias.

    Args:
        decay: Weight of the past in each step, in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            msg = f"a moving average needs 0 <= decay < 1, got {decay}"
            raise ConfigError(msg)
        self.decay = decay
        self.register_buffer("moments", torch.zeros(2))
        self.register_buffer("weight", torch.zeros(()))
        self.moments: Tensor
        self.weight: Tensor

    def mean(self) -> Tensor:
        """Mean, shape (); 0 before the first value."""
        return self.moments[0] / self._seen()

    def variance(self) -> Tensor:
        """Variance around the mean, shape (); 0 before the first value."""
        return (self.moments[1] / self._seen() - self.mean() ** 2).clamp(min=0)

    def _seen(self) -> Tensor:
        return self.weight.clamp(min=1e-12)

    @torch.no_grad()
    def update(self, values: Tensor) -> None:
        """Take in values of any shape."""
        now = torch.stack([values.mean(), values.square().mean()]).to(self.moments)
        self.moments.lerp_(now, 1 - self.decay)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - self.decay)


class EMA(Baseline):
    """Moving average of past costs.

    The first batch has no past, and is the whole past of the second.

    Args:
        decay: Weight of the past in each step, in [0, 1).

    Raises:
        ConfigError: If ``decay`` is out of range.
    """

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        self.average = Average(decay)

    def forward(self, cost: Tensor, ctx: Tensor | None) -> tuple[Tensor, Tensor | None]:  # noqa: ARG002
        """Compare costs with the average of those before."""
        advantage = cost - self.average.mean().to(cost.dtype)
        if self.training:
            self.average.update(cost)
        return advantage, None


class Net(Baseline):
    """A baseline that is learned from what the cost depends on, by least squares.

    Args:
        net: (*batch, ...) -> (*batch) or (*batch, 1), called with ``ctx``. Its parameters get their
            gradient from the same ``backward`` as all others: give them to an optimiser.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def predict(self, cost: Tensor, ctx: Tensor | None) -> Tensor:
        """Predict the costs.

        Args:
            cost: The costs, of which only the shape is used, (samples, *batch).
            ctx: What is known, (*batch, ...).

        Returns:
            One cost for each batch element, (*batch).

        Raises:
            ConfigError: If there is no ``ctx``.
            ShapeError: If the network returns another shape.
        """
        if ctx is None:
            msg = "a learned baseline needs what the cost depends on: expectation(f, q, ..., ctx=x)"
            raise ConfigError(msg)
        # Detached: the encoder behind ctx is not there to make costs predictable.
        found: Tensor = self.net(ctx.detach())
        shape = cost.shape[1:]
        if found.shape == (*shape, 1):
            found = found.squeeze(-1)
        if found.shape != shape:
            msg = (
                f"a learned baseline has to return {tuple(shape)}, a number for each batch element,"
                f" got {tuple(found.shape)}"
            )
            raise ShapeError(msg)
        return found

    def forward(self, cost: Tensor, ctx: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Compare costs with the network's prediction."""
        residual = cost - self.predict(cost, ctx)
        return residual.detach(), residual.square()


class NVIL(Net):
    """The baseline of neural variational inference: a network, an average, a common scale.

    Args:
        net: As of `Net`.
        decay: Weight of the past in the moving mean and variance of what the network leaves.
        normalize: Divide by the larger of 1 and the moving standard deviation. The gradient is
            then scaled down, and no longer unbiased.

    References:
        Mnih and Gregor 2014, Neural Variational Inference and Learning in Belief Networks.
    """

    def __init__(self, net: nn.Module, decay: float = 0.9, *, normalize: bool = False) -> None:
        super().__init__(net)
        self.average = Average(decay)
        self.normalize = normalize

    def forward(self, cost: Tensor, ctx: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Compare costs with the prediction and the average of what it leaves."""
        residual = cost - self.predict(cost, ctx) - self.average.mean().to(cost.dtype)
        advantage = residual.detach()
        scale = self.average.variance().sqrt().clamp(min=1).to(cost.dtype)
        if self.training:
            self.average.update(advantage + self.average.mean().to(cost.dtype))
        return (advantage / scale if self.normalize else advantage), residual.square()
