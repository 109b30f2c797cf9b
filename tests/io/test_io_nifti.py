"""NIfTI: axes, scaling, units and geometry; what is refused; nibabel's own files."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from io_variants import named

from nst_nd.errors import InputError
from nst_nd.io import load, save

DATA = Path(nibabel.__file__).parent / "tests" / "data"


def write(path, voxels, affine=None, change=None):
    image = nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    if change:
        change(image.header)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(
    "name", ["anatomical.nii", "example4d.nii.gz", "example_nifti2.nii.gz", "functional.nii", "standard.nii.gz"]
)
def test_real_files_come_back_byte_for_byte(name, tmp_path):
    if not (DATA / name).is_file():
        pytest.skip("nibabel was installed without its test data")
    sample = load(DATA / name, channels=True)
    image = nibabel.load(DATA / name)
    voxels = np.asarray(image.dataobj).reshape((*sample.shape, -1))
    np.testing.assert_allclose(np.moveaxis(sample.data, 0, -1), voxels, rtol=1e-6)
    np.testing.assert_array_equal(sample.grid.affine, image.affine)
    np.testing.assert_allclose(sample.grid.spacing, image.header.get_zooms()[:3])
    save(sample, tmp_path / name)
    opener = gzip.open if name.endswith(".gz") else open
    with opener(DATA / name, "rb") as one, opener(tmp_path / name, "rb") as two:
        assert one.read() == two.read()


def test_four_axes_need_the_option(tmp_path):
    voxels = np.random.default_rng(1).integers(0, 9, (4, 5, 6, 2)).astype(np.int16)
    path = write(tmp_path / "x.nii", voxels)
    with pytest.raises(InputError, match="set channels to true"):
        load(path)
    np.testing.assert_array_equal(load(path, channels=True).data, np.moveaxis(voxels, -1, 0))
    path = write(tmp_path / "y.nii", voxels.reshape(4, 5, 6, 1, 2))
    with pytest.raises(InputError, match="5 axes"):
        load(path, channels=True)


def test_scaling_is_undone_with_rounding_and_clipping(tmp_path):
    path = tmp_path / "in.nii.gz"
    named("nifti1.nii.gz-int16-5x7x3-0.1").make(path, np.random.default_rng(3))
    sample = load(path)
    assert sample.data.dtype == np.float64
    data = sample.data.copy()
    data[0, 0, 0, :3] = 0.05 - 3.3, 0.1499 - 3.3, 1e9
    notes = save(sample.replace(data=data), tmp_path / "out.nii.gz")
    assert notes == ["1 of 105 samples were clipped to -32768..32767"]
    stored = nibabel.load(tmp_path / "out.nii.gz").dataobj.get_unscaled()
    assert stored[0, 0, 0] in (0, 1)
    assert stored[0, 0, 1] == 1
    assert stored[0, 0, 2] == 32767
    assert nibabel.load(tmp_path / "out.nii.gz").dataobj.slope == nibabel.load(path).dataobj.slope


def test_a_scaling_that_cannot_be_undone_still_gives_every_bit_back(tmp_path):
    voxels = np.array([-0.0, 0.0, 1e-30, 3e-20, 1, -7], np.float32).reshape(2, 3, 1)
    path = write(tmp_path / "in.nii", voxels)
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([1e-3, 1e5], "<f4").tobytes()
    path.write_bytes(data)
    sample = load(path)
    save(sample, tmp_path / "out.nii")
    assert (tmp_path / "out.nii").read_bytes() == data
    changed = sample.data.copy()
    changed[0, 1, 2, 0] += 1
    save(sample.replace(data=changed), tmp_path / "changed.nii")
    written = (tmp_path / "changed.nii").read_bytes()
    assert written[: 352 + 20] == data[: 352 + 20]
    np.testing.assert_allclose(load(tmp_path / "changed.nii").data, changed)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000), ("micron", 0.001), ("mm", 1), ("unknown", 1)])
def test_units_of_length(unit, factor, tmp_path):
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    path = write(tmp_path / "x.nii", np.zeros((3, 4, 5), np.int16), affine, lambda h: h.set_xyzt_units(unit))
    sample = load(path)
    np.testing.assert_allclose(sample.grid.spacing, np.array([2, 3, 4]) * factor)
    np.testing.assert_allclose(np.diag(sample.grid.affine)[:3], np.array([2, 3, 4]) * factor)
    assert bool(sample.notes) == (unit != "mm")
    save(sample, tmp_path / "out.nii")
    assert (tmp_path / "out.nii").read_bytes() == path.read_bytes()


def test_broken_geometry(tmp_path):
    voxels = np.zeros((3, 4, 5), np.int16)

    def raw(change):
        path = write(tmp_path / "x.nii", voxels)
        data = bytearray(path.read_bytes())
        header = nibabel.Nifti1Header(bytes(data[:348]))
        change(header)
        data[:348] = header.binaryblock
        path.write_bytes(data)
        return path

    def zero_spacing(header):
        header["pixdim"][2] = 0

    def nan_spacing(header):
        header["pixdim"][2] = np.nan

    def singular(header):
        header["srow_x"] = header["srow_y"]

    for change, match in [(zero_spacing, "voxel size"), (nan_spacing, "voxel size"), (singular, "singular")]:
        with pytest.raises(InputError, match=match):
            load(raw(change))


@pytest.mark.parametrize("dtype", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_refused_types(dtype, tmp_path):
    write(tmp_path / "x.nii", np.zeros((3, 4, 5), dtype))
    with pytest.raises(InputError, match=r"stores (complex64|RGB) voxels; allowed"):
        load(tmp_path / "x.nii")


def test_integers_beyond_what_a_float_holds(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.full((3, 4, 5), 2**60), np.eye(4), dtype=np.int64), tmp_path / "x.nii")
    with pytest.raises(InputError, match=r"2\^53"):
        load(tmp_path / "x.nii")


def test_analyze_is_refused(tmp_path):
    nibabel.save(nibabel.AnalyzeImage(np.zeros((3, 4, 5), np.int16), np.eye(4)), tmp_path / "x.hdr")
    for name in ("x.hdr", "x.img"):
        with pytest.raises(InputError, match="ANALYZE"):
            load(tmp_path / name)


def test_pair_by_either_name(tmp_path):
    named("nifti1.hdr-int16-5x7x3-1").make(tmp_path / "in.hdr", np.random.default_rng(3))
    sample = load(tmp_path / "in.img")
    save(sample, tmp_path / "out.img")
    for suffix in (".hdr", ".img"):
        assert (tmp_path / f"out{suffix}").read_bytes() == (tmp_path / f"in{suffix}").read_bytes()
    (tmp_path / "in.hdr").unlink()
    with pytest.raises(InputError, match=r"header in\.hdr is missing"):
        load(tmp_path / "in.img")


def test_extensions_and_voxels_survive_a_change_of_container(tmp_path):
    named("nifti1.nii-int16-5x7x3-1").make(tmp_path / "in.nii", np.random.default_rng(3))
    sample = load(tmp_path / "in.nii")
    for suffix in (".hdr", ".nii.gz"):
        save(sample, tmp_path / f"out{suffix}")
        image = nibabel.load(tmp_path / f"out{suffix}")
        assert [e.get_code() for e in image.header.extensions] == [6]
        np.testing.assert_array_equal(np.asarray(image.dataobj), sample.data[0])
        np.testing.assert_array_equal(image.affine, sample.grid.affine)
    save(load(tmp_path / "out.hdr"), tmp_path / "back.nii")
    assert (tmp_path / "back.nii").read_bytes() == (tmp_path / "in.nii").read_bytes()


def test_another_size_is_said(tmp_path):
    named("nifti1.nii-int16-5x7x3-1").make(tmp_path / "in.nii", np.random.default_rng(3))
    sample = load(tmp_path / "in.nii")
    notes = save(sample.replace(data=sample.data[:, :4]), tmp_path / "out.nii")
    assert any("(4, 7, 3) instead of (5, 7, 3)" in note for note in notes)
    np.testing.assert_array_equal(load(tmp_path / "out.nii").data, sample.data[:, :4])


def test_gzip_header_says_neither_time_nor_name(tmp_path):
    named("nifti1.nii.gz-int16-5x7x3-1").make(tmp_path / "in.nii.gz", np.random.default_rng(3))
    save(load(tmp_path / "in.nii.gz"), tmp_path / "out.nii.gz")
    head = (tmp_path / "out.nii.gz").read_bytes()[:10]
    assert head[3] == 0
    assert head[4:8] == bytes(4)


def test_trailing_bytes_are_noted(tmp_path):
    named("nifti1.nii-int16-5x7x3-1").make(tmp_path / "in.nii", np.random.default_rng(3))
    with (tmp_path / "in.nii").open("ab") as file:
        file.write(b"more")
    assert "4 bytes behind the voxels" in load(tmp_path / "in.nii").notes[0]


def test_an_array_becomes_a_fresh_nifti(tmp_path):
    values = np.random.default_rng(1).random((3, 4, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    save(load(tmp_path / "x.npy", kind="volume"), tmp_path / "x.nii.gz")
    image = nibabel.load(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), values)
    assert image.header.get_xyzt_units()[0] == "mm"
