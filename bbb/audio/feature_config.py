"""What a frame of features is; a file of its own, since command lines name it without torch."""

import math
from dataclasses import dataclass
from typing import Literal

from bbb.errors import ConfigError

FRAMES_PER_SECOND = 100
WINDOW_MS = 25.0


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """What a frame of features is; the defaults are those of Kaldi's VoxCeleb x-vector recipe.

    Windows are 25 ms long and 10 ms apart, without dither, so that features are reproducible.

    Attributes:
        kind: "mfcc" (the first coefficient is the log energy) or "fbank" (log mel energies).
        sample_rate: Of the audio, in Hz.
        num_mels: Mel filters.
        num_ceps: Cepstral coefficients of "mfcc", at most ``num_mels``.
        low_freq: Lower edge of the first filter, in Hz.
        high_freq: Upper edge of the last filter, in Hz; at most half of the sample rate.
        cmn: Mean normalisation: "sliding" over ``cmn_window``, "mean" of the utterance, or "none".
        cmn_window: Length of the sliding window, in seconds.
        vad: Whether frames without speech are left out.
        vad_threshold: Constant part of the energy threshold, in log energy.
        vad_mean_scale: Share of the utterance's mean log energy that is added to the threshold.
        vad_context: Frames on each side that vote with a frame.
        vad_proportion: Share of the votes that makes a frame speech.
    """

    kind: Literal["mfcc", "fbank"] = "mfcc"
    sample_rate: int = 16000
    num_mels: int = 30
    num_ceps: int = 30
    low_freq: float = 20.0
    high_freq: float = 7600.0
    cmn: Literal["sliding", "mean", "none"] = "sliding"
    cmn_window: float = 3.0
    vad: bool = True
    vad_threshold: float = 5.5
    vad_mean_scale: float = 0.5
    vad_context: int = 2
    vad_proportion: float = 0.12

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ConfigError: If an option is outside of its range.
        """
        if self.kind not in {"mfcc", "fbank"}:
            msg = f"FeatureConfig: kind is 'mfcc' or 'fbank', got '{self.kind}'"
            raise ConfigError(msg)
        if self.cmn not in {"sliding", "mean", "none"}:
            msg = f"FeatureConfig: cmn is 'sliding', 'mean' or 'none', got '{self.cmn}'"
            raise ConfigError(msg)
        if not 0.0 <= self.low_freq < self.high_freq <= self.sample_rate / 2:
            msg = (
                "FeatureConfig: needs 0 <= low_freq < high_freq <= sample_rate / 2, got "
                f"{self.low_freq}, {self.high_freq} and {self.sample_rate}; lower high_freq"
            )
            raise ConfigError(msg)
        if self.num_mels < 1 or (self.kind == "mfcc" and not 1 <= self.num_ceps <= self.num_mels):
            msg = (
                "FeatureConfig: needs 1 <= num_ceps <= num_mels, got "
                f"num_ceps {self.num_ceps} and num_mels {self.num_mels}"
            )
            raise ConfigError(msg)
        if not 1 <= self.cmn_window * FRAMES_PER_SECOND < math.inf:
            msg = (
                "FeatureConfig: cmn_window is in seconds, at least 0.01 and finite, got "
                f"{self.cmn_window}; cmn 'mean' is that of the utterance"
            )
            raise ConfigError(msg)
        if self.vad_context < 0 or not 0.0 < self.vad_proportion < 1.0:
            msg = (
                "FeatureConfig: needs vad_context >= 0 and 0 < vad_proportion < 1, got "
                f"{self.vad_context} and {self.vad_proportion}"
            )
            raise ConfigError(msg)

    @property
    def dim(self) -> int:
        """Values per frame."""
        return self.num_ceps if self.kind == "mfcc" else self.num_mels

    @property
    def window_samples(self) -> int:
        """Samples in one window: the shortest waveform that has features."""
        return int(self.sample_rate * WINDOW_MS / 1000)
