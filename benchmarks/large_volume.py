"""One full step on a CT-like volume of 512 x 512 x 300 within a given memory, through the command line.

    python benchmarks/large_volume.py [--size 512 512 300] [--max-memory 8GiB] [--presets ct volume] [--spacings 0.7 2]

The volume is synthetic: an ellipse of soft tissue with correlated noise in air, with lungs and a spine, int16 HU, as
.nii. The step is everything that a user waits for: reading, preparing, targets, one evaluation, one optimiser step, the
check at the end (a second evaluation), metrics and writing; its sidecar gives the plan, the predicted and the measured
peak. Rows are appended to the CSV, one for each preset and slice spacing (in-plane 0.7 mm).
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
from common import machine

HEAD = ["size", "spacing", "preset", "max_memory", "seconds", "steps_seconds", "predicted_mib", "measured_mib", "plan"]


def phantom(size: tuple[int, int, int], spacing: tuple[float, ...], seed: int, smooth: bool, path: Path) -> None:
    """An int16 NIfTI in HU, made slice by slice; smooth: neighbouring voxels share their noise."""
    draw = np.random.default_rng(seed)
    i, j = (np.linspace(-1, 1, n, dtype=np.float32) for n in size[:2])
    radius = np.hypot(i[:, None] / 0.85, j[None] / 0.65)
    lung = np.minimum(np.hypot(i[:, None] - 0.4, j[None]), np.hypot(i[:, None] + 0.4, j[None])) < 0.25
    spine = np.hypot(i[:, None], j[None] + 0.45) < 0.08
    volume = np.empty(size, np.int16, order="F")
    for k in range(size[2]):
        noise = draw.standard_normal(size[:2], dtype=np.float32)
        if smooth:
            noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 2
        noise *= 20
        plane = np.where(radius < 1, 45.0 + noise, -1000.0)
        plane = np.where(lung, -850.0 + noise, plane)
        volume[..., k] = np.where(spine, 600.0 + noise, plane).round()
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([*spacing, 1.0])), path)


def step(folder: Path, preset: str, max_memory: str) -> dict[str, float | str]:
    """One step through the command line; what the sidecar says of it."""
    out = folder / f"{preset}.nii"
    words = ["stylize", "content.nii", "style.nii", "-o", str(out), "--preset", preset, "--max-memory", max_memory]
    words += ["--iterations", "1", "--set", "scales=[1]", "--device", "cpu", "--overwrite"]
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "nst_nd", *words], cwd=folder, stderr=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - started
    print(done.stderr, flush=True)
    if done.returncode:
        raise SystemExit(f"{preset}: exit code {done.returncode}")
    record = json.loads(out.with_name(f"{out.name}.json").read_text())
    plan = next(line for line in done.stderr.splitlines() if line.startswith("memory plan"))
    return {
        "seconds": round(seconds, 1),
        "steps_seconds": round(record["seconds"], 1),
        "predicted_mib": record["memory"]["predicted_peak_bytes"] >> 20,
        "measured_mib": record["peak_memory_bytes"] >> 20,
        "plan": plan,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 300))
    parser.add_argument("--max-memory", default="8GiB")
    parser.add_argument("--presets", nargs="+", default=["ct", "volume"])
    parser.add_argument("--spacings", type=float, nargs="+", default=[0.7, 2.0], help="mm between slices")
    parser.add_argument("--out", type=Path, default=Path("results/bench/large_volume.csv"))
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for between in arguments.spacings:
        with tempfile.TemporaryDirectory() as name:
            folder, size, spacing = Path(name), tuple(arguments.size), (0.7, 0.7, between)
            phantom(size, spacing, 0, True, folder / "content.nii")
            phantom((size[0] // 2, size[1] // 2, min(96, size[2])), spacing, 1, False, folder / "style.nii")
            for preset in arguments.presets:
                found = step(folder, preset, arguments.max_memory)
                row = {"size": "x".join(map(str, size)), "spacing": "x".join(map(str, spacing)), "preset": preset}
                row |= {"max_memory": arguments.max_memory, **found}
                new = not arguments.out.exists()
                with arguments.out.open("a", newline="") as file:
                    writer = csv.DictWriter(file, [*HEAD, "machine"])
                    if new:
                        writer.writeheader()
                    writer.writerow({**row, "machine": machine()})
                print(row, flush=True)


if __name__ == "__main__":
    main()
