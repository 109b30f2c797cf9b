"""The real head CT of the Debian package invesalius-examples, through the command line and back.

The package is GPL-2: it is installed by `make debian` and read from where it lies; nothing of it is in the repository.
"""

from __future__ import annotations

import plistlib
import tarfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from nst_nd.cli.main import main

ARCHIVE = Path("/usr/share/doc/invesalius-examples/examples/Cranium.inv3")
pytestmark = pytest.mark.skipif(not ARCHIVE.is_file(), reason="the head CT is not installed; run `make debian`")


def nst_nd(*words: str) -> int:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as left:
        main(words)
    return int(left.value.code or 0)


def head() -> tuple[NDArray[np.int16], tuple[float, float, float]]:
    """[x, y, z] in HU, and the spacing in mm."""
    with tarfile.open(ARCHIVE) as archive:
        members = {Path(m.name).name: m for m in archive.getmembers()}
        facts = plistlib.load(archive.extractfile(members["main.plist"]))  # type: ignore[arg-type]
        raw = archive.extractfile(members["matrix.dat"]).read()  # type: ignore[union-attr]
    volume = np.frombuffer(raw, dtype=np.int16).reshape(facts["matrix"]["shape"])
    return volume.transpose(2, 1, 0).copy(), tuple(facts["spacing"])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two crops of the head: different slices, one as content and one (blurred noise added) as style."""
    volume, spacing = head()
    folder = tmp_path_factory.mktemp("head")
    rng = np.random.default_rng(5)
    content = volume[64:160, 64:160, 40:52]
    style = volume[64:160, 64:160, 60:72] + rng.normal(0, 40, (96, 96, 12)).round().astype(np.int16)
    paths = []
    for name, data in (("content", content), ("style", style)):
        image = nib.Nifti1Image(data, np.diag([*spacing, 1.0]))
        image.header.set_xyzt_units("mm", "sec")
        image.set_data_dtype(np.int16)
        image.header["descrip"] = b"a head"
        paths.append(folder / f"{name}.nii.gz")
        nib.save(image, paths[-1])
    return paths[0], paths[1]


def test_zero_iterations_give_the_same_file(files: tuple[Path, Path], tmp_path: Path) -> None:
    content, style = files
    out = tmp_path / "out.nii.gz"
    assert nst_nd("stylize", str(content), str(style), "-o", str(out), "--preset", "ct", "--iterations", "0") == 0
    before, after = nib.load(content), nib.load(out)
    assert before.header.binaryblock == after.header.binaryblock
    assert np.array_equal(before.dataobj.get_unscaled(), after.dataobj.get_unscaled())


def test_ct_keeps_air_bone_and_means(files: tuple[Path, Path], tmp_path: Path) -> None:
    content, style = files
    out = tmp_path / "out.nii.gz"
    assert nst_nd("stylize", str(content), str(style), "-o", str(out), "--preset", "ct", "--iterations", "15") == 0
    before, after = (np.asarray(nib.load(p).dataobj, dtype=np.float64) for p in (content, out))
    outside = (before < -990) | (before > 400)
    assert outside.any()
    assert np.array_equal(before[outside], after[outside])
    soft = (before > -20) & (before < 100)
    assert np.abs(after - before)[soft].mean() > 2.0
    assert abs((after - before)[soft].mean()) < 3.0
