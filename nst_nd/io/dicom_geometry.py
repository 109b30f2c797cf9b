"""How the slices of a series lie: sorted along their normal, at even distances on one straight line, or refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import InputError
from nst_nd.io.dicom_header import Slice
from nst_nd.sample import Grid

# DICOM's x and y point to the left and to the back, those of RAS to the right and to the front
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# headers give positions in decimals, some of them with one digit after the point less than they should
_SAME_PLACE = 0.01
_UNEVEN = 0.05
_ROUNDING = 0.011
_DIRECTION = 1e-4
_TILT = 1e-3


def check_alike(slices: Sequence[Slice]) -> None:
    """InputError unless all are of one series, size, pixel format, spacing and direction."""
    first = slices[0]
    series = len({one.series for one in slices})
    if series > 1:
        raise InputError(f"holds slices of {series} series; allowed: one. Give each series a folder of its own")
    kinds = sorted({one.modality for one in slices})
    if len(kinds) > 1:
        raise InputError(f"holds slices of several modalities ({', '.join(kinds)}); allowed: one")
    for one in slices[1:]:
        ours, theirs = first.pixels, one.pixels
        if (ours.rows, ours.columns) != (theirs.rows, theirs.columns):
            sizes = f"{theirs.columns} x {theirs.rows} where {first.place} is {ours.columns} x {ours.rows}"
            raise InputError(f"{one.place} is {sizes}; all slices must be of one size")
        if (ours.dtype, ours.stored) != (theirs.dtype, theirs.stored):
            raise InputError(f"{one.place} stores {_said(one)} where {first.place} stores {_said(first)}; allowed: one")
        if np.abs(first.directions - one.directions).max() > _DIRECTION:
            raise InputError(f"{one.place} is turned another way than {first.place}; allowed: parallel slices")
        if not np.allclose(first.spacing, one.spacing, rtol=_DIRECTION, atol=0):
            steps = " where ".join(f"{s.spacing[0]:g} x {s.spacing[1]:g} mm" for s in (one, first))
            raise InputError(f"the voxels of {one.place} are {steps} is what {first.place} has; allowed: one size")
        if first.hounsfield != one.hounsfield:
            raise InputError(f"{one.place} and {first.place} are not both in HU; give slices of one unit")


def _said(one: Slice) -> str:
    return f"{one.pixels.stored} of {one.pixels.allocated} bits, {'' if one.pixels.signed else 'un'}signed"


def arranged(slices: Sequence[Slice]) -> tuple[list[Slice], Grid, list[str]]:
    """The slices in order along their normal, the grid [i: columns, j: rows, k: slices] in mm RAS, and notes.

    Raises InputError for slices at one place, a tilted gantry, and distances that are not even.
    """
    across, down = slices[0].directions
    normal = np.cross(across, down)
    normal /= np.linalg.norm(normal)
    ordered = sorted(slices, key=lambda one: float(one.position @ normal))
    positions = np.array([one.position for one in ordered])
    notes: list[str] = []
    if len(ordered) == 1:
        distance = _single_step(ordered[0], notes)
        step = normal * distance
    else:
        _check_steps(positions @ normal)
        _check_tilt(positions, normal)
        step = (positions[-1] - positions[0]) / (len(ordered) - 1)
        distance = float(np.linalg.norm(step))
    spacing = ordered[0].spacing
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = across * spacing[0], down * spacing[1], step
    affine[:3, 3] = positions[0]
    return ordered, Grid((*spacing, distance), "mm", affine=_LPS_TO_RAS @ affine), notes


def _single_step(one: Slice, notes: list[str]) -> float:
    if one.thickness is None:
        notes.append("one slice without a thickness: its third axis is taken as 1 mm")
        return 1.0
    notes.append(f"one slice: its third axis is taken as its thickness, {one.thickness:g} mm")
    return one.thickness


def _check_steps(along: NDArray[np.float64]) -> None:
    """along: mm along the normal, ascending."""
    steps = np.diff(along)
    usual = float(np.median(steps))
    same = int(np.count_nonzero(steps < _SAME_PLACE))
    if same:
        at = int(np.argmin(steps))
        raise InputError(
            f"{same} of {len(along)} slices lie where another one lies (the closest at {along[at]:g} mm)\n"
            "give one series of one time or phase, each slice once"
        )
    off = np.abs(steps - usual)
    at = int(np.argmax(off))
    if off[at] > max(_UNEVEN * usual, _ROUNDING):
        raise InputError(
            f"the slices are not evenly apart: mostly {usual:g} mm, but {steps[at]:g} mm between the slices "
            f"{at + 1} and {at + 2} of {len(along)} (at {along[at]:g} and {along[at + 1]:g} mm along the normal)\n"
            "put the missing slices back, or resample the series first"
        )


def _check_tilt(positions: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    along = (positions - positions[0]) @ normal
    drift = np.linalg.norm(positions - positions[0] - along[:, None] * normal, axis=1)
    worst = int(np.argmax(drift - _TILT * along))
    if drift[worst] > max(_SAME_PLACE, _TILT * along[worst]):
        angle = np.degrees(np.arctan2(drift[worst], along[worst]))
        raise InputError(
            f"the slices are shifted sideways by up to {angle:.2g} degrees against their normal (a tilted gantry)\n"
            "allowed: slices on a line along their normal; resample the series first"
        )
