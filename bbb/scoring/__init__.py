"""Trial scoring for speaker verification: metrics, trial lists, back-ends, fusion. Never torch.

Arrays are NumPy's; transforms follow scikit-learn's conventions (``fit``, ``transform``). A score
is any number that is higher for "same speaker"; `act_dcf` and `cllr` also need it to be a natural
log-likelihood ratio. Definitions, once: a trial is accepted when ``score >= threshold``, tied
scores move together, rates are fractions, costs are normalised by the better trivial decision.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bbb.scoring.backend import PLDABackend as PLDABackend
    from bbb.scoring.bootstrap import Interval as Interval
    from bbb.scoring.bootstrap import Metric as Metric
    from bbb.scoring.bootstrap import PairedComparison as PairedComparison
    from bbb.scoring.bootstrap import bootstrap_ci as bootstrap_ci
    from bbb.scoring.bootstrap import bootstrap_cis as bootstrap_cis
    from bbb.scoring.bootstrap import paired_bootstrap as paired_bootstrap
    from bbb.scoring.cosine import cosine_scores as cosine_scores
    from bbb.scoring.embeddings import Embeddings as Embeddings
    from bbb.scoring.embeddings import read_embeddings as read_embeddings
    from bbb.scoring.embeddings import write_embeddings as write_embeddings
    from bbb.scoring.evaluation import evaluate as evaluate
    from bbb.scoring.fusion import Fusion as Fusion
    from bbb.scoring.fusion import fuse_mean as fuse_mean
    from bbb.scoring.metrics import DetCurve as DetCurve
    from bbb.scoring.metrics import act_dcf as act_dcf
    from bbb.scoring.metrics import cllr as cllr
    from bbb.scoring.metrics import det_curve as det_curve
    from bbb.scoring.metrics import equal_error_rate as equal_error_rate
    from bbb.scoring.metrics import min_cllr as min_cllr
    from bbb.scoring.metrics import min_dcf as min_dcf
    from bbb.scoring.plda import PLDA as PLDA
    from bbb.scoring.plot import plot_det as plot_det
    from bbb.scoring.score import read_enroll_map as read_enroll_map
    from bbb.scoring.score import score_trials as score_trials
    from bbb.scoring.scores import Scores as Scores
    from bbb.scoring.scores import align_scores as align_scores
    from bbb.scoring.scores import read_scores as read_scores
    from bbb.scoring.scores import write_scores as write_scores
    from bbb.scoring.speakers import read_utt2spk as read_utt2spk
    from bbb.scoring.speakers import trial_speakers as trial_speakers
    from bbb.scoring.transforms import Centering as Centering
    from bbb.scoring.transforms import LengthNorm as LengthNorm
    from bbb.scoring.trials import Trials as Trials
    from bbb.scoring.trials import read_trials as read_trials

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "backend": ["PLDABackend"],
        "bootstrap": [
            "Interval",
            "Metric",
            "PairedComparison",
            "bootstrap_ci",
            "bootstrap_cis",
            "paired_bootstrap",
        ],
        "cosine": ["cosine_scores"],
        "embeddings": ["Embeddings", "read_embeddings", "write_embeddings"],
        "evaluation": ["evaluate"],
        "fusion": ["Fusion", "fuse_mean"],
        "metrics": [
            "DetCurve",
            "act_dcf",
            "cllr",
            "det_curve",
            "equal_error_rate",
            "min_cllr",
            "min_dcf",
        ],
        "plda": ["PLDA"],
        "plot": ["plot_det"],
        "score": ["read_enroll_map", "score_trials"],
        "scores": ["Scores", "align_scores", "read_scores", "write_scores"],
        "speakers": ["read_utt2spk", "trial_speakers"],
        "transforms": ["Centering", "LengthNorm"],
        "trials": ["Trials", "read_trials"],
    },
)
