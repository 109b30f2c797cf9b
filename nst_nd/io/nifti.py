"""NIfTI-1 and -2: the header is kept as bytes and only the voxels are written anew."""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.errors import DecodeError, InputError
from nst_nd.io import nifti_header, nifti_voxels
from nst_nd.io.codec import ReadOptions, blank, suffix_of
from nst_nd.io.nifti_header import Info
from nst_nd.sample import Grid, Kind, Sample

_GZIP_MAGIC = b"\x1f\x8b"
# deflate never packs tighter than that
_GZIP_RATIO = 1032
_GZIP_LEVEL = 6
_CHUNK = 2**20


@dataclass(frozen=True, eq=False)
class NiftiSource:
    """A NIfTI file without its voxels.

    head: what stands before the voxels, or the whole .hdr file; gap: what stands before the voxels in an .img file,
    None for a single file; stored: the voxels themselves, one after the other, where undoing the scaling would not give
    back every one of them bit for bit, else None.
    """

    head: bytes
    gap: bytes | None
    shape: tuple[int, ...]
    stored: NDArray[Any] | None


class NiftiCodec:
    """Volumes of radiology research."""

    name: ClassVar[str] = "NIfTI"
    suffixes: ClassVar[tuple[str, ...]] = (".nii.gz", ".nii", ".hdr", ".img")
    kinds: ClassVar[tuple[Kind, ...]] = ("volume",)
    plain: ClassVar[tuple[str, ...]] = (".hdr", ".img")

    def sniff(self, head: bytes) -> bool:
        """By the magic in the header, looked for behind gzip too."""
        return nifti_header.is_nifti(nifti_header.gunzip_start(head) if head.startswith(_GZIP_MAGIC) else head)

    def read(self, path: Path, options: ReadOptions) -> Sample:
        """[channel, i, j, k] in the file's own unit, scaled by its slope and intercept; spacing in mm, affine too where
        the header has a sform or a qform.

        float32 for unscaled 8 and 16 bit integers and float32, else float64. A fourth axis is read as channels only
        with `options.channels`; 64-bit integers only up to 2^53. Raises DecodeError or InputError.
        """
        if suffix_of(path) == ".img":
            raise InputError(f"its header {path.with_suffix('.hdr').name} is missing; put it beside it")
        notes: list[str] = []
        head, gap, voxels = _pair(path, notes) if _is_pair(path) else _single(path, notes)
        info = nifti_header.parse(head)
        space = nifti_header.spatial(info.shape, options.channels)
        spacing, affine, more = nifti_header.geometry(info)
        data, stored = nifti_voxels.to_real(voxels, info, space)
        grid = Grid(spacing=spacing, unit="mm", affine=affine)
        source = NiftiSource(head, gap, info.shape, stored)
        return Sample(data, "volume", "arbitrary", grid, (), source, tuple(notes + more))

    def outline(self, path: Path, options: ReadOptions) -> Sample:
        """See Outlining. A packed file is unpacked as far as its header goes."""
        return _outlined(path, options)[0]

    def glance(self, path: Path, options: ReadOptions) -> Sample:
        """See Glancing. A packed file is unpacked as far as the plane goes."""
        sample, info, voxels, opener = _outlined(path, options)
        i, j, k = sample.shape
        size = i * j * info.dtype.itemsize
        with opener(voxels, "rb") as file:
            file.seek(info.offset + k // 2 * size)
            raw = file.read(size)
        if len(raw) < size:
            raise DecodeError("the NIfTI file is truncated before its middle")
        data, _ = nifti_voxels.to_real(np.frombuffer(raw, info.dtype), info, (i, j, 1))
        return sample.replace(data=data, grid=sample.grid.at_plane(k // 2))

    def write(self, sample: Sample, path: Path) -> list[str]:
        """Write under the header of the input, byte for byte; a fresh NIfTI where there is none.

        A fresh one is float32, of a source that says that it had whole numbers int16 or int32.
        """
        if sample.data.ndim != 4:
            raise InputError(f"a volume of shape {sample.data.shape} cannot be written; allowed: [channel, i, j, k]")
        head, gap, notes = _head_for(sample, pair=suffix_of(path) in (".hdr", ".img"))
        info = nifti_header.parse(head)
        source = sample.source
        kept = source.stored if isinstance(source, NiftiSource) and source.shape == info.shape else None
        if suffix_of(path) in (".hdr", ".img"):
            path.with_suffix(".hdr").write_bytes(head)
            with path.with_suffix(".img").open("wb") as file:
                file.write(gap)
                return notes + nifti_voxels.write(file, sample.data, info, kept)
        with path.open("wb") as plain, _packing(plain, suffix_of(path) == ".nii.gz") as file:
            file.write(head)
            return notes + nifti_voxels.write(file, sample.data, info, kept)


def _outlined(path: Path, options: ReadOptions) -> tuple[Sample, Info, Path, Callable[..., Any]]:
    """What the header says, as a Sample and as it is; the file with the voxels, and what opens it."""
    if suffix_of(path) == ".img":
        raise InputError(f"its header {path.with_suffix('.hdr').name} is missing; put it beside it")
    pair, voxels = _is_pair(path), path
    with path.open("rb") as plain:
        packed = plain.read(2) == _GZIP_MAGIC
    opener: Callable[..., Any] = gzip.open if packed else open
    with opener(path, "rb") as file:
        info = nifti_header.parse(file.read(nifti_header.LARGEST_HEADER))
    if pair:
        voxels = path.with_suffix(".img")
        if not voxels.is_file():
            raise InputError(f"its voxels {voxels.name} are missing; put them beside it")
    _check_size(info, voxels.stat().st_size * (_GZIP_RATIO if packed else 1))
    space = nifti_header.spatial(info.shape, options.channels)
    spacing, affine, more = nifti_header.geometry(info)
    nc = math.prod(info.shape) // max(1, math.prod(space))
    grid = Grid(spacing=spacing, unit="mm", affine=affine)
    sample = Sample(blank((nc, *space)), "volume", "arbitrary", grid, notes=tuple(more))
    return sample, info, voxels, opener


def _is_pair(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(nifti_header.LARGEST_HEADER)
    return nifti_header.is_pair(head) or not (head.startswith(_GZIP_MAGIC) or nifti_header.is_nifti(head))


def _pair(path: Path, notes: list[str]) -> tuple[bytes, bytes, NDArray[Any]]:
    """Header file, what precedes the voxels, voxels."""
    head = path.read_bytes()
    info = nifti_header.parse(head)
    nifti_header.check_extensions(head)
    image = path.with_suffix(".img")
    if not image.is_file():
        raise InputError(f"its voxels {image.name} are missing; put them beside it")
    size = image.stat().st_size
    _check_size(info, size)
    with image.open("rb") as file:
        return head, file.read(info.offset), _plain_voxels(file, info, size, notes)


def _single(path: Path, notes: list[str]) -> tuple[bytes, None, NDArray[Any]]:
    """What precedes the voxels, None, voxels."""
    size = path.stat().st_size
    with path.open("rb") as plain:
        packed = plain.read(2) == _GZIP_MAGIC
    opener: Any = gzip.open if packed else open
    with opener(path, "rb") as file:
        head = file.read(nifti_header.LARGEST_HEADER)
        if nifti_header.is_pair(head):
            raise InputError("is the header of a packed pair; unpack the .hdr.gz and its .img.gz first")
        info = nifti_header.parse(head)
        _check_size(info, size * _GZIP_RATIO if packed else size)
        file.seek(0)
        head = file.read(info.offset)
        return head, None, _packed_voxels(file, info, notes) if packed else _plain_voxels(file, info, size, notes)


def _check_size(info: Info, available: int) -> None:
    """Before anything is allocated: can the file hold what its header claims?"""
    if info.offset + info.data_bytes > available:
        raise DecodeError(f"the NIfTI file is truncated or broken: its header claims {info.shape} {info.dtype.name}")


def _plain_voxels(file: io.BufferedIOBase, info: Info, size: int, notes: list[str]) -> NDArray[Any]:
    """Mapped, not read."""
    _note_surplus(size - info.offset - info.data_bytes, notes)
    return scratch.of_file(file, info.data_bytes // info.dtype.itemsize, info.dtype, info.offset)


def _packed_voxels(file: io.BufferedIOBase, info: Info, notes: list[str]) -> NDArray[Any]:
    voxels = nifti_voxels.unpacked(file, info)
    surplus = 0
    # to the very end, where gzip keeps its checksum
    while more := file.read(_CHUNK):
        surplus += len(more)
    _note_surplus(surplus, notes)
    return voxels


def _note_surplus(surplus: int, notes: list[str]) -> None:
    if surplus:
        notes.append(f"{surplus} bytes behind the voxels are not part of the volume and were left out")


def _head_for(sample: Sample, *, pair: bool) -> tuple[bytes, bytes, list[str]]:
    """Header and gap for the output, from the input's where there is one, and notes."""
    dims = sample.shape if sample.nc == 1 else (*sample.shape, sample.nc)
    if not isinstance(sample.source, NiftiSource):
        dtype = _fresh_dtype(sample)
        head = nifti_header.fresh(dims, sample.grid, dtype)
        exact = dtype.kind != "f" or nifti_voxels.fits_float32(sample.data)
        notes = [] if exact else ["values were rounded to float32"]
        return nifti_header.as_pair(head) if pair else head, b"", notes
    head, gap, shape, notes = sample.source.head, sample.source.gap, sample.source.shape, []
    if int(np.prod(shape)) != sample.data.size or nifti_header.spatial(shape, channels=True) != sample.shape:
        head = nifti_header.with_shape(head, dims)
        notes.append(f"the header says another size now: {dims} instead of {shape}")
    if pair and gap is None:
        head = nifti_header.as_pair(head)
    elif not pair and gap is not None:
        head = nifti_header.as_single(head)
    return head, gap or b"", notes


def _fresh_dtype(sample: Sample) -> np.dtype[Any]:
    if not getattr(sample.source, "whole_numbers", False):
        return np.dtype(np.float32)
    low, high = scratch.extremes(sample.data)
    limits = np.iinfo(np.int16)
    return np.dtype(np.int16 if limits.min <= low.min() and high.max() <= limits.max else np.int32)


@contextmanager
def _packing(plain: io.BufferedWriter, packed: bool) -> Iterator[io.BufferedIOBase]:
    """The file itself, or a gzip stream into it, without time and name in its header: same voxels, same bytes."""
    if not packed:
        yield plain
        return
    with gzip.GzipFile("", "wb", _GZIP_LEVEL, plain, mtime=0) as file:
        yield file
