"""The CT phantom has the resolution, the noise and the tissue values that it promises."""

import gzip
import importlib.util
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "data_samples" / "make_phantom.py"
spec = importlib.util.spec_from_file_location("make_phantom", SCRIPT)
assert spec is not None
assert spec.loader is not None
phantom = sys.modules["make_phantom"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(phantom)

SPACING = (0.7, 0.7, 5.0)


@pytest.mark.parametrize("name", phantom.KERNELS)
def test_resolution_is_the_kernels(name):
    kernel = phantom.KERNELS[name]
    assert phantom.measure_f50(kernel) == pytest.approx(kernel.f50, rel=0.02)


@pytest.mark.parametrize("name", phantom.KERNELS)
def test_noise_has_the_promised_variance_and_spectrum(name):
    kernel = phantom.KERNELS[name]
    power, f = phantom.measure_noise(kernel, slices=2)
    assert np.sqrt(power.mean() / 0.49) == pytest.approx(kernel.noise_sd, rel=0.01)
    for low in np.arange(0.1, kernel.cutoff - 0.15, 0.1):
        ring = (f >= low) & (f < low + 0.1)
        assert power[ring].mean() == pytest.approx(kernel.nps(f[ring], SPACING).mean(), rel=0.04)
    # above the cutoff only rounding is left: a variance of 1/12 of the noisy volume, and less of the flat one
    assert 0.95 * 0.49 / 12 < power[f > kernel.cutoff].mean() < 1.05 * 0.49 / 6


def test_tissues_have_their_values_without_noise():
    quiet = phantom.Kernel(f50=0.6, noise_sd=0.0, cutoff=0.8)
    volume = phantom.make_phantom((500, 500, 2), (0.7, 0.7, 40.0), quiet)  # z = -20 and +20 mm
    column = {x: round(249.5 + x / 0.7) for x in (0, 10, 31, 52, 73, 94, 82, 159)}
    row = {y: round(249.5 + y / 0.7) for y in (0, 4, 5, 60, -60)}
    assert volume[2, 2, 0] == pytest.approx(-1000, abs=2)
    assert volume[column[159], row[0], 0] == pytest.approx(-100, abs=15)
    assert volume[column[0], row[-60], 0] == pytest.approx(50, abs=2)
    assert volume[column[0], row[60], 0] == pytest.approx(700, abs=15)
    for x, hu in zip((10, 31, 52, 73, 94), phantom.INSERTS, strict=True):
        assert volume[column[x], row[4], 0] == pytest.approx(hu, abs=4)
    lung = volume[column[82] - 30 : column[82] + 30, row[5] - 30 : row[5] + 30, 1]
    assert np.median(lung) == pytest.approx(-850, abs=8)
    assert lung.max() > -100, "no vessel"
    assert volume.max() < 900, "overlapping ellipses add up"


def test_both_kernels_see_the_same_scan_and_seeds_differ():
    volumes = {name: phantom.make_phantom((48, 48, 1), SPACING, name, 4) for name in phantom.KERNELS}
    other = phantom.make_phantom((48, 48, 1), SPACING, "sharp", 5)
    again = phantom.make_phantom((48, 48, 1), SPACING, "sharp", 4)
    assert np.array_equal(volumes["sharp"], again)
    region = np.s_[:, :20, 0]  # soft tissue in front of the inserts
    sharp, smooth, new = (v[region].ravel().astype(float) for v in (volumes["sharp"], volumes["smooth"], other))
    assert np.corrcoef(sharp, smooth)[0, 1] > 0.5
    assert abs(np.corrcoef(sharp, new)[0, 1]) < 0.2


def test_file_has_its_grid_and_no_time(tmp_path):
    size, path = (8, 6, 4), tmp_path / "p.nii.gz"
    volume = np.arange(192, dtype=np.int16).reshape(size)
    phantom.write_nifti(volume, phantom.affine(size, SPACING, (5.0, -3.0)), path)
    image = nib.load(path)
    raw = nib.Nifti1Header(gzip.decompress(path.read_bytes())[:348], check=False)
    assert path.read_bytes()[4:8] == bytes(4)
    assert (float(raw["scl_slope"]), float(raw["scl_inter"])) == (1.0, 0.0)
    assert (int(raw["sform_code"]), int(raw["qform_code"])) == (1, 1)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert image.get_data_dtype() == np.int16
    assert np.array_equal(np.asanyarray(image.dataobj), volume)
    middle = image.affine @ [3.5, 2.5, 1.5, 1]
    assert middle[:3] == pytest.approx([-5.0, 3.0, 0.0])
