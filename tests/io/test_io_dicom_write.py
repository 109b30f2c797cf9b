"""The DICOM series that are derived from others: headers, rounding, determinism, replacing; and NIfTI from DICOM."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_series import OBLIQUE, datasets, integers, silent, stored_of, write

from nst_nd import scratch
from nst_nd.errors import ConfigError, InputError, OutputError
from nst_nd.io import load, save


def test_the_derived_series(tmp_path):
    slices = datasets(integers())
    source = load(write(tmp_path / "ct", slices))
    save(source, tmp_path / "out.dicom")
    files = sorted((tmp_path / "out.dicom").iterdir())
    assert [file.name for file in files] == [f"000{n}.dcm" for n in range(1, 6)]
    derived = [pydicom.dcmread(file) for file in files]
    for old, new in zip(slices, derived, strict=True):
        assert new.file_meta.TransferSyntaxUID.name == "Explicit VR Little Endian"
        assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID != old.SOPInstanceUID
        assert list(new.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        for kept in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "ImagePositionPatient", "InstanceNumber",
                     "RescaleSlope", "RescaleIntercept", "BitsStored", "PixelRepresentation", "ConvolutionKernel",
                     "SOPClassUID"):  # fmt: skip
            assert new[kept].value == old[kept].value
        assert new.SourceImageSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
        assert new.SeriesNumber == 1004
        assert new.SeriesDescription == "Head 2.0 Br40 nst_nd derived"
        assert "ConvolutionKernel" in new.DerivationDescription
        assert "not for diagnosis" in new.DerivationDescription
        pixels = new.pixel_array
        assert (new.SmallestImagePixelValue, new.LargestImagePixelValue) == (pixels.min(), pixels.max())
        assert "InstanceCreationDate" not in new
        assert "LossyImageCompression" not in new
    assert len({new.SOPInstanceUID for new in derived}) == 5
    assert {new.SeriesInstanceUID for new in derived}.isdisjoint({old.SeriesInstanceUID for old in slices})
    assert len({new.SeriesInstanceUID for new in derived}) == 1


def test_same_bytes_twice_and_others_for_other_pixels(tmp_path):
    sample = load(write(tmp_path / "ct", datasets(integers())))
    for name, data in (("a", sample.data), ("b", sample.data), ("c", sample.data + 1)):
        save(sample.replace(data=data), tmp_path / f"{name}.dicom")
    one, two = ([f.read_bytes() for f in sorted((tmp_path / f"{n}.dicom").iterdir())] for n in "ab")
    assert one == two
    uids = [pydicom.dcmread(tmp_path / f"{n}.dicom" / "0001.dcm").SeriesInstanceUID for n in "ac"]
    assert uids[0] != uids[1]


def test_rounded_to_nearest_and_clipped_with_a_note(tmp_path):
    stored = integers((3, 4, 4), 0, 4000)
    sample = load(write(tmp_path / "ct", datasets(stored, bits=12, signed=False)))
    data = sample.data.astype(np.float64)
    data[0, 0, 0] += [0.4, 0.6, -0.6]
    data[0, 1, 0] = [1e9, -5000, 5000]
    notes = save(sample.replace(data=data), tmp_path / "out.dicom")
    assert notes == ["3 of 48 samples were clipped to 0..4095 as stored"]
    expected = stored.copy()
    expected[:, 0, 0] += [0, 1, -1]
    expected[:, 0, 1] = [4095, 0, 4095]
    np.testing.assert_array_equal(stored_of(tmp_path / "out.dicom"), expected)


def test_only_a_series_is_written_as_a_series(tmp_path):
    sample = load(write(tmp_path / "ct", datasets(integers())))
    save(sample, tmp_path / "x.nii.gz")
    with pytest.raises(ConfigError, match=r"x\.dicom: .*not read from one"):
        save(load(tmp_path / "x.nii.gz"), tmp_path / "x.dicom")
    cut = sample.replace(data=np.ascontiguousarray(sample.data[:, :3]))
    with pytest.raises(InputError, match=r"\(1, 3, 7, 5\) cannot be written under headers of \(1, 6, 7, 5\)"):
        save(cut, tmp_path / "x.dicom")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ct", "x.nii.gz"]


def test_nifti_of_a_series(tmp_path):
    stored = integers()
    sample = load(write(tmp_path / "ct", datasets(stored, directions=OBLIQUE)))
    assert save(sample, tmp_path / "x.nii.gz") == []
    image = nibabel.load(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), stored.transpose(2, 1, 0) - 1024)
    assert image.get_data_dtype() == np.int16
    save(sample.replace(data=sample.data + 40000.4), tmp_path / "far.nii")
    far = nibabel.load(tmp_path / "far.nii")
    assert far.get_data_dtype() == np.int32
    np.testing.assert_array_equal(np.asarray(far.dataobj), stored.transpose(2, 1, 0) - 1024 + 40000)
    np.testing.assert_allclose(image.affine, sample.grid.affine, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(image.header.get_zooms(), sample.grid.spacing, rtol=1e-6)
    silent(bytes(image.header.binaryblock))


def test_replacing_a_folder(tmp_path, monkeypatch):
    sample = load(write(tmp_path / "ct", datasets(integers())))
    out = tmp_path / "out.dicom"
    save(sample.replace(data=sample.data + 1), out)
    before = stored_of(out)
    with pytest.raises(OutputError, match="exists already"):
        save(sample, out)
    genuine = Path.replace

    def fails_once_aside(self, target):
        if ".part" in str(self) and Path(target) == out and self.name == out.name:
            raise KeyboardInterrupt
        return genuine(self, target)

    monkeypatch.setattr(Path, "replace", fails_once_aside)
    with pytest.raises(KeyboardInterrupt):
        save(sample, out, overwrite=True)
    monkeypatch.undo()
    np.testing.assert_array_equal(stored_of(out), before)
    save(sample, out, overwrite=True)
    np.testing.assert_array_equal(stored_of(out), before - 1)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"more than \.dcm files"):
        save(sample, out, overwrite=True)
    (tmp_path / "file.dicom").write_bytes(b"")
    with pytest.raises(OutputError, match="is a file or a link"):
        save(sample, tmp_path / "file.dicom", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ct", "file.dicom", "out.dicom"]


def test_in_pieces_and_in_scratch_files(tmp_path, monkeypatch):
    stored = integers((13, 9, 11))
    folder = write(tmp_path / "ct", datasets(stored, spacing=(0.5, 0.5)))
    whole = load(folder)
    monkeypatch.setattr(scratch, "LARGE", 64)
    monkeypatch.setattr(scratch, "PIECE", 600)
    sample = load(folder)
    assert scratch.is_mapped(sample.data)
    np.testing.assert_array_equal(sample.data, whole.data)
    save(sample, tmp_path / "a.dicom")
    np.testing.assert_array_equal(stored_of(tmp_path / "a.dicom"), stored)
    save(sample.replace(data=whole.data + 1), tmp_path / "b.dicom")
    np.testing.assert_array_equal(stored_of(tmp_path / "b.dicom"), stored + 1)
