"""From real values to the stored integers of a file, and nothing silent on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nst_nd.sample import Data

# beyond it float64 skips integers, so no 64-bit value is read or written past it
EXACT_INTEGER = 2**53


def limits(dtype: DTypeLike, bits: int | None = None) -> tuple[int, int]:
    """Lowest and highest value of an integer dtype, of which only the lower `bits` bits may be used."""
    info = np.iinfo(np.dtype(dtype))
    if bits is not None and bits < info.bits:
        return (0, 2**bits - 1) if info.min == 0 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return max(info.min, -EXACT_INTEGER), min(info.max, EXACT_INTEGER)


def to_integers(
    values: NDArray[Any], dtype: DTypeLike, bits: int | None = None, *, spare_lowest: bool = False
) -> tuple[NDArray[Any], list[str]]:
    """Finite real values rounded to nearest-even and clipped to an integer dtype (or to its lower `bits` bits).

    spare_lowest: never give the lowest value, where the format means a gap by it. Returns the integers, in the byte
    order of the dtype, and a note that counts what was clipped, if anything was.
    """
    stored, clipped = rounded(values, dtype, bits, spare_lowest=spare_lowest)
    low, high = limits(dtype, bits)
    return stored, _note(clipped, stored.size, f"{low + spare_lowest}..{high}")


def rounded(
    values: NDArray[Any], dtype: DTypeLike, bits: int | None = None, *, spare_lowest: bool = False
) -> tuple[NDArray[Any], int]:
    """What `to_integers` gives, with the number of samples that were clipped instead of a note."""
    low, high = limits(dtype, bits)
    low += spare_lowest
    # float32 holds the limits of 16 bits exactly, but not those of 32
    work = as_data(values, wide=high >= 2**17 or values.dtype == np.float64)
    np.rint(work, out=work)
    clipped = int(np.count_nonzero((work < low) | (work > high)))
    np.clip(work, low, high, out=work)
    return work.astype(np.dtype(dtype)), clipped


def as_data(values: NDArray[Any], scale: float = 1.0, *, wide: bool) -> Data:
    """A fresh array in C order, divided by `scale`: float64 if wide, else float32."""
    data: Data = np.array(values, np.float64, order="C") if wide else np.array(values, np.float32, order="C")
    if scale != 1:
        data /= scale
    return data


def to_floats(values: NDArray[Any], dtype: DTypeLike) -> tuple[NDArray[Any], list[str]]:
    """Finite real values in a float dtype, clipped to its range, with a note that counts what was clipped."""
    stored, clipped = narrowed(values, dtype)
    return stored, clipping_notes(clipped, stored.size, dtype)


def narrowed(values: NDArray[Any], dtype: DTypeLike) -> tuple[NDArray[Any], int]:
    """What `to_floats` gives, with the number of samples that were clipped instead of a note."""
    target = np.dtype(dtype)
    highest = float(np.finfo(target).max)
    clipped = 0 if np.can_cast(values.dtype, target) else int(np.count_nonzero(np.abs(values) > highest))
    return (np.clip(values, -highest, highest) if clipped else values).astype(target), clipped


def clipping_notes(clipped: int, size: int, dtype: DTypeLike) -> list[str]:
    """What has to be said where so many of `size` samples were clipped to what a dtype holds: nothing if none was."""
    kind = np.dtype(dtype)
    allowed = f"+-{float(np.finfo(kind).max):g}" if kind.kind == "f" else "{}..{}".format(*limits(kind))
    return _note(clipped, size, allowed)


def _note(clipped: int, size: int, allowed: str) -> list[str]:
    return [f"{clipped} of {size} samples were clipped to {allowed}"] if clipped else []
