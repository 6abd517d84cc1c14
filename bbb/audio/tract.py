"""Time-varying filters by overlap-add: short frames of excitation times the tract's spectrum."""

import numpy as np
from numpy.typing import NDArray
from scipy import fft

_TAPS = 8  # length of a frame's spectrum in hops: 2 of signal, 6 for the filter to ring
HOP_SECONDS = 0.008
"""Time between two frames."""


def resonances(
    hz: NDArray[np.float64], width: NDArray[np.float64], sample_rate: int
) -> NDArray[np.float64]:
    """Polynomial in 1/z whose roots are damped oscillations, with value 1 at 0 Hz.

    Args:
        hz: Frequencies, shape (frames, roots).
        width: Bandwidths in Hz, shape (frames, roots) or broadcastable to it.
        sample_rate: Samples per second.

    Returns:
        Coefficients, shape (frames, 2 * roots + 1); a denominator for formants, a numerator for
        antiformants.
    """
    radius = np.broadcast_to(np.exp(-np.pi * width / sample_rate), hz.shape)
    first = -2.0 * radius * np.cos(2.0 * np.pi * hz / sample_rate)
    second = radius**2
    scale = 1.0 + first + second
    product = np.zeros((hz.shape[0], 2 * hz.shape[1] + 1))
    product[:, 0] = 1.0
    for root in range(hz.shape[1]):
        a1, a2 = first[:, root, None], second[:, root, None]
        previous = product.copy()
        product[:, 1:] += a1 * previous[:, :-1]
        product[:, 2:] += a2 * previous[:, :-2]
        product /= scale[:, root, None]
    return product


def response(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64], hop: int
) -> NDArray[np.complex128]:
    """Frequency response of each frame's filter.

    Args:
        numerator: Coefficients in 1/z, shape (frames, order + 1).
        denominator: Coefficients in 1/z, shape (frames, order + 1).
        hop: Samples between two frames.

    Returns:
        The response, shape (frames, 4 * hop + 1).
    """
    size = _TAPS * hop
    above = fft.rfft(numerator, size, axis=1)
    result: NDArray[np.complex128] = above / fft.rfft(denominator, size, axis=1)
    return result


def analyse(signal: NDArray[np.float64], hop: int) -> NDArray[np.complex128]:
    """Spectra of half-overlapping Hann frames that sum to the signal.

    Args:
        signal: Excitation, shape (frames * hop,).
        hop: Samples between two frames.

    Returns:
        Spectra, shape (frames + 1, 4 * hop + 1), zero-padded for the filter's ringing.
    """
    padded = np.concatenate([np.zeros(hop), signal, np.zeros(hop)]).reshape(-1, hop)
    window = 0.5 - 0.5 * np.cos(np.pi * np.arange(2 * hop) / hop)
    frames = np.concatenate([padded[:-1], padded[1:]], axis=1) * window
    result: NDArray[np.complex128] = fft.rfft(frames, _TAPS * hop, axis=1)
    return result


def overlap_add(spectra: NDArray[np.complex128], hop: int) -> NDArray[np.float64]:
    """Inverse of :func:`analyse`, after the spectra were filtered.

    Args:
        spectra: Spectra of the frames, shape (frames + 1, 4 * hop + 1).
        hop: Samples between two frames.

    Returns:
        The signal, shape (frames * hop,); what rings beyond its end is cut.
    """
    blocks = fft.irfft(spectra, _TAPS * hop, axis=1).reshape(-1, _TAPS, hop)
    out = np.zeros((len(blocks) + _TAPS - 1, hop))
    for tap in range(_TAPS):
        out[tap : tap + len(blocks)] += blocks[:, tap]
    flat: NDArray[np.float64] = out[1 : len(blocks)].ravel()
    return flat
