"""Volumes: slices at full resolution as far as they have room, and a small copy of the whole for the 3-D view."""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nst_nd.report.pictures import Panel, Role, diverging, gray, largest_change, png
from nst_nd.sample import Sample

# of all slices of a page together, as they are stored
SLICE_BYTES = 5_500_000
LEAST_SLICES = 3
# slices that say how large slices are
PROBES = 7
# longer side of a slice
MOST_SIDE = 512
# of the copy for the 3-D view
MOST_VOXELS = 1_000_000
# of a volume without a window of its own: these percentiles are black and white
PERCENTILES = (0.5, 99.5)
# values that percentiles are taken of
LOOKED_AT = 2_000_000
LEVELS = 4095
# bytes of a NIfTI-1 header: scl_slope and scl_inter
_SLOPE_AT = slice(112, 120)
# what lies at the end of an axis that is counted towards the first one
_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}


@dataclass(frozen=True)
class Slices:
    """What the slider goes over. places: indices along the third axis of the content (the result where there is none),
    from 0, of `depth`. across, down: what lies at the left, right, top and bottom of a slice.
    """

    places: tuple[int, ...]
    depth: int
    panels: tuple[Panel, ...]
    window: tuple[float, float]
    edges: tuple[str, str, str, str]
    largest: float


def window_of(sample: Sample, given: Any) -> tuple[float, float]:
    """The window of the settings, or percentiles of the values."""
    if isinstance(given, list | tuple) and len(given) == 2 and all(isinstance(v, int | float) for v in given):
        low, high = float(given[0]), float(given[1])
        if math.isfinite(low) and math.isfinite(high) and low < high:
            return low, high
    values = sample.data[0]
    step = max(1, round((values.size / LOOKED_AT) ** (1.0 / values.ndim)))
    every = values[tuple(slice(None, None, step) for _ in range(values.ndim))]
    low, high = (float(v) for v in np.percentile(every, PERCENTILES))
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def slices_of(content: Sample | None, style: Sample | None, result: Sample, given: Any) -> Slices:
    """Of content, style, result and their difference at places spread evenly; the style at the same share of its depth.

    given: the window of the settings, or None.
    """
    window = window_of(content or result, given)
    style_window = window if given is not None or style is None else window_of(style, None)
    depth = result.shape[-1]
    largest = 0.0 if content is None else _largest(content, result)

    def drawn(place: int) -> Mapping[Role, Image.Image]:
        pictures: dict[Role, Image.Image] = {}
        if content is not None:
            pictures["content"] = _placed(gray(_plane(content, place), window), content)
        if style is not None:
            pictures["style"] = _placed(gray(_plane(style, _same_share(place, depth, style)), style_window), style)
        pictures["result"] = _placed(gray(_plane(result, place), window), result)
        if content is not None:
            change = diverging(_plane(result, place) - _plane(content, place), largest)
            pictures["difference"] = _placed(change, result)
        return pictures

    found = _bounded(drawn, depth)
    places = tuple(found)
    pictures: dict[Role, list[str]] = {}
    for stored in found.values():
        for role, (uri, _) in stored.items():
            pictures.setdefault(role, []).append(uri)
    sizes = {role: size for role, (_, size) in found[places[0]].items()}
    samples = {"content": content, "style": style, "result": result, "difference": result}
    panels = tuple(
        Panel(role, tuple(pictures[role]), _as_shown(sizes[role], samples[role]), f"{role}: slice of the volume")
        for role in pictures
    )
    return Slices(places, depth, panels, window, _edges(result), largest)


def _largest(content: Sample, result: Sample) -> float:
    """The largest of the slices' largest changes: one slice may be masked, another have changed alone."""
    return max(largest_change(_plane(result, k) - _plane(content, k)) for k in range(result.shape[-1]))


def _bounded(
    drawn: Callable[[int], Mapping[Role, Image.Image]], depth: int
) -> dict[int, dict[Role, tuple[str, tuple[int, int]]]]:
    """Pictures and their sizes at as many places as SLICE_BYTES has room for, spread from the first to the last."""
    most = SLICE_BYTES * 4 // 3
    made: dict[int, dict[Role, tuple[str, tuple[int, int]]]] = {}

    def size_of(place: int) -> int:
        if place not in made:
            made[place] = {role: (png(picture), picture.size) for role, picture in drawn(place).items()}
        return sum(len(uri) for uri, _ in made[place].values())

    # slices differ: one of air alone takes next to nothing
    count = min(depth, max(LEAST_SLICES, most // max(map(size_of, _spread(depth, PROBES)))))
    while True:
        # with an odd number the middle is one of them
        count -= 1 - count % 2 if LEAST_SLICES < count < depth else 0
        places = _spread(depth, count)
        size = 0
        for place in places:
            size += size_of(place)
            if size > most and count > LEAST_SLICES:
                break
        else:
            return {place: made[place] for place in places}
        count = max(LEAST_SLICES, count * 3 // 4)


def _spread(depth: int, count: int) -> list[int]:
    return list(dict.fromkeys(round(place) for place in np.linspace(0, depth - 1, min(depth, count))))


def middle_slice(sample: Sample, given: Any) -> Image.Image:
    """The slice in the middle, in the window of the settings or one of its own."""
    return _placed(gray(_plane(sample, sample.shape[-1] // 2), window_of(sample, given)), sample)


def preview(sample: Sample) -> tuple[str, tuple[int, ...]]:
    """The first channel by means of blocks, as a NIfTI-1 of its own (gzip, base64), and its shape.

    Nothing of the file's header but the geometry gets into it.
    """
    factors = factors_for(sample.shape, sample.grid.spacing)
    small = block_means(sample.data[0], factors)
    stored, slope, offset = _whole_numbers(small)
    affine = np.diag([*sample.grid.spacing, 1.0]) if sample.grid.affine is None else sample.grid.affine
    shift = np.eye(4)
    shift[:3, 3] = [(f - 1) / 2 for f in factors]
    image = _nibabel().Nifti1Image(stored, affine @ shift @ np.diag([*map(float, factors), 1.0]))
    image.header.set_xyzt_units("mm")
    # nibabel would work out a slope of its own: it is written where NIfTI-1 has it
    data = bytearray(image.to_bytes())
    data[_SLOPE_AT] = np.array([slope, offset], "<f4").tobytes()
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode("ascii"), small.shape


def factors_for(shape: tuple[int, ...], spacing: tuple[float, ...], most: int = MOST_VOXELS) -> tuple[int, ...]:
    """How many voxels become one along each axis, so that at most `most` are left, of sides as equal as can be."""
    factors = [1] * len(shape)
    while math.prod(-(-n // f) for n, f in zip(shape, factors, strict=True)) > most:
        sides = [(s * f if n > f else math.inf) for n, s, f in zip(shape, spacing, factors, strict=True)]
        factors[sides.index(min(sides))] += 1
    return tuple(factors)


def block_means(values: NDArray[Any], factors: tuple[int, ...]) -> NDArray[np.float32]:
    """Means of blocks; those at the far ends are of what is left. In memory are blocks of the first axis alone."""
    first, *others = factors
    rows = []
    for start in range(0, values.shape[0], first):
        part = values[start : start + first].mean(axis=0, dtype=np.float64)
        for axis, factor in enumerate(others):
            starts = np.arange(0, part.shape[axis], factor)
            counts = np.diff([*starts, part.shape[axis]])
            part = np.moveaxis(np.add.reduceat(part, starts, axis=axis), axis, -1) / counts
            part = np.moveaxis(part, -1, axis)
        rows.append(part.astype(np.float32))
    return np.stack(rows)


def _whole_numbers(values: NDArray[np.float32]) -> tuple[NDArray[np.int16], float, float]:
    """int16 with slope and offset: whole units where that leaves enough levels, as for HU, else 4096 of them."""
    low, high = float(values.min()), float(values.max())
    if high - low >= LEVELS / 8 and max(abs(low), abs(high)) < np.iinfo(np.int16).max:
        return np.rint(values).astype(np.int16), 1.0, 0.0
    slope = (high - low) / LEVELS or 1.0
    return np.rint((values - low) / slope).astype(np.int16), slope, low


def _plane(sample: Sample, place: int) -> NDArray[np.float32]:
    """[rows, columns] of the first channel: the second axis downwards, the first one to the right, bounded."""
    step = -(-max(sample.shape[:-1]) // MOST_SIDE)
    plane = sample.data[0, ::step, ::step, place]
    return np.ascontiguousarray(plane.T, dtype=np.float32)


def _placed(picture: Image.Image, sample: Sample) -> Image.Image:
    """As radiologists look at it: the patient's right on the left, anterior or superior on top."""
    columns, rows = _codes(sample)[:2]
    if columns in "RAS":
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if rows in "RAS" else picture


def _codes(sample: Sample) -> tuple[str, ...]:
    """Where each axis of the file leads, as letters."""
    affine = np.eye(4) if sample.grid.affine is None else sample.grid.affine
    return tuple(code or "S" for code in _nibabel().aff2axcodes(affine))


def _nibabel() -> Any:
    """Without types."""
    import nibabel

    return nibabel


def _edges(sample: Sample) -> tuple[str, str, str, str]:
    columns, rows = _codes(sample)[:2]
    right = _OPPOSITE[columns] if columns in "RAS" else columns
    bottom = _OPPOSITE[rows] if rows in "RAS" else rows
    return _OPPOSITE[right], right, _OPPOSITE[bottom], bottom


def _same_share(place: int, depth: int, style: Sample) -> int:
    return round(place / max(1, depth - 1) * (style.shape[-1] - 1))


def _as_shown(size: tuple[int, int], sample: Sample | None) -> tuple[int, int]:
    """Pixels with square sides, whatever the voxels'."""
    assert sample is not None
    across, down = sample.grid.spacing[:2]
    return size[0], max(1, round(size[1] * down / across))
