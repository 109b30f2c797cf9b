"""NIfTI over every dtype, scaling, orientation, byte order and container: what is not changed stays bit for bit.

The files are put together byte by byte from the headers of nibabel. Here it is load and save alone, what is left of a
command line with 0 iterations; tests/cli/test_ct_bad_input.py has the whole way.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from nst_nd.errors import DecodeError, InputError
from nst_nd.io import load, save

SHAPE = (5, 4, 3)
DTYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
SUFFIXES = (".nii", ".nii.gz", ".hdr")
SLOPES = {
    "none": (0, 0),
    "nan": (np.nan, np.nan),
    "identity": (1, 0),
    "ct": (2, -1024),
    "uneven": (0.1, 3.7),
    "falling": (-0.25, 7),
    "zero": (0, 5),
    "tiny": (1e-7, 1000),
}
SCALED = ("ct", "uneven", "falling", "tiny")
TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, 0.96, -0.28], [0, 0.28, 0.96]])
SIZES = np.diag([0.5, 0.7, 1.5])


def _affine(rotation: Any) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = np.asarray(rotation) @ SIZES, (-90.5, 126, -72)
    return affine


PLACES = {
    "identity": _affine(np.eye(3)),
    "flipped": _affine(np.diag([-1, -1, 1])),
    "mirrored": _affine(np.diag([-1, 1, 1])),
    "permuted": _affine([[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "oblique": _affine(TURN),
}
Change = Callable[[Any], None]


def forms(sform: str | None, qform: str | None) -> Change:
    """Both set as named, with their codes; neither leaves both codes at 0."""

    def change(header: Any) -> None:
        header["pixdim"][1:4] = np.diag(SIZES)
        if qform:
            header.set_qform(PLACES[qform], 1)
        if sform:
            header.set_sform(PLACES[sform], 2)

    return change


ORIENTATIONS = {
    **{name: forms(name, name) for name in PLACES},
    "disagreeing": forms("oblique", "flipped"),
    "sform only": forms("oblique", None),
    "qform only": forms(None, "oblique"),
    "neither": forms(None, None),
}


@dataclass(frozen=True)
class Made:
    """A file: its path, and its voxels as stored, in native byte order."""

    path: Path
    voxels: np.ndarray

    @property
    def content(self) -> tuple[bytes, ...]:
        """The bytes of it, unpacked, and of its companion."""
        return content(self.path)


def content(path: Path) -> tuple[bytes, ...]:
    data = path.read_bytes()
    if path.name.endswith(".gz"):
        return (gzip.decompress(data),)
    return (data, path.with_suffix(".img").read_bytes()) if path.suffix == ".hdr" else (data,)


def voxels_of(dtype: str, shape: tuple[int, ...] = SHAPE, seed: int = 4) -> np.ndarray:
    """Values over the whole range of the dtype, both ends included; of floats also -0.0 and a subnormal."""
    rng, kind = np.random.default_rng(seed), np.dtype(dtype)
    if kind.kind == "f":
        values = (rng.standard_normal(shape) * 1e3).astype(kind)
        values.flat[:3] = -0.0, 1e-40, np.finfo(np.float32).max
        return values
    info = np.iinfo(kind)
    low, high = max(info.min, -(2**53)), min(info.max, 2**53)
    values = rng.integers(low, high, shape, dtype=kind, endpoint=True)
    values.flat[:2] = low, high
    return values


def make(
    folder: Path,
    dtype: str = "i2",
    suffix: str = ".nii",
    *,
    order: str = "<",
    slope: str | tuple[float, float] = "none",
    change: Change = ORIENTATIONS["oblique"],
    version: int = 1,
    extension: bytes = b"",
    voxels: np.ndarray | None = None,
) -> Made:
    """A file with every field of its header set to something."""
    voxels = voxels_of(dtype) if voxels is None else voxels
    header = (nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header)(endianness=order)
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    header.set_xyzt_units("mm", "sec")
    header["descrip"], header["aux_file"], header["intent_name"] = b"a \xe9 test", b"other", b"intent"
    header["cal_min"], header["cal_max"], header["toffset"] = -5, 77, 3.25
    header["intent_code"], header["intent_p1"], header["intent_p3"] = 3, 0.5, -2
    header["slice_code"], header["slice_end"], header["slice_duration"], header["dim_info"] = 1, 2, 0.25, 57
    header["scl_slope"], header["scl_inter"] = SLOPES[slope] if isinstance(slope, str) else slope
    change(header)
    pair = suffix == ".hdr"
    header["magic"] = header.pair_magic if pair else header.single_magic
    rest = (b"\1\0\0\0" if extension else bytes(4)) + extension
    header["vox_offset"] = 0 if pair else header.sizeof_hdr + len(rest)
    raw = voxels.astype(voxels.dtype.newbyteorder(order)).tobytes(order="F")
    path, head = folder / f"in{suffix}", bytes(header.binaryblock) + rest
    if pair:
        path.write_bytes(head)
        path.with_suffix(".img").write_bytes(raw)
    else:
        path.write_bytes(gzip.compress(head + raw, 1) if suffix == ".nii.gz" else head + raw)
    return Made(path, voxels)


def extensions(order: str, *sizes: int) -> bytes:
    """Of so many bytes each, with codes 4 (AFNI), 6 (comment), 44 (no one's)."""
    codes = (4, 6, 44)
    heads = [np.array([n, code], f"{order}i4").tobytes() for n, code in zip(sizes, codes, strict=False)]
    return b"".join(head + bytes(range(n - 8)) for head, n in zip(heads, sizes, strict=True))


def unchanged(made: Made, folder: Path, **options: Any) -> Any:
    """The sample of a file that comes back byte for byte."""
    sample = load(made.path, **options)
    out = folder / f"out{made.path.name[2:]}"
    assert save(sample, out, overwrite=True) == []
    assert content(out) == made.content
    return sample


def real(stored: np.ndarray, slope: float, inter: float) -> np.ndarray:
    """What stored values stand for, by the standard: with the slope as float32 holds it."""
    a, b = np.float64(np.float32(slope)), np.float64(np.float32(inter))
    scaled = a != 0 and not np.isnan(a)
    return stored.astype(np.float64) * a + b if scaled else stored.astype(np.float64)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_slope_orientation_and_byte_order(dtype, suffix, tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)  # thousands of files
    for order, slope, where in product("<>", SLOPES, ORIENTATIONS):
        made = make(tmp_path, dtype, suffix, order=order, slope=slope, change=ORIENTATIONS[where])
        sample = unchanged(made, tmp_path)
        wide = slope in SCALED or dtype in ("i4", "u4", "i8", "u8", "f8")
        assert sample.data.dtype == (np.float64 if wide else np.float32)
        np.testing.assert_array_equal(sample.data[0].astype(np.float64), real(made.voxels, *SLOPES[slope]))
        assert sample.notes == ()


@pytest.mark.parametrize("suffix", [".nii", ".hdr"])
def test_the_sform_counts_then_the_qform_and_else_nothing(suffix, tmp_path):
    for where, change in ORIENTATIONS.items():
        grid = load(make(tmp_path, suffix=suffix, change=change).path).grid
        np.testing.assert_allclose(grid.spacing, np.diag(SIZES), rtol=1e-6)
        if where == "neither":
            assert grid.affine is None
        else:
            place = PLACES.get(where, PLACES["oblique"])
            np.testing.assert_allclose(grid.affine, place, atol=1e-4)


@pytest.mark.parametrize(("qfac", "sign"), [(0, 1), (1, 1), (-1, -1)])
def test_a_qfac_of_zero_is_one(qfac, sign, tmp_path):
    def change(header):
        header["pixdim"][:4] = qfac, 1, 2, 3
        header["qform_code"] = 1

    sample = unchanged(make(tmp_path, change=change), tmp_path)
    np.testing.assert_allclose(sample.grid.affine, np.diag([1, 2, 3 * sign, 1]))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_extensions_and_both_versions(suffix, order, version, tmp_path):
    for sizes in ((), (16,), (32, 48, 16)):
        extension = extensions(order, *sizes)
        made = make(tmp_path, suffix=suffix, order=order, version=version, extension=extension)
        unchanged(made, tmp_path)


UNITS = [(u, "unknown") for u in (0, 5, 8)] + [(1, "converted to mm"), (3, "converted to mm"), (2, None), (10, None)]


@pytest.mark.parametrize(("units", "said"), UNITS)
def test_units_stay_as_they_are(units, said, tmp_path):
    def change(header):
        ORIENTATIONS["oblique"](header)
        header["xyzt_units"] = units

    sample = unchanged(make(tmp_path, change=change), tmp_path)
    assert [said in note for note in sample.notes] == ([True] if said else [])


FIELDS = {
    "label intent": {"intent_code": 1002},
    "vector intent": {"intent_code": 1007},
    "unknown intent": {"intent_code": 9999},
    "unknown form code": {"sform_code": 9, "qform_code": 7},
    "calibrated": {"cal_min": np.nan, "cal_max": np.inf},
    "ANALYZE's fields": {"glmax": 99, "glmin": -7, "extents": 16384, "session_error": 3, "regular": b"r"},
    "no units at all": {"toffset": -1e30, "slice_start": -4},
}


@pytest.mark.parametrize("name", FIELDS)
def test_odd_fields_stay_as_they_are(name, tmp_path):
    def change(header):
        ORIENTATIONS["oblique"](header)
        for key, value in FIELDS[name].items():
            header[key] = value

    unchanged(make(tmp_path, change=change), tmp_path)


@pytest.mark.parametrize("beyond", [-1, 0, 3])
def test_dims_beyond_those_that_count_are_nobodys_business(beyond, tmp_path):
    def change(header):
        ORIENTATIONS["oblique"](header)
        header["dim"][4:] = beyond

    assert unchanged(make(tmp_path, change=change), tmp_path).shape == SHAPE


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames(suffix, tmp_path):
    assert unchanged(make(tmp_path, suffix=suffix, voxels=voxels_of("i2", (*SHAPE, 1))), tmp_path).shape == SHAPE
    several = make(tmp_path, suffix=suffix, voxels=voxels_of("i2", (*SHAPE, 4)))
    with pytest.raises(InputError, match=r"has 4 axes \(5, 4, 3, 4\); set channels to true \(--channels\)"):
        load(several.path)
    assert unchanged(several, tmp_path, channels=True).nc == 4
    vectors = make(tmp_path, suffix=suffix, voxels=voxels_of("f4", (*SHAPE, 1, 3)))
    for channels in (False, True):
        with pytest.raises(InputError, match=r"has 5 axes \(5, 4, 3, 1, 3\); allowed: 3, or 4 with channels"):
            load(vectors.path, channels=channels)


RGB, RGBA = ([(c, "u1") for c in name] for name in ("RGB", "RGBA"))


@pytest.mark.parametrize(
    ("dtype", "name"), [(RGB, "RGB"), (RGBA, "RGBA"), ("c8", "complex64"), ("c16", "complex128"), ("f2", "float16")]
)
def test_dtypes_that_are_refused(dtype, name, tmp_path):
    if name == "float16":  # which no NIfTI can hold
        with pytest.raises(nibabel.spatialimages.HeaderDataError):
            make(tmp_path, voxels=np.zeros(SHAPE, dtype))
        return
    made = make(tmp_path, voxels=np.zeros(SHAPE, dtype))
    with pytest.raises(InputError, match=f"in.nii: stores {name} voxels; allowed: uint8, .*float64$"):
        load(made.path)


@pytest.mark.parametrize(("code", "said"), [(0, "untyped"), (1, "one-bit"), (77, "unknown data type 77")])
def test_type_codes_that_are_refused(code, said, tmp_path):
    def change(header):
        header["datatype"] = code

    with pytest.raises(InputError, match=f"stores .*{said}.*; allowed: uint8"):
        load(make(tmp_path, change=change).path)


@pytest.mark.parametrize("scaling", [(np.inf, 0), (1, np.nan), (2, -np.inf)])
def test_scalings_that_are_not_finite(scaling, tmp_path):
    with pytest.raises(DecodeError, match=r"slope .* and intercept .*; both must be finite"):
        load(make(tmp_path, slope=scaling).path)


@pytest.mark.parametrize("fields", [{"quatern_b": 0.9, "quatern_c": 0.9}, {"pixdim": [5, 1, 1, 1, 1, 1, 1, 1]}])
def test_a_qform_that_is_no_rotation(fields, tmp_path):
    def change(header):
        header["pixdim"][1:4], header["qform_code"] = 1, 1
        for key, value in fields.items():
            header[key] = value

    with pytest.raises(InputError, match="its qform is no rotation"):
        load(make(tmp_path, change=change).path)


def test_a_packed_pair_is_said_to_be_one(tmp_path):
    made = make(tmp_path, suffix=".hdr")
    (tmp_path / "packed.hdr.gz").write_bytes(gzip.compress(made.path.read_bytes()))
    with pytest.raises(InputError, match=r"packed pair; unpack the \.hdr\.gz and its \.img\.gz"):
        load(tmp_path / "packed.hdr.gz")


# --- a changed result ---


def nearest(values: np.ndarray, slope: float, inter: float, dtype: str) -> list[int]:
    """The stored integers by exact fractions: nearest, ties to even, clipped."""
    info = np.iinfo(dtype)
    low, high = max(info.min, -(2**53)), min(info.max, 2**53)
    a, b = Fraction(float(np.float32(slope))), Fraction(float(np.float32(inter)))
    return [min(max(round((Fraction(float(v)) - b) / a), low), high) for v in values]


@pytest.mark.parametrize("slope", [s for s in SLOPES if s != "tiny"])
@pytest.mark.parametrize("dtype", [d for d in DTYPES if d[0] != "f"])
def test_a_changed_result_is_rounded_to_the_nearest_step(dtype, slope, tmp_path):
    made = make(tmp_path, dtype, slope=slope)
    a, b = SLOPES[slope] if slope in SCALED else (1.0, 0.0)
    step = abs(float(np.float32(a)))
    sample = load(made.path)
    lowest, highest = sorted(float(v) for v in (sample.data.min(), sample.data.max()))
    rng = np.random.default_rng(6)
    # within a thousand steps, where float64 holds the fractions
    wanted = (sample.data * 0.0 + max(lowest, min(highest, b))).astype(sample.data.dtype)
    spread = min(1000.0, (highest - lowest) / step / 3)
    wanted += (rng.uniform(-spread, spread, wanted.shape) * step).astype(wanted.dtype)
    wanted = np.clip(wanted, lowest, highest)
    assert save(sample.replace(data=wanted), tmp_path / "out.nii", overwrite=True) == []
    stored = np.asarray(nibabel.load(tmp_path / "out.nii").dataobj.get_unscaled())
    exact = np.array(nearest(wanted.ravel(), a, b, dtype)).reshape(wanted[0].shape)
    if slope != "uneven":  # there the division may miss a tie by its rounding, and half a step is half a step
        np.testing.assert_array_equal(stored.astype(object), exact)
    again = load(tmp_path / "out.nii")
    assert np.abs(again.data.astype(np.float64) - wanted).max() <= step * (0.5 + 1e-6)
    assert (tmp_path / "out.nii").read_bytes()[:352] == made.path.read_bytes()[:352]


@pytest.mark.parametrize(("order", "suffix"), [*product("<>", SUFFIXES)])
def test_ties_go_to_even(order, suffix, tmp_path):
    sample = load(make(tmp_path, "i2", suffix, order=order, slope="ct").path)
    data = sample.data.copy()
    ties = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    data[0, :2, :3, 0] = (ties * 2 - 1024).reshape(2, 3)
    out = tmp_path / f"out{suffix}"
    save(sample.replace(data=data), out)
    stored = np.asarray(nibabel.load(out).dataobj.get_unscaled())
    np.testing.assert_array_equal(stored[:2, :3, 0].ravel(), [-2, -2, 0, 0, 2, 2])


@pytest.mark.parametrize("slope", ["none", "ct", "falling"])
@pytest.mark.parametrize("dtype", [d for d in DTYPES if d[0] != "f"])
def test_beyond_the_dtype_is_clipped_and_counted(dtype, slope, tmp_path):
    sample = load(make(tmp_path, dtype, slope=slope).path)
    data = sample.data.copy()
    data[0, 1, 0, 0], data[0, 1, 1, :2] = 1e25, -1e25
    (note,) = save(sample.replace(data=data), tmp_path / "out.nii")
    info = np.iinfo(dtype)
    low, high = max(info.min, -(2**53)), min(info.max, 2**53)
    assert note == f"3 of 60 samples were clipped to {low}..{high}"
    stored = np.asarray(nibabel.load(tmp_path / "out.nii").dataobj.get_unscaled())
    ends = [low, high, high] if slope == "falling" else [high, low, low]
    assert [int(stored[1, 0, 0]), *(int(v) for v in stored[1, 1, :2])] == ends
    assert (np.delete(stored.ravel(), [12, 15, 16]) == np.delete(voxels_of(dtype).ravel(), [12, 15, 16])).all()


def test_what_is_left_of_a_changed_result_is_bit_for_bit(tmp_path):
    """With a scaling that cannot be undone, of floats."""
    made = make(tmp_path, "f4", slope="tiny")
    sample = load(made.path)
    data = sample.data.copy()
    data[0, 2] += 1
    save(sample.replace(data=data), tmp_path / "out.nii")
    stored = np.asarray(nibabel.load(tmp_path / "out.nii").dataobj.get_unscaled())
    rest = [0, 1, 3, 4]
    assert stored[rest].tobytes() == made.voxels[rest].tobytes()
    assert not np.array_equal(stored[2], made.voxels[2])
