"""Volumes that are read and written a few planes at a time: the same as at once, in a fraction of the memory."""

from __future__ import annotations

import subprocess
import sys

import nibabel
import numpy as np
import pytest
from io_variants import VARIANTS

from nst_nd import scratch
from nst_nd.errors import InputError
from nst_nd.io import load, save
from nst_nd.sample import Grid, Sample

VOLUMES = [v for v in VARIANTS if v.suffix in (".nii", ".nii.gz", ".hdr") or v.options.get("kind") == "volume"]
tiny = pytest.mark.parametrize("size", [1, 50, 333])


def tear(monkeypatch, size):
    """Pieces of this many bytes, every array in a file."""
    monkeypatch.setattr(scratch, "PIECE", size)
    monkeypatch.setattr(scratch, "LARGE", 1)


@tiny
@pytest.mark.parametrize("variant", VOLUMES, ids=lambda v: v.name)
def test_in_pieces_as_at_once(variant, size, tmp_path, monkeypatch):
    path = tmp_path / f"in{variant.suffix}"
    variant.make(path, np.random.default_rng(4))
    whole = load(path, **variant.options)
    save(whole, tmp_path / f"whole{variant.suffix}")
    tear(monkeypatch, size)
    torn = load(path, **variant.options)
    assert scratch.is_mapped(torn.data)
    assert torn.data.tobytes() == whole.data.tobytes()
    assert torn.data.dtype == whole.data.dtype
    assert torn.notes == whole.notes
    save(torn, tmp_path / f"torn{variant.suffix}")
    for made in tmp_path.glob("whole*"):
        assert made.read_bytes() == made.with_name(made.name.replace("whole", "torn")).read_bytes()


@tiny
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<u1", ">f4", "<f8"])
def test_clipping_is_counted_over_all_pieces(dtype, size, tmp_path, monkeypatch):
    image = nibabel.Nifti1Image(np.zeros((5, 7, 3, 2), dtype), np.eye(4))
    nibabel.save(image, tmp_path / "in.nii")
    sample = load(tmp_path / "in.nii", channels=True)
    data = np.random.default_rng(7).normal(0, 60_000, sample.data.shape)
    data[:, ::2, 1::3] *= 1e36 if dtype == ">f4" else 1.0
    sample = sample.replace(data=data)
    notes = save(sample, tmp_path / "whole.nii")
    tear(monkeypatch, size)
    assert save(sample, tmp_path / "torn.nii") == notes
    assert any("clipped" in note for note in notes) == (dtype != "<f8")
    assert (tmp_path / "torn.nii").read_bytes() == (tmp_path / "whole.nii").read_bytes()


@tiny
def test_a_scaling_that_cannot_be_undone_in_pieces(size, tmp_path, monkeypatch):
    voxels = np.random.default_rng(2).normal(0, 1e-3, (5, 7, 3)).astype(np.float32)
    voxels[2, 3] = [-0.0, 1e-30, 3.0]
    image = nibabel.Nifti1Image(voxels, np.eye(4))
    nibabel.save(image, tmp_path / "in.nii")
    data = bytearray((tmp_path / "in.nii").read_bytes())
    data[112:120] = np.array([1e-3, 1e5], "<f4").tobytes()
    (tmp_path / "in.nii").write_bytes(data)
    tear(monkeypatch, size)
    sample = load(tmp_path / "in.nii")
    (tmp_path / "in.nii").write_bytes(bytes(len(data)))  # what was read does not hang on the file
    save(sample, tmp_path / "out.nii")
    assert (tmp_path / "out.nii").read_bytes() == data


def test_one_bad_value_in_a_late_piece(tmp_path, monkeypatch):
    tear(monkeypatch, 50)
    voxels = np.zeros((5, 7, 3), np.float32)
    voxels[4, 6, 2] = voxels[4, 6, 1] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "x.nii")
    with pytest.raises(InputError, match="2 of 105 samples are NaN"):
        load(tmp_path / "x.nii")
    big = np.zeros((5, 7, 3), np.int64)
    big[4, 6, 2] = 2**53 + 1
    nibabel.save(nibabel.Nifti1Image(big, np.eye(4), dtype=np.int64), tmp_path / "y.nii")
    with pytest.raises(InputError, match=r"2\^53"):
        load(tmp_path / "y.nii")


def test_rounding_to_float32_is_noted_wherever_it_happens(tmp_path, monkeypatch):
    tear(monkeypatch, 50)
    data = np.ones((1, 5, 4, 3))
    sample = Sample(data, "volume", "arbitrary", Grid((1.0, 1.0, 1.0), "mm", affine=np.eye(4)))
    assert save(sample, tmp_path / "a.nii") == []
    data[0, 4, 3, 2] = 1 / 3
    assert save(sample, tmp_path / "b.nii") == ["values were rounded to float32"]


MEASURE = """
import sys
from pathlib import Path
from nst_nd.io import load, save

def status(key):
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(key))

def peak(work):
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    kept = work()
    print(status("VmHWM") - before)
    return kept

folder = Path(sys.argv[1])
save(load(folder / "small.nii.gz"), folder / "warm.nii.gz")
for suffix in (".nii", ".nii.gz"):
    sample = peak(lambda: load(folder / f"large{suffix}"))
    peak(lambda: save(sample, folder / f"out{suffix}"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_volume_passes_in_a_fraction_of_its_memory(tmp_path):
    rng = np.random.default_rng(1)
    voxels = np.repeat(rng.integers(-1000, 1000, (256, 256, 10)).astype(np.int16), 16, axis=2)
    for name, values in [("small.nii.gz", voxels[:5, :4, :3]), ("large.nii", voxels), ("large.nii.gz", voxels)]:
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / name)
    told = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.split()
    as_float32 = 256 * 256 * 160 * 4 / 2**20
    assert len(told) == 4
    assert all(float(peak) < 0.4 * as_float32 for peak in told), told
    assert (tmp_path / "out.nii").read_bytes() == (tmp_path / "large.nii").read_bytes()
