"""Simulated speakers in place of an extractor's output, in its layout, for the smoke size.

Embeddings are a bent map of a speaker's vector and an utterance's; they say nothing about people.
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np

from bbb import scoring

DIM = 8
SPEAKERS = {"train": 30, "test": 8}
UTTERANCES = 5


def main() -> None:
    """Write DIR/data/{train,test} and DIR/seed0 and seed1, two extractors of the same speakers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    output = parser.parse_args().output
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, DIM, DIM)) / np.sqrt(DIM)
    for part, file in (("train", "train_0.npz"), ("test", "eval_0.npz")):
        speakers = [f"{part}{s}" for s in range(SPEAKERS[part]) for _ in range(UTTERANCES)]
        names = [f"{speaker}-{u}" for u, speaker in enumerate(speakers)]
        voices = np.repeat(rng.normal(size=(SPEAKERS[part], DIM)), UTTERANCES, axis=0)
        latent = voices + 0.5 * rng.normal(size=voices.shape)
        for seed, weights in enumerate(maps):
            rows = np.exp(0.7 * latent @ weights).astype(np.float32)
            scoring.write_embeddings(
                output / f"seed{seed}" / file, scoring.Embeddings(tuple(names), rows)
            )
        folder = output / "data" / part
        folder.mkdir(parents=True, exist_ok=True)
        pairs = zip(names, speakers, strict=True)
        (folder / "utt2spk").write_text("".join(f"{u} {s}\n" for u, s in pairs), encoding="utf-8")
    label = {True: "target", False: "nontarget"}
    rows = combinations(zip(names, speakers, strict=True), 2)
    lines = [f"{a} {b} {label[s == t]}\n" for (a, s), (b, t) in rows]
    (output / "data" / "test" / "trials").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
