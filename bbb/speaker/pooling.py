"""Pooling of frames into one vector per utterance."""

import torch
from torch import Tensor, nn

from bbb.errors import ShapeError


class StatisticsPooling(nn.Module):
    """Mean and standard deviation over frames (Snyder et al. 2018).

    Args:
        eps: Added to the variance, so that a constant channel has a finite gradient.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Pool.

        Args:
            x: Shape (batch, channels, frames).

        Returns:
            Means, then standard deviations, shape (batch, 2 * channels); in float32 or better,
            since a variance in half precision loses its digits.

        Raises:
            ShapeError: If there is no frame.
        """
        if x.shape[-1] == 0:
            msg = f"StatisticsPooling needs at least one frame, got {tuple(x.shape)}"
            raise ShapeError(msg)
        x = x.float() if x.dtype in {torch.float16, torch.bfloat16} else x
        # In two passes, as exact as torch.var_mean and several times as fast on a CPU.
        mean = x.mean(dim=-1, keepdim=True)
        deviation = x - mean
        variance = torch.linalg.vecdot(deviation, deviation) / x.shape[-1]
        return torch.cat([mean.squeeze(-1), (variance + self.eps).sqrt()], dim=-1)

    def extra_repr(self) -> str:
        """Shown by ``repr``."""
        return f"eps={self.eps}"
