"""Agreement of a result with its content, and of numbers with numbers: SSIM, PSNR, concordance.

SSIM and PSNR look at HU in a window of -1000 to 400, clamped to it as on a display: data_range is 1400 HU. SSIM alone
ranks texture methods wrongly (Kim 2019): a style transfer is meant to change what it measures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.domains.metrics.running import Running, pieces
from nst_nd.sample import Data

WINDOW_HU = (-1000.0, 400.0)
# the window of Wang et al. 2004: a Gaussian of 1.5 samples, cut to 11 x 11
SIGMA, REACH = 1.5, 5
K1, K2 = 0.01, 0.03


def psnr(content: Data, result: Data, window: tuple[float, float] = WINDOW_HU) -> float:
    """10 log10(range^2 / mean square difference) in dB, of arrays [i, j, k] clamped to the window; inf if equal.

    window: lowest and highest value; range is their difference.
    """
    squares = Running()
    for i in pieces(content, result):
        squares.add((np.clip(result[i], *window).astype(np.float64) - np.clip(content[i], *window)) ** 2)
    error = squares.mean
    return float(10.0 * np.log10((window[1] - window[0]) ** 2 / error)) if error > 0 else np.inf


def ssim(content: Data, result: Data, window: tuple[float, float] = WINDOW_HU) -> float:
    """Mean structural similarity of the slices (the first two axes) of arrays [i, j, k], -1 to 1.

    As Wang, Bovik, Sheikh & Simoncelli 2004: 11 x 11 Gaussian windows of sigma 1.5 voxels that lie wholly inside of
    the slice, K1 = 0.01, K2 = 0.03, population variances; values clamped to `window`, whose width is the range.
    NaN for slices smaller than a window.
    """
    if min(content.shape[:2]) <= 2 * REACH:
        return np.nan
    found = Running()
    inner = content[REACH:-REACH]
    # a few times as many arrays as `pieces` counts on, so that pieces are smaller
    for piece in scratch.chunks(inner.shape, 0, max(1, scratch.PIECE // 4)):
        near = slice(piece.start, piece.stop + 2 * REACH)
        x, y = (np.clip(data[near], *window).astype(np.float64) for data in (content, result))
        found.add(_similarity(x, y, window[1] - window[0]))
        scratch.release(content, result)
    return found.mean


def _similarity(x: NDArray[np.float64], y: NDArray[np.float64], value_range: float) -> NDArray[np.float64]:
    """The index wherever a window fits."""
    c1, c2 = (K1 * value_range) ** 2, (K2 * value_range) ** 2
    # variances are small differences of large squares: levels beyond those of the window do not take part
    level = float(x.mean())
    x, y = x - level, y - level
    mx, my = _mean(x), _mean(y)
    vx, vy, vxy = _mean(x * x) - mx * mx, _mean(y * y) - my * my, _mean(x * y) - mx * my
    mx, my = mx + level, my + level
    similar: NDArray[np.float64] = (2.0 * mx * my + c1) * (2.0 * vxy + c2)
    similar /= (mx * mx + my * my + c1) * (vx + vy + c2)
    return similar


def _mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean over the windows that fit along the first two axes."""
    from scipy.ndimage import correlate1d

    weights = np.exp(-0.5 * (np.arange(-REACH, REACH + 1) / SIGMA) ** 2)
    weights /= weights.sum()
    rows = correlate1d(x, weights, axis=0)[REACH:-REACH]
    inner: NDArray[np.float64] = correlate1d(rows, weights, axis=1)[:, REACH:-REACH]
    return inner


def ccc(x: Float[NDArray[np.floating[Any]], " n"], y: Float[NDArray[np.floating[Any]], " n"]) -> float:
    """Concordance correlation coefficient 2 s_xy / (s_x^2 + s_y^2 + (m_x - m_y)^2), -1 to 1 (Lin 1989).

    Numbers of any unit, one pair a lesion or patient, population variances; s_xy = r s_x s_y. 1 where every pair is
    equal; 0.85 is what Choe et al. 2019 ask of a reproducible feature. NaN without pairs, and for one constant alone.
    """
    if len(x) == 0:
        return np.nan
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    between = float(np.mean((a - a.mean()) * (b - b.mean())))
    apart = float(a.var() + b.var() + (a.mean() - b.mean()) ** 2)
    return 2.0 * between / apart if apart > 0 else np.nan
