"""The contract of a codec, the registry, and the two functions everybody calls: load and save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from nst_nd.errors import ConfigError, DecodeError, InputError, NstError
from nst_nd.io.atomic import publishing
from nst_nd.sample import Data, Kind, Sample

MAGIC_BYTES = 512
# raw data without a signature: what it is stands in the header beside it
_HEADER_OF = {".dat": ".hea", ".img": ".hdr"}
# an output that is a folder
FOLDER_SUFFIX = ".dicom"
FOLDER_HOLDS = ".dcm"


@dataclass(frozen=True)
class ReadOptions:
    """What a file cannot say itself.

    kind: the kind of signal of a file that could be several (NPY).
    rate: samples per second of an ECG CSV or NPY that carries no time.
    channels: read the last axis of a 4-D NIfTI as channels.
    """

    kind: Kind | None = None
    rate: float | None = None
    channels: bool = False


@runtime_checkable
class Codec(Protocol):
    """Reads and writes one family of files. Reading and writing back unchanged gives the same samples, bit for bit.

    suffixes: what it writes; kinds: the kinds of Sample it holds; plain: those suffixes whose files have no magic
    bytes and are recognised by name.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    kinds: ClassVar[tuple[Kind, ...]]
    plain: ClassVar[tuple[str, ...]]

    def sniff(self, head: bytes) -> bool:
        """Whether a file that starts with these bytes (at most 512) is of this family."""

    def read(self, path: Path, options: ReadOptions) -> Sample:
        """The file as a Sample. Raises DecodeError (broken, truncated) or InputError (not finite, not supported).

        Whatever else it lets through (a library's own exception) `load` turns into a DecodeError.
        """

    def write(self, sample: Sample, path: Path) -> list[str]:
        """Write to `path`, whose folder is private to this call, so that companion files may be put beside it.

        Returns what had to be said: clipping, rounding, a lossy format.
        Raises InputError where the sample does not fit the format.
        """


@runtime_checkable
class Outlining(Protocol):
    """A codec that can say what a file holds without reading its values."""

    def outline(self, path: Path, options: ReadOptions) -> Sample:
        """As `read`, with any values; what the header promises must be there. Raises DecodeError or InputError."""


@runtime_checkable
class Glancing(Protocol):
    """A codec that can read a plane of a volume without the others."""

    def glance(self, path: Path, options: ReadOptions) -> Sample:
        """As `read`; of a volume the first channel of the plane in the middle of the last axis, [1, i, j, 1]."""


@runtime_checkable
class Deriving(Protocol):
    """A codec that writes only what it has read itself: its files are derived from those."""

    def check(self, sample: Sample, path: Path) -> None:
        """ConfigError unless it can be written to `path` for what its source is."""


@runtime_checkable
class Choosy(Protocol):
    """A codec that cannot hold every rate or number of channels."""

    def fits(self, sample: Sample, path: Path) -> None:
        """InputError unless a signal like this one can be written to `path`."""


def suffix_of(path: Path) -> str:
    """The suffix in lower case; `.nii.gz` counts as one."""
    name = path.name.lower()
    if name.endswith(".nii.gz"):
        return ".nii.gz"
    dot = name.rfind(".")  # as Path.suffix has it, in a tenth of its time
    return name[dot:] if 0 < dot < len(name) - 1 else ""


def stem_of(path: Path) -> str:
    """The file name without its suffix; `.nii.gz` is dropped whole."""
    return path.name[: len(path.name) - len(suffix_of(path))]


@cache
def registry() -> tuple[Codec, ...]:
    """Every codec, imported on the first call so that `nst-nd --help` stays quick."""
    from nst_nd.io import audio, dicom, ecg_csv, ecg_wfdb, edf, jpeg, nifti, npy, ogg, png, tiff

    return (
        png.PngCodec(),
        jpeg.JpegCodec(),
        dicom.DicomCodec(),  # before TIFF: its preamble may be the head of one
        tiff.TiffCodec(),
        audio.AudioCodec(),
        ogg.OggCodec(),
        edf.EdfCodec(),
        nifti.NiftiCodec(),
        npy.NpyCodec(),
        ecg_csv.CsvCodec(),
        ecg_wfdb.WfdbCodec(),
    )


def codec_for(path: Path, *, reading: bool) -> Codec:
    """The codec of a file: by its magic bytes when reading, by its suffix when writing. Folders are read as DICOM.

    When reading, the suffix decides only for formats that have no magic bytes (CSV, WFDB, ANALYZE pairs).
    Raises InputError for a path that cannot be read, DecodeError for an empty file or one that no codec knows,
    ConfigError for an output suffix that no codec writes.
    """
    suffix = suffix_of(path)
    if not reading:
        for codec in registry():
            if suffix in codec.suffixes:
                return codec
        raise ConfigError(f"{path}: no format has the suffix {suffix!r}; allowed: {_suffixes()}")
    if path.is_dir():
        return next(codec for codec in registry() if FOLDER_SUFFIX in codec.suffixes)
    head = _head(path)
    for codec in registry():
        if codec.sniff(head):
            return codec
    for codec in registry():
        if suffix in codec.plain:
            return codec
        if suffix in codec.suffixes:
            raise DecodeError(f"{path}: not a {codec.name} file, whatever its suffix says: it is broken or mislabelled")
    raise DecodeError(f"{path}: unknown format, suffix {suffix!r}; known: {_suffixes()}")


def load(path: str | Path, *, kind: Kind | None = None, rate: float | None = None, channels: bool = False) -> Sample:
    """Read a file, or a folder with the slices of one DICOM series, as a Sample; the options are those of ReadOptions.

    Raises InputError (missing, not readable, not finite, contradicts an option) or its branch DecodeError (empty,
    broken, truncated, unknown format). The message starts with the path.
    """
    return _read(Path(path), ReadOptions(kind, rate, channels), "read")


def outline(path: str | Path, *, kind: Kind | None = None, rate: float | None = None, channels: bool = False) -> Sample:
    """What `load` would give with zeros in place of its values, which take no memory: from the header, where the codec
    can read it alone. Raises as `load` does, for what it sees.
    """
    return _read(Path(path), ReadOptions(kind, rate, channels), "outline")


def glance(path: str | Path, *, kind: Kind | None = None, rate: float | None = None, channels: bool = False) -> Sample:
    """What `load` would give, for small pictures: of a volume the plane in the middle of the last axis and the first
    channel alone, where the codec can read them alone. The rest may be broken. Raises as `load` does.
    """
    return _read(Path(path), ReadOptions(kind, rate, channels), "glance")


def _read(path: Path, options: ReadOptions, way: Literal["read", "outline", "glance"]) -> Sample:
    path = _header_of(path)
    codec = codec_for(path, reading=True)
    try:
        sample: Sample = getattr(codec, way, codec.read)(path, options)
        _check_options(sample, options.kind, options.rate)
    except NstError as error:
        raise type(error)(f"{path}: {error}") from error
    except MemoryError as error:
        raise InputError(f"{path}: too large for the memory of this machine") from error
    except PermissionError as error:
        raise InputError(f"{path}: no permission to read it") from error
    except Exception as error:
        raise DecodeError(f"{path}: broken or truncated {codec.name} file: {_one_line(error)}") from error
    if not (path.is_dir() or suffix_of(path) in (*codec.suffixes, *codec.plain)):
        note = f"it is a {codec.name} file by its content, whatever its suffix says"
        sample = sample.replace(notes=(*sample.notes, note))
    filled = way == "outline" and any(sample.data.strides)
    return sample.replace(data=blank(sample.data.shape)) if filled else sample


def blank(shape: Sequence[int]) -> Data:
    """Zeros of this shape that take no memory."""
    return np.broadcast_to(np.float32(0.0), tuple(shape))


def save(sample: Sample, path: str | Path, *, overwrite: bool = False) -> list[str]:
    """Write a Sample atomically, in the format of the suffix; returns what had to be said (clipping, losses).

    The suffix .dicom makes a folder of slices, derived from the DICOM series that the sample was read from.
    All files appear complete or not at all; the one named `path` comes last.
    Raises ConfigError (unknown suffix, a kind that the format cannot hold), OutputError (exists, folder missing or
    not writable), InputError (the sample does not fit the format) and ComputationError (disk full).
    """
    path = Path(path)
    codec = codec_for(path, reading=False)
    if sample.kind not in codec.kinds:
        raise ConfigError(f"{path}: {codec.name} cannot hold {sample.kind}; allowed: {_suffixes(sample.kind)}")
    check_source(sample, path)
    with publishing(path, overwrite=overwrite, folder_of=folder_of(path)) as private:
        return codec.write(sample, private)


def check_source(sample: Sample | None, path: Path) -> None:
    """ConfigError where the format of `path` is written only from a file of its own, and the sample is from no such.

    sample: what the output will be made of; None where it is made of nothing (a texture).
    """
    codec = codec_for(path, reading=False)
    if isinstance(codec, Choosy) and sample is not None:
        try:
            codec.fits(sample, path)
        except InputError as error:
            raise ConfigError(f"{path}: {error}") from error
    if not isinstance(codec, Deriving):
        return
    if sample is None:
        raise ConfigError(f"{path}: {codec.name} is only derived from a content; a texture has none; choose another")
    try:
        codec.check(sample, path)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def folder_of(path: Path) -> str | None:
    """The suffix of the files in an output that is a folder; None where the output is a file."""
    return FOLDER_HOLDS if suffix_of(path) == FOLDER_SUFFIX else None


def _suffixes(kind: Kind | None = None) -> str:
    return ", ".join(s for codec in registry() if kind is None or kind in codec.kinds for s in codec.suffixes)


def _header_of(path: Path) -> Path:
    """A raw data file is read through the header beside it, where there is one."""
    header = path.with_suffix(_HEADER_OF[path.suffix]) if path.suffix in _HEADER_OF else path
    return header if header.is_file() else path


def _head(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is not a regular file")
        with path.open("rb") as file:
            head = file.read(MAGIC_BYTES)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except PermissionError as error:
        raise InputError(f"{path}: no permission to read it") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{path}: cannot be opened: {_one_line(error)}") from error
    if not head:
        raise DecodeError(f"{path}: is empty")
    return head


def _check_options(sample: Sample, kind: Kind | None, rate: float | None) -> None:
    if kind is not None and sample.kind != kind:
        raise InputError(f"is of kind {sample.kind}, not {kind}; leave kind out or give another file")
    if rate is not None and sample.grid.rate != rate:
        own = "has no sampling rate" if sample.grid.rate is None else f"is sampled at {sample.grid.rate:g} Hz"
        raise InputError(f"{own}, which contradicts rate={rate:g}; leave rate out")


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
