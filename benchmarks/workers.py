"""Throughput of a batch: two workers of one thread each against one of one thread, and against one on both cores.

    python benchmarks/workers.py [--jobs 12] [--edge 128] [--iterations 60] [--rounds 3]

Small images with the image preset's VGG-19, through `nst-nd run`. What is compared is the seconds of the whole run once
the jobs are known, the start of the workers included; ways take turns, and medians of the rounds are quoted. Every
result has to be the same, byte for byte, for one thread and for one thread beside another worker.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import machine, save
from PIL import Image
from streaming import verdict

SAMPLES = Path(__file__).resolve().parent.parent / "data_samples"
LEAST, AGAINST_BOTH = 1.8, 1.0
# workers, threads of each
WAYS = {"one worker, one thread": (1, 1), "two workers, one thread each": (2, 1), "one worker, two threads": (1, 2)}


def batch(folder: Path, jobs: int, edge: int, iterations: int) -> None:
    """Crops of the sample pictures, and the file of the batch."""
    cat, tissue = (Image.open(SAMPLES / f"{name}.png").convert("RGB") for name in ("cat", "tissue"))
    draw = np.random.default_rng(0)
    for i in range(jobs):
        x, y = (int(draw.integers(0, size - edge)) for size in cat.size)
        cat.crop((x, y, x + edge, y + edge)).save(folder / f"c{i:03}.png")
    tissue.crop((0, 0, edge, edge)).save(folder / "style.png")
    (folder / "b.yaml").write_text(
        f"defaults: {{preset: image, style: style.png, iterations: {iterations}, device: cpu}}\n"
        'jobs: [{content: "c*.png", output: "{content.name}"}]\n'
    )


def run(folder: Path, workers: int, threads: int) -> tuple[float, dict[str, bytes]]:
    """Seconds, and the bytes of every result."""
    out = Path(tempfile.mkdtemp(dir=folder))
    words = ["run", "b.yaml", "--out", str(out), "--workers", str(workers), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    ran = subprocess.run(
        [sys.executable, "-m", "nst_nd", *words], cwd=folder, env=environment, check=True, capture_output=True
    )
    return json.loads(ran.stdout)["seconds"], {path.name: path.read_bytes() for path in out.glob("*.png")}


def main() -> None:
    """The table and the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=12)
    parser.add_argument("--edge", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/bench/workers.csv"))
    arguments = parser.parse_args()
    print(machine())
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        batch(folder, arguments.jobs, arguments.edge, arguments.iterations)
        for _ in range(arguments.rounds):
            made = {}
            for way, (workers, threads) in WAYS.items():
                took, made[way] = run(folder, workers, threads)
                seconds[way].append(took)
                print(f"{way:32}{took:8.1f} s {arguments.jobs / took:8.2f} jobs a second", flush=True)
            one, two = (made[way] for way in list(WAYS)[:2])
            assert len(one) == arguments.jobs
            assert one == two, "results depend on how many workers there are"
    alone, two, both = (statistics.median(seconds[way]) for way in WAYS)
    print(f"throughput of two workers over one of one thread: {alone / two:.3f}, on both cores: {both / two:.3f}")
    verdict("seconds of two workers over those of one, of one thread each", two / alone, 1.0 / LEAST)
    verdict("seconds of two workers over those of one on both cores", two / both, 1.0 / AGAINST_BOTH)
    rows = [[way, *times, statistics.median(times), machine()] for way, times in seconds.items()]
    save(arguments.out, ["way", *(f"s {i}" for i in range(arguments.rounds)), "median s", "machine"], rows)


if __name__ == "__main__":
    main()
