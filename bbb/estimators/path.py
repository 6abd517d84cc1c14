"""The pathwise gradient: through the draw of a continuous variable."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from bbb.distributions import drawn_by
from bbb.errors import UnsupportedDistributionError
from bbb.estimators.base import PathEstimator


class Pathwise(PathEstimator):
    """The reparameterisation trick: ``z`` as a function of the parameters and of free noise.

    Args:
        num_samples: Draws for each batch element.
        generator: Source of randomness; default torch's own.

    References:
        Kingma and Welling 2014, Auto-Encoding Variational Bayes. Gamma, Beta, Dirichlet and
        Student's t by implicit gradients: Figurnov et al. 2018.
    """

    def rsample(self, q: Distribution, sample_shape: torch.Size) -> Tensor:
        """Draw by ``q.rsample``.

        Args:
            q: The distribution.
            sample_shape: Leading axes of the draw.

        Returns:
            The draws, (*sample_shape, *batch, *event).

        Raises:
            UnsupportedDistributionError: If ``q`` cannot be reparameterised.
        """
        if not q.has_rsample:
            msg = (
                f"Pathwise needs a distribution with rsample, which {type(q).__name__} lacks; use "
                "RLOO(), or for Bernoulli and OneHotCategorical ReinMax() (biased)"
            )
            raise UnsupportedDistributionError(msg)
        with drawn_by(self.generator):
            return q.rsample(sample_shape)
