"""Bayes by Backprop: Bayesian layers for PyTorch, Bayesian x-vectors, and trial scoring.

Names are imported when they are first used, so that ``import bbb`` is fast and the scoring side
never loads torch.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bbb import audio, errors, layers, priors, scoring, speaker
    from bbb.convert import bayesianize, bayesianize_, sample_deterministic, to_deterministic
    from bbb.objective import ELBO, kl_divergence, kl_weights, record_draws
    from bbb.predict import fixed_sample, posterior_mean, predict, sampling

    __all__ = [
        "ELBO",
        "audio",
        "bayesianize",
        "bayesianize_",
        "errors",
        "fixed_sample",
        "kl_divergence",
        "kl_weights",
        "layers",
        "posterior_mean",
        "predict",
        "priors",
        "record_draws",
        "sample_deterministic",
        "sampling",
        "scoring",
        "speaker",
        "to_deterministic",
    ]
else:
    __getattr__, __dir__, __all__ = lazy_loader.attach(
        __name__,
        submodules=["audio", "errors", "layers", "priors", "scoring", "speaker"],
        submod_attrs={
            "convert": ["bayesianize", "bayesianize_", "sample_deterministic", "to_deterministic"],
            "objective": ["ELBO", "kl_divergence", "kl_weights", "record_draws"],
            "predict": ["fixed_sample", "posterior_mean", "predict", "sampling"],
        },
    )
