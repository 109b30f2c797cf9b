"""metrics of files, limits and --strict."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from cli_words import SMALL

SPACING = np.diag([0.7, 0.7, 3.0, 1.0])


def soft_tissue(name, sd, seed=0, add=0.0):
    data = 45.0 + sd * np.random.default_rng(seed).standard_normal((64, 64, 4)) + add
    nibabel.save(nibabel.Nifti1Image(data.round().astype(np.int16), SPACING), name)


@pytest.fixture
def scans(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soft_tissue("c.nii.gz", 10.0)
    soft_tissue("s.nii.gz", 20.0, seed=1)
    soft_tissue("moved.nii.gz", 10.0, add=4.0)


def test_what_a_file_did_to_its_content(cli, scans):
    words = ("metrics", "moved.nii.gz", "--content", "c.nii.gz", "--style", "s.nii.gz", "--preset", "ct")
    ran = cli(*words, "--json")
    assert ran.status == 0
    found = ran.json["metrics"]
    assert found["hu_bias_soft"] == pytest.approx(4.0)
    assert found["hu_drift"] == pytest.approx(4.0)
    assert found["hu_bias_lung"] is None
    assert found["noise_sd_style"] == pytest.approx(20.0, rel=0.05)
    assert [w.split()[0] for w in ran.json["warnings"]] == ["hu_bias_soft", "hu_drift"]
    assert ran.err.count("warning: ") == 2
    strict = cli(*words, "--strict")
    assert strict.status == 4
    assert "cannot be measured" in strict.out
    same = cli("metrics", "c.nii.gz", *words[2:], "--strict")
    assert same.status == 0
    assert not same.err


def test_other_kinds_have_no_limits(cli, here):
    ran = cli("metrics", "c.png", "--content", "c.png", "--style", "s.png", "--json", "--strict")
    assert ran.status == 0
    assert ran.json["metrics"]["change_max"] == 0.0


def test_results_of_another_size_or_kind_are_refused(cli, here, scans):
    ran = cli("metrics", "s.nii.gz", "--content", "c.png", "--style", "s.png")
    assert ran.status == 3
    assert "as the content" in ran.err
    ran = cli("metrics", "c.png", "--content", "c.png", "--style", "s.nii.gz")
    assert ran.status == 3


def test_a_grid_of_its_own_is_refused_and_none_is_the_contents(cli, scans):
    words = ("--content", "c.nii.gz", "--style", "s.nii.gz", "--preset", "ct", "--json")
    image = nibabel.load("c.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), np.diag([0.9, 0.9, 3.0, 1.0])), "other.nii.gz")
    ran = cli("metrics", "other.nii.gz", *words)
    assert ran.status == 3
    assert "0.9 x 0.9 x 3 mm apart" in ran.err
    np.save("same.npy", np.asarray(image.dataobj)[None].astype(np.float32))
    ours, theirs = (
        cli("metrics", name, *words, "--kind", "volume").json["metrics"] for name in ("same.npy", "c.nii.gz")
    )
    assert ours == theirs


def test_presets_of_other_kinds_are_refused(cli, here):
    ran = cli("metrics", "c.png", "--content", "c.png", "--style", "s.png", "--preset", "ct")
    assert ran.status == 2
    assert "is for volume, not for image" in ran.err


def test_what_is_infinite_is_said(cli, scans):
    flat = nibabel.Nifti1Image(np.full((64, 64, 4), 45, np.int16), SPACING)
    nibabel.save(flat, "flat.nii.gz")
    words = ("metrics", "flat.nii.gz", "--content", "c.nii.gz", "--style", "s.nii.gz", "--preset", "ct")
    ran = cli(*words, "--json", "--strict")
    assert ran.status == 4
    assert ran.json["metrics"]["nps_worse"] == "inf"
    assert "-> inf" in cli(*words).out


def test_a_run_says_what_is_beyond_its_limits(cli, scans):
    # without the lock, the level goes to the style's
    soft_tissue("s.nii.gz", 20.0, seed=1, add=40.0)
    words = (
        "stylize",
        "c.nii.gz",
        "s.nii.gz",
        *SMALL,
        "--preset",
        "ct",
        "--set",
        "lock_mm=null",
        "--set",
        "region=null",
    )
    words += ("--iterations", "20", "--set", "limits.hu_bias_soft=0.01")
    ran = cli(*words, "-o", "out.nii.gz", "--strict")
    assert ran.status == 4
    assert "warning: hu_bias_soft is" in ran.err
    record = json.loads(Path("out.nii.gz.json").read_text())
    assert any(w.startswith("hu_bias_soft") for w in record["warnings"])
    assert cli(*words, "-o", "other.nii.gz").status == 0
    nothing = ("--set", "limits.hu_bias_soft=null", "--iterations", "0")
    assert "hu_bias_soft is" not in cli(*words, *nothing, "-o", "third.nii.gz").err
