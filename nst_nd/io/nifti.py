"""NIfTI-1 and -2: the header is kept as bytes and only the voxels are written anew."""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import DecodeError, InputError
from nst_nd.io import nifti_header
from nst_nd.io.codec import ReadOptions, suffix_of
from nst_nd.io.nifti_header import Info
from nst_nd.io.quantise import EXACT_INTEGER, to_floats, to_integers
from nst_nd.sample import Grid, Kind, Sample

_GZIP_MAGIC = b"\x1f\x8b"
# deflate never packs tighter than that
_GZIP_RATIO = 1032
_GZIP_LEVEL = 6
_CHUNK = 2**20
_EXACT_IN_FLOAT32 = ("uint8", "int8", "uint16", "int16", "float32")


@dataclass(frozen=True, eq=False)
class NiftiSource:
    """A NIfTI file without its voxels.

    head: what stands before the voxels, or the whole .hdr file; gap: what stands before the voxels in an .img file,
    None for a single file; stored: the voxels themselves where undoing the scaling would not give back every one of
    them bit for bit, else None.
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
        """[channel, i, j, k] in the file's own unit, scaled by its slope and intercept; spacing and affine in mm.

        float32 for unscaled 8 and 16 bit integers and float32, else float64. A fourth axis is read as channels only
        with `options.channels`; 64-bit integers only up to 2^53. Raises DecodeError or InputError.
        """
        if suffix_of(path) == ".img":
            raise InputError(f"its header {path.with_suffix('.hdr').name} is missing; put it beside it")
        notes: list[str] = []
        head, gap, data = _pair(path, notes) if _is_pair(path) else _single(path, notes)
        info = nifti_header.parse(head)
        space = nifti_header.spatial(info.shape, options.channels)
        spacing, affine, more = nifti_header.geometry(info)
        stored = np.frombuffer(data, info.dtype).reshape(info.shape, order="F")
        values = _scaled(stored, info)
        inexact = info.scaled and not _same_bits(_unscaled(values, info)[0], stored)
        source = NiftiSource(head, gap, info.shape, stored if inexact else None)
        channels_first = np.moveaxis(values.reshape((*space, -1), order="F"), -1, 0)
        grid = Grid(spacing=spacing, unit="mm", affine=affine)
        return Sample(
            np.ascontiguousarray(channels_first), "volume", "arbitrary", grid, (), source, tuple(notes + more)
        )

    def write(self, sample: Sample, path: Path) -> list[str]:
        """Write under the header of the input, byte for byte; a fresh float32 NIfTI where there is none."""
        if sample.data.ndim != 4:
            raise InputError(f"a volume of shape {sample.data.shape} cannot be written; allowed: [channel, i, j, k]")
        head, gap, notes = _head_for(sample, pair=suffix_of(path) in (".hdr", ".img"))
        info = nifti_header.parse(head)
        values = np.moveaxis(sample.data, 0, -1).reshape(info.shape, order="F")
        stored, clipped = _unscaled(values, info)
        source = sample.source
        if isinstance(source, NiftiSource) and source.stored is not None and source.stored.shape == stored.shape:
            unchanged = values == _scaled(source.stored, info)
            stored = np.where(unchanged, source.stored, stored)
        # the transpose of an array in Fortran order is in C order
        raw = np.asfortranarray(stored, info.dtype).T.reshape(-1).view(np.uint8).data
        if suffix_of(path) in (".hdr", ".img"):
            path.with_suffix(".hdr").write_bytes(head)
            with path.with_suffix(".img").open("wb") as file:
                file.write(gap)
                file.write(raw)
        else:
            _write_single(path, head, raw)
        return notes + clipped


def _is_pair(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(nifti_header.LARGEST_HEADER)
    return nifti_header.is_pair(head) or not (head.startswith(_GZIP_MAGIC) or nifti_header.is_nifti(head))


def _pair(path: Path, notes: list[str]) -> tuple[bytes, bytes, bytes]:
    """Header file, what precedes the voxels, voxels."""
    head = path.read_bytes()
    info = nifti_header.parse(head)
    nifti_header.check_extensions(head)
    image = path.with_suffix(".img")
    if not image.is_file():
        raise InputError(f"its voxels {image.name} are missing; put them beside it")
    _check_size(info, image.stat().st_size)
    with image.open("rb") as file:
        gap = file.read(info.offset)
        return head, gap, _voxels(file, info, notes)


def _single(path: Path, notes: list[str]) -> tuple[bytes, None, bytes]:
    """What precedes the voxels, None, voxels."""
    size = path.stat().st_size
    with path.open("rb") as plain:
        packed = plain.read(2) == _GZIP_MAGIC
    opener: Any = gzip.open if packed else open
    with opener(path, "rb") as file:
        head = file.read(nifti_header.LARGEST_HEADER)
        info = nifti_header.parse(head)
        _check_size(info, size * _GZIP_RATIO if packed else size)
        file.seek(0)
        return file.read(info.offset), None, _voxels(file, info, notes)


def _check_size(info: Info, available: int) -> None:
    """Before anything is allocated: can the file hold what its header claims?"""
    if info.offset + info.data_bytes > available:
        raise DecodeError(f"the NIfTI file is truncated or broken: its header claims {info.shape} {info.dtype.name}")


def _voxels(file: io.BufferedIOBase, info: Info, notes: list[str]) -> bytes:
    data = file.read(info.data_bytes)
    if len(data) < info.data_bytes:
        raise DecodeError(f"the NIfTI file is truncated: {len(data)} of {info.data_bytes} bytes of voxels are there")
    surplus = 0
    # to the very end, where gzip keeps its checksum
    while more := file.read(_CHUNK):
        surplus += len(more)
    if surplus:
        notes.append(f"{surplus} bytes behind the voxels are not part of the volume and were left out")
    return data


def _scaled(stored: NDArray[Any], info: Info) -> NDArray[Any]:
    """Stored to real values, float32 where that holds all of them exactly."""
    if info.dtype.name in ("int64", "uint64") and max(abs(int(stored.min())), abs(int(stored.max()))) > EXACT_INTEGER:
        raise InputError(f"stores {info.dtype.name} voxels beyond 2^53, which no float holds; rescale it first")
    if not info.scaled:
        return stored.astype(np.float32 if info.dtype.name in _EXACT_IN_FLOAT32 else np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is an Inf, which Sample refuses
        values: NDArray[Any] = stored.astype(np.float64)
        values *= info.slope
        values += info.inter
    return values


def _unscaled(values: NDArray[Any], info: Info) -> tuple[NDArray[Any], list[str]]:
    """Real to stored values, rounded and clipped to the dtype of the file."""
    if info.scaled:
        values = (values.astype(np.float64) - info.inter) / info.slope
    return to_floats(values, info.dtype) if info.dtype.kind == "f" else to_integers(values, info.dtype)


def _same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Equal to the sign of zero."""
    return np.array_equal(a, b) and (a.dtype.kind != "f" or np.array_equal(np.signbit(a), np.signbit(b)))


def _head_for(sample: Sample, *, pair: bool) -> tuple[bytes, bytes, list[str]]:
    """Header and gap for the output, from the input's where there is one, and notes."""
    dims = sample.shape if sample.nc == 1 else (*sample.shape, sample.nc)
    if not isinstance(sample.source, NiftiSource):
        head = nifti_header.fresh(dims, sample.grid)
        notes = [] if _fits_float32(sample.data) else ["values were rounded to float32"]
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


def _fits_float32(data: NDArray[Any]) -> bool:
    with np.errstate(over="ignore"):
        return data.dtype == np.float32 or np.array_equal(data.astype(np.float32), data)


def _write_single(path: Path, head: bytes, raw: memoryview) -> None:
    with path.open("wb") as plain:
        if suffix_of(path) == ".nii":
            plain.write(head)
            plain.write(raw)
            return
        # no time and no name in the gzip header: same voxels, same bytes
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, plain, mtime=0) as file:
            file.write(head)
            file.write(raw)
