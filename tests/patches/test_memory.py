"""A search holds one file at a time, whatever their number."""

import os
import subprocess
import sys
import tracemalloc
import weakref
from pathlib import Path

import nibabel
import numpy as np

import nst_nd
from nst_nd.patches import network
from nst_nd.patches import search as part
from nst_nd.patches.search import Query, search


def test_memory_does_not_grow_with_the_number_of_inputs(monkeypatch, tmp_path):
    files = []
    for n in range(12):
        data = np.random.default_rng(n).normal(100, 30, (48, 48, 40)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / f"{n}.nii")
        files.append(tmp_path / f"{n}.nii")
    alive, most = [], []
    read = part.load

    def reading(*words, **options):
        sample = read(*words, **options)
        alive.append(weakref.ref(sample.data))
        most.append(sum(ref() is not None for ref in alive))
        return sample

    monkeypatch.setattr(part, "load", reading)
    small = {"extractor": {"name": "random", "widths": (3,), "channels": (4, 4)}}
    search(files[:1], small, Query("relu1", (0,)))  # what is imported once
    peaks = []
    for count in (2, 12):
        tracemalloc.start()
        search(files[:count], small, Query("relu1", (0,)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(most) == 1
    assert peaks[1] < peaks[0] + 300_000  # less than one of the files


PEAKS = """
import sys
from pathlib import Path
from nst_nd.engine.memory import peak_resident
from nst_nd.patches.search import Query, search
files = [Path(f"{n}.nii") for n in range(12)]
small = {"extractor": {"name": "random", "widths": (3,), "channels": (4, 4)}, "max_memory": "8GiB"}
for count in (2, 12):
    search(files[:count], small, Query("relu1", (0,)))
    print(peak_resident())
"""


def test_the_peak_of_a_process_does_not_grow_either(tmp_path):
    """The test before sees NumPy alone; this one what torch takes too."""
    size = 4 * 80**3
    for n in range(12):
        data = np.random.default_rng(n).normal(100, 30, (80, 80, 80)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / f"{n}.nii")
    environment = {**os.environ, "PYTHONPATH": str(Path(nst_nd.__file__).parents[1])}
    run = [sys.executable, "-c", PEAKS]
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    few, many = map(int, done.stdout.split())
    assert many - few < 5 * size  # were signals kept, read or prepared, it were ten of them


def test_the_signal_before_is_released(photographs, monkeypatch):
    before, run = [], network.Watched.activations

    def watching(self, prepared, *words):
        assert all(ref() is None for ref in before)
        before.append(weakref.ref(prepared.styles[0]))
        return run(self, prepared, *words)

    monkeypatch.setattr(network.Watched, "activations", watching)
    search(photographs, {}, Query("relu1_1", (0,)))
    assert len(before) == 3
