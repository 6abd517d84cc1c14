"""Embeddings of utterances, from the mean weights or from weight draws."""

from collections.abc import Callable
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bbb.audio.archives import FeatureArchive
from bbb.audio.datadir import DataDir
from bbb.audio.features import FeatureConfig, naming, utterance_features
from bbb.audio.waveform import load_utterance
from bbb.convert import sample_deterministic
from bbb.errors import ConfigError, DataError
from bbb.scoring.embeddings import Embeddings
from bbb.speaker.xvector import XVector


def extract_embeddings(
    network: XVector,
    data: DataDir,
    features: FeatureConfig | FeatureArchive,
    *,
    num_samples: int = 0,
    covariance: Literal["none", "diagonal", "full"] = "diagonal",
    seed: int = 0,
    max_frames: int = 10_000,
    progress: Callable[[int, int], None] | None = None,
) -> Embeddings:
    """Embed every utterance of a data directory.

    With ``num_samples`` draws, draw ``s`` is one set of weights for all utterances, so both sides
    of a trial meet the same network; the embedding is the mean over draws, and the covariance that
    of one draw's embedding around it.

    Args:
        network: The extractor; put in eval mode, and back, while it runs.
        data: Utterances.
        features: As in training; or an archive that has them, and then no audio is opened.
        num_samples: Weight draws; 0 uses the posterior mean, the only choice for a plain network.
        covariance: Keep the "diagonal", shape (utterances, dim), the "full" covariances of shape
            (utterances, dim, dim), or "none"; only with at least 2 draws.
        seed: Of the first draw; each further one has the next seed.
        max_frames: Longer utterances are cut in equal parts, and their embeddings averaged.
        progress: Called with utterances done and their number after each.

    Returns:
        Ids in C-locale order, embeddings (utterances, dim) float32, and covariances or None.

    Raises:
        ConfigError: If draws are asked of a network without Bayesian layers, or a number is out of
            range.
        DataError: If an utterance cannot be read or gives an embedding that is not finite.
    """  # noqa: DOC502 (ConfigError, by the check)
    _check(network, num_samples, max_frames)
    ids = data.utterances
    moments = _Moments(len(ids), network.embed_dim, covariance if num_samples > 1 else "none")
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    device = next(network.parameters()).device
    try:
        networks = _draw(network, num_samples, seed)
        for row, utterance in enumerate(ids):
            frames = _features(data, utterance, features).to(device)
            draws = _embed(networks, _parts(frames, max_frames, network))
            if not bool(torch.isfinite(draws).all()):
                msg = (
                    f"{data.path}: utterance '{utterance}' has an embedding that is not finite; "
                    "train the network again, or drop the utterance"
                )
                raise DataError(msg)
            moments.put(row, draws.cpu().numpy())
            if progress is not None:
                progress(row + 1, len(ids))
    finally:
        for module, training in modes:
            module.training = training
    return Embeddings(ids=tuple(ids), embeddings=moments.mean, covariances=moments.covariances)


def _check(network: XVector, num_samples: int, max_frames: int) -> None:
    """Refuse draws that are all the same, and cuts that are too short.

    Args:
        network: The extractor.
        num_samples: Weight draws.
        max_frames: Longest part.

    Raises:
        ConfigError: If they do not go together.
    """
    if num_samples > 0 and not any(name.endswith("_rho") for name, _ in network.named_parameters()):
        msg = (
            f"num_samples is {num_samples}, but the network has no Bayesian layer: every draw "
            "would be the same; use num_samples=0"
        )
        raise ConfigError(msg)
    if num_samples < 0 or max_frames < 2 * network.context_frames:
        msg = (
            f"extract_embeddings: needs num_samples >= 0 and max_frames >= "
            f"{2 * network.context_frames}, got {num_samples} and {max_frames}"
        )
        raise ConfigError(msg)


def _features(data: DataDir, utterance: str, source: FeatureConfig | FeatureArchive) -> Tensor:
    """Features of an utterance, shape (frames, dim); where there are none, DataError names it."""
    if isinstance(source, FeatureArchive):
        return source.features(utterance)
    waveform = load_utterance(data, utterance, source.sample_rate)
    with naming(data.path, utterance):
        return utterance_features(waveform, source)


class _Moments:
    """Mean and covariance over draws, filled row by row."""

    def __init__(self, rows: int, dim: int, covariance: str) -> None:
        self.mean: NDArray[np.float32] = np.empty((rows, dim), dtype=np.float32)
        shape = {"none": None, "diagonal": (rows, dim), "full": (rows, dim, dim)}[covariance]
        self.covariances = None if shape is None else np.empty(shape, dtype=np.float32)

    def put(self, row: int, draws: NDArray[np.float32]) -> None:
        """Keep the moments of one utterance's embeddings, shape (draws, dim)."""
        self.mean[row] = draws.mean(axis=0)
        if self.covariances is None:
            return
        centred = draws - draws.mean(axis=0)
        if self.covariances.ndim == 2:  # noqa: PLR2004 (diagonals)
            self.covariances[row] = (centred**2).sum(axis=0) / (len(draws) - 1)
        else:
            self.covariances[row] = centred.T @ centred / (len(draws) - 1)


def _parts(features: Tensor, max_frames: int, network: XVector) -> Tensor:
    """Cut long features into equal parts, repeat short ones; shape (parts, frames, dim)."""
    shortest = network.context_frames
    if len(features) < shortest:
        features = features[torch.arange(shortest, device=features.device) % len(features)]
    parts = -(-len(features) // max_frames)
    size = len(features) // parts
    return features[: parts * size].view(parts, size, -1)


def _draw(network: XVector, num_samples: int, seed: int) -> list[XVector]:
    """One plain network per weight draw, or the network itself, at its mean in eval mode."""
    if num_samples == 0:
        return [network]
    device = next(network.parameters()).device
    generator = torch.Generator(device)
    return [
        cast(
            "XVector",
            sample_deterministic(network, generator=generator.manual_seed(seed + draw)).eval(),
        )
        for draw in range(num_samples)
    ]


def _embed(networks: list[XVector], parts: Tensor) -> Tensor:
    """Embeddings of an utterance, one per network, shape (draws, dim)."""
    with torch.inference_mode():
        return torch.stack([network(parts).mean(0) for network in networks])
