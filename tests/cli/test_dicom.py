"""A DICOM series through the command line: facts, a derived series, a sidecar that tells nothing of a patient."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from conftest import QUICK
from dicom_series import SECRETS, datasets, integers, uid, write

import nst_nd


@pytest.fixture
def series(here):
    """Two folders, of which the second bears a UID as people's folders do, and its files too."""
    names = [f"{uid('file', k)}.dcm" for k in range(12)]
    for name, seed in (("c", 1), (str(uid("folder")), 2)):
        write(here / name, datasets(integers((12, 12, 12), 0, 200, seed)), names)
    return "c", str(uid("folder"))


def silent(text):
    assert not any(secret in text for secret in SECRETS)


def test_info(cli, series):
    ran = cli("info", series[0], "--json")
    assert ran.status == 0
    facts = ran.json
    assert (facts["file"], facts["kind"], facts["size"], facts["units"]) == ("c", "volume", [12, 12, 12], "HU")
    assert facts["spacing"] == [0.5, 0.75, 2.0]
    silent(ran.out + ran.err)


def test_a_series_from_two_series(cli, series, here):
    (here / "c" / "README").write_text("x")
    for name in ("a", "b"):
        ran = cli("stylize", *series, "-o", f"{name}.dicom", *QUICK)
        assert ran.status == 0, ran.err
    silent(ran.out + ran.err)
    text = Path("a.dicom.json").read_text()
    silent(text)
    record = json.loads(text)
    content, style = record["inputs"]
    assert (content["name"], content["files"], style["name"]) == ("c", 13, "UID")
    assert record["output"]["files"] == 12
    assert content["sha256"] != style["sha256"]
    assert "c: left out: 1 x file that is not DICOM" in record["notes"]
    assert record["versions"]["pydicom"]
    assert nst_nd.load("a.dicom").shape == (12, 12, 12)
    for one, two in zip(sorted(Path("a.dicom").iterdir()), sorted(Path("b.dicom").iterdir()), strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert pydicom.dcmread(one).ImageType[0] == "DERIVED"


def test_a_nifti_from_a_series(cli, series):
    ran = cli("stylize", *series, "-o", "o.nii.gz", *QUICK)
    assert ran.status == 0, ran.err
    silent(ran.out + ran.err)
    np.testing.assert_allclose(nibabel.load("o.nii.gz").affine, nst_nd.load("c").grid.affine)


def test_what_cannot_be_written_is_said_before_anything_is_computed(cli, series, here):
    def refused(status, words, *line):
        ran = cli(*line, *QUICK)
        assert ran.status == status
        assert words in ran.err

    refused(2, "not read from one", "stylize", "c.nii.gz", "s.nii.gz", "-o", "o.dicom")
    refused(2, "a texture has none", "texture", series[0], "-o", "o.dicom")
    (here / "c").rename(here / "c.dicom")
    refused(2, "replace the input c.dicom", "stylize", "c.dicom", series[1], "-o", "c.dicom", "--overwrite")
    one = next((here / "c.dicom").iterdir())
    refused(2, "replace the input", "stylize", one, series[1], "-o", "c.dicom", "--overwrite")
    (here / "o.dicom").mkdir()
    refused(2, "exists already", "stylize", "c.dicom", series[1], "-o", "o.dicom")
    (here / "o.dicom" / "thesis.txt").write_text("mine")
    refused(2, "more than .dcm files", "stylize", "c.dicom", series[1], "-o", "o.dicom", "--overwrite")
    (here / "o.dicom" / "thesis.txt").unlink()
    assert cli("stylize", "c.dicom", series[1], "-o", "o.dicom", *QUICK, "--overwrite").status == 0
    assert len(list((here / "o.dicom").iterdir())) == 12
