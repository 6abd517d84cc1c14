"""Trial scoring for speaker verification: metrics, trial lists, back-ends, fusion. Never torch.

Arrays are NumPy's; transforms follow scikit-learn's conventions (``fit``, ``transform``). A score
is any number that is higher for "same speaker"; `act_dcf` and `cllr` also need it to be a natural
log-likelihood ratio. Definitions, once: a trial is accepted when ``score >= threshold``, tied
scores move together, rates are fractions, costs are normalised by the better trivial decision.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bbb.scoring.adaptation import CORAL as CORAL
    from bbb.scoring.all_pairs import count_all_pairs as count_all_pairs
    from bbb.scoring.backend import PLDABackend as PLDABackend
    from bbb.scoring.bootstrap import Interval as Interval
    from bbb.scoring.bootstrap import PairedComparison as PairedComparison
    from bbb.scoring.bootstrap import bootstrap_ci as bootstrap_ci
    from bbb.scoring.bootstrap import bootstrap_cis as bootstrap_cis
    from bbb.scoring.bootstrap import paired_bootstrap as paired_bootstrap
    from bbb.scoring.bootstrap import paired_bootstraps as paired_bootstraps
    from bbb.scoring.calibration import Calibration as Calibration
    from bbb.scoring.calibration import quality_columns as quality_columns
    from bbb.scoring.calibration import read_quality as read_quality
    from bbb.scoring.cohort import CohortStatistics as CohortStatistics
    from bbb.scoring.cohort import cohort_statistics as cohort_statistics
    from bbb.scoring.conditions import read_conditions as read_conditions
    from bbb.scoring.cosine import cosine_scores as cosine_scores
    from bbb.scoring.crossval import cross_validate as cross_validate
    from bbb.scoring.det_counts import DetCounts as DetCounts
    from bbb.scoring.embeddings import Embeddings as Embeddings
    from bbb.scoring.embeddings import read_embeddings as read_embeddings
    from bbb.scoring.embeddings import write_embeddings as write_embeddings
    from bbb.scoring.evaluation import compare as compare
    from bbb.scoring.evaluation import evaluate as evaluate
    from bbb.scoring.evaluation import evaluate_blocks as evaluate_blocks
    from bbb.scoring.evaluation import evaluate_by as evaluate_by
    from bbb.scoring.evaluation import evaluate_counts as evaluate_counts
    from bbb.scoring.fusion import Fusion as Fusion
    from bbb.scoring.fusion import fuse_mean as fuse_mean
    from bbb.scoring.fusion import stack_scores as stack_scores
    from bbb.scoring.hamming import hamming_matrix as hamming_matrix
    from bbb.scoring.hamming import hamming_scores as hamming_scores
    from bbb.scoring.hamming import majority_codes as majority_codes
    from bbb.scoring.metric import Metric as Metric
    from bbb.scoring.metrics import DetCurve as DetCurve
    from bbb.scoring.metrics import act_dcf as act_dcf
    from bbb.scoring.metrics import cllr as cllr
    from bbb.scoring.metrics import det_curve as det_curve
    from bbb.scoring.metrics import equal_error_rate as equal_error_rate
    from bbb.scoring.metrics import min_cllr as min_cllr
    from bbb.scoring.metrics import min_dcf as min_dcf
    from bbb.scoring.metrics import rocch_eer as rocch_eer
    from bbb.scoring.metrics import threshold_at as threshold_at
    from bbb.scoring.normalisation import ScoreNorm as ScoreNorm
    from bbb.scoring.normalisation import as_norm as as_norm
    from bbb.scoring.normalisation import normalise_scores as normalise_scores
    from bbb.scoring.plda import PLDA as PLDA
    from bbb.scoring.plot import plot_det as plot_det
    from bbb.scoring.plot import plot_scores as plot_scores
    from bbb.scoring.points import PRESETS as PRESETS
    from bbb.scoring.points import OperatingPoint as OperatingPoint
    from bbb.scoring.points import preset_points as preset_points
    from bbb.scoring.score import score_all_pairs as score_all_pairs
    from bbb.scoring.score import score_trials as score_trials
    from bbb.scoring.scores import Scores as Scores
    from bbb.scoring.scores import align_scores as align_scores
    from bbb.scoring.scores import iter_scores as iter_scores
    from bbb.scoring.scores import read_scores as read_scores
    from bbb.scoring.scores import write_scores as write_scores
    from bbb.scoring.speakers import read_enroll_map as read_enroll_map
    from bbb.scoring.speakers import read_utt2spk as read_utt2spk
    from bbb.scoring.speakers import trial_speakers as trial_speakers
    from bbb.scoring.transforms import Centering as Centering
    from bbb.scoring.transforms import LengthNorm as LengthNorm
    from bbb.scoring.transforms import Whitening as Whitening
    from bbb.scoring.trials import Trials as Trials
    from bbb.scoring.trials import read_trials as read_trials
    from bbb.scoring.uncertainty import score_draws as score_draws
    from bbb.scoring.uncertainty import score_uncertain_trials as score_uncertain_trials

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "adaptation": ["CORAL"],
        "all_pairs": ["count_all_pairs"],
        "backend": ["PLDABackend"],
        "bootstrap": [
            "Interval",
            "PairedComparison",
            "bootstrap_ci",
            "bootstrap_cis",
            "paired_bootstrap",
            "paired_bootstraps",
        ],
        "calibration": ["Calibration", "quality_columns", "read_quality"],
        "conditions": ["read_conditions"],
        "cohort": ["CohortStatistics", "cohort_statistics"],
        "cosine": ["cosine_scores"],
        "crossval": ["cross_validate"],
        "det_counts": ["DetCounts"],
        "embeddings": ["Embeddings", "read_embeddings", "write_embeddings"],
        "evaluation": [
            "compare",
            "evaluate",
            "evaluate_blocks",
            "evaluate_by",
            "evaluate_counts",
        ],
        "fusion": ["Fusion", "fuse_mean", "stack_scores"],
        "hamming": ["hamming_matrix", "hamming_scores", "majority_codes"],
        "metric": ["Metric"],
        "metrics": [
            "DetCurve",
            "act_dcf",
            "cllr",
            "det_curve",
            "equal_error_rate",
            "min_cllr",
            "min_dcf",
            "rocch_eer",
            "threshold_at",
        ],
        "normalisation": ["ScoreNorm", "as_norm", "normalise_scores"],
        "plda": ["PLDA"],
        "plot": ["plot_det", "plot_scores"],
        "points": ["PRESETS", "OperatingPoint", "preset_points"],
        "score": ["score_all_pairs", "score_trials"],
        "scores": ["Scores", "align_scores", "iter_scores", "read_scores", "write_scores"],
        "speakers": ["read_enroll_map", "read_utt2spk", "trial_speakers"],
        "transforms": ["Centering", "LengthNorm", "Whitening"],
        "trials": ["Trials", "read_trials"],
        "uncertainty": ["score_draws", "score_uncertain_trials"],
    },
)
