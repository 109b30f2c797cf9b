"""A style on the content's spacing, so that networks, which see voxels, compare it in mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.sample import Data, Sample

# spacings that differ by less than this share count as the same
ALIKE = 0.05
# a style is not made more than so many times larger
MOST_LARGER = 8.0


def on_spacing(style: Sample, spacing: Sequence[float], notes: list[str], *, pick: bool) -> Sample:
    """The style with voxels of about this spacing in mm; itself where they are alike. notes: what was done.

    Lines are resampled by their cosine transform, cut or filled up with 0: what both spacings can show stays as it is,
    noise included, which an interpolation between neighbours would smooth. pick: the last axis counts slices, of which
    the nearest ones are taken, never a mean, and none is made up between them: noise depends on how thick they are.
    """
    own, size = style.grid.spacing, style.shape
    if all(_alike(a, b) for a, b in zip(own, spacing, strict=True)):
        return style
    wanted = [n if _alike(a, b) else max(1, round(n * a / b)) for n, a, b in zip(size, own, spacing, strict=True)]
    if pick:
        wanted[-1] = min(wanted[-1], size[-1])
    differ = f"voxel spacing differs (content {_by(spacing)} mm, style {_by(own)} mm)"
    if np.prod(wanted) > MOST_LARGER * np.prod(size):
        notes.append(f"{differ}: compared voxel by voxel, since the style would become {_by(wanted)} voxels")
        return style
    notes.append(f"{differ}: the style is compared in mm, as {_by(wanted)} voxels instead of {_by(size)}")
    data = style.data
    if pick and wanted[-1] != size[-1]:
        data = _picked(data, np.floor((np.arange(wanted[-1]) + 0.5) * size[-1] / wanted[-1]).astype(np.intp))
    for axis, n in enumerate(wanted, start=1):
        if n != data.shape[axis]:
            data = _resampled(data, axis, n)
    mm = tuple(a * n / m for a, n, m in zip(own, size, wanted, strict=True))
    return style.replace(data=data, grid=replace(style.grid, spacing=mm, affine=None))


def _alike(a: float, b: float) -> bool:
    return abs(a - b) <= ALIKE * b


def _by(numbers: Sequence[float]) -> str:
    return " x ".join(f"{n:g}" for n in numbers)


def _picked(data: Data, places: NDArray[np.intp]) -> Data:
    """These positions of the last axis."""
    out = scratch.empty((*data.shape[:-1], len(places)), data.dtype)
    for piece in scratch.chunks(data, 1):
        out[:, piece] = data[:, piece][..., places]
        scratch.release(out, data)
    return out


def _resampled(data: Data, axis: int, n: int) -> Data:
    """[C, *space] with n positions over the same extent of an axis; the others are cut into pieces."""
    out = scratch.empty([n if a == axis else m for a, m in enumerate(data.shape)], data.dtype)
    across = 2 if axis == 1 else 1
    for piece in scratch.chunks(data, across, 8 * scratch.PIECE):
        place: tuple[Any, ...] = (*(slice(None) for _ in range(across)), piece)
        out[place] = _lines(data[place], axis, n)
        scratch.release(out, data)
    return out


def _lines(data: Data, axis: int, n: int) -> Data:
    from scipy.fft import dct, idct

    waves = dct(data, axis=axis, norm="ortho")
    kept = waves[tuple(slice(n) if a == axis else slice(None) for a in range(waves.ndim))]
    more = [(0, max(0, n - waves.shape[axis])) if a == axis else (0, 0) for a in range(waves.ndim)]
    found: Data = idct(np.pad(kept, more), axis=axis, norm="ortho") * np.sqrt(n / data.shape[axis])
    return found.astype(data.dtype)
