"""What README and NOTICE say of the samples is so: every file is described, sized, licensed, and what it should be."""

import gzip
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "data_samples"
SAMPLES = sorted(p.name for p in FOLDER.iterdir() if p.is_file() and p.suffix not in {".py", ".md"})


def test_the_folder_stays_small():
    assert SAMPLES
    assert sum((FOLDER / name).stat().st_size for name in SAMPLES) < 8e6


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_has_its_size_and_licence_on_record(name):
    rows = [r for r in (FOLDER / "README.md").read_text().splitlines() if re.match(rf"\|[^|]*`{re.escape(name)}`", r)]
    size = (FOLDER / name).stat().st_size
    assert any(re.search(rf"\b{size}\b", row) for row in rows), f"README.md has no row with {name} and {size} bytes"
    assert name in (ROOT / "NOTICE").read_text()


def test_the_real_ecg_keeps_nobody_in_its_header():
    header = (FOLDER / "ecg_rest.hea").read_text().splitlines()
    assert header[0] == "ecg_rest 12 1000 10000", "no date, no time"
    assert [line for line in header if line.startswith("#")] == [
        "# 12-lead ECG at rest, samples only: waveform_ecg.dcm of pydicom 3.0.2 (MIT)"
    ]


def test_the_limb_leads_of_the_synthetic_ecg_agree_exactly():
    table = np.genfromtxt(FOLDER / "ecg_ambulatory_synthetic.csv", delimiter=",", names=True)
    lead = {name: np.rint(1000 * table[name]).astype(int) for name in table.dtype.names}
    assert np.array_equal(lead["time"], np.arange(10000))
    assert np.array_equal(lead["II"], lead["I"] + lead["III"])
    assert np.array_equal(2 * lead["aVR"], -(lead["I"] + lead["II"]))
    assert np.array_equal(2 * lead["aVL"], 2 * lead["I"] - lead["II"])
    assert np.array_equal(2 * lead["aVF"], 2 * lead["II"] - lead["I"])


@pytest.mark.parametrize("name", [n for n in SAMPLES if n.endswith(".nii.gz")])
def test_volumes_are_whole_and_three_dimensional(name):
    assert gzip.decompress((FOLDER / name).read_bytes())
    image = nib.load(FOLDER / name)
    data = np.asanyarray(image.dataobj)
    assert data.ndim == 3
    assert np.isfinite(data).all()
    assert data.std() > 0
