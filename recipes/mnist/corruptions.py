"""Digits made strange."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Degrees; and standard deviations of grey values, which go from 0 to 255.
LEVELS = {"rotation": tuple(range(0, 181, 15)), "noise": (0, 25, 50, 75, 100, 150, 200)}


def corrupt(kind: str, images: Tensor, level: float) -> Tensor:
    """Corrupt images.

    Args:
        kind: Of `LEVELS`.
        images: uint8, (images, side, side).
        level: How much.

    Returns:
        The like; with noise the same one in every call.
    """
    return rotate(images, level) if kind == "rotation" else add_noise(images, level)


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Turn images counter-clockwise about their centre; what comes in at the corners is 0.

    Args:
        images: uint8, (images, side, side).
        degrees: The angle.

    Returns:
        uint8, (images, side, side), interpolated linearly.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # Where a pixel comes from: y grows downwards.
    source = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]).expand(len(images), 2, 3)
    grid = F.affine_grid(source, [len(images), 1, *images.shape[1:]], align_corners=False)
    turned = F.grid_sample(images[:, None].float(), grid, align_corners=False)
    return turned[:, 0].round().to(torch.uint8)


def add_noise(images: Tensor, sigma: float) -> Tensor:
    """Add Gaussian noise to grey values, cut to 0 to 255; the same noise in every call."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + sigma * noise).round().clamp(0, 255).to(torch.uint8)


def noise_images(count: int, side: int = 28) -> Tensor:
    """Return images of independent uniform grey values, uint8 of (count, side, side)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, side, side), generator=generator, dtype=torch.uint8)
