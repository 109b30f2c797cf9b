"""NPY is written piece by piece: with the bytes that NumPy writes at once, in a fraction of the memory."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest

from nst_nd import scratch
from nst_nd.io import load, save
from nst_nd.io.npy import NpySource
from nst_nd.io.quantise import to_floats, to_integers
from nst_nd.sample import Grid, Sample

SHAPES = {"image": (3, 5, 7), "audio": (2, 41), "ecg": (3, 40), "volume": (2, 5, 4, 3)}


def at_once(sample: Sample, source: NpySource) -> tuple[bytes, list[str]]:
    """As NumPy writes it."""
    if source.dtype.kind == "f":
        stored, notes = to_floats(sample.data, source.dtype)
    else:
        kind = np.float64 if source.dtype.itemsize > 2 else sample.data.dtype.type
        stored, notes = to_integers(sample.data.astype(kind) * kind(source.scale), source.dtype)
    stored = stored if source.channel_axis or sample.nc > 1 else stored[0]
    out = io.BytesIO()
    stored = np.asarray(stored, source.dtype, order="F" if source.fortran else "C")
    np.lib.format.write_array(out, stored, source.version)
    return out.getvalue(), notes


@pytest.mark.parametrize("size", [1, 333])
@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "|u1", ">i2", "<u4", "<i8"])
@pytest.mark.parametrize("kind", SHAPES)
def test_the_bytes_are_numpys(kind, dtype, fortran, size, tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "PIECE", size)
    rng = np.random.default_rng(5)
    for nc, axis, version, length in [(None, True, (1, 0), None), (1, False, (2, 0), None), (1, False, (1, 0), 1)]:
        shape = (nc or SHAPES[kind][0], *SHAPES[kind][1:-1], length or SHAPES[kind][-1])
        data = rng.normal(0, 2e5, shape).astype(np.float32 if nc else np.float64)
        source = NpySource(np.dtype(dtype), 3.0 if dtype[1] in "iu" else 1.0, fortran, version, axis)
        grid = Grid((1.0,) * (len(shape) - 1), "mm")
        for values in (data, np.asfortranarray(data)):
            sample = Sample(values, kind, "arbitrary", grid, source=source)
            want, notes = at_once(sample, source)
            assert save(sample, tmp_path / "out.npy", overwrite=True) == notes
            assert (tmp_path / "out.npy").read_bytes() == want


MEASURE = """
import sys
from pathlib import Path
from nst_nd.io import load, save

def status(key):
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(key))

folder = Path(sys.argv[1])
save(load(folder / "small.npy", kind="volume"), folder / "warm.npy")
for name in ("c", "f"):
    sample = load(folder / f"{name}.npy", kind="volume")
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    save(sample, folder / f"{name}out.npy")
    print(status("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_array_is_written_in_a_fraction_of_its_memory(tmp_path):
    values = np.random.default_rng(1).integers(-1000, 1000, (256, 256, 160)).astype(np.int16)
    np.save(tmp_path / "small.npy", values[:5, :4, :3])
    np.save(tmp_path / "c.npy", values)
    np.save(tmp_path / "f.npy", np.asfortranarray(values))
    told = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.split()
    as_float32 = 256 * 256 * 160 * 4 / 2**20
    assert len(told) == 2
    assert all(float(peak) < 0.6 * as_float32 for peak in told), told
    for name in ("c", "f"):
        assert (tmp_path / f"{name}out.npy").read_bytes() == (tmp_path / f"{name}.npy").read_bytes()
    assert np.load(tmp_path / "fout.npy").flags.f_contiguous
    assert load(tmp_path / "fout.npy", kind="volume").source.fortran
