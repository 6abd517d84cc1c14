"""Sampling any torch distribution by an explicit generator, and under ``vmap``."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_IN_PLACE = frozenset({"cauchy_", "exponential_", "log_normal_", "normal_", "uniform_"})


class _FreshNoise(TorchFunctionMode):
    """Let ``vmap`` fill an empty tensor with noise, as most of torch's distributions do.

    It refuses to, because the empty tensor is the same for all samples; one that depends on a
    random number is not.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Call ``func``, and once more on another tensor where ``vmap`` refused the first."""
        kwargs = kwargs or {}
        # torch.nn.init has functions of the same names, called by keyword.
        if not args or getattr(func, "__name__", "") not in _IN_PLACE:
            return func(*args, **kwargs)
        filled, *rest = args
        try:
            return func(filled, *rest, **kwargs)
        except RuntimeError:
            batched = filled + torch.rand((), dtype=filled.dtype, device=filled.device)
            return func(batched, *rest, **kwargs)


@contextmanager
def drawn_by(generator: torch.Generator | None) -> Iterator[None]:
    """Let torch's distributions be drawn by a generator, and under ``vmap``.

    Inside, torch's default generator of that device carries the state of ``generator``; at the end
    ``generator`` has advanced and torch's own is as it was, after an error too. With None as well,
    ``torch.func.vmap(..., randomness="different")`` can draw the laws that it refuses in torch
    2.11: Normal, MultivariateNormal, Laplace, StudentT, Cauchy, Exponential, Pareto, Weibull. For
    Beta and Dirichlet it needs those of `bbb.distributions`.

    Not for several threads that draw at once; ``torch.compile`` takes no generator, only None.

    Args:
        generator: On the device of the distribution's parameters; None for torch's own.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> with drawn_by(g):
        ...     z = torch.distributions.Gamma(2.0, 3.0).rsample((5,))
        >>> def draw(loc):
        ...     with drawn_by(None):
        ...         return torch.distributions.Normal(loc, 1.0).rsample()
        >>> torch.func.vmap(draw, randomness="different")(torch.zeros(4)).shape
        torch.Size([4])
    """
    own = None if generator is None else _default(generator.device)
    if generator is None or own is None or own is generator:
        with _FreshNoise():
            yield
        return
    saved = own.get_state()
    own.set_state(generator.get_state())
    try:
        with _FreshNoise():
            yield
    finally:
        generator.set_state(own.get_state())
        own.set_state(saved)


def _default(device: torch.device) -> torch.Generator:
    if device.type == "cpu":
        return torch.default_generator
    own: torch.Generator = torch.get_device_module(device).default_generators[device.index or 0]
    return own
