"""Train the normalisers of a configuration on one extractor's embeddings, and score the trials.

Every system is scored by four back-ends, each with centring and length normalisation: cosine, LDA
and cosine, PLDA, LDA and PLDA. Writes one .npz: scores (trials,) as "system:back-end", and how far
embeddings are from Gaussian as "system:moments".
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import stats

from bbb import scoring
from bbb.speaker import VAENormalizer
from bbb.speaker.progress import Progress

Sides = tuple[scoring.Embeddings, scoring.Embeddings]


def main() -> None:
    """Train and score every system, write the scores in one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="train_0.npz and eval_0.npz")
    parser.add_argument("--data", type=Path, required=True, help="train/utt2spk, EVAL/trials")
    parser.add_argument("--eval-set", default="test", help="EVAL, a folder in --data")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    sides = tuple(scoring.read_embeddings(args.source / f"{n}_0.npz") for n in ("train", "eval"))
    utt2spk = scoring.read_utt2spk(args.data / "train" / "utt2spk")
    missing = [name for name in sides[0].ids if name not in utt2spk]
    if missing:
        parser.error(
            f"{args.data}/train/utt2spk has no speaker of '{missing[0]}'; is it the same data?"
        )
    speakers = np.array([utt2spk[name] for name in sides[0].ids])
    groups = scoring.read_utt2spk(args.data / args.eval_set / "utt2spk")
    trials = scoring.read_trials(args.data / args.eval_set / "trials")
    arrays = {}
    for name, options in config["systems"].items():
        codes = sides
        if options is not None:
            words = {**config.get("base", {}), **options, "seed": args.seed}
            codes = _normalised(sides, speakers, words, f"{args.source}: {name}, seed {args.seed}")
        for backend, scores in _scores(codes, speakers, trials, config["lda_dim"]).items():
            arrays[f"{name}:{backend}"] = scores.astype(np.float32)
        arrays[f"{name}:moments"] = _moments(codes[1], groups)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = args.output.with_suffix(".part.npz")
    np.savez(temporary, **arrays)
    temporary.replace(args.output)


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
    main()
