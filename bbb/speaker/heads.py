"""Classification heads over speakers: softmax and its additive margins."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbb.errors import ConfigError


class Softmax(nn.Linear):
    """Plain softmax: an affine map to class logits.

    Args:
        embed_dim: Size of the input.
        num_classes: Training speakers.
    """

    def __init__(self, embed_dim: int, num_classes: int) -> None:
        super().__init__(embed_dim, num_classes)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Class logits.

        Args:
            x: Shape (batch, embed_dim).
            labels: Not needed; there for the interface of the margin heads.

        Returns:
            Shape (batch, num_classes).
        """
        return super().forward(x)


class _CosineHead(nn.Module):
    """Scaled cosine to one direction per class; subclasses move the target's away by a margin."""

    def __init__(
        self, embed_dim: int, num_classes: int, margin: float = 0.2, scale: float = 30.0
    ) -> None:
        super().__init__()
        if margin < 0.0 or scale <= 0.0:
            msg = (
                f"{type(self).__name__}: needs margin >= 0 and scale > 0, got {margin} and {scale}"
            )
            raise ConfigError(msg)
        self.weight = nn.Parameter(torch.empty(num_classes, embed_dim))
        # Of the class, so that a schedule may raise it from 0 without touching the configuration.
        self.margin = margin
        self.scale = scale
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Class logits.

        Args:
            x: Shape (batch, embed_dim); its length does not matter.
            labels: Target classes, int64, shape (batch,); None for no margin (at test).

        Returns:
            Shape (batch, num_classes), in [-scale (1 + margin), scale]; in float32 or better.
        """
        # Not in half precision, even under autocast: it cannot tell apart the largest cosines.
        dtype = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            cosine = F.linear(F.normalize(x.to(dtype)), F.normalize(self.weight.to(dtype)))
            if labels is not None:
                target = cosine.gather(1, labels.unsqueeze(1))
                cosine = cosine.scatter(1, labels.unsqueeze(1), self._penalise(target))
            return self.scale * cosine

    def _penalise(self, target: Tensor) -> Tensor:
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Shown by ``repr``."""
        classes, size = self.weight.shape
        return f"{size}, {classes}, margin={self.margin}, scale={self.scale}"


class AMSoftmax(_CosineHead):
    """Additive-margin softmax (CosFace): the target's cosine less ``margin``.

    Args:
        embed_dim: Size of the input.
        num_classes: Training speakers.
        margin: Subtracted from the target's cosine.
        scale: Factor on all cosines.

    Raises:
        ConfigError: If the margin is negative or the scale is not positive.

    References:
        Wang, Cheng, Liu, Liu: Additive margin softmax for face verification, 2018.
    """

    def _penalise(self, target: Tensor) -> Tensor:
        return target - self.margin


class AAMSoftmax(_CosineHead):
    """Additive-angular-margin softmax (ArcFace): ``margin`` radians added to the target's angle.

    Beyond the angle pi - margin, where the cosine would rise again, the line that continues the
    curve with ``-sin(margin) * margin`` takes over, so that the logit falls with the angle.

    Args:
        embed_dim: Size of the input.
        num_classes: Training speakers.
        margin: In radians, below pi / 2.
        scale: Factor on all cosines.

    Raises:
        ConfigError: If the margin is not in [0, pi / 2) or the scale is not positive.

    References:
        Deng, Guo, Xue, Zafeiriou: ArcFace: additive angular margin loss, CVPR 2019.
    """

    def __init__(
        self, embed_dim: int, num_classes: int, margin: float = 0.2, scale: float = 30.0
    ) -> None:
        if margin >= math.pi / 2:
            msg = f"AAMSoftmax: margin is in radians, below pi / 2, got {margin}"
            raise ConfigError(msg)
        super().__init__(embed_dim, num_classes, margin, scale)

    def _penalise(self, target: Tensor) -> Tensor:
        # The clamp keeps the square root's gradient finite at an angle of exactly 0.
        sine = (1.0 - target.square()).clamp(min=1e-9).sqrt()
        turned = target * math.cos(self.margin) - sine * math.sin(self.margin)
        past = target <= math.cos(math.pi - self.margin)
        return torch.where(past, target - math.sin(self.margin) * self.margin, turned)
