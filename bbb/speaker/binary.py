"""Speaker embeddings of one bit per dimension, ordered by importance."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent

from bbb import estimators
from bbb.errors import ConfigError


class BinaryHead(nn.Module):
    r"""Classifies speakers by bits: Bernoulli variables whose logits are affine in the embedding.

    A draw z of the bits goes on as the code :math:`2 z - 1`, of which each utterance keeps a random
    prefix and has 0 for the rest (nested dropout). So the first bits learn what matters most, and a
    code may be cut to any length from ``min_bits`` on. The prefix is as likely to be between k and
    2k bits long for every k: short codes get as much of the training as long ones.

    The heads over speakers return logits; this one returns losses, because many estimators have no
    draw with a gradient, only an expected loss. The embedding may come from a network in training.

    Args:
        embed_dim: Size of the input.
        head: Module from codes (batch, num_bits) and labels to class logits, such as
            ``AMSoftmax(num_bits, num_classes)``.
        num_bits: Length of the code.
        estimator: Any estimator of `bbb.estimators` for Bernoulli variables; None takes
            ``ReinMax()``. A learned baseline or control variate sees the input as ``ctx``.
        min_bits: Shortest prefix, in [1, num_bits]; ``num_bits`` is no nested dropout.
        generator: Source of the prefixes; default torch's. The estimator has its own.

    Raises:
        ConfigError: If ``min_bits`` is out of range.

    Example:
        >>> import bbb.estimators as G
        >>> from bbb.speaker import AMSoftmax
        >>> head = BinaryHead(16, AMSoftmax(32, 10), 32, estimator=G.DisARM())
        >>> x, labels = torch.randn(5, 16), torch.arange(5)
        >>> head(x, labels).mean().backward()
        >>> head.codes(x).shape, head.codes(x).dtype
        (torch.Size([5, 32]), torch.bool)

    References:
        Wang, Wang, Wang, Li and Wang 2023, "Ordered and binary speaker embedding". Rippel, Gelbart
        and Adams 2014, "Learning ordered representations with nested dropout".
    """

    def __init__(
        self,
        embed_dim: int,
        head: nn.Module,
        num_bits: int,
        *,
        estimator: estimators.Estimator | None = None,
        min_bits: int = 8,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= min_bits <= num_bits:
            msg = f"BinaryHead needs 1 <= min_bits <= num_bits, got {min_bits} and {num_bits}"
            raise ConfigError(msg)
        self.to_bits = nn.Linear(embed_dim, num_bits)
        self.head = head
        self.estimator = estimators.ReinMax() if estimator is None else estimator
        self.min_bits = min_bits
        self.generator = generator

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Expected cross-entropy; its ``backward`` is the estimator.

        Args:
            x: Embeddings, shape (batch, embed_dim).
            labels: Their classes, int64, shape (batch,).

        Returns:
            A Monte Carlo estimate for each, in nats, shape (batch,).

        Raises:
            UnsupportedDistributionError: If the estimator is not for Bernoulli variables.
        """  # noqa: DOC502 (raised by the estimator)
        logits: Tensor = self.to_bits(x)
        kept = self._prefixes(logits)
        # A dropped bit has no part in the loss. Without its gradient, whose mean is zero, it adds
        # no noise to the estimators that do not know that.
        logits = torch.where(kept, logits, logits.detach())
        q = Independent(Bernoulli(logits=logits, validate_args=False), 1, validate_args=False)

        def nll(z: Tensor) -> Tensor:
            codes = ((2.0 * z - 1.0) * kept).flatten(0, 1)
            targets = labels.repeat(len(z))
            losses = F.cross_entropy(self.head(codes, targets), targets, reduction="none")
            return losses.view(z.shape[:2])

        return estimators.expectation(nll, q, self.estimator, ctx=x.detach())

    def probs(self, x: Tensor) -> Tensor:
        """Probability of each bit, (batch, embed_dim) to (batch, num_bits)."""
        return torch.sigmoid(self.to_bits(x))

    def codes(self, x: Tensor) -> Tensor:
        """The likeliest bits, (batch, embed_dim) to (batch, num_bits), bool."""
        return torch.as_tensor(self.to_bits(x) > 0.0)

    def _prefixes(self, logits: Tensor) -> Tensor:
        """Which bits each utterance keeps, (batch, num_bits), bool."""
        batch, num_bits = logits.shape
        u = torch.rand(batch, 1, generator=self.generator, device=logits.device)
        lengths = self.min_bits * ((num_bits + 1) / self.min_bits) ** u
        return torch.arange(num_bits, device=logits.device) < lengths.floor()

    def extra_repr(self) -> str:
        """Shown by ``repr``."""
        return f"min_bits={self.min_bits}"
