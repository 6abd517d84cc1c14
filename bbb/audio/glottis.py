"""The glottal source: Liljencrants-Fant pulses with jitter, shimmer, creak and breath."""

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from bbb.errors import ConfigError

_POINTS = 2048
RD_RANGE = (0.4, 2.7)
"""Valid range of the shape parameter Rd: pressed (0.4) to breathy (2.7)."""


@functools.lru_cache(maxsize=256)
def lf_pulse(rd: float) -> NDArray[np.float64]:
    r"""One period of the derivative of the glottal flow by the LF model.

    The growing sinusoid :math:`E_0 e^{\alpha t} \sin \omega_g t` up to the closing instant, then
    an exponential return; :math:`\alpha` makes the net flow of a period zero. The time constants
    follow from the one parameter Rd.

    Args:
        rd: Shape, 0.4 (pressed voice, much high frequency) to 2.7 (breathy, steep tilt).

    Returns:
        The waveform over one period with its negative peak at -1, shape (2048,).

    Raises:
        ConfigError: If ``rd`` is out of range.

    References:
        Fant, Liljencrants & Lin (1985), *A four-parameter model of glottal flow*, STL-QPSR 4;
        Fant (1995), *The LF-model revisited*, STL-QPSR 2-3 (the Rd parameter).
    """
    low, high = RD_RANGE
    if not low <= rd <= high:
        msg = f"lf_pulse expects rd in [{low}, {high}], got {rd}; clip it to the range"
        raise ConfigError(msg)
    ra = (-1.0 + 4.8 * rd) / 100.0
    rk = (22.4 + 11.8 * rd) / 100.0
    rg = rk / (4.0 * (0.11 * rd / (0.5 + 1.2 * rk) - ra))
    peak = 1.0 / (2.0 * rg)
    close = min(peak * (1.0 + rk), 0.98)
    omega, rest = np.pi / peak, 1.0 - close
    epsilon = 1.0 / ra
    for _ in range(50):
        epsilon = (1.0 - np.exp(-epsilon * rest)) / ra
    decay = np.exp(-epsilon * rest)
    returned = -((1.0 - decay) / epsilon - rest * decay) / (epsilon * ra)

    def net_flow(alpha: float) -> float:
        """Flow that a cycle leaves open; the right growth leaves none."""
        sine, cosine = np.sin(omega * close), np.cos(omega * close)
        # The opening amplitude is the one that gives -1 at the closing instant.
        growth = (alpha * sine - omega * cosine) + omega * np.exp(-alpha * close)
        return float(-growth / (sine * (alpha**2 + omega**2)) + returned)

    alpha = brentq(net_flow, -60.0, 60.0)
    time = np.arange(_POINTS) / _POINTS
    opening = -np.exp(alpha * (time - close)) * np.sin(omega * time) / np.sin(omega * close)
    closing = -(np.exp(-epsilon * (time - close)) - decay) / (epsilon * ra)
    return np.asarray(np.where(time < close, opening, closing), dtype=np.float64)


def glottal_source(
    f0: NDArray[np.float64],
    sample_rate: int,
    rng: np.random.Generator,
    *,
    rd: float,
    jitter: float = 0.0,
    shimmer: float = 0.0,
    creak: float = 0.0,
    breath: float = 0.0,
) -> NDArray[np.float64]:
    """Voiced excitation of the vocal tract.

    Args:
        f0: Fundamental frequency in Hz at each sample, shape (samples,).
        sample_rate: Samples per second.
        rng: Source of randomness.
        rd: Shape of the pulses, see :func:`lf_pulse`; rounded to 0.02.
        jitter: Standard deviation of the instants of closure, in periods.
        shimmer: Standard deviation of the pulses' amplitude, relative.
        creak: How much every second pulse is weaker, 0 (not at all) to 1.
        breath: Standard deviation of the noise that the open glottis adds.

    Returns:
        The derivative of the flow, shape (samples,); its pulses peak at about -1.
    """
    phase = np.cumsum(f0 / sample_rate) + rng.random()
    cycles = int(phase[-1]) + 3 if phase.size else 3
    phase = np.interp(
        phase, np.arange(cycles), np.arange(cycles) + jitter * rng.normal(size=cycles)
    )
    phase = np.maximum(phase, 0.0)
    cycle = phase.astype(np.int64)
    within = phase - cycle
    table = lf_pulse(round(float(np.clip(rd, *RD_RANGE)) / 0.02) * 0.02)
    pulses = table[(within * _POINTS).astype(np.int64) % _POINTS]
    gains = 1.0 + shimmer * rng.normal(size=cycles + 1)
    gains[1::2] *= 1.0 - creak
    # Air noise is strongest while the glottis is open, which is the first part of a period.
    gate = 0.6 - 0.4 * np.cos(2.0 * np.pi * within)
    noise = rng.standard_normal(phase.size, dtype=np.float32)
    source: NDArray[np.float64] = pulses * gains[cycle] + breath * gate * noise
    return source
