"""The three planes of a volume: which voxel axis goes where, and the letters of its edges."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import InputError

# towards lower and higher values of the world's axes, which point to the right, to the front and up
LETTERS = ("LR", "PA", "IS")
# cosine of the angle to an axis from which on a second letter is needed, as in "RA": 15 degrees off
SLANTED = 0.26
# name, and the world axes of its normal, of what goes across and of what goes down
_VIEWS = (("axial", 2, 0, 1), ("coronal", 1, 0, 2), ("sagittal", 0, 1, 2))
_VOXEL_AXES = "ijk"


@dataclass(frozen=True)
class Plane:
    """How slices along one voxel axis are shown.

    normal, across, down: voxel axes. flip_across, flip_down: whether the last voxel is left, or on top. left, right,
    top, bottom: what stands at the edges: letters of directions; the name of a voxel axis where the grid has no affine.
    """

    name: str
    normal: int
    across: int
    down: int
    flip_across: bool
    flip_down: bool
    left: str
    right: str
    top: str
    bottom: str

    def cut(self, volume: NDArray[Any], at: int) -> NDArray[Any]:
        """The slice [channel, row, column] of [channel, i, j, k] at voxel `at` of the normal, as it is shown."""
        # a view: np.take would copy the whole of a volume that is mapped or broadcast
        plane = volume[(*(slice(None),) * (self.normal + 1), slice(at, at + 1))].squeeze(self.normal + 1)
        if self.across < self.down:
            plane = plane.swapaxes(1, 2)
        plane = plane[:, ::-1] if self.flip_down else plane
        out: NDArray[Any] = plane[:, :, ::-1] if self.flip_across else plane
        return out


def planes_of(affine: NDArray[Any] | None) -> tuple[Plane, ...]:
    """Axial, coronal and sagittal as radiologists look at them: the patient's right and front are left, the head up.

    Of an oblique volume each voxel axis counts as the axis of the body that it is closest to; nothing is resampled.
    Without an affine: slices along k, j and i, with the lower voxel axis to the right and the other one up.
    Raises InputError for an affine that is singular or not finite.
    """
    if affine is None:
        return tuple(_plain(normal) for normal in (2, 1, 0))
    towards = directions(affine)
    nearest = nearest_axes(towards)
    return tuple(_seen(name, nearest, towards, world) for name, *world in _VIEWS)


def directions(affine: NDArray[Any]) -> NDArray[np.float64]:
    """[3, 3]: column v is the unit vector in the world along voxel axis v."""
    matrix = np.asarray(affine, np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise InputError(f"its affine is not 4 x 4 finite numbers (shape {matrix.shape}); give one, or none")
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if abs(np.linalg.det(matrix[:3, :3])) <= 1e-6 * np.prod(lengths):
        raise InputError("its affine is singular: it maps different voxels to one place; give another one, or none")
    units: NDArray[np.float64] = matrix[:3, :3] / lengths
    return units


def nearest_axes(towards: NDArray[np.float64]) -> tuple[int, ...]:
    """The voxel axis that stands for each world axis: of all pairings the one with the smallest angles together."""
    return max(permutations(range(3)), key=lambda p: sum(abs(towards[world, p[world]]) for world in range(3)))


def tilt_of(affine: NDArray[Any] | None) -> float:
    """Degrees by which a voxel axis is off the axis of the body that it stands for, of the axis with the most."""
    if affine is None:
        return 0.0
    towards = directions(affine)
    cosines = [abs(towards[world, voxel]) for world, voxel in enumerate(nearest_axes(towards))]
    return float(np.degrees(np.arccos(np.clip(min(cosines), 0.0, 1.0))))


def letters_of(direction: NDArray[np.float64]) -> str:
    """The letter of the axis that a unit vector in the world is closest to, and of others that it leans towards."""
    order = np.argsort(-np.abs(direction), kind="stable")
    leaning = [axis for axis in order if axis == order[0] or abs(direction[axis]) >= SLANTED]
    return "".join(LETTERS[axis][int(direction[axis] > 0)] for axis in leaning)


def _seen(name: str, nearest: tuple[int, ...], towards: NDArray[np.float64], world: list[int]) -> Plane:
    normal, across, down = (nearest[axis] for axis in world)
    # to the right of the picture lies what is left, or behind; below lies what is behind, or lower
    flip_across, flip_down = bool(towards[world[1], across] > 0), bool(towards[world[2], down] > 0)
    rightwards = towards[:, across] * (-1.0 if flip_across else 1.0)
    downwards = towards[:, down] * (-1.0 if flip_down else 1.0)
    edges = (letters_of(v) for v in (-rightwards, rightwards, -downwards, downwards))
    return Plane(name, normal, across, down, flip_across, flip_down, *edges)


def _plain(normal: int) -> Plane:
    across, up = (axis for axis in range(3) if axis != normal)
    name = f"along {_VOXEL_AXES[normal]}"
    return Plane(name, normal, across, up, False, True, "", _VOXEL_AXES[across], _VOXEL_AXES[up], "")
