"""Train the binary codes of a configuration on one extractor's embeddings, and make the baselines'.

Writes one .npz of what the trials are scored with, as "system:bits": packed codes of the evaluation
utterances, uint8 (utterances, bits / 8), or floats (utterances, dim) with bits 0; and their ids.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

import bbb.estimators as G
from bbb import scoring
from bbb.speaker import BinaryCodes
from bbb.speaker.progress import Progress
from recipes.common import script
from recipes.common.evaluation import SystemOptions
from recipes.common.options import read_options


def main(argv: Sequence[str]) -> None:
    """Train and apply every system, write the codes in one step."""
    options = read_options(SystemOptions, argv, __doc__)
    train, test, speakers = options.load()
    config, seed = options.config, options.seed
    arrays = baselines(train.embeddings, speakers, test.embeddings, config, seed)
    for name, system in config["systems"].items():
        label = f"{options.source}: {name}, seed {seed}"
        print(label)
        for length, words in lengths(config, system or {}).items():
            with Progress(label) as progress:
                model = BinaryCodes(**words, seed=seed).fit(
                    train.embeddings, speakers, progress=progress.update
                )
            codes = model.transform(test.embeddings)
            for bits in config["bits"] if length is None else [length]:
                arrays[f"{name}:{bits}"] = codes[:, : bits // 8]
    options.save({"ids": np.array(test.ids), **arrays})


def lengths(config: dict[str, Any], system: dict[str, Any]) -> dict[int | None, dict[str, Any]]:
    """Arguments of the codes to train: one that is cut to every length, or one for each length."""
    words = {**config.get("base", {}), **system}
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
    script.run(main)
