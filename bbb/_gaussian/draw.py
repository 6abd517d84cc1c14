"""Draws and variances, together with the KL divergence that belongs to them."""

import inspect
import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from bbb._gaussian.blocks import in_blocks, total
from bbb._gaussian.divergence import (
    Gaussian,
    ascent_of,
    copies_of,
    deviation,
    divergence,
    pull_of,
    sum_of_squares,
)
from bbb._numerics import LOG_SQRT_2PI, Context


class _Task(NamedTuple):
    """What is to be drawn, and compared with which prior.

    Attributes:
        is_draw: Whether it is a draw; or the variance.
        scale: That of the prior; infinity for a flat one, None for no KL divergence.
        with_kl: Whether its value is wanted.
    """

    is_draw: bool
    scale: float | None
    with_kl: bool

    @staticmethod
    def of(eps: Tensor | None, prior: Gaussian | None, with_kl: bool) -> "_Task":
        """Read it off the arguments of `_DrawGaussian`."""
        return _Task(eps is not None, None if prior is None else prior.scale, with_kl)

    @property
    def factor(self) -> float:
        """Precision of the prior."""
        return 0.0 if self.scale is None else self.scale**-2


class _Drawn(NamedTuple):
    """What `_draw` makes.

    Attributes:
        value: The draw, or the variance.
        slope: Its derivative with respect to rho.
        pull: The derivative of the KL divergence with respect to rho; shape () without a prior.
        kl: The KL divergence, shape (), 0 where it is not wanted.
    """

    value: Tensor
    slope: Tensor
    pull: Tensor
    kl: Tensor


Out: TypeAlias = "Sequence[Tensor | None]"


def _draw(
    task: _Task, mu: Tensor, rho: Tensor, eps: Tensor, delta: Tensor, *, out: Out = (None,) * 3
) -> _Drawn:
    """Work on whole tensors, or on one block of each and into ``out``."""
    sigma, ascent = F.softplus(rho), ascent_of(rho)
    if task.is_draw:
        value = torch.addcmul(mu, sigma, eps, out=out[0])
        slope = torch.mul(eps, ascent, out=out[1])
    else:
        value = torch.square(sigma, out=out[0])
        slope = torch.mul(sigma * 2.0, ascent, out=out[1])
    if task.scale is None:
        return _Drawn(value, slope, rho.new_zeros(()), rho.new_zeros(()))
    kl, pull = divergence(rho, sigma, ascent, task.scale, with_value=task.with_kl, out=out[2])
    times = copies_of(mu, rho)
    if times != 1:
        kl, pull = kl * times, pull * times
    if task.with_kl and task.scale != math.inf:
        kl = kl + sum_of_squares(delta) * (0.5 * task.factor)
    elif task.with_kl and task.is_draw:
        kl = kl - sum_of_squares(eps) * 0.5 - eps.numel() * LOG_SQRT_2PI
    return _Drawn(value, slope, pull, kl)


def _draw_in_blocks(task: _Task, *tensors: Tensor) -> _Drawn:
    """The same with each pass but the first over numbers that the cache still holds."""
    rho = tensors[1]
    value, slope = torch.empty_like(rho), torch.empty_like(rho)
    pull = rho if task.scale is None else torch.empty_like(rho)
    blocks = in_blocks(*tensors, value, slope, pull)
    if blocks is None:
        return _draw(task, *tensors)
    kl = total([_draw(task, *block[:4], out=block[4:]).kl for block in blocks])
    return _Drawn(value, slope, rho.new_zeros(()) if task.scale is None else pull, kl)


class _Slopes(NamedTuple):
    """``slope`` and ``pull`` of `_Drawn`."""

    drawn: Tensor
    kl: Tensor


class _Incoming(NamedTuple):
    """Gradients with respect to what was drawn, and to the KL divergence."""

    drawn: Tensor | None
    kl: Tensor | None


Gradients: TypeAlias = tuple[Tensor | None, Tensor | None]
"""With respect to mu and rho."""


def _slopes_again(task: _Task, mu: Tensor, rho: Tensor, slope: Tensor) -> _Slopes:
    """Compute slope and pull again from ``slope`` so that they can be differentiated."""
    sigma, ascent = F.softplus(rho), ascent_of(rho)
    # Where half precision has no slope, it has no noise either.
    eps = torch.where(ascent > 0, slope / ascent, 0).detach()
    along = eps if task.is_draw else sigma * 2.0
    return _Slopes(along * ascent, pull_of(rho, task.factor) * copies_of(mu, rho))


class _DrawContext(Context, Protocol):
    """What the function below uses of autograd's context."""

    task: _Task
    loc: float | Tensor

    def set_materialize_grads(self, value: bool) -> None:
        """Whether a gradient that is not there comes as zeros, or as None."""
        ...

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Name the outputs that have no gradient."""
        ...


class _DrawGaussian(torch.autograd.Function):
    """A draw, or without ``eps`` the variance, and in the same passes the KL divergence.

    Forward keeps the derivatives instead of what they are made of, so that backward is short. What
    it keeps does not depend on ``with_kl``: gradient checkpointing may draw again without it.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        mu: Tensor, rho: Tensor, eps: Tensor | None, prior: Gaussian | None, with_kl: bool
    ) -> tuple[Tensor, ...]:
        """Compute what `_Drawn` names."""
        task = _Task.of(eps, prior, with_kl)
        delta = mu if prior is None else deviation(mu, prior.loc)
        return tuple(_draw_in_blocks(task, mu, rho, rho if eps is None else eps, delta))

    @staticmethod
    def setup_context(
        ctx: _DrawContext,
        inputs: tuple[Tensor, Tensor, Tensor | None, Gaussian | None, bool],
        output: tuple[Tensor, Tensor, Tensor, Tensor],
    ) -> None:
        """Keep what backward needs."""
        mu, rho, eps, prior, with_kl = inputs
        _, slope, pull, _ = output
        ctx.task = _Task.of(eps, prior, with_kl)
        ctx.loc = 0.0 if prior is None else prior.loc
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(slope, pull)
        ctx.save_for_backward(mu, rho, slope, pull)

    @staticmethod
    def backward(
        ctx: _DrawContext, grad: Tensor | None, _: None, __: None, grad_kl: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        """Compute the gradients."""
        task, (mu, rho, *kept) = ctx.task, ctx.saved_tensors
        grads = _Incoming(grad, grad_kl if task.scale is not None and task.with_kl else None)
        delta = mu if grads.kl is None else deviation(mu, ctx.loc)
        slopes = _Slopes(*kept)
        if torch.is_grad_enabled():
            slopes = _slopes_again(task, mu, rho, kept[0])
        result = _chain_in_place(task, grads, slopes, delta)
        if result is None:
            result = _chain(task, grads, slopes, delta, rho.shape)
        return *result, None, None, None


def _chain(
    task: _Task, grads: _Incoming, slopes: _Slopes, delta: Tensor, shape: torch.Size
) -> Gradients:
    """Apply the chain rule; rho has the shape ``shape``."""
    grad_mu = grads.drawn if task.is_draw else None
    grad_rho: Tensor | None = None
    if grads.drawn is not None:
        grad_rho = (grads.drawn * slopes.drawn).sum_to_size(shape)
    if grads.kl is None:
        return grad_mu, grad_rho
    pull = slopes.kl * grads.kl
    grad_rho = pull if grad_rho is None else grad_rho + pull
    if task.factor:
        pull = delta * (grads.kl * task.factor)
        grad_mu = pull if grad_mu is None else grad_mu + pull
    return grad_mu, grad_rho


def _chain_in_place(
    task: _Task, grads: _Incoming, slopes: _Slopes, delta: Tensor
) -> Gradients | None:
    """Do the same in the memory of the slopes, block by block; None where that cannot be.

    Nobody else has seen them, and backward comes here once unless the graph is kept.
    """
    if grads.drawn is None or grads.kl is None or torch.is_grad_enabled():
        return None
    slope, pull = slopes
    if torch._C._autograd._get_current_graph_task_keep_graph():  # noqa: SLF001 - as AOTAutograd
        slope, pull = slope.clone(), pull.clone()
    blocks = in_blocks(grads.drawn, delta, slope, pull)
    if blocks is None:
        return None
    part = grads.kl * task.factor
    for g, d, s, p in blocks:
        p.mul_(grads.kl).addcmul_(g, s)
        if not task.is_draw:
            torch.mul(d, part, out=s)
        elif task.factor:
            torch.addcmul(g, d, part, out=s)
    return grads.drawn if task.is_draw and not task.factor else slope, pull


def draw_gaussian(mu: Tensor, rho: Tensor, eps: Tensor) -> Tensor:
    """``mu + softplus(rho) * eps``.

    Args:
        mu: Means, any shape.
        rho: Softplus-inverse standard deviations; broadcasts to the shape of ``mu``.
        eps: Standard normal noise, the shape of ``mu``.

    Returns:
        The drawn weights, the shape of ``mu``.
    """
    if not torch.is_grad_enabled():
        return torch.addcmul(mu, F.softplus(rho), eps)
    args = mu, rho, eps, None, False
    return cast("Tensor", _DrawGaussian.apply(*args)[0])  # type: ignore[no-untyped-call]


def draw_gaussian_kl(
    mu: Tensor, rho: Tensor, eps: Tensor | None, prior: Gaussian, *, with_kl: bool = True
) -> tuple[Tensor, Tensor]:
    """A draw, and the KL divergence that belongs to it, for less than both apart.

    Args:
        mu: Means, any shape; in float32 or better where ``with_kl``.
        rho: Softplus-inverse standard deviations; broadcasts to the shape of ``mu``.
        eps: Standard normal noise, the shape of ``mu``; None for the variance instead of a draw.
        prior: The prior, whose ``loc`` gets no gradient. `FLAT` leaves it out.
        with_kl: Whether the second result is wanted.

    Returns:
        The drawn weights, the shape of ``mu``, or variances, the shape of ``rho``; and, shape (),
        in nats: for a prior the closed-form `gaussian_kl`, for `FLAT` the log density of the
        posterior at the draw, summed; or 0.
    """
    args = mu, rho, eps, prior, with_kl
    weight, _, _, kl = _DrawGaussian.apply(*args)  # type: ignore[no-untyped-call]
    return weight, kl


# Function.apply looks the signature up at every call, which takes longer than a small layer.
_DrawGaussian.forward.__signature__ = inspect.signature(_DrawGaussian.forward)  # type: ignore[attr-defined]
