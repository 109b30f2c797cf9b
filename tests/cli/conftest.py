"""Tiny inputs in a fresh working directory, and the command line called in this process."""

import json
from dataclasses import dataclass

import nibabel
import numpy as np
import pytest
import soundfile
from cli_words import SMALL
from PIL import Image

from nst_nd.cli.main import main

QUICK = (*SMALL, "--iterations", "2")


@dataclass
class Ran:
    """What a command line left."""

    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def cli(capsys):
    """Call with the words of a command line."""

    def call(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        said = capsys.readouterr()
        return Ran(int(left.value.code or 0), said.out, said.err)

    return call


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_csv(path, leads, samples=400, seed=0, time=True):
    values = np.random.default_rng(seed).normal(size=(samples, leads)).round(3)
    names = [f"lead{i}" for i in range(leads)]
    rows = [",".join([f"{i / 100:.2f}"] * time + [str(v) for v in row]) for i, row in enumerate(values)]
    path.write_text("\n".join([",".join(["time"] * time + names), *rows]) + "\n")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory, with a content and a style of each kind."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(noise(32, 40, 3, seed=1)).save("c.png")
    Image.fromarray(noise(32, 40, 3, seed=2)).save("s.png")
    mask = np.zeros((32, 40), np.uint8)
    mask[:, 20:] = 255
    Image.fromarray(mask).save("mask.png")
    rng = np.random.default_rng(3)
    soundfile.write("s.wav", rng.normal(0, 0.1, 4000), 8000)
    write_csv(tmp_path / "c.csv", 2)
    write_csv(tmp_path / "s.csv", 2, seed=1)
    for name in ("c", "s"):
        volume = nibabel.Nifti1Image(rng.normal(100, 30, (16, 16, 16)).astype(np.float32), np.eye(4))
        nibabel.save(volume, f"{name}.nii.gz")
    return tmp_path
