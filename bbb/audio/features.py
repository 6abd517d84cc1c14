"""Kaldi's features: MFCC and filter banks, energy voice activity, sliding mean normalisation."""

import contextlib
import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchaudio.compliance import kaldi

from bbb.audio.feature_config import FRAMES_PER_SECOND as FRAMES_PER_SECOND  # noqa: PLC0414 (door)
from bbb.audio.feature_config import WINDOW_MS
from bbb.audio.feature_config import FeatureConfig as FeatureConfig  # noqa: PLC0414 (door)
from bbb.errors import ConfigError, DataError, ShapeError

_SHIFT_MS = 10.0
# Kaldi works on 16-bit sample values; its energy thresholds are in those units.
_INT16_SCALE = 32768.0


def num_frames(samples: int, sample_rate: int) -> int:
    """Frames of a waveform, as Kaldi counts them with ``--snip-edges=false``.

    Args:
        samples: Length of the waveform.
        sample_rate: In Hz.

    Returns:
        One frame per 10 ms, rounded.
    """
    shift = int(sample_rate * _SHIFT_MS / 1000)
    return (samples + shift // 2) // shift


def kaldi_features(waveform: NDArray[np.float32] | Tensor, config: FeatureConfig) -> Tensor:
    """Raw features, equal to Kaldi's ``compute-mfcc-feats`` and ``compute-fbank-feats``.

    Kaldi's options are ``--snip-edges=false --dither=0``, and ``--use-energy=true`` for MFCC.

    Args:
        waveform: Samples in [-1, 1), shape (samples,).
        config: What to compute.

    Returns:
        float32, shape (frames, dim); no normalisation, no frame left out.

    Raises:
        ShapeError: If the waveform is not one-dimensional.
        DataError: If it is shorter than a window, holds only zeros or integers, or is not finite.
    """  # noqa: DOC502 (raised by the shared checks)
    return _raw_features(_int16_scale(waveform, config), config)


def log_energy(waveform: NDArray[np.float32] | Tensor, config: FeatureConfig) -> Tensor:
    """Log energy of each window, Kaldi's raw energy: the first column of its MFCC.

    Args:
        waveform: Samples in [-1, 1), shape (samples,).
        config: Sample rate.

    Returns:
        Natural log of the sum of squares of 16-bit sample values without their mean, shape
        (frames,).

    Raises:
        ShapeError: If the waveform is not one-dimensional.
        DataError: If it is shorter than a window, holds only zeros or integers, or is not finite.
    """  # noqa: DOC502 (raised by the shared checks)
    return _log_energy(_int16_scale(waveform, config), config)


def sliding_cmn(features: Tensor, window: int = 300) -> Tensor:
    """Subtract the mean of a window centred on each frame.

    At the edges the window is shifted, not shortened; an utterance shorter than the window uses all
    of its frames. As Kaldi's ``apply-cmvn-sliding --center=true --norm-vars=false``, by running
    sums: the cost does not depend on the window.

    Args:
        features: Shape (frames, dim).
        window: Frames in the window.

    Returns:
        Same shape and dtype as ``features``.

    Raises:
        ConfigError: If the window has no frame.
    """
    if window < 1:
        msg = f"sliding_cmn: window needs at least 1 frame, got {window}; give frames, not seconds"
        raise ConfigError(msg)
    frames = features.shape[0]
    sums = F.pad(features, (0, 0, 1, 0)).cumsum(dim=0, dtype=torch.float64)
    start = torch.arange(frames, device=features.device) - window // 2
    start = start.clamp(0, max(0, frames - window))
    end = (start + window).clamp(max=frames)
    means = (sums[end] - sums[start]) / (end - start).unsqueeze(1)
    return features - means.to(features.dtype)


def energy_vad(
    energy: Tensor,
    *,
    threshold: float = 5.5,
    mean_scale: float = 0.5,
    context: int = 2,
    proportion: float = 0.12,
) -> Tensor:
    """Decide which frames hold speech, by their energy; Kaldi's ``compute-vad``.

    A frame is speech when at least ``proportion`` of the frames within ``context`` of it lie above
    ``threshold + mean_scale * mean(energy)``. Where that would leave nothing, all frames are kept.

    Args:
        energy: Log energy in units of 16-bit samples, shape (frames,); see ``log_energy``.
        threshold: Constant part of the threshold.
        mean_scale: Share of the utterance's mean log energy.
        context: Frames on each side that vote.
        proportion: Share of votes in (0, 1).

    Returns:
        True for speech, shape (frames,); at least one True.
    """
    loud = (energy > threshold + mean_scale * energy.mean()).to(torch.float64)
    sums = torch.zeros(len(energy) + 1, dtype=torch.float64, device=energy.device)
    torch.cumsum(loud, dim=0, out=sums[1:])
    frame = torch.arange(len(energy), device=energy.device)
    start = (frame - context).clamp(min=0)
    end = (frame + context + 1).clamp(max=len(energy))
    voiced = sums[end] - sums[start] >= proportion * (end - start)
    return voiced if bool(voiced.any()) else torch.ones_like(voiced)


def voice_activity(waveform: NDArray[np.float32] | Tensor, config: FeatureConfig) -> Tensor:
    """Which frames of a waveform hold speech, with the thresholds of ``config``.

    Args:
        waveform: Samples in [-1, 1), shape (samples,).
        config: Thresholds; where ``config.vad`` is False every frame is speech.

    Returns:
        True for speech, shape (frames,).

    Raises:
        ShapeError: If the waveform is not one-dimensional.
        DataError: If it is shorter than a window, holds only zeros or integers, or is not finite.
    """  # noqa: DOC502 (raised by the shared checks)
    return _voiced(_int16_scale(waveform, config), config)


def normalize(features: Tensor, config: FeatureConfig) -> Tensor:
    """Subtract the mean that ``config.cmn`` names.

    Args:
        features: Shape (frames, dim).
        config: Kind and window of the normalisation.

    Returns:
        Same shape as ``features``.
    """
    if config.cmn == "sliding":
        return sliding_cmn(features, round(config.cmn_window * FRAMES_PER_SECOND))
    return features - features.mean(dim=0) if config.cmn == "mean" else features


def utterance_features(
    waveform: NDArray[np.float32] | Tensor, config: FeatureConfig, *, voiced: Tensor | None = None
) -> Tensor:
    """Features as an x-vector sees them, in Kaldi's order.

    Voice activity is decided on the raw energy, the mean is taken over all frames, then frames
    without speech are left out.

    Args:
        waveform: Samples in [-1, 1), shape (samples,).
        config: What to compute.
        voiced: Frames to keep, shape (frames,), where they are known from elsewhere (Kaldi decides
            on the clean copy of a noisy one); decided here when None.

    Returns:
        float32, shape (frames, dim), with at least one frame.

    Raises:
        ShapeError: If the waveform is not one-dimensional.
        DataError: If it is shorter than a window, holds only zeros or integers, or is not finite.
    """  # noqa: DOC502 (raised by the shared checks)
    scaled = _int16_scale(waveform, config)
    if voiced is None:
        voiced = _voiced(scaled, config)
    return normalize(_raw_features(scaled, config), config)[voiced]


@contextlib.contextmanager
def naming(source: object, utterance: str) -> Iterator[None]:
    """Put the name of an utterance in front of what is wrong with its waveform.

    Args:
        source: Where it is from, such as the path of a data directory.
        utterance: Its id.

    Raises:
        DataError: If the block raised one.
    """
    try:
        yield
    except DataError as error:
        msg = f"{source}: utterance '{utterance}': {error}"
        raise DataError(msg) from error


def _int16_scale(waveform: NDArray[np.float32] | Tensor, config: FeatureConfig) -> Tensor:
    """A checked waveform in Kaldi's units, shape (1, samples).

    Raises:
        ShapeError: If it is not one-dimensional.
        DataError: If it is too short, constant, not finite, or of integers.
    """
    given = torch.as_tensor(waveform)
    if given.ndim != 1:
        msg = f"features need a waveform of shape (samples,), got {tuple(given.shape)}"
        raise ShapeError(msg)
    if not given.is_floating_point():
        msg = (
            f"features need a waveform of floats in [-1, 1), got {given.dtype}; divide 16-bit "
            "samples by 32768"
        )
        raise DataError(msg)
    samples = given.float()
    if len(samples) < config.window_samples:
        msg = (
            f"the waveform has {len(samples)} samples, a window needs {config.window_samples} "
            "(25 ms); drop the utterance"
        )
        raise DataError(msg)
    low, high = (float(value) for value in torch.aminmax(samples))
    if not math.isfinite(low + high):
        msg = "the waveform holds NaN or infinite samples; decode the file again"
        raise DataError(msg)
    if low == high:
        msg = f"every sample of the waveform is {low}: silence; drop the utterance"
        raise DataError(msg)
    return samples.unsqueeze(0) * _INT16_SCALE


@torch.no_grad()
def _raw_features(scaled: Tensor, config: FeatureConfig) -> Tensor:
    """Features of a waveform in 16-bit units, shape (1, samples)."""
    options: dict[str, float | bool] = {
        "sample_frequency": float(config.sample_rate),
        "num_mel_bins": config.num_mels,
        "low_freq": config.low_freq,
        "high_freq": config.high_freq,
        "frame_length": WINDOW_MS,
        "frame_shift": _SHIFT_MS,
        "snip_edges": False,
        "dither": 0.0,
        "energy_floor": 0.0,
    }
    features: Tensor
    if config.kind == "mfcc":
        features = kaldi.mfcc(scaled, num_ceps=config.num_ceps, use_energy=True, **options)
    else:
        features = kaldi.fbank(scaled, **options)
    return features


def _log_energy(scaled: Tensor, config: FeatureConfig) -> Tensor:
    """Log energy of a waveform in 16-bit units, shape (1, samples)."""
    size = config.window_samples
    shift = int(config.sample_rate * _SHIFT_MS / 1000)
    frames = num_frames(scaled.shape[1], config.sample_rate)
    # Without snipped edges windows are centred on their frame, and the signal is mirrored at both
    # ends with its end samples repeated.
    left = size // 2 - shift // 2
    right = max(0, (frames - 1) * shift + size - left - scaled.shape[1])
    samples = scaled[0]
    padded = torch.cat([samples[:left].flip(0), samples, samples.flip(0)[:right]])
    windows = padded.unfold(0, size, shift)[:frames]
    centred = windows - windows.mean(dim=1, keepdim=True)
    floor = torch.finfo(torch.float32).eps
    return centred.square().sum(dim=1).clamp(min=floor).log()


def _voiced(scaled: Tensor, config: FeatureConfig) -> Tensor:
    """Voice activity of a waveform in 16-bit units, shape (1, samples)."""
    energy = _log_energy(scaled, config)
    if not config.vad:
        return torch.ones_like(energy, dtype=torch.bool)
    return energy_vad(
        energy,
        threshold=config.vad_threshold,
        mean_scale=config.vad_mean_scale,
        context=config.vad_context,
        proportion=config.vad_proportion,
    )
