"""Calibration: from scores of any unit to natural log-likelihood ratios."""

import os
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from bbb.errors import ConfigError, DataError, FormatError, ShapeError
from bbb.files import numbered_lines
from bbb.scoring._logistic import as_features, fit_affine
from bbb.scoring._npz import load_arrays, save_arrays
from bbb.scoring._sorted import check_labels
from bbb.scoring.embeddings import Embeddings
from bbb.scoring.scores import Scores
from bbb.scoring.trials import Trials

Doubles = NDArray[np.float64]
ARRAYS = {"logistic": ("coef", "intercept"), "pav": ("thresholds", "llrs")}


class Calibration(BaseEstimator):  # type: ignore[misc] # sklearn has no types
    """A map of scores to log-likelihood ratios, learnt from labelled trials.

    Args:
        method: "logistic": an affine map of the score and of quality measures, which minimises the
            cross-entropy at the prior `p_target`; "pav": the non-decreasing step function that is
            best at every prior (pool adjacent violators), linear between steps. For finite ends it
            takes one more nontarget at the highest score and one more target at the lowest one,
            that is, no ratio is larger than the number of trials supports.
        p_target: Prior of a target trial around which "logistic" is most accurate, in (0, 1).

    Attributes:
        coef_: "logistic": weight of the score, then of each quality column, (1 + columns,).
        intercept_: "logistic": offset in nats.
        thresholds_: "pav": scores at which the map bends, rising, shape (points,).
        llrs_: "pav": the ratios there, non-decreasing, nats, shape (points,).

    Example:
        >>> scores = np.array([0.1, 0.3, 0.4, 0.6, 0.5, 0.9])
        >>> model = Calibration(p_target=0.5).fit(scores, [0, 0, 1, 0, 1, 1])
        >>> bool(np.all(np.diff(model.transform(np.sort(scores))) > 0))
        True

    References:
        Brummer and du Preez 2006, "Application-independent evaluation of speaker detection";
        Brummer and de Villiers 2011, "The BOSARIS toolkit user guide".
    """

    coef_: Doubles
    intercept_: float
    thresholds_: Doubles
    llrs_: Doubles

    def __init__(
        self, method: Literal["logistic", "pav"] = "logistic", p_target: float = 0.01
    ) -> None:
        self.method = method
        self.p_target = p_target

    def fit(
        self, scores: ArrayLike, is_target: ArrayLike, quality: ArrayLike | None = None
    ) -> "Calibration":
        """Learn the map.

        Args:
            scores: Score of each trial, shape (trials,). Any unit.
            is_target: True for target trials, shape (trials,).
            quality: Further columns for "logistic", such as `quality_columns` gives, shape
                (trials, columns). They shift the ratio; a constant one gets the weight 0.

        Returns:
            Itself.

        Raises:
            ConfigError: If the method is unknown, the prior is out of range, or "pav" gets quality.
            ShapeError: If the shapes do not fit each other.
            DataError: If a value is not finite, a class has no trial, or all scores are equal.
        """  # noqa: DOC502 (raised by the shared checks)
        if self.method not in ARRAYS or (self.method == "pav" and quality is not None):
            msg = (
                "Calibration needs method 'logistic', or 'pav' without quality measures, got "
                f"'{self.method}'; use 'logistic'"
            )
            raise ConfigError(msg)
        features = _features(scores, quality)
        if np.ptp(features[:, 0]) == 0.0:
            msg = "Calibration needs scores that differ, got equal ones; has the model collapsed?"
            raise DataError(msg)
        if self.method == "pav":
            self._fit_pav(features[:, 0], check_labels(is_target, len(features)))
            return self
        self.coef_, self.intercept_ = fit_affine(features, is_target, self.p_target, "Calibration")
        if self.coef_[0] <= 0.0:
            warnings.warn(
                "Calibration: the ratio falls as the score rises; is a higher score more similar, "
                "and are the labels right?",
                UserWarning,
                stacklevel=2,
            )
        return self

    def _fit_pav(self, scores: Doubles, labels: NDArray[np.bool_]) -> None:
        from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415 (only this method needs it)

        if labels.all() or not labels.any():
            msg = "Calibration needs trials of both classes, got one; check the labels"
            raise DataError(msg)
        # By rank: scikit-learn merges scores less than 1e-15 apart, whatever their unit.
        distinct, rank = np.unique(scores, return_inverse=True)
        x = np.concatenate((rank, [0, len(distinct) - 1]))
        y = np.concatenate((labels, [1.0, 0.0]))
        # Equal weight for both classes makes the log odds of the fit log-likelihood ratios.
        weight = np.where(y > 0, 1.0 / y.sum(), 1.0 / (len(y) - y.sum()))
        fit = IsotonicRegression().fit(x, y, sample_weight=weight)
        self.thresholds_ = distinct[np.asarray(fit.X_thresholds_, dtype=np.intp)]
        posterior = np.asarray(fit.y_thresholds_, dtype=np.float64)
        self.llrs_ = np.log(posterior) - np.log1p(-posterior)

    def transform(self, scores: ArrayLike, quality: ArrayLike | None = None) -> Doubles:
        """Log-likelihood ratio of each trial.

        Args:
            scores: Score of each trial, shape (trials,).
            quality: The columns that `fit` had, shape (trials, columns).

        Returns:
            Natural log-likelihood ratios, shape (trials,).

        Raises:
            ShapeError: If the shapes do not fit each other, or those of `fit`.
            DataError: If a value is not finite.
        """  # noqa: DOC502 (raised by _features)
        features = _features(scores, quality)
        columns = 1 if self.method == "pav" else len(self.coef_)
        if features.shape[1] != columns:
            msg = (
                f"Calibration was fitted with {columns - 1} quality columns, got "
                f"{features.shape[1] - 1}; give the same ones"
            )
            raise ShapeError(msg)
        if self.method == "pav":
            return np.interp(features[:, 0], self.thresholds_, self.llrs_)
        return np.asarray(features @ self.coef_ + self.intercept_)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted map as an ``.npz`` of plain arrays, in one atomic step."""
        arrays = {name: np.asarray(getattr(self, f"{name}_")) for name in ARRAYS[self.method]}
        save_arrays(path, {"p_target": np.asarray(self.p_target), **arrays})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Calibration":
        """Read what `save` wrote.

        Args:
            path: The file.

        Returns:
            The fitted map.

        Raises:
            FormatError: If the file is missing or broken, or holds something else.
        """
        names = tuple(name for group in ARRAYS.values() for name in group)
        remedy = "make it with 'bbb calibrate --save'"
        arrays = load_arrays(path, ("p_target",), optional=names, remedy=remedy)
        for method, (first, second) in ARRAYS.items():
            if {first, second} <= set(arrays) and arrays[first].ndim == 1:
                model = cls(method, float(arrays["p_target"]))  # type: ignore[arg-type]
                setattr(model, f"{first}_", arrays[first])
                setattr(model, f"{second}_", arrays[second])
                return model
        msg = f"{path}:0: expected the arrays of a calibration, got {sorted(arrays)}; {remedy}"
        raise FormatError(msg)


def _features(scores: ArrayLike, quality: ArrayLike | None) -> Doubles:
    """The score, then the quality columns.

    Args:
        scores: Shape (trials,).
        quality: Shape (trials, columns), or None.

    Returns:
        Shape (trials, 1 + columns).

    Raises:
        ShapeError: If the shapes do not fit each other.
        DataError: If a value is not finite.
    """  # noqa: DOC502 (raised by as_features)
    values = np.asarray(scores)
    extra = np.empty((len(values), 0)) if quality is None else np.asarray(quality)
    if values.ndim != 1 or extra.ndim != 2 or len(extra) != len(values):  # noqa: PLR2004
        msg = (
            "Calibration needs scores of shape (trials,) and quality of shape (trials, columns), "
            f"got {values.shape} and {extra.shape}; align them by trial"
        )
        raise ShapeError(msg)
    return as_features(np.column_stack((values, extra)), "Calibration")


def read_quality(path: str | os.PathLike[str]) -> Embeddings:
    """Read quality measures of utterances (log duration, norm of the embedding ...).

    Args:
        path: Lines ``utterance value ...`` with the same number of values.

    Returns:
        One row per utterance or enrolled model, float64.

    Raises:
        FormatError: If a line has another form; it names the line.
        DataError: If an id is repeated, or a value is not finite; it names the id.
    """  # noqa: DOC502 (raised by Embeddings)
    rows: dict[str, list[float]] = {}
    width = 0
    for number, line in numbered_lines(path):
        key, *fields = line.split()
        width = width or len(fields)
        try:
            values = [float(field) for field in fields]
        except ValueError:
            values = []
        if not values or len(values) != width or key in rows:
            msg = (
                f"{path}:{number}: expected 'utterance' and {width or 'some'} numbers, once per "
                f"utterance, got '{line}'; correct the line"
            )
            raise FormatError(msg)
        rows[key] = values
    if not rows:
        msg = f"{path}:0: expected at least one utterance, got an empty file; was it written fully?"
        raise FormatError(msg)
    return Embeddings(tuple(rows), np.array(list(rows.values())))


def quality_columns(quality: Embeddings, trials: Trials | Scores) -> Doubles:
    """Quality measures of both sides of each trial, symmetric in the sides.

    Args:
        quality: Measures per utterance (or enrolled model), shape (utterances, measures).
        trials: The trials.

    Returns:
        The lower and the higher value of each measure, shape (trials, 2 measures): as a pair they
        say as much as both sides do, and swapping the sides changes nothing.

    Raises:
        DataError: If an id has no measures; it gives the number and the first five.
    """  # noqa: DOC502 (raised by Embeddings.rows)
    enroll, test = (
        quality.embeddings[quality.rows(ids, name="quality measures")][index]
        for ids, index in (
            (trials.enroll_ids, trials.enroll),
            (trials.test_ids, trials.test),
        )
    )
    columns: NDArray[Any] = np.hstack((np.minimum(enroll, test), np.maximum(enroll, test)))
    return columns
