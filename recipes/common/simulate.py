"""Simulated speakers in place of an extractor's output, in its layout, for the smoke size.

Embeddings are a bent map of a speaker's vector and an utterance's; they say nothing about people.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from bbb import scoring
from bbb.files import write_text
from recipes.common import script
from recipes.common.options import read_options

DIM = 8
SPEAKERS = {"train": 30, "test": 8}
UTTERANCES = 5


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of the simulation.

    Attributes:
        output: Folder of data/train, data/test, and two extractors of the same speakers.
    """

    output: Path


def main(argv: Sequence[str]) -> None:
    """Write data/{train,test} and seed0 and seed1."""
    output = read_options(Options, argv, __doc__).output
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
        pairs = list(zip(names, speakers, strict=True))
        write_text(output / "data" / part / "utt2spk", "".join(f"{u} {s}\n" for u, s in pairs))
    label = {True: "target", False: "nontarget"}
    lines = [f"{a} {b} {label[s == t]}\n" for (a, s), (b, t) in combinations(pairs, 2)]
    write_text(output / "data" / "test" / "trials", "".join(lines))


if __name__ == "__main__":
    script.run(main)
