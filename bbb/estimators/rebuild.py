"""A distribution again from its own parameters, as many times as there are replicas."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints

from bbb.errors import UnsupportedDistributionError

# Of parameters that say the same, the one that an optimiser would hold.
SUPERSEDED = {
    "probs": "logits",
    "covariance_matrix": "scale_tril",
    "precision_matrix": "scale_tril",
}


def replicate(
    q: Distribution, copies: int, dtype: torch.dtype | None = None
) -> tuple[Distribution, dict[str, Tensor]]:
    """Build a batch of copies of ``q`` that share no parameter.

    Args:
        q: A distribution that its constructor can build again: every one of torch's, but not those
            made of transforms.
        copies: How many.
        dtype: Type of the new parameters; default their own.

    Returns:
        The distribution, with batch (copies, *batch), and its parameters by name: leaves that need
        a gradient, (copies, *shape of the parameter).

    Raises:
        UnsupportedDistributionError: If ``q`` cannot be built again.
    """
    leaves: dict[str, Tensor] = {}
    built = _build(q, copies, dtype, "", leaves)
    expected = (torch.Size((copies, *q.batch_shape)), q.event_shape)
    if (built.batch_shape, built.event_shape) != expected or not leaves:
        raise UnsupportedDistributionError(_cannot(q))
    return built, leaves


def _cannot(q: Distribution) -> str:
    return (
        f"{type(q).__name__} cannot be built again from its parameters, as measuring the gradient "
        "in them needs; it has to keep each argument of its constructor as an attribute of the "
        "same name, with its constraint in arg_constraints, and to take more batch axes"
    )


def _build(
    q: Distribution, copies: int, dtype: torch.dtype | None, prefix: str, leaves: dict[str, Tensor]
) -> Distribution:
    """Build ``q`` with one more batch axis, and put its new parameters into ``leaves``.

    Raises:
        UnsupportedDistributionError: If it cannot be built.
    """
    if isinstance(q, Independent):
        base = _build(q.base_dist, copies, dtype, prefix, leaves)
        return Independent(base, q.reinterpreted_batch_ndims, validate_args=False)
    given: dict[str, Any] = {}
    for name, value in _arguments(q).items():
        constraint: Any = q.arg_constraints.get(name)
        if isinstance(value, Distribution):
            given[name] = _build(value, copies, dtype, f"{prefix}{name}.", leaves)
        elif _is_parameter(value, constraint):
            leaf = _leaf(value, constraint.event_dim, q, copies).to(dtype or value.dtype)
            leaves[prefix + name] = leaf.requires_grad_()
            # The upper triangle is no parameter: a sample would see it, a density not.
            given[name] = leaf.tril() if constraint is constraints.lower_cholesky else leaf
        else:
            given[name] = value
    try:
        return type(q)(**given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UnsupportedDistributionError(_cannot(q)) from error


def _arguments(q: Distribution) -> Mapping[str, Any]:
    """Collect the arguments by which the constructor makes ``q`` again.

    Raises:
        UnsupportedDistributionError: If one that it needs is not to be found.
    """
    wanted = inspect.signature(type(q).__init__).parameters
    found: dict[str, Any] = {}
    for name, argument in list(wanted.items())[1:]:
        if SUPERSEDED.get(name) in wanted:
            continue
        if name == "validate_args":
            found[name] = False
        elif hasattr(q, name):
            found[name] = getattr(q, name)
        elif argument.default is argument.empty:
            raise UnsupportedDistributionError(_cannot(q))
    return found


def _is_parameter(value: object, constraint: Any) -> bool:  # noqa: ANN401 (torch's, untyped)
    real = isinstance(value, Tensor) and value.is_floating_point()
    return real and constraint is not None and not constraint.is_discrete


def _leaf(value: Tensor, event_dims: int, q: Distribution, copies: int) -> Tensor:
    """Copies of a parameter, with axes of 1 where the batch of ``q`` has more than it has."""
    missing = max(0, len(q.batch_shape) - (value.dim() - event_dims))
    shaped = value.detach().reshape((1,) * (missing + 1) + value.shape)
    return shaped.expand(copies, *shaped.shape[1:]).clone()
