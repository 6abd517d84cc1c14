"""Work on large tensors block by block."""

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 1 << 17  # numbers: what is made of them on the way stays in a core's second-level cache


def in_blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]] | None:
    """Cut tensors of one shape into flat views of one block each, to be worked on in place.

    A pass over a large tensor costs the way to memory; many passes over a block cost it once.

    Args:
        *tensors: Tensors.

    Returns:
        Views of each, block by block; None where this would not help (another device than the
        CPU), does not work (``torch.func``, ``torch.compile``), or needs copies.
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():  # noqa: SLF001
        return None
    first = tensors[0]
    if any(t.shape != first.shape or not t.is_contiguous() or not t.is_cpu for t in tensors):
        return None
    count = -(-first.numel() // BLOCK)
    if count <= 1:
        return iter([tensors])
    _keep_pages()
    return zip(*(tensor.view(-1).chunk(count) for tensor in tensors), strict=True)


@functools.cache
def _keep_pages() -> None:
    """Let glibc keep up to 64 MiB of freed memory, once, for the next step's tensors.

    It hands freed memory back to the system beyond twice the largest block freed so far. Of a few
    large tensors per layer that is most, and getting it back costs a page fault per 4 KiB, a fifth
    of a step. A block that is freed untouched raises the limit to its highest and costs nothing.
    """
    torch.empty((32 << 20) - (1 << 12), dtype=torch.uint8)


def total(terms: list[Tensor]) -> Tensor:
    """Sum of the terms of all blocks, each of shape ()."""
    return terms[0] if len(terms) == 1 else torch.stack(terms).sum()
