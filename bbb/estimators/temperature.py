"""Temperatures of relaxed draws: fixed, annealed, or learned."""

import math
from typing import TypeAlias

import torch
from torch import Tensor, nn

from bbb.errors import ConfigError


class Anneal(nn.Module):
    """A temperature that falls exponentially to a floor, one step for each call in training mode.

    Nobody has to advance it, and it is part of the estimator's ``state_dict``.

    Args:
        start: The first temperature.
        floor: The last.
        steps: Calls after which the floor is reached.
        every: Calls between two changes.

    Raises:
        ConfigError: If not start >= floor > 0, or a count is below 1.

    Example:
        >>> import bbb.estimators as G
        >>> tau = G.Anneal(1.0, 0.5, steps=2)
        >>> [round(float(tau()), 4) for _ in range(4)]
        [1.0, 0.7071, 0.5, 0.5]

    References:
        Jang et al. 2017, Categorical Reparameterization with Gumbel-Softmax: there
        max(0.5, exp(-r t)), r of 1e-5 or 1e-4, changed every 500 or 1000 steps.
    """

    def __init__(
        self, start: float = 1.0, floor: float = 0.5, *, steps: int = 20_000, every: int = 1
    ) -> None:
        super().__init__()
        if not (start >= floor > 0 and steps >= 1 and every >= 1):
            msg = (
                f"Anneal needs start >= floor > 0, steps >= 1 and every >= 1, got {start}, {floor},"
                f" {steps} and {every}"
            )
            raise ConfigError(msg)
        self.start, self.floor, self.every = start, floor, every
        self.rate = math.log(start / floor) / steps
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.calls: Tensor

    def forward(self) -> Tensor:
        """Return the temperature, shape (), and go one step on in training mode."""
        done = self.calls // self.every * self.every
        tau = (self.start * torch.exp(-self.rate * done)).clamp(min=self.floor)
        if self.training:
            self.calls += 1
        return tau

    def extra_repr(self) -> str:
        """Show the ends."""
        return f"{self.start} -> {self.floor}"


class Learned(nn.Module):
    """A temperature that is a parameter, positive by its logarithm.

    Args:
        start: The first temperature, > 0.
    """

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log_tau = nn.Parameter(torch.tensor(math.log(check_tau(start))))

    def forward(self) -> Tensor:
        """Return the temperature, shape ()."""
        return self.log_tau.exp()


Tau: TypeAlias = float | nn.Module


def check_tau(tau: float) -> float:
    """Refuse a temperature that is not positive.

    Raises:
        ConfigError: If it is not, or not finite.
    """
    if not 0 < tau < math.inf:
        msg = f"a temperature has to be finite and > 0, got {tau}"
        raise ConfigError(msg)
    return tau


def as_tau(tau: Tau, *, learn: bool = False) -> Tau:
    """Return a temperature that can be used, as a parameter if it is to be learned.

    Raises:
        ConfigError: If a number is not positive, or a module is to be learned.
    """
    if isinstance(tau, nn.Module):
        if learn:
            msg = f"a temperature that is learned starts at a number, got {tau}"
            raise ConfigError(msg)
        return tau
    return Learned(tau) if learn else check_tau(tau)


def shown(tau: Tau) -> str:
    """The words for a temperature in ``repr``; one that changes shows itself as a submodule."""
    return "" if isinstance(tau, nn.Module) else f", tau={tau}"


def current(tau: Tau) -> Tensor | float:
    """Return the temperature of this call."""
    if isinstance(tau, nn.Module):
        value: Tensor = tau()
        return value
    return tau
