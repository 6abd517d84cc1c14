r"""What a sample of predictions says: how uncertain, of which kind, and how well calibrated.

Classification takes what `bbb.predict` returns, shape (samples, batch, ..., classes), as logits or
as probabilities (``kind``); one class means class 1 of two. The predictive distribution is the mean
of the samples' probabilities. Its entropy splits into two parts,

.. math:: H[\bar p] = \underbrace{\tfrac1S \textstyle\sum_s H[p_s]}_\text{aleatoric}
   + \underbrace{\tfrac1S \textstyle\sum_s \mathrm{KL}(p_s \| \bar p)}_\text{epistemic}

noise that more data cannot remove, and disagreement of the weights that it would. Regression has
the same split of the variance. Entropies and NLL are in nats.
"""

from bbb.uncertainty.calibration import (
    Reliability,
    brier_score,
    expected_calibration_error,
    nll,
    plot_reliability,
    reliability,
)
from bbb.uncertainty.entropy import aleatoric, mutual_information, predictive_entropy
from bbb.uncertainty.regression import (
    GaussianLikelihood,
    MeanVariance,
    gaussian_nll,
    mean_variance,
)

__all__ = [
    "GaussianLikelihood",
    "MeanVariance",
    "Reliability",
    "aleatoric",
    "brier_score",
    "expected_calibration_error",
    "gaussian_nll",
    "mean_variance",
    "mutual_information",
    "nll",
    "plot_reliability",
    "predictive_entropy",
    "reliability",
]
