"""The header of a NIfTI file: what it says, what is refused, and the few edits that a new shape or container needs."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import DecodeError, InputError
from nst_nd.sample import Grid

_SIZES = {1: 348, 2: 540}
_MAGIC = {1: (344, (b"n+1\0", b"ni1\0")), 2: (4, (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n"))}
_KINDS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}
_EXTENDER = bytes(4)
_ALIGNMENT = 16
_LARGEST_DIM_1 = 32767
LARGEST_HEADER = _SIZES[2]


@dataclass(frozen=True, eq=False)
class Info:
    """A parsed header: nibabel's object, the stored dtype with its byte order, dims, scaling, start of the voxels."""

    header: Any
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    slope: float
    inter: float
    offset: int

    @property
    def scaled(self) -> bool:
        """Whether stored and real values differ."""
        return self.slope != 1 or self.inter != 0

    @property
    def data_bytes(self) -> int:
        """Size of the voxels."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def _version(head: bytes) -> int | None:
    return next((v for v, (at, marks) in _MAGIC.items() if head[at : at + len(marks[0])] in marks), None)


def is_nifti(head: bytes) -> bool:
    """Whether these bytes carry one of the four magics."""
    return _version(head) is not None


def gunzip_start(head: bytes) -> bytes:
    """As much as can be unpacked of the start of a gzip file; nothing if it is broken."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, LARGEST_HEADER)
    except zlib.error:
        return b""


def is_pair(head: bytes) -> bool:
    """Whether the voxels are in an .img file beside the header."""
    version = _version(head)
    return version is not None and head[_MAGIC[version][0] + 1 : _MAGIC[version][0] + 2] == b"i"


def parse(head: bytes) -> Info:
    """Raises DecodeError for a broken header and InputError for what is valid but not supported."""
    header = _header(head)
    ndim = int(header["dim"][0])
    shape = tuple(int(n) for n in header["dim"][1 : ndim + 1])
    if not 1 <= ndim <= 7 or min(shape) < 1:
        raise DecodeError(f"the NIfTI header is broken: {ndim} dims {shape}")
    dtype = _dtype(header)
    offset = float(header["vox_offset"])
    least = 0 if is_pair(head) else header.sizeof_hdr + len(_EXTENDER)
    if not np.isfinite(offset) or offset != round(offset) or offset < least:
        raise DecodeError(f"the NIfTI header is broken: its voxels start at byte {offset:g}")
    return Info(header, dtype, shape, *_scaling(header), int(offset))


def _scaling(header: Any) -> tuple[float, float]:
    """Slope and intercept; a slope of zero or NaN means none. Raises DecodeError for what is not finite."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    if not np.isfinite([slope, inter]).all():
        raise DecodeError(f"the NIfTI header is broken: slope {slope:g} and intercept {inter:g}; both must be finite")
    return slope, inter


def _header(head: bytes) -> Any:
    import nibabel

    version = _version(head)
    if len(head) < _SIZES[1]:
        raise DecodeError(f"the NIfTI header is truncated: {len(head)} bytes of {_SIZES[1]}")
    if version is None:
        raise InputError("is an ANALYZE header without a NIfTI magic, or broken; convert it to NIfTI first")
    size = _SIZES[version]
    order = next((o for o in "<>" if struct.unpack_from(o + "i", head)[0] == size), None)
    if order is None or len(head) < size:
        raise DecodeError("the NIfTI header is truncated or broken")
    kind: Any = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header
    return kind(head[:size], endianness=order, check=False)


def check_extensions(head: bytes) -> None:
    """Whether an .hdr file ends where its extensions say. Raises DecodeError if it is cut."""
    header = _header(head)
    at = header.sizeof_hdr + len(_EXTENDER)
    follows = at - len(_EXTENDER) < len(head) and head[at - len(_EXTENDER)] != 0
    cut = header.sizeof_hdr < len(head) < at
    while follows and not cut:
        size = struct.unpack_from(header.endianness + "i", head, at)[0] if at + 8 <= len(head) else 0
        at += size
        cut, follows = size < 8 or at > len(head), at < len(head)
    if cut:
        raise DecodeError("the NIfTI header is truncated or broken in its extensions")


def _dtype(header: Any) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except KeyError as error:
        code = int(header["datatype"])
        raise InputError(f"stores voxels of the unknown data type {code}; allowed: {', '.join(_KINDS)}") from error
    if dtype.name not in _KINDS:
        raise InputError(f"stores {_type_name(header, dtype)} voxels; allowed: {', '.join(_KINDS)}")
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        raise DecodeError(f"the NIfTI header is broken: {dtype.name} voxels of {int(header['bitpix'])} bits")
    return dtype


def _type_name(header: Any, dtype: np.dtype[Any]) -> str:
    if dtype.fields:
        return "".join(dtype.fields)  # RGB or RGBA
    return {0: "untyped", 1: "one-bit"}.get(int(header["datatype"]), dtype.name)


def spatial(shape: tuple[int, ...], channels: bool) -> tuple[int, int, int]:
    """The first three axes of the dims. Raises InputError for further axes that are not channels."""
    dims = list(shape)
    while len(dims) > 3 and dims[-1] == 1:
        dims.pop()
    if len(dims) > 4:
        raise InputError(f"has {len(shape)} axes {shape}; allowed: 3, or 4 with channels")
    if len(dims) == 4 and not channels:
        raise InputError(f"has 4 axes {shape}; set channels to true (--channels) to read the last one as channels")
    i, j, k = [*dims[:3], 1, 1][:3]
    return i, j, k


def geometry(info: Info) -> tuple[tuple[float, ...], NDArray[np.float64] | None, list[str]]:
    """Spacing and affine in mm, and notes on units.

    The affine is the sform's, else the qform's; None where the header has neither and so says nothing of where the
    voxels lie. Raises InputError where there is no usable geometry.
    """
    header, ndim = info.header, len(info.shape)
    spacing = np.asarray(header["pixdim"][1:4], np.float64)
    spacing[ndim:] = np.where(spacing[ndim:] > 0, spacing[ndim:], 1)
    if not (np.isfinite(spacing).all() and spacing.min() > 0):
        raise InputError(f"its voxel size is {'x'.join(f'{s:g}' for s in spacing)}; all must be above zero (pixdim)")
    affine = _affine(header)
    unit = int(header["xyzt_units"]) & 7
    factor = _MILLIMETRES.get(unit, 1.0)
    notes = []
    if unit not in _MILLIMETRES:
        notes.append("its unit of length is unknown: taken as mm")
    elif factor != 1:
        notes.append(f"its unit of length was converted to mm (x {factor:g}); the file keeps its own on writing")
    if affine is not None:
        affine = np.diag([factor, factor, factor, 1.0]) @ affine
    return tuple(float(s) * factor for s in spacing), affine, notes


def _affine(header: Any) -> NDArray[np.float64] | None:
    """Voxel to world in the file's unit of length, None without a sform and a qform. Raises InputError."""
    if header["sform_code"] != 0:
        affine = np.asarray(header.get_sform(), np.float64)
    elif header["qform_code"] != 0:
        affine = _qform(header)
    else:
        return None
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) <= 1e-6 * np.prod(lengths):
        raise InputError("its affine is singular or not finite; repair sform or qform first")
    return affine


def _qform(header: Any) -> NDArray[np.float64]:
    """Of a copy: the standard takes a qfac (pixdim[0]) of 0 as 1, nibabel refuses it."""
    from nibabel.spatialimages import HeaderDataError

    copy = header.copy()
    if copy["pixdim"][0] == 0:
        copy["pixdim"][0] = 1
    try:
        return np.asarray(copy.get_qform(), np.float64)
    except (ValueError, HeaderDataError) as error:
        parts = ", ".join(f"{float(copy[f'quatern_{x}']):g}" for x in "bcd")
        raise InputError(
            f"its qform is no rotation: qfac {float(copy['pixdim'][0]):g} (allowed: 1, -1, 0), quaternion {parts} "
            "(allowed: a length of at most 1)\nrepair the qform, or give it a sform"
        ) from error


def fresh(shape: tuple[int, ...], grid: Grid, dtype: np.dtype[Any]) -> bytes:
    """The head of a new single-file NIfTI: version 1, or 2 where an axis is too long for it."""
    import nibabel

    kind: Any = nibabel.Nifti1Header if max(shape) <= _LARGEST_DIM_1 else nibabel.Nifti2Header
    header = kind()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    if grid.affine is not None:
        header.set_sform(grid.affine, code="aligned")
    header["pixdim"][1:4] = grid.spacing
    header.set_xyzt_units(xyz="mm")
    header.set_slope_inter(1, 0)
    return as_single(header.binaryblock)


def with_shape(head: bytes, shape: tuple[int, ...]) -> bytes:
    """The same header with other dims."""
    header = _header(head)
    header.set_data_shape(shape)
    return bytes(header.binaryblock) + head[header.sizeof_hdr :]


def as_pair(head: bytes) -> bytes:
    """The .hdr file of a single-file head."""
    header = _header(head)
    header["vox_offset"] = 0
    header["magic"] = header.pair_magic
    return bytes(header.binaryblock) + head[header.sizeof_hdr :]


def as_single(head: bytes) -> bytes:
    """The single-file head of an .hdr file."""
    header = _header(head)
    rest = head[header.sizeof_hdr :] or _EXTENDER
    rest += bytes(-(header.sizeof_hdr + len(rest)) % _ALIGNMENT)
    header["vox_offset"] = header.sizeof_hdr + len(rest)
    header["magic"] = header.single_magic
    return bytes(header.binaryblock) + rest
