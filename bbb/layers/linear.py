"""The Bayesian linear layer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbb.layers.linear_map import LinearMapLayer
from bbb.layers.modes import Policy

# Where a second product of matrices costs as much as a normal per weight, on a CPU; the size of the
# layer hardly matters. Backward doubles what the product costs, and adds little for the normals.
ROWS_WITH_GRAD = 16
ROWS_WITHOUT_GRAD = 64


class BayesLinear(LinearMapLayer, nn.Linear):
    """`torch.nn.Linear` with a Gaussian posterior; arguments of both, see `BayesianLayer`.

    Example:
        >>> layer = BayesLinear(3, 2, sigma_init=0.05).eval()
        >>> layer
        BayesLinear(in_features=3, out_features=2, bias=True, prior=Normal(loc=0.0, scale=0.1), \
sigma_init=0.05, estimator='auto')
    """

    twin = nn.Linear

    def linear_map(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        """The twin's forward, with explicit weights."""
        return F.linear(input, weight, bias)

    def _prefers_local(self, input: Tensor, policy: Policy) -> bool:  # noqa: A002
        if input.dim() > 2:  # noqa: PLR2004
            return False
        rows = 1 if input.dim() == 1 else input.shape[0]
        if policy.many:
            return rows <= self.in_features
        return rows <= (ROWS_WITH_GRAD if torch.is_grad_enabled() else ROWS_WITHOUT_GRAD)
