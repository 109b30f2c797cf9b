"""Large inputs: sounds that are read by pieces, volumes within --max-memory."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
import soundfile

import nst_nd
from nst_nd import load, scratch
from nst_nd.domains.signals import common_scaling
from nst_nd.engine.memory import bytes_of
from nst_nd.io import audio
from nst_nd.patches.search import Query, search

NETWORK = {"extractor": {"name": "random", "widths": (3,), "channels": (4, 4)}}


@pytest.fixture
def small_pieces(monkeypatch):
    """What is large on any machine is some 100 KiB here."""
    monkeypatch.setattr(scratch, "LARGE", 2**17)
    monkeypatch.setattr(scratch, "PIECE", 2**16)


def sound(path, frames, channels=1, subtype="PCM_16"):
    noise = np.random.default_rng(0).integers(-20000, 20000, (frames, channels)).astype(np.int16)
    noise[frames // 2 : frames // 2 + 40] = 32000
    soundfile.write(path, noise / 32768 if subtype == "FLOAT" else noise, 8000, subtype=subtype)
    return noise


@pytest.mark.parametrize(
    ("name", "subtype"), [("a.wav", "PCM_16"), ("a.flac", "PCM_16"), ("a.aiff", "PCM_24"), ("a.wav", "FLOAT")]
)
def test_a_mapped_sound_is_the_same(name, subtype, tmp_path, monkeypatch):
    noise = sound(tmp_path / name, 90_001, 2, subtype)
    plain = load(tmp_path / name)
    monkeypatch.setattr(scratch, "LARGE", 2**17)
    monkeypatch.setattr(scratch, "PIECE", 2**16)
    mapped = load(tmp_path / name)
    assert scratch.is_mapped(mapped.data)
    assert mapped.data.tobytes() == plain.data.tobytes()
    np.testing.assert_array_equal(np.rint(mapped.data.T * 32768), noise)
    gains = [float(common_scaling([sample], 2).gain[0]) for sample in (plain, mapped)]
    monkeypatch.undo()
    assert gains[0] == pytest.approx(float(common_scaling([plain], 2).gain[0]), rel=1e-12)
    assert gains[0] == pytest.approx(gains[1], rel=1e-12)


def test_hours_of_sound_are_not_held(small_pieces, monkeypatch, tmp_path):
    monkeypatch.setattr(audio, "_BLOCK", 2**14)
    sound(tmp_path / "short.wav", 20_000)
    frames = 800_000
    sound(tmp_path / "long.wav", frames)
    settings = {**NETWORK, "max_memory": "64GiB"}
    search([tmp_path / "short.wav"], settings, Query("relu1", (0,)))  # what is imported once
    tracemalloc.start()
    found = search([tmp_path / "long.wav"], settings, Query("relu1", (0,), top=3, edge=48))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.patches[0]) == 3
    assert peak < 0.5 * 4 * frames


def test_a_volume_within_max_memory(tmp_path):
    data = np.random.default_rng(0).normal(0, 30, (256, 256, 144)).astype(np.float32)
    data[128:133, 100:105, 70:75] += 500
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / "v.nii")
    network = ("--set", "extractor={name: random, widths: [3], channels: [8, 8]}")
    environment = {**os.environ, "PYTHONPATH": str(Path(nst_nd.__file__).parents[1])}
    peaks, found = {}, {}
    for limit in ("800MiB", "16GiB"):
        what = ("patches", "v.nii", "--layer", "relu1", "--units", "0-1", "--top", "3", "--quiet", *network)
        run = [sys.executable, "-m", "nst_nd", *what, "--max-memory", limit, "-o", f"{limit}.png"]
        done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        record = json.loads((tmp_path / f"{limit}.png.json").read_text())
        peaks[limit] = record["peak_memory_bytes"]
        found[limit] = [[patch["box"] for patch in unit["patches"]] for unit in record["units"]]
    assert peaks["800MiB"] <= bytes_of("800MiB")
    assert peaks["16GiB"] > peaks["800MiB"] + bytes_of("150MiB")
    assert found["800MiB"] == found["16GiB"]
