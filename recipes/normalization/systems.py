"""Train the normalisers of a configuration on one extractor's embeddings, and score the trials.

Every system is scored by four back-ends, each with centring and length normalisation: cosine, LDA
and cosine, PLDA, LDA and PLDA. Writes one .npz: scores (trials,) as "system:back-end", and how far
embeddings are from Gaussian as "system:moments".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from bbb import scoring
from bbb.speaker import VAENormalizer
from bbb.speaker.progress import Progress
from recipes.common import script
from recipes.common.evaluation import SystemOptions
from recipes.common.options import read_options

Sides = tuple[scoring.Embeddings, scoring.Embeddings]


@dataclass(frozen=True, kw_only=True)
class Options(SystemOptions):
    """Of the systems and the trials.

    Attributes:
        eval_set: Folder in data with the trials and utt2spk of the evaluation.
    """

    eval_set: str = "test"


def main(argv: Sequence[str]) -> None:
    """Train and score every system, write the scores in one step."""
    options = read_options(Options, argv, __doc__)
    train, test, speakers = options.load()
    config, seed = options.config, options.seed
    groups = scoring.read_utt2spk(options.data / options.eval_set / "utt2spk")
    trials = scoring.read_trials(options.data / options.eval_set / "trials")
    arrays = {}
    for name, system in config["systems"].items():
        codes = train, test
        if system is not None:
            words = {**config.get("base", {}), **system, "seed": seed}
            codes = _normalised(codes, speakers, words, f"{options.source}: {name}, seed {seed}")
        for backend, scores in _scores(codes, speakers, trials, config["lda_dim"]).items():
            arrays[f"{name}:{backend}"] = scores.astype(np.float32)
        arrays[f"{name}:moments"] = _moments(codes[1], groups)
    options.save(arrays)


def _normalised(sides: Sides, speakers: np.ndarray, words: dict[str, Any], label: str) -> Sides:
    """Codes of both sides, by a normaliser that was trained on the first."""
    print(label)
    with Progress(label) as progress:
        model = VAENormalizer(**words).fit(sides[0].embeddings, speakers, progress=progress.update)
    return tuple(scoring.Embeddings(s.ids, model.transform(s.embeddings)) for s in sides)


def _scores(
    sides: Sides, speakers: np.ndarray, trials: scoring.Trials, lda_dim: int
) -> dict[str, np.ndarray]:
    """Scores by back-end."""
    train, test = sides
    mean = train.embeddings.mean(axis=0)
    found = {"cosine": scoring.score_trials(trials, test, test, mean=mean).scores}
    for name, dim in (("lda", min(lda_dim, train.dim)), ("", 0)):
        backend = scoring.PLDABackend(lda_dim=dim, shrinkage=0.0).fit(train.embeddings, speakers)
        if dim:
            reduced = scoring.Embeddings(test.ids, backend.transform(test.embeddings))
            found["lda_cosine"] = scoring.score_trials(trials, reduced, reduced).scores
        scores = scoring.score_trials(trials, test, test, backend=backend).scores
        found["lda_plda" if name else "plda"] = scores
    return found


def _moments(embeddings: scoring.Embeddings, utt2spk: dict[str, str]) -> np.ndarray:
    """Mean absolute skewness and excess kurtosis per dimension: of utterances, of speakers' means.

    Both are 0 for a Gaussian. Shape (4,).
    """
    rows = embeddings.embeddings.astype(np.float64)
    codes = np.unique([utt2spk[name] for name in embeddings.ids], return_inverse=True)[1]
    means = np.stack([rows[codes == code].mean(axis=0) for code in range(codes.max() + 1)])
    return np.array(
        [np.abs(f(x)).mean() for x in (rows, means) for f in (stats.skew, stats.kurtosis)]
    )


if __name__ == "__main__":
    script.run(main)
