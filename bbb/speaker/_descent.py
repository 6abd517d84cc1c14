"""Adam over passes of random batches: how the transforms of embeddings are trained."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bbb.errors import NumericsError

BatchLoss: TypeAlias = Callable[[Tensor], Tensor]


class Passes(Protocol):
    """What says how long and how fast to train."""

    epochs: int
    batch_size: int
    lr: float


def descend(
    options: Passes,
    parameters: Iterable[nn.Parameter],
    num_rows: int,
    new_epoch: Callable[[], BatchLoss],
    *,
    generator: torch.Generator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Train parameters in place; the step size falls to 0 in a straight line.

    Args:
        options: Epochs, batch size and first step size; its class is named in the message.
        parameters: What to train.
        num_rows: Rows of the training data.
        new_epoch: Called at the start of each epoch; gives the loss, summed over a batch, as a
            function of the indices of its rows, shape (batch,).
        generator: Source of the batches; default torch's.
        progress: Called with the epochs done and their number.

    Returns:
        Mean loss of a row in each epoch, shape (epochs,).

    Raises:
        NumericsError: If the loss is not finite.
    """
    optimizer = torch.optim.Adam(parameters, lr=options.lr)
    num_updates = options.epochs * -(-num_rows // options.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 1.0 - i / num_updates)
    losses = np.empty(options.epochs)
    for epoch in range(options.epochs):
        loss_of, total = new_epoch(), 0.0
        order = torch.randperm(num_rows, generator=generator)
        for batch in torch.split(order, options.batch_size):
            loss = loss_of(batch)
            optimizer.zero_grad()
            (loss / len(batch)).backward()  # type: ignore[no-untyped-call] # torch's
            optimizer.step()
            schedule.step()
            total += loss.item()
        if not np.isfinite(total):
            msg = (
                f"{type(options).__name__} needs a finite loss, got {total} in epoch {epoch + 1}; "
                f"lower lr={options.lr}"
            )
            raise NumericsError(msg)
        losses[epoch] = total / num_rows
        if progress is not None:
            progress(epoch + 1, options.epochs)
    return losses
