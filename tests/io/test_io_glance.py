"""A glance at a volume is the plane in its middle, and takes no more memory than that."""

import tracemalloc

import nibabel
import numpy as np
import pytest
from dicom_series import OBLIQUE, datasets, integers, write
from io_variants import VARIANTS

from nst_nd.errors import InputError
from nst_nd.io import codec_for, glance, load
from nst_nd.io.codec import Glancing, registry


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_of_every_variant(variant, tmp_path):
    path = tmp_path / f"a{variant.suffix}"
    variant.make(path, np.random.default_rng(3))
    read, seen = load(path, **variant.options), glance(path, **variant.options)
    expected = read.data
    assert (seen.kind, seen.units) == (read.kind, read.units)
    if read.kind == "volume" and isinstance(codec_for(path, reading=True), Glancing):
        middle = read.shape[2] // 2
        expected = expected[:1, ..., middle : middle + 1]
        assert seen.grid.spacing == read.grid.spacing
        if read.grid.affine is not None:
            np.testing.assert_allclose(seen.grid.affine[:, 3], read.grid.affine @ [0, 0, middle, 1])
            np.testing.assert_array_equal(seen.grid.affine[:, :3], read.grid.affine[:, :3])
    np.testing.assert_array_equal(seen.data, expected)


def test_every_codec_of_volumes_can_glance():
    assert all(isinstance(codec, Glancing) for codec in registry() if "volume" in codec.kinds)


def test_of_a_series(tmp_path):
    pytest.importorskip("pydicom")
    write(tmp_path / "a", datasets(integers((6, 5, 7), 0, 200, 1), directions=OBLIQUE))
    read, seen = load(tmp_path / "a"), glance(tmp_path / "a")
    np.testing.assert_array_equal(seen.data, read.data[..., 3:4])
    np.testing.assert_allclose(seen.grid.affine[:, 3], read.grid.affine @ [0, 0, 3, 1])
    assert (seen.units, seen.grid.spacing) == (read.units, read.grid.spacing)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".npy"])
def test_of_a_large_volume_takes_the_memory_of_a_plane(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    volume = np.random.default_rng(0).integers(-1000, 1000, (128, 128, 64), dtype=np.int16)
    np.save(path, volume) if suffix == ".npy" else nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)
    glance(path, kind="volume")  # imports
    tracemalloc.start()
    try:
        assert glance(path, kind="volume").shape == (128, 128, 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < volume.size


def test_what_ends_before_the_plane_is_refused(tmp_path):
    volume = np.random.default_rng(0).integers(-1000, 1000, (16, 16, 8), dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")
    whole = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(InputError, match=r"a\.nii\.gz: "):
        glance(tmp_path / "a.nii.gz")
