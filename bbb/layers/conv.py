"""Bayesian convolutions."""

from torch import Tensor, nn

from bbb.layers.linear_map import LinearMapLayer


class _BayesConv(LinearMapLayer):
    """What all convolutions share, whatever their number of dimensions."""

    def _map(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        # Torch's own: it knows padding modes, groups, strides and dilation.
        return self._conv_forward(input, weight, bias)  # type: ignore[operator, no-any-return]


class BayesConv1d(_BayesConv, nn.Conv1d):
    """`torch.nn.Conv1d` with a Gaussian posterior; arguments of both, see `BayesianLayer`."""

    twin = nn.Conv1d
    spatial_dims = 1
