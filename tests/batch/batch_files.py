"""A folder with small files of each kind, and a batch over them."""

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import soundfile
from PIL import Image

from nst_nd.cli.main import main

SMALL_IMAGE = """
    extractor: {name: random, channels: [8, 8]}
    style_layers: [relu1, relu2]
    content_layers: [relu2]
"""
TWELVE = f"""
defaults: {{iterations: 12, seed: 3}}
workers: 2
jobs:
  - content: in/img[0-2].png
    style: in/img3.png
    output: "images/{{content.stem}}.png"{SMALL_IMAGE}
  - content: in/snd[0-2].wav
    style: in/snd0.wav
    output: "{{content.stem}}.wav"
  - content: in/vol[0-2].nii.gz
    style: in/vol0.nii.gz
    output: "{{content.stem}}.nii.gz"
  - content: in/ecg[0-2].csv
    style: in/ecg3.csv
    output: "{{content.stem}}.csv"
"""
IMAGES = f"""
defaults: {{iterations: 3, seed: 3, style: in/img3.png}}
jobs:
  - content: in/img[0-2].png
    output: "{{content.stem}}.png"{SMALL_IMAGE}
"""


def make_inputs(folder):
    """Images, sounds, volumes and ECGs in folder/in."""
    inside = folder / "in"
    inside.mkdir()
    rng = np.random.default_rng(1)
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(inside / f"img{i}.png")
        soundfile.write(inside / f"snd{i}.wav", rng.normal(0, 0.1, 4000), 8000)
        volume = nibabel.Nifti1Image(rng.normal(100, 30, (16, 16, 16)).astype(np.float32), np.eye(4))
        nibabel.save(volume, inside / f"vol{i}.nii.gz")
        rows = [f"{k / 100:.2f},{a:.3f},{b:.3f}" for k, (a, b) in enumerate(rng.normal(size=(400, 2)))]
        (inside / f"ecg{i}.csv").write_text("\n".join(["time,a,b", *rows]) + "\n")


def words(*more):
    return [sys.executable, "-m", "nst_nd", *map(str, more)]


def run(folder, *more, **options):
    """The command line in a process of its own, in this folder."""
    return subprocess.run(words(*more), cwd=folder, capture_output=True, text=True, timeout=300, check=False, **options)


def look(folder, *more):
    """The same within this process, which saves seconds: for what starts no worker."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in more])
        except SystemExit as left:
            return subprocess.CompletedProcess(more, int(left.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("the command line did not end")


def events(out):
    """The log of a batch's folder; a line that a killed process did not finish is left out."""
    found = []
    for line in (out / ".nst-nd" / "events.jsonl").read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def results(out):
    """Bytes of everything below a batch's folder but sidecars and its own, by name."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(Path(out).rglob("*"))
        if path.is_file() and path.suffix != ".json" and ".nst-nd" not in path.parts
    }
