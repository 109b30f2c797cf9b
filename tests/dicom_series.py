"""Synthetic DICOM series, made by pydicom, with names and UIDs in them that must not come out again."""

from __future__ import annotations

import warnings

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SECRETS = ("Secretname", "SECRETID7", "1.2.826.0.1.3680043.8.498.")
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
# a turned one
OBLIQUE = np.linalg.qr(np.array([[0.9, 0.2, -0.3], [-0.1, 0.95, 0.4], [0.3, -0.3, 0.9]]))[0][:2]
RESCALE = {"RescaleSlope": 1, "RescaleIntercept": -1024}


def uid(*what):
    return generate_uid(entropy_srcs=[str(w) for w in what])


def dataset(plane, position, *, directions=AXIAL, spacing=(0.75, 0.5), bits=16, signed=True, series=1, number=1):
    """One slice, [row, column] stored integers; spacing as in the header: of rows, then of columns."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid("instance", series, number, position)
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uid("study"), uid("series", series), uid("f")
    ds.PatientName, ds.PatientID = "Secretname^X", "SECRETID7"
    ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SeriesNumber, ds.InstanceNumber, ds.SeriesDescription = 4, number, "Head 2.0 Br40"
    ds.ConvolutionKernel, ds.SliceThickness, ds.InstanceCreationDate = "Br40f", 2, "20200101"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = plane.shape
    width = 8 if bits <= 8 else 16 if bits <= 16 else 32
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = width, bits, bits - 1, int(signed)
    ds.ImagePositionPatient = [f"{v:.8g}" for v in position]
    ds.ImageOrientationPatient = [f"{v:.8g}" for v in np.ravel(directions)]
    ds.PixelSpacing = list(spacing)
    ds.RescaleSlope, ds.RescaleIntercept = RESCALE.values()
    ds.SmallestImagePixelValue = ds.LargestImagePixelValue = 0
    ds.add_new(
        "PixelData", "OB" if width == 8 else "OW", plane.astype(f"<{'i' if signed else 'u'}{width // 8}").tobytes()
    )
    if len(ds.PixelData) % 2:
        ds.PixelData += b"\0"
    return ds


def datasets(stored, start=(-10.0, -20.0, 30.0), step=2.0, **more):
    """A slice for each k of [k, row, column], `step` mm apart along the normal."""
    normal = np.cross(*np.array(more.get("directions", AXIAL)))
    places = [np.array(start) + k * step * normal for k in range(len(stored))]
    pairs = zip(stored, places, strict=True)
    return [dataset(plane, tuple(place), number=k, **more) for k, (plane, place) in enumerate(pairs, 1)]


def write(folder, slices, names=None):
    """Files in the folder, by default named so that their order says nothing."""
    folder.mkdir(exist_ok=True)
    names = names or [f"{'qjxbzkvmwp'[k % 10]}{k}.dcm" for k in range(len(slices))]
    for ds, name in zip(slices, names, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some are wrong on purpose
            pydicom.dcmwrite(folder / name, ds, enforce_file_format=True)
    return folder


def integers(shape=(5, 7, 6), low=-1000, high=3000, seed=1):
    return np.random.default_rng(seed).integers(low, high, shape, endpoint=True)


def silent(*words):
    for word in words:
        assert not any(secret in str(word) for secret in SECRETS), word


def stored_of(folder):
    """[k, row, column] of a written folder, by pydicom."""
    return np.array([pydicom.dcmread(file).pixel_array for file in sorted(folder.iterdir())])
