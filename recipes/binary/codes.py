"""Train the binary codes of a configuration on one extractor's embeddings, and make the baselines'.

Writes one .npz of what the trials are scored with, as "system:bits": packed codes of the evaluation
utterances, uint8 (utterances, bits / 8), or floats (utterances, dim) with bits 0; and their ids.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import bbb.estimators as G
from bbb import scoring
from bbb.speaker import BinaryCodes
from bbb.speaker.progress import Progress


def main() -> None:
    """Train and apply every system, write the codes in one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="train_0.npz and eval_0.npz")
    parser.add_argument("--utt2spk", type=Path, required=True, help="of the training utterances")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    train, test = (scoring.read_embeddings(args.source / f"{n}_0.npz") for n in ("train", "eval"))
    utt2spk = scoring.read_utt2spk(args.utt2spk)
    missing = [name for name in train.ids if name not in utt2spk]
    if missing:
        parser.error(f"{args.utt2spk} has no speaker of '{missing[0]}'; is it the same data?")
    speakers = np.array([utt2spk[name] for name in train.ids])
    arrays = baselines(train.embeddings, speakers, test.embeddings, config, args.seed)
    for name, options in config["systems"].items():
        label = f"{args.source}: {name}, seed {args.seed}"
        print(label)
        for length, words in lengths(config, options or {}).items():
            with Progress(label) as progress:
                model = BinaryCodes(**words, seed=args.seed).fit(
                    train.embeddings, speakers, progress=progress.update
                )
            codes = model.transform(test.embeddings)
            for bits in config["bits"] if length is None else [length]:
                arrays[f"{name}:{bits}"] = codes[:, : bits // 8]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = args.output.with_suffix(".part.npz")
    np.savez(temporary, ids=np.array(test.ids), **arrays)
    temporary.replace(args.output)


def lengths(config: dict[str, Any], options: dict[str, Any]) -> dict[int | None, dict[str, Any]]:
    """Arguments of the codes to train: one that is cut to every length, or one for each length."""
    words = {**config.get("base", {}), **options}
    words["estimator"] = getattr(G, words["estimator"])(**words.pop("arguments", {}))
    if not words.pop("each_length", False):
        return {None: {"num_bits": max(config["bits"]), **words}}
    return {bits: {**words, "num_bits": bits, "min_bits": None} for bits in config["bits"]}


def baselines(
    train: np.ndarray, speakers: np.ndarray, test: np.ndarray, config: dict[str, Any], seed: int
) -> dict[str, np.ndarray]:
    """Floats to score by cosine, their signs, and the signs of random projections."""
    rng = np.random.default_rng(seed)
    lda = scoring.PLDABackend(lda_dim=config["lda_dim"], shrinkage=0.0).fit(train, speakers)
    found = {}
    spaces = {"x-vector": test - train.mean(axis=0), "LDA": lda.transform(test)}
    for name, rows in spaces.items():
        found[f"{name}, cosine of floats:0"] = rows
        planes = rng.normal(size=(rows.shape[1], max(config["bits"])))
        for bits in config["bits"]:
            # Components of LDA stand in the order of importance; those of an x-vector in none.
            if bits <= rows.shape[1] and (name == "LDA" or bits == rows.shape[1]):
                found[f"{name}, signs:{bits}"] = np.packbits(rows[:, :bits] > 0, axis=1)
            code = np.packbits(rows @ planes[:, :bits] > 0, axis=1)
            found[f"{name}, random hyperplanes:{bits}"] = code
    return found


if __name__ == "__main__":
    main()
