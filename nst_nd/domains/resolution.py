"""What one reconstruction kernel makes of another's image, edges included, from the noise of both.

Kernels of linear reconstruction shape noise and anatomy alike: NPS = dose x raw noise x MTF^2 (ICRU 87). With P the
power of the content's noise and T that of the style's, in the plane,

    sqrt(T / P) = sqrt(ratio of doses) x MTF of the style / MTF of the content

and the ratio of doses is what is left at f = 0, where transfers are 1. Iterative and learned reconstruction, and
scanners whose raw noise differs in shape, break the first line; what comes out is then what noise suggests.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from nst_nd.domains.metrics.noise import EDGE
from nst_nd.domains.spectrum import FINE, Spectrum
from nst_nd.errors import InputError

# more would bring up what voxels were rounded to
MOST_SHARPER = 8.0
# shares of the strongest frequency: what the ratio of doses is taken from, and what is still amplified
CLEAR, FAINT = 0.05, 1e-3
# frequencies below are anatomy's
LOWEST_PER_MM = 0.12
# below these a fit counts, above the ring itself: anatomy disturbs the lowest rings, and what is left at 0 is 1
FITTED_PER_MM = (0.2, 0.3)
# a frequency that every kernel shows as it is, and how far their transfers may be apart there
COARSE_PER_MM, MOST_COARSE = 0.1, 1.15
# how far the logarithm of a ratio of smooth transfers is from the fit, root mean square
MOST_MISFIT = 0.1
# rings of radial means per step of the lattice
RINGS = 1.0
# fewer clear ones tell no more than a constant
FEWEST = 4


def transfer_ratio(
    own: Spectrum, goal: Float[NDArray[np.float64], "u v"]
) -> Float[NDArray[np.float64], "fine_u fine_v 1"]:
    """[FINE, FINE, 1]: MTF of the style over MTF of the content, the same in all directions of the plane.

    own: the content's spectrum; goal: [EDGE, EDGE], power of the style's in the plane at the content's frequencies.
    1 at 0, at most MOST_SHARPER; 1 everywhere where the spectra have too little in common. Raises InputError where the
    fit says that they differ at COARSE_PER_MM by more than kernels do: raw noise that is not alike says nothing.
    """
    middles, cells, ours = _radial(own, own.power[0])
    theirs = _radial(own, goal)[2]
    clear = (middles >= LOWEST_PER_MM) & (ours > CLEAR * ours.max()) & (theirs > CLEAR * theirs.max())
    nothing = np.ones((FINE, FINE, 1))
    if clear.sum() < FEWEST:
        return nothing
    # transfers are even functions of frequency
    log = 0.5 * np.log(theirs[clear] / ours[clear])
    weights = np.sqrt(cells[clear])
    doses, *even = np.linalg.lstsq(_even(middles[clear]) * weights[:, None], log * weights, rcond=None)[0]
    coarse = float(np.exp(_even(np.array([COARSE_PER_MM]))[0, 1:] @ np.array(even)))
    misfit = float(np.sqrt(np.mean((log - doses - _even(middles[clear])[:, 1:] @ np.array(even)) ** 2)))
    if not 1.0 / MOST_COARSE < coarse < MOST_COARSE or misfit > MOST_MISFIT:
        raise InputError(
            f"resolution cannot be told from the noise of these scans: it would differ by a factor of {coarse:.2f} at "
            f"{COARSE_PER_MM:g} per mm, with a misfit of {misfit:.2f}, where kernels agree within {MOST_COARSE:g} and "
            f"{MOST_MISFIT:g}; their raw noise is not alike\nturn resolution off"
        )
    ratio = np.sqrt(np.maximum(theirs, 0.0) / np.maximum(ours, FAINT**2 * ours.max())) / np.exp(doses)
    # amplification ends where the content has nothing to amplify
    there = ours / (ours + FAINT * ours.max())
    ratio = np.where(ratio > 1.0, 1.0 + (np.minimum(ratio, MOST_SHARPER) - 1.0) * there, ratio)
    f = np.hypot(*np.meshgrid(*(np.fft.fftfreq(FINE, mm) for mm in own.step[:2]), indexing="ij"))
    low, high = FITTED_PER_MM
    measured = np.clip((f - low) / (high - low), 0.0, 1.0)
    fitted = np.exp(_even(np.minimum(f, high))[..., 1:] @ np.array(even))
    found: NDArray[np.float64] = measured * np.interp(f, middles, ratio) + (1.0 - measured) * fitted
    return found[..., None]


def _even(f: NDArray[np.float64]) -> NDArray[np.float64]:
    """[..., 3]: the even powers 0, 2, 4."""
    powers: NDArray[np.float64] = f[..., None] ** np.array([0.0, 2.0, 4.0])
    return powers


def _radial(
    own: Spectrum, power: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies per mm, cells and mean power of the rings that have cells."""
    f = np.hypot(*np.meshgrid(*(np.fft.fftfreq(EDGE, mm) for mm in own.step[:2]), indexing="ij"))
    width = 1.0 / (EDGE * max(own.step[:2])) / RINGS
    ring = np.rint(f / width).astype(int).ravel()
    cells = np.bincount(ring)
    there = cells > 0
    with np.errstate(invalid="ignore"):
        middles = np.bincount(ring, f.ravel()) / cells
        mean = np.bincount(ring, power.ravel()) / cells
    return middles[there], cells[there].astype(np.float64), mean[there]
