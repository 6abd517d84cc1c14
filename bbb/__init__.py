"""Bayes by Backprop: Bayesian layers for PyTorch, Bayesian x-vectors, and trial scoring.

Names are imported when they are first used, so that ``import bbb`` is fast and the scoring side
never loads torch.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bbb import (
        audio,
        callbacks,
        distributions,
        errors,
        estimators,
        layers,
        priors,
        schedules,
        scoring,
        speaker,
        uncertainty,
    )
    from bbb.convert import bayesianize, bayesianize_, sample_deterministic, to_deterministic
    from bbb.objective import ELBO, kl_divergence, kl_weights, record_draws
    from bbb.predict import fixed_sample, posterior_mean, predict, sampling
    from bbb.prune import prune, signal_to_noise

    __all__ = [
        "ELBO",
        "audio",
        "bayesianize",
        "bayesianize_",
        "callbacks",
        "distributions",
        "errors",
        "estimators",
        "fixed_sample",
        "kl_divergence",
        "kl_weights",
        "layers",
        "posterior_mean",
        "predict",
        "priors",
        "prune",
        "record_draws",
        "sample_deterministic",
        "sampling",
        "schedules",
        "scoring",
        "signal_to_noise",
        "speaker",
        "to_deterministic",
        "uncertainty",
    ]
else:
    __getattr__, __dir__, __all__ = lazy_loader.attach(
        __name__,
        submodules=[
            "audio",
            "callbacks",
            "distributions",
            "errors",
            "estimators",
            "layers",
            "priors",
            "schedules",
            "scoring",
            "speaker",
            "uncertainty",
        ],
        submod_attrs={
            "convert": ["bayesianize", "bayesianize_", "sample_deterministic", "to_deterministic"],
            "objective": ["ELBO", "kl_divergence", "kl_weights", "record_draws"],
            "predict": ["fixed_sample", "posterior_mean", "predict", "sampling"],
            "prune": ["prune", "signal_to_noise"],
        },
    )
