"""Every format and variant that a codec promises to keep, each made by a library of its own with fresh random data."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import png
import soundfile
import tifffile
from PIL import Image

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # wfdb against a new pandas
    import wfdb

Rng = np.random.Generator


@dataclass(frozen=True)
class Variant:
    """make writes a file; stored and header read it back without nst_nd, in a form that compares with ==.

    bits: of a stored integer, whose whole range the samples span; 0 for floats.
    """

    name: str
    suffix: str
    make: Callable[[Path, Rng], None]
    stored: Callable[[Path], Any]
    header: Callable[[Path], Any]
    options: dict[str, Any] = field(default_factory=dict)
    bits: int = 0
    lossless: bool = True


def bits_of(dtype: Any) -> int:
    kind = np.dtype(dtype)
    return 0 if kind.kind == "f" else min(8 * kind.itemsize, 53 + (kind.kind == "i"))


def integers(rng: Rng, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    info = np.iinfo(dtype)
    low, high = max(info.min, -(2**53)), min(info.max, 2**53)
    values = rng.integers(low, high, shape, endpoint=True).astype(dtype)
    values.flat[0], values.flat[-1] = low, high
    return values


# --- PNG ---


def _png(channels: int, bits: int, interlaced: bool) -> Variant:
    def make(path: Path, rng: Rng) -> None:
        pixels = integers(rng, np.uint8 if bits == 8 else np.uint16, (11, 7 * channels))
        writer = png.Writer(
            7, 11, greyscale=channels < 3, alpha=channels in (2, 4), bitdepth=bits, interlace=interlaced, gamma=0.5
        )
        with path.open("wb") as file:
            if interlaced:
                writer.write_array(file, pixels.reshape(-1))
            else:
                writer.write(file, pixels)

    def stored(path: Path) -> Any:
        return [list(row) for row in png.Reader(bytes=path.read_bytes()).read()[2]]

    def header(path: Path) -> Any:
        return png.Reader(bytes=path.read_bytes()).read()[3]

    return Variant(f"png-{channels}x{bits}{'-interlaced' * interlaced}", ".png", make, stored, header, bits=bits)


# --- JPEG ---


def _jpeg(mode: str, **options: Any) -> Variant:
    def make(path: Path, rng: Rng) -> None:
        shape = (13, 17) if mode == "L" else (13, 17, 3)
        Image.fromarray(integers(rng, np.uint8, shape)).save(path, "JPEG", comment=b"made by a test", **options)

    def stored(path: Path) -> Any:
        with Image.open(path) as image:
            return np.asarray(image).tolist()

    def header(path: Path) -> Any:
        with Image.open(path) as image:
            return image.info, image.quantization, image.mode

    name = "-".join(["jpeg", mode, *map(str, options.values())])
    return Variant(name, ".jpg", make, stored, header, lossless=False)


# --- TIFF ---

_LAYOUT_TAGS = {273, 279, 324, 325}


def _tiff(name: str, dtype: str, channels: int, **options: Any) -> Variant:
    def make(path: Path, rng: Rng) -> None:
        shape = (19, 21) if channels == 1 else (19, 21, channels)
        floats = np.dtype(dtype).kind == "f"
        pixels = rng.standard_normal(shape).astype(dtype) if floats else integers(rng, dtype, shape)
        if options.get("planarconfig") == "separate":
            pixels = np.moveaxis(pixels, -1, 0)
        tifffile.imwrite(
            path,
            pixels,
            photometric=options.pop("photometric", "minisblack" if channels < 3 else "rgb"),
            extrasamples=["unassalpha"] if channels in (2, 4) else None,
            description="a test",
            resolution=(72, 36),
            metadata=None,
            iccprofile=b"profile!" * 20,
            extratags=[(65000, "s", 0, "private", True), (315, "s", 0, "someone", True)],
            **options,
        )

    def stored(path: Path) -> Any:
        pixels = tifffile.imread(path)
        return pixels.dtype.str, pixels.tobytes()

    def header(path: Path) -> Any:
        with tifffile.TiffFile(path) as file:
            tags = {tag.code: tag.value for tag in file.pages[0].tags.values() if tag.code not in _LAYOUT_TAGS}
            return file.byteorder, tags

    return Variant(f"tiff-{name}", ".tif", make, stored, header, bits=bits_of(dtype))


_TIFFS = [
    *[_tiff(f"{dtype}x{c}", dtype, c) for dtype in ("uint8", "uint16", "float32") for c in (1, 2, 3, 4)],
    _tiff("float16", "float16", 3),
    _tiff("float64", "float64", 1),
    _tiff("big-endian", "uint16", 3, byteorder=">"),
    _tiff("deflate", "uint16", 3, compression="zlib", rowsperstrip=5),
    _tiff("predictor", "uint8", 3, compression="zlib", predictor=True),
    _tiff("planes", "uint8", 3, planarconfig="separate"),
    _tiff("tiles", "uint16", 1, tile=(16, 16)),
    _tiff("white-at-zero", "uint8", 1, photometric="miniswhite"),
]


# --- audio ---


def _audio(container: str, suffix: str, subtype: str, endian: str = "FILE", channels: int = 2) -> Variant:
    floats = subtype in ("FLOAT", "DOUBLE", "VORBIS", "OPUS")

    def make(path: Path, rng: Rng) -> None:
        shape = (501, channels)
        frames = rng.standard_normal(shape) * 2 if floats else integers(rng, np.int32, shape)
        with soundfile.SoundFile(path, "w", 44100, channels, subtype, endian, container) as file:
            file.title, file.artist = "a test", "someone"
            file.write(frames)

    def stored(path: Path) -> Any:
        return soundfile.read(path, dtype="float64" if floats else "int32", always_2d=True)[0].tolist()

    def header(path: Path) -> Any:
        with soundfile.SoundFile(path) as file:
            return (
                *(file.format, file.subtype, file.endian, file.samplerate, file.channels, file.frames),
                *(file.title, file.artist),
            )

    return Variant(
        f"{container}-{subtype}-{endian}-{channels}".lower(),
        suffix,
        make,
        stored,
        header,
        bits=0 if floats else int(subtype[-2:].strip("US")),
        lossless=subtype not in ("VORBIS", "OPUS"),
    )


_DEPTHS = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
_AUDIO = [
    *[_audio("WAV", ".wav", subtype) for subtype in _DEPTHS],
    *[_audio("WAVEX", ".wav", subtype, channels=3) for subtype in ("PCM_16", "PCM_24", "FLOAT")],
    *[_audio("AIFF", ".aiff", subtype, channels=1) for subtype in ("PCM_S8", *_DEPTHS)],
    *[_audio("FLAC", ".flac", subtype) for subtype in ("PCM_S8", "PCM_16", "PCM_24")],
    _audio("WAV", ".wav", "PCM_16", "BIG"),
    _audio("AIFF", ".aif", "PCM_16", "LITTLE"),
    _audio("RF64", ".wav", "PCM_16"),
    _audio("OGG", ".ogg", "VORBIS"),
]


# --- ECG and NPY ---


def _csv(name: str, delimiter: str, newline: str, timed: bool, bom: str = "") -> Variant:
    def make(path: Path, rng: Rng) -> None:
        values = rng.standard_normal((37, 3)) * np.array([1e-8, 1, 1e5])
        lines = [delimiter.join((["time"] if timed else []) + ["I", '"II, raw"', "V1"])]
        for i, row in enumerate(values.tolist()):
            lines.append(delimiter.join(([f"{i / 250:.3f}"] if timed else []) + [repr(v) for v in row]))
        path.write_bytes((bom + newline.join(lines) + newline).encode())

    def stored(path: Path) -> Any:
        return path.read_bytes().split(b"\n")[1:]

    def header(path: Path) -> Any:
        return path.read_bytes().split(b"\n")[0]

    return Variant(f"csv-{name}", ".csv", make, stored, header, {} if timed else {"rate": 250.0})


def _npy(kind: str, dtype: str, shape: tuple[int, ...], fortran: bool = False) -> Variant:
    def make(path: Path, rng: Rng) -> None:
        floats = np.dtype(dtype).kind == "f"
        values = rng.random(shape).astype(dtype) if floats else integers(rng, dtype, shape)
        np.save(path, np.asfortranarray(values) if fortran else values)

    def stored(path: Path) -> Any:
        return np.load(path).tobytes()

    def header(path: Path) -> Any:
        with path.open("rb") as file:
            return np.lib.format.read_magic(file), np.lib.format.read_array_header_1_0(file)

    options = {"kind": kind} | ({"rate": 500.0} if kind in ("ecg", "audio") else {})
    return Variant(f"npy-{kind}-{dtype}{'-fortran' * fortran}", ".npy", make, stored, header, options, bits_of(dtype))


def _wfdb(fmt: str, bits: int, leads: int) -> Variant:
    def make(path: Path, rng: Rng) -> None:
        low, high = -(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1
        digital = rng.integers(low, high, (101, leads), endpoint=True)
        digital[0], digital[-1] = low, high
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wfdb.wrsamp(
                path.stem,
                fs=360.5,
                units=["mV", "uV", "mmHg"][:leads],
                sig_name=["I", "lead two", "ABP"][:leads],
                d_signal=digital,
                fmt=[fmt] * leads,
                adc_gain=[200.5, 0.25, 12.25][:leads],
                baseline=[5, -1024, 0][:leads],
                comments=["a test", "<x>"],
                write_dir=str(path.parent),
            )
        path.with_suffix(".atr").write_bytes(b"\x05\x04\x2d\x14\x00\x00")

    def stored(path: Path) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return wfdb.rdrecord(str(path.with_suffix("")), physical=False).d_signal.tolist()

    def header(path: Path) -> Any:
        return path.read_text().replace(path.stem, "NAME"), path.with_suffix(".atr").read_bytes()

    return Variant(f"wfdb-{fmt}x{leads}", ".hea", make, stored, header, bits=bits)


# --- NIfTI ---


def _open(path: Path) -> bytes:
    return gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()


def _nifti(
    suffix: str,
    dtype: str,
    shape: tuple[int, ...] = (5, 7, 3),
    scaling: tuple[float, float] = (1, 0),
    version: int = 1,
) -> Variant:
    kind = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header

    def make(path: Path, rng: Rng) -> None:
        code = np.dtype(dtype)
        voxels = rng.standard_normal(shape) * 1e3 if code.kind == "f" else integers(rng, code.newbyteorder("="), shape)
        header = kind(endianness=">" if dtype.startswith(">") else "<")
        header.set_data_dtype(code)
        header.set_data_shape(shape)
        header.set_xyzt_units("mm", "sec")
        header["pixdim"][1:4] = 0.5, 0.7, 1.5
        header.set_sform(np.array([[0.5, 0.1, 0, -9], [0, 0.7, 0, 4], [0, 0, 1.5, 2], [0, 0, 0, 1]]), 2)
        header.set_qform(np.diag([-0.5, -0.7, 1.5, 1]), 1)
        header["descrip"], header["aux_file"] = b"a test", b"other"
        header["cal_min"], header["cal_max"], header["toffset"] = -5, 77, 3.25
        header["scl_slope"], header["scl_inter"] = scaling
        pair = suffix == ".hdr"
        header["magic"] = header.pair_magic if pair else header.single_magic
        extension = b"\x01\0\0\0" + np.array([16, 6], header.endianness + "i4").tobytes() + b"comment\0"
        header["vox_offset"] = 0 if pair else header.sizeof_hdr + len(extension)
        head = header.binaryblock + extension
        raw = voxels.astype(code).tobytes(order="F")
        if pair:
            path.write_bytes(head)
            path.with_suffix(".img").write_bytes(raw)
        else:
            path.write_bytes(gzip.compress(head + raw) if suffix == ".nii.gz" else head + raw)

    def stored(path: Path) -> Any:
        image = nibabel.load(path)
        return np.asarray(image.dataobj.get_unscaled()).tobytes(order="F")

    def header(path: Path) -> Any:
        data = _open(path)
        return data if path.suffix == ".hdr" else data[: int(nibabel.load(path).header["vox_offset"])]

    options = {"channels": True} if len(shape) == 4 and shape[-1] > 1 else {}
    name = f"nifti{version}{suffix}-{dtype}-{'x'.join(map(str, shape))}-{scaling[0]:g}"
    return Variant(name, suffix, make, stored, header, options, bits_of(dtype))


_INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
_NIFTIS = [
    *[_nifti(".nii", dtype) for dtype in (*_INTEGERS, "float32", "float64")],
    *[_nifti(suffix, "int16") for suffix in (".nii.gz", ".hdr")],
    *[_nifti(".nii", ">" + np.dtype(dtype).str[1:]) for dtype in ("int16", "float32", "int32")],
    *[_nifti(".nii.gz", dtype, scaling=(0.1, -3.3)) for dtype in ("uint8", "int16", "float32", "int32")],
    _nifti(".nii", "int16", scaling=(float("nan"), 0)),
    _nifti(".nii", "int16", scaling=(0, 5)),
    _nifti(".nii", "float32", scaling=(1e-5, 1000)),
    _nifti(".nii", "int16", (5, 7, 3, 2)),
    _nifti(".nii", "int16", (5, 7)),
    _nifti(".nii", "int16", (5, 7, 1)),
    _nifti(".nii", "int16", (5, 7, 3, 1, 1)),
    _nifti(".nii.gz", "int16", version=2),
    _nifti(".hdr", "float32", version=2),
]

VARIANTS = [
    *[_png(c, bits, i) for c in (1, 2, 3, 4) for bits in (8, 16) for i in (False, True)],
    _jpeg("L", quality=71),
    _jpeg("RGB", quality=80, subsampling=2, progressive=True),
    _jpeg("RGB", quality=93, subsampling=0),
    *_TIFFS,
    *_AUDIO,
    _csv("comma", ",", "\n", True),
    _csv("semicolon", ";", "\r\n", True, bom="\ufeff"),
    _csv("tab-no-time", "\t", "\n", False),
    *[_npy("volume", d, (2, 5, 4, 3)) for d in ("float16", "float32", "float64", "<i2", ">i2", "int64", "uint32")],
    *[_npy("image", d, (3, 5, 7)) for d in ("uint8", "uint16", "uint32", "float32", ">f8")],
    *[_npy("audio", d, (101,)) for d in ("int16", "int32", "float32")],
    _npy("ecg", "float64", (12, 101), fortran=True),
    *[_wfdb(f, b, n) for f, b, n in [("16", 16, 3), ("212", 12, 1), ("24", 24, 2), ("32", 32, 2), ("80", 8, 3)]],
    _wfdb("516", 16, 2),
    *_NIFTIS,
]


def named(name: str) -> Variant:
    return next(v for v in VARIANTS if v.name == name)


# one of each family, for what does not depend on the depth
FAMILIES = [
    named(name)
    for name in (
        *("png-3x8", "png-4x16", "jpeg-RGB-80-2-True", "tiff-uint16x3", "tiff-deflate"),
        *("wav-pcm_16-file-2", "wav-float-file-2", "wavex-pcm_24-file-3", "rf64-pcm_16-file-2", "aiff-pcm_16-file-1"),
        *(
            "flac-pcm_16-file-2",
            "ogg-vorbis-file-2",
            "npy-image-uint16",
            "npy-audio-int16",
            "wfdb-212x1",
            "wfdb-16x3",
            "wfdb-516x2",
        ),
        *("csv-comma", "nifti1.nii-int16-5x7x3-1", "nifti1.nii.gz-int16-5x7x3-1", "nifti1.hdr-int16-5x7x3-1"),
        "nifti2.nii.gz-int16-5x7x3-1",
    )
]
