"""Batch normalisation over the batches of all processes, on CPUs too."""

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_nn
from lightning.pytorch.plugins import LayerSync
from torch import Tensor, nn


class SyncBatchNorm1d(nn.BatchNorm1d):
    """``nn.BatchNorm1d`` whose moments are those of all processes' batches together.

    ``nn.SyncBatchNorm`` does this for GPUs only. Every process must bring a batch of the same
    shape. Outside of a process group, and in eval mode, it is ``nn.BatchNorm1d``. Without affine
    parameters or running moments, or with a momentum of None, it cannot be used.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, shape (batch, channels) or (batch, channels, frames), which is kept."""
        if not (self.training and dist.is_initialized()):
            return super().forward(x)
        axes = [0, *range(2, x.ndim)]
        ranks, rank = dist.get_world_size(), dist.get_rank()
        # Half precision is no place for moments.
        own = torch.stack(torch.var_mean(x.float(), dim=axes, correction=0))
        # A sum in which each has its own row: the moments of all, with gradients, in one message.
        rows = torch.zeros(ranks, *own.shape, device=x.device)
        rows[rank] = own
        every: Tensor = dist_nn.all_reduce(rows)  # type: ignore[no-untyped-call]
        variances, means = every.unbind(1)
        mean = means.mean(0)
        variance = variances.mean(0) + means.var(0, correction=0)
        self._track(mean.detach(), variance.detach(), ranks * x.numel() // x.shape[1])
        scale = self.weight * (variance + self.eps).rsqrt()
        shape = (-1,) + (1,) * (x.ndim - 2)
        shifted: Tensor = (x - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)
        return shifted.to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running moments, the variance by its unbiased estimate from ``count`` values."""
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)


class SyncNorms(LayerSync):
    """Lightning's switch for trainings in several processes: same weights, same names."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Let every ``nn.BatchNorm1d`` in a module speak to the other processes."""
        for module in model.modules():
            if type(module) is nn.BatchNorm1d:
                module.__class__ = SyncBatchNorm1d
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Undo ``apply``."""
        for module in model.modules():
            if type(module) is SyncBatchNorm1d:
                module.__class__ = nn.BatchNorm1d  # type: ignore[assignment]
        return model
