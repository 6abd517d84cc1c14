"""The Bayesian linear layer."""

import torch.nn.functional as F
from torch import Tensor, nn

from bbb.layers.linear_map import LinearMapLayer


class BayesLinear(LinearMapLayer, nn.Linear):
    """`torch.nn.Linear` with a Gaussian posterior; arguments of both, see `BayesianLayer`.

    Example:
        >>> layer = BayesLinear(3, 2, sigma_init=0.05).eval()
        >>> layer
        BayesLinear(in_features=3, out_features=2, bias=True, prior=Normal(loc=0.0, scale=0.1), \
sigma_init=0.05, estimator='auto')
    """

    twin = nn.Linear

    def _map(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        return F.linear(input, weight, bias)

    def _prefers_local(self, input: Tensor) -> bool:  # noqa: A002
        return input.dim() == 1 or (input.dim() == 2 and input.shape[0] <= self.in_features)  # noqa: PLR2004
