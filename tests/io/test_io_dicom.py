"""DICOM series: order, geometry and values; what is refused; nothing of a patient told."""

from __future__ import annotations

import builtins
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_series import OBLIQUE, dataset, datasets, integers, silent, stored_of, uid, write
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from nst_nd.errors import DecodeError, InputError
from nst_nd.io import load, save


def test_sorted_by_place_and_rescaled(tmp_path):
    stored = integers()
    sample = load(write(tmp_path / "ct", datasets(stored)))
    assert (sample.kind, sample.units, sample.data.dtype, sample.notes) == ("volume", "HU", np.float32, ())
    np.testing.assert_array_equal(sample.data[0], stored.transpose(2, 1, 0) - 1024)
    # rows are 0.75 mm apart, which is along j
    assert sample.grid.spacing == (0.5, 0.75, 2.0)
    np.testing.assert_array_equal(sample.grid.affine @ [0, 0, 0, 1], [10, 20, 30, 1])
    np.testing.assert_array_equal(sample.grid.affine @ [5, 6, 4, 1], [10 - 2.5, 20 - 4.5, 38, 1])
    silent(repr(sample), repr(sample.source))


@pytest.mark.parametrize("directions", [OBLIQUE, OBLIQUE[::-1], [[0, 1, 0], [0, 0, -1]], [[-1, 0, 0], [0, 1, 0]]])
def test_any_orientation(directions, tmp_path):
    directions = np.array(directions, float)
    slices = datasets(integers(), directions=directions, step=1.25)
    sample = load(write(tmp_path / "ct", slices))
    normal = np.cross(*directions)
    for i, j, k in [(0, 0, 0), (5, 0, 0), (0, 6, 0), (0, 0, 4), (5, 6, 4)]:
        lps = np.array([-10, -20, 30]) + 0.5 * i * directions[0] + 0.75 * j * directions[1] + 1.25 * k * normal
        np.testing.assert_allclose((sample.grid.affine @ [i, j, k, 1])[:3], lps * [-1, -1, 1], atol=1e-5)
    np.testing.assert_array_equal(sample.data[0, :, :, 0], integers()[0].T - 1024)
    np.testing.assert_allclose(sample.grid.spacing, (0.5, 0.75, 1.25), rtol=1e-6)


@pytest.mark.parametrize(("bits", "signed"), [(16, True), (12, True), (16, False), (12, False), (8, False), (32, True)])
def test_stored_values_come_back_bit_for_bit(bits, signed, tmp_path):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    stored = integers((4, 5, 3), low, high)
    slices = datasets(stored, bits=bits, signed=signed)
    slices[1].RescaleSlope, slices[1].RescaleIntercept = "0.123456", "-33.3"
    sample = load(write(tmp_path / "ct", slices))
    np.testing.assert_array_equal(sample.data[0, :, :, 0], stored[0].T - 1024.0)
    np.testing.assert_array_equal(sample.data[0, :, :, 1], stored[1].T * 0.123456 - 33.3)
    assert sample.data.dtype == np.float64
    assert save(sample, tmp_path / "out.dicom") == []
    np.testing.assert_array_equal(stored_of(tmp_path / "out.dicom"), stored)
    again = load(tmp_path / "out.dicom")
    np.testing.assert_array_equal(again.data, sample.data)
    np.testing.assert_array_equal(again.grid.affine, sample.grid.affine)


def test_bits_above_the_stored_ones_are_left_out_with_a_note(tmp_path):
    stored = integers((2, 4, 4), 0, 4095)
    slices = datasets(stored | 0x8000, bits=16, signed=False)
    for ds in slices:
        ds.BitsStored, ds.HighBit = 12, 11
    sample = load(write(tmp_path / "ct", slices))
    np.testing.assert_array_equal(sample.data[0].T, stored - 1024)
    assert sample.notes[0].startswith("32 voxels have bits set above BitsStored")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_other_encodings(syntax, tmp_path):
    stored = integers((3, 6, 6))
    slices = datasets(stored)
    for ds in slices:
        ds.PixelPaddingValue = -2000
        if syntax == RLELossless:
            ds.compress(RLELossless, generate_instance_uid=False)
        ds.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            ds["PixelData"].value = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
    sample = load(write(tmp_path / "ct", slices))
    np.testing.assert_array_equal(sample.data[0].T, stored - 1024)
    save(sample, tmp_path / "out.dicom")
    np.testing.assert_array_equal(stored_of(tmp_path / "out.dicom"), stored)
    one = pydicom.dcmread(tmp_path / "out.dicom" / "0001.dcm")
    assert (one.file_meta.TransferSyntaxUID.name, one.PixelPaddingValue) == ("Explicit VR Little Endian", -2000)


def test_what_is_said_on_reading(tmp_path):
    stored = integers((2, 4, 4), 0, 100)
    stored[0, 0, :3] = -2000
    slices = datasets(stored)
    for ds in slices:
        ds.PixelPaddingValue = -2000
    folder = write(tmp_path / "ct", slices)
    (folder / "README").write_text("Secretname")
    (folder / "more").mkdir()
    sample = load(folder)
    assert list(sample.notes) == [
        "left out: 1 x subfolder",
        "left out: 1 x file that is not DICOM",
        "3 of 32 voxels hold the pixel padding value; they were left as they are",
    ]
    assert sample.data.min() == -3024


@pytest.mark.parametrize(
    ("change", "units"),
    [
        ({}, "HU"),
        ({"Modality": "MR"}, "arbitrary"),
        ({"RescaleType": "US"}, "arbitrary"),
        ({"RescaleSlope": None}, "arbitrary"),
    ],
)
def test_only_rescaled_ct_is_in_hounsfield_units(change, units, tmp_path):
    slices = datasets(integers((2, 4, 4)))
    for ds in slices:
        for key, value in change.items():
            setattr(ds, key, value)
    assert load(write(tmp_path / "a", slices)).units == units
    for ds in slices:
        del ds.RescaleSlope
    assert load(write(tmp_path / "b", slices)).units == "arbitrary"


def test_a_real_slice(tmp_path):
    path = Path(get_testdata_file("CT_small.dcm"))
    sample = load(path)
    assert (sample.shape, sample.units, sample.grid.spacing) == ((128, 128, 1), "HU", (0.661468, 0.661468, 5.0))
    original = pydicom.dcmread(path)
    np.testing.assert_array_equal(sample.data[0, :, :, 0].T, original.pixel_array - 1024)
    save(sample, tmp_path / "out.dicom")
    derived = pydicom.dcmread(tmp_path / "out.dicom" / "0001.dcm")
    np.testing.assert_array_equal(derived.pixel_array, original.pixel_array)
    assert derived[0x00431028].value == original[0x00431028].value
    silent(*sample.notes)


def delete(keyword):
    return lambda slices: delattr(slices[1], keyword)


def put(**values):
    def change(slices):
        for key, value in values.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                setattr(slices[1], key, value)

    return change


def moved(*offset, of=2):
    def change(slices):
        slices[of].ImagePositionPatient = list(np.array(slices[of].ImagePositionPatient, float) + offset)

    return change


def tilt(slices):
    for k, ds in enumerate(slices):
        ds.ImagePositionPatient = [-10, -20 + 0.4 * k, 30 + 2 * k]


REFUSED = {
    "missing": (lambda s: s.pop(2), InputError, "mostly 2 mm, but 4 mm between the slices 2 and 3 of 5"),
    "uneven": (moved(0, 0, 0.5), InputError, "not evenly apart"),
    "tilt": (tilt, InputError, "by up to 11 degrees .* tilted gantry"),
    "one aside": (moved(0, 1, 0), InputError, "tilted gantry"),
    "duplicate": (moved(0, 0, 2), InputError, "1 of 6 slices lie where another one lies"),
    "two series": (put(SeriesInstanceUID=uid("series", 2)), InputError, "slices of 2 series; allowed: one"),
    "modalities": (put(Modality="PT"), InputError, r"several modalities \(CT, PT\)"),
    "turned": (put(ImageOrientationPatient=[0.6, 0.8, 0, -0.8, 0.6, 0]), InputError, "turned another way"),
    "spacing": (put(PixelSpacing=[0.75, 0.6]), InputError, "0.6 x 0.75 mm where 0.5 x 0.75 mm"),
    "no right angle": (put(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), InputError, "right angle"),
    "flat": (put(PixelSpacing=[0.75, 0]), InputError, "not above zero"),
    "no position": (delete("ImagePositionPatient"), InputError, "has no ImagePositionPatient"),
    "no spacing": (delete("PixelSpacing"), InputError, "has no PixelSpacing of 2"),
    "monochrome1": (put(PhotometricInterpretation="MONOCHROME1"), InputError, "MONOCHROME1 .*Convert it"),
    "colour": (put(PhotometricInterpretation="RGB", SamplesPerPixel=3), InputError, r"colour image \(RGB\)"),
    "nan": (put(RescaleSlope="NaN"), InputError, "RescaleSlope of .* is NaN"),
    "inf": (put(RescaleIntercept="inf"), InputError, "RescaleIntercept of .* is NaN or infinite"),
    "slope 0": (put(RescaleSlope=0), InputError, "RescaleSlope of .* is 0"),
    "rows": (put(Rows=65535, Columns=65535), DecodeError, "truncated: 84 of 8589672450 bytes"),
    "no rows": (put(Rows=0), DecodeError, "0 rows and 6 columns"),
    "rows gone": (delete("Rows"), DecodeError, "Rows of .* is missing"),
    "no pixels": (delete("PixelData"), DecodeError, "holds no pixels"),
    "short pixels": (put(PixelData=bytes(40)), DecodeError, "truncated: 40 of 84 bytes"),
    "frames": (put(NumberOfFrames=2), InputError, "several frames"),
    "signed": (put(PixelRepresentation=0), InputError, "stores 16 of 16 bits, unsigned where"),
    "high bit": (put(BitsStored=12), InputError, "HighBit"),
    "bits": (put(BitsAllocated=1, BitsStored=1, HighBit=0), InputError, "1 of 1 bits"),
    "scout": (put(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), InputError, "scout"),
    "size": (put(Rows=3, Columns=14), InputError, "14 x 3 where .* is 6 x 7"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
    change, error, match = REFUSED[name]
    slices = datasets(integers((6, 7, 6)))
    change(slices)
    folder = write(tmp_path / "ct", slices)
    with pytest.raises(error, match=match) as caught:
        load(folder)
    assert type(caught.value) is error
    assert str(caught.value).startswith(str(folder))
    assert len(str(caught.value).splitlines()) <= 3
    silent(caught.value)


def test_compression_without_a_decoder(tmp_path):
    path = Path(get_testdata_file("MR_small_jpeg_ls_lossless.dcm"))
    folder = tmp_path / "mr"
    folder.mkdir()
    (folder / "a").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"compressed with JPEG-LS.*\ninstall pylibjpeg") as caught:
        load(folder)
    silent(caught.value)


def test_cut_anywhere_is_a_decode_error(tmp_path):
    folder = write(tmp_path / "ct", datasets(integers((2, 4, 4))), ["a.dcm", "b.dcm"])
    whole = (folder / "b.dcm").read_bytes()
    for size in {0, 50, 131, 132, 140, *range(150, len(whole), 37), len(whole) - 1}:
        (folder / "b.dcm").write_bytes(whole[:size])
        for path in (folder, folder / "b.dcm"):
            with pytest.raises(DecodeError) as caught:
                load(path)
            silent(caught.value)


def test_garbage_in_a_header_is_an_error_of_ours_or_read(tmp_path):
    rng = np.random.default_rng(5)
    folder = write(tmp_path / "ct", datasets(integers((1, 4, 4))), ["a.dcm"])
    whole = bytearray((folder / "a.dcm").read_bytes())
    for _ in range(150):
        broken = whole.copy()
        for at in rng.integers(132, len(whole) - 32, 3):
            broken[at] = rng.integers(256)
        (folder / "a.dcm").write_bytes(broken)
        try:
            silent(*load(folder).notes)
        except InputError as error:
            assert len(str(error).splitlines()) <= 3  # noqa: PT017


def test_folders_without_slices(tmp_path):
    with pytest.raises(InputError, match="folder without DICOM slices"):
        load(tmp_path)
    (tmp_path / "README").write_text("nothing")
    write(tmp_path / "deep", datasets(integers((2, 4, 4))))
    with pytest.raises(InputError, match="it has subfolders"):
        load(tmp_path)
    (tmp_path / "deep" / "x.dcm").write_bytes(b"")
    with pytest.raises(DecodeError, match=r"file 3 of 3 by name .* no DICOM mark"):
        load(tmp_path / "deep")


def test_one_slice_and_its_thickness(tmp_path):
    ds = dataset(integers((7, 6)), (0, 0, 0))
    folder = write(tmp_path / "a", [ds], ["a.dcm"])
    assert load(folder).grid.spacing == load(folder / "a.dcm").grid.spacing == (0.5, 0.75, 2.0)
    del ds.SliceThickness
    sample = load(write(tmp_path / "b", [ds]))
    assert sample.grid.spacing[2] == 1
    assert "taken as 1 mm" in sample.notes[0]


def test_without_pydicom(tmp_path, monkeypatch):
    folder = write(tmp_path / "ct", datasets(integers((2, 4, 4))))
    genuine = builtins.__import__

    def missing(name, *rest):
        if name.startswith("pydicom"):
            raise ImportError(name)
        return genuine(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r'pip install "nst_nd\[dicom\]"'):
        load(folder)
