"""Large arrays in files without a name: mapped into memory, and given back to the system while nobody works on them.

What is computed on large arrays goes piece by piece: read a piece, write a piece, `release`. What is then resident is
a few pieces; the rest is in the file, or in the system's cache as long as it has room. Small arrays are ordinary ones.
"""

from __future__ import annotations

import io
import mmap
import os
import re
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nst_nd.errors import ComputationError, ConfigError

# arrays of so many bytes and more are mapped
LARGE = 32 * 2**20
# bytes worked on at a time
PIECE = 4 * 2**20
VARIABLE = "NST_ND_SCRATCH"
_IN_MEMORY = ("tmpfs", "ramfs")
_MOUNTS = Path("/proc/self/mounts")
# live mappings by the address that they start at: a tensor does not say whose memory it shares
_MAPPINGS: weakref.WeakValueDictionary[int, mmap.mmap] = weakref.WeakValueDictionary()


def folder() -> Path:
    """Where scratch files go: $NST_ND_SCRATCH, else the folder for temporary files unless that is kept in memory.

    Raises ConfigError where the variable names no folder that can be written.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not _writable(Path(named)):
            raise ConfigError(f"{VARIABLE} is {named!r}; allowed: a folder that exists and can be written")
        return Path(named)
    usual, disk = Path(tempfile.gettempdir()), Path("/var/tmp")
    return disk if _in_memory(usual) and _writable(disk) and not _in_memory(disk) else usual


def _writable(path: Path) -> bool:
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def _in_memory(path: Path) -> bool:
    """Whether files there are memory, as far as the table of mounts says: the longest mount point above it counts."""
    try:
        table = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    above, kinds = {path.resolve(), *path.resolve().parents}, {}
    for _, mount, kind, *_ in (line.split(" ") for line in table.splitlines()):
        point = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), mount))
        if point in above:
            kinds[point] = kind  # a later line covers an earlier one
    return bool(kinds) and kinds[max(kinds, key=lambda point: len(point.parts))] in _IN_MEMORY


def mapped(shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros in C order, in a file that is gone with the last view of them; its space is reserved now.

    Raises ComputationError where the disk has no room for it or the folder cannot be written.
    """
    where, size = folder(), max(1, int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize)
    try:
        with tempfile.TemporaryFile(dir=where) as file:
            if sys.platform == "linux":
                os.posix_fallocate(file.fileno(), 0, size)  # a hole would be a SIGBUS once the disk is full
            else:
                file.truncate(size)
            return _view(mmap.mmap(file.fileno(), size), shape, dtype, 0)
    except OSError as error:
        raise ComputationError(
            f"{where}: no room for a scratch file of {_said(size)} ({error.strerror}; {_free(where)} are free)\n"
            f"make room, or let {VARIABLE} name a folder on a larger disk"
        ) from error


def of_file(file: io.BufferedIOBase, count: int, dtype: DTypeLike, offset: int) -> NDArray[Any]:
    """`count` values that stand at byte `offset` of an open file: read-only, and read when they are looked at.

    Raises TypeError where the file is shorter than that.
    """
    return _view(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), (count,), dtype, offset)


def _view(mapping: mmap.mmap, shape: Sequence[int], dtype: DTypeLike, offset: int) -> NDArray[Any]:
    array: NDArray[Any] = np.ndarray(tuple(shape), dtype, mapping, offset)
    _MAPPINGS[array.__array_interface__["data"][0] - offset] = mapping
    return array


def free_bytes() -> int:
    """Room in the folder of scratch files."""
    status = os.statvfs(folder())
    return status.f_bavail * status.f_frsize


def _free(where: Path) -> str:
    status = os.statvfs(where)
    return _said(status.f_bavail * status.f_frsize)


def _said(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**27 else f"{size / 2**20:.1f} MiB"


def empty(shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """An array in C order to be filled: mapped where it has LARGE bytes or more. Raises as `mapped` does."""
    size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    return mapped(shape, dtype) if size >= LARGE else np.empty(tuple(shape), dtype)


def zeros(shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """As `empty`, all 0."""
    size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    return mapped(shape, dtype) if size >= LARGE else np.zeros(tuple(shape), dtype)


def mapped_tensor(shape: Sequence[int], dtype: Any) -> Any:
    """`mapped` as a torch tensor of a torch dtype."""
    import torch  # only those who have it imported come here

    flat = mapped((int(np.prod(shape, dtype=object)) * dtype.itemsize,), np.uint8)
    return torch.from_numpy(flat).view(dtype).view(tuple(shape))


def is_mapped(array: Any) -> bool:
    """Whether an array or a torch tensor is in a file, whole or as a view."""
    return _mapping(array) is not None


def _mapping(array: Any) -> mmap.mmap | None:
    """The mapping under an array, a view of one, or a tensor that shares its memory."""
    address = array.__array_interface__["data"][0] if isinstance(array, np.ndarray) else array.data_ptr()
    inside = (m for start, m in list(_MAPPINGS.items()) if start <= address < start + len(m))
    return next(inside, None)


def release(*arrays: Any) -> None:
    """Give the memory of mapped arrays or tensors back; their values stay, in the file. Others are left as they are.

    A view stands for all of its mapping. Pages come back when they are touched, so it may be called at any time.
    """
    for array in arrays:
        mapping = _mapping(array)
        if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)


def chunks(array: NDArray[Any] | Sequence[int], axis: int, size: int | None = None) -> Iterator[slice]:
    """Slices of one axis that cover it in order, of at most `size` bytes each (PIECE by default), or of one position.

    A shape counts as float64, which is what is mostly computed in.
    """
    shape = array.shape if isinstance(array, np.ndarray) else tuple(array)
    itemsize = array.itemsize if isinstance(array, np.ndarray) else 8
    length = shape[axis]
    each = itemsize * int(np.prod(shape, dtype=object)) // max(1, length)
    step = max(1, (size or PIECE) // max(1, each))
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def piecewise(function: Callable[..., Any], *arrays: Any, nc: int, dtype: DTypeLike) -> NDArray[Any]:
    """[nc, *space], see `empty`, of a function of arrays or tensors [C, *space] that maps positions one by one.

    It is given pieces of them, and may give one channel or all of them.
    """
    space = tuple(arrays[0].shape[1:])
    out = empty((nc, *space), dtype)
    for piece in chunks((max(nc, *(len(a) for a in arrays)), *space), 1):
        out[:, piece] = function(*(a[:, piece] for a in arrays))
        release(out, *arrays)
    return out


def extremes(array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Lowest and highest value of [C, *space] per channel, [C] each; NaN where there is one."""
    # along an axis that only seems to be there (blank, a broadcast) all values are the same one
    array = array[(slice(None), *(slice(None if step else 1) for step in array.strides[1:]))]
    found = []
    for piece in chunks(array, 1):
        flat = array[:, piece].reshape(len(array), -1)
        found.append((flat.min(axis=1), flat.max(axis=1)))
        release(array)
    return np.min([low for low, _ in found], axis=0), np.max([high for _, high in found], axis=0)
