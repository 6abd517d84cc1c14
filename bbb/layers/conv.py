"""Bayesian convolutions, plain and transposed."""

from typing import cast

from torch import Tensor, nn

from bbb.layers.linear_map import LinearMapLayer


class _BayesConv(LinearMapLayer):
    """What all convolutions share, whatever their number of dimensions."""

    def linear_map(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        # Torch's own: it knows padding modes, groups, strides and dilation.
        return self._conv_forward(input, weight, bias)  # type: ignore[no-any-return]


class BayesConv1d(_BayesConv, nn.Conv1d):
    """`torch.nn.Conv1d` with a Gaussian posterior; arguments of both, see `BayesianLayer`."""

    twin = nn.Conv1d
    spatial_dims = 1


class BayesConv2d(_BayesConv, nn.Conv2d):
    """`torch.nn.Conv2d` with a Gaussian posterior; arguments of both, see `BayesianLayer`."""

    twin = nn.Conv2d
    spatial_dims = 2


class BayesConv3d(_BayesConv, nn.Conv3d):
    """`torch.nn.Conv3d` with a Gaussian posterior; arguments of both, see `BayesianLayer`."""

    twin = nn.Conv3d
    spatial_dims = 3


class _BayesConvTranspose(LinearMapLayer):
    """What all transposed convolutions share; their weight counts outputs along axis 1."""

    tied_axis = 1

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: A002
        """Return what the twin returns; see `LinearMapLayer.forward`."""

        def run(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
            """Let the twin's forward have explicit weights."""
            standin = self._standin({"weight": weight, "bias": bias})
            return cast("Tensor", self.twin.forward(standin, input, output_size))

        return self._estimate(input, run)


class BayesConvTranspose1d(_BayesConvTranspose, nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` with a Gaussian posterior; arguments of both."""

    twin = nn.ConvTranspose1d
    spatial_dims = 1


class BayesConvTranspose2d(_BayesConvTranspose, nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` with a Gaussian posterior; arguments of both."""

    twin = nn.ConvTranspose2d
    spatial_dims = 2


class BayesConvTranspose3d(_BayesConvTranspose, nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` with a Gaussian posterior; arguments of both."""

    twin = nn.ConvTranspose3d
    spatial_dims = 3
