r"""The weight of the KL term over a training: warm-up, cycles, temperature.

`bbb.ELBO` takes the weight with each call, and a schedule is a function of the share of the
training that is done::

    weight = Warmup(share=0.3)
    criterion(output, target, kl_weight=weight(step / num_steps))

With a weight :math:`\lambda` behind the warm-up, what is minimised is
:math:`\mathrm{E}_q[\mathrm{NLL}] + \lambda\,\mathrm{KL}`: the posterior of a likelihood to the
power :math:`1 / \lambda`, so that each example counts :math:`1 / \lambda` times (tempering).
"""

import math
from dataclasses import dataclass

from bbb.errors import ConfigError


@dataclass(frozen=True)
class Warmup:
    """A value that grows from 0 in a straight line, and then stays.

    Args:
        share: Share of the training, or of each cycle, over which it grows, in [0, 1]; 0 is the
            final value from the start.
        final: The value behind, finite and >= 0: of a KL weight, 1 is the evidence lower bound.
        cycles: How often it starts again from 0, >= 1; the last cycle ends with the training.

    Raises:
        ConfigError: If an argument is out of range.

    Example:
        >>> weight = Warmup(share=0.5, final=0.8)
        >>> [weight(done) for done in (0.0, 0.25, 0.5, 1.0)]
        [0.0, 0.4, 0.8, 0.8]

    References:
        Sønderby et al. 2016, Ladder Variational Autoencoders (warm-up). Fu et al. 2019, Cyclical
        Annealing Schedule (there ``cycles=4, share=0.5``).
    """

    share: float = 0.25
    final: float = 1.0
    cycles: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.share <= 1 and 0 <= self.final < math.inf and self.cycles >= 1):
            msg = (
                "Warmup needs 0 <= share <= 1 (of the training), a finite final >= 0 and "
                f"cycles >= 1, got {self.share}, {self.final} and {self.cycles}"
            )
            raise ConfigError(msg)

    def __call__(self, done: float) -> float:
        """Return the value at one point of the training.

        Args:
            done: Share of the training that is done, >= 0; from 1 on the value is final.

        Returns:
            A value in [0, final].

        Raises:
            ConfigError: If ``done`` is negative or no number.
        """
        if not done >= 0:
            msg = f"Warmup needs the share of the training that is done, >= 0, got {done}"
            raise ConfigError(msg)
        if done >= 1 or self.share == 0:
            return self.final
        return self.final * min(1.0, done * self.cycles % 1.0 / self.share)
