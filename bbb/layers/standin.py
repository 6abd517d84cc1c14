"""What torch's own code sees in place of a Bayesian layer, and in place of its weight."""

import functools
from collections.abc import Mapping
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from bbb.errors import ConfigError


class Standin:
    """A layer as the methods of its twin need it: with plain weights.

    It shares everything else with the layer and lives for one call. Setting the weights on the
    layer itself would break threads, deepcopy and pickle.
    """

    def __init__(self, layer: "nn.Module | Standin", weights: Mapping[str, object]) -> None:
        """Stand for ``layer``, with these attributes instead of its own."""
        if not torch.compiler.is_compiling():
            # It saves time only, and cannot be traced: what is missing is looked up below.
            vars(self).update(vars(layer))
        self._layer = layer
        for name, weight in weights.items():
            setattr(self, name, weight)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as of the layer
        value = getattr(self._layer, name)
        if isinstance(value, MethodType) and value.__self__ is self._layer:
            # The twin's helpers have to see the plain weights too.
            return functools.partial(value.__func__, self)
        return value


_FACTS = frozenset({
    "device", "dim", "dtype", "is_cuda", "is_floating_point", "is_leaf", "is_meta", "is_nested",
    "is_sparse", "layout", "ndim", "ndimension", "numel", "requires_grad", "shape", "size",
})  # fmt: skip


class UndrawnWeight(Tensor):
    """A weight that has shape, dtype and device, but no value: each forward draws its own.

    Code that computes with it would bypass the draw, and gets an error. Code that takes a short
    cut around the layer, as `torch.nn.TransformerEncoderLayer` does in ``eval()``, does so only
    where no tensor has a ``__torch_function__``; so it calls the layer.
    """

    @classmethod
    def __torch_function__(
        cls,
        func: Any,  # noqa: ANN401 - a function, or what behaves like one
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - as torch's
        """Tell facts about the tensor.

        Raises:
            ConfigError: If its value is asked for.
        """
        name = func.__name__
        if name == "__get__":  # of the descriptor of a property
            name = func.__self__.__name__
        if name not in _FACTS:
            msg = (
                f"{name} needs the value of a weight that each forward draws anew; call the layer "
                "instead, or keep one draw with bbb.fixed_sample, or the mean with "
                "bbb.posterior_mean"
            )
            raise ConfigError(msg)
        with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001 - as torch's guide has it
            return func(*args, **(kwargs or {}))

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override] # noqa: ANN401
        return f"UndrawnWeight(shape={tuple(self.shape)}, dtype={self.dtype})"
