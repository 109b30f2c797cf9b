"""Seconds from the start of a process to its first evaluation, beyond what `import torch` takes.

    python benchmarks/start.py [--size 512] [--repeats 5]

`nst-nd stylize` of an image in the style of another, in processes of their own, pair by pair: cold (targets are looked
at), then warm (they are in the cache, see NST_ND_CACHE). Modules are compiled beforehand, as pip does at installation.
Gate: warm and cold runs reach the same loss to the last bit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import machine, save
from PIL import Image

_CHILD = """
import time
started = time.perf_counter()
import torch
imported = time.perf_counter()
import json, sys
from nst_nd.engine import stream

original = stream.Engine.value_and_grad

def first(self, x):
    begun = time.perf_counter()
    terms, _ = original(self, x)
    print(json.dumps({"torch": imported - started, "more": begun - imported, "loss": terms.sum().item().hex()}))
    sys.stdout.flush()
    import os
    os._exit(0)

stream.Engine.value_and_grad = first
from nst_nd.cli.main import main
main()
"""


def measured(folder: Path, size: int) -> dict[str, float | str]:
    """What a process says of itself."""
    words = ["stylize", "c.png", "s.png", "-o", "o.png", "--preset", "image", "--quiet", "--set", f"seed={size}"]
    environment = {**os.environ, "NST_ND_CACHE": str(folder / "cache"), "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *words], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/bench/start.csv"))
    arguments = parser.parse_args()
    rows: list[list[object]] = []
    times: dict[str, list[float]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw = np.random.default_rng(0)
        for file in ("c.png", "s.png"):
            coarse = Image.fromarray(draw.integers(0, 255, (16, 16, 3), np.uint8))
            coarse.resize((arguments.size,) * 2, Image.Resampling.BICUBIC).save(folder / file)
        measured(folder, arguments.size)  # compiles
        for _ in range(arguments.repeats):
            for file in (folder / "cache").glob("*"):
                file.unlink()
            pair = {"cold": measured(folder, arguments.size)}
            kept = {file: file.stat().st_mtime_ns for file in (folder / "cache").iterdir()}
            pair["warm"] = measured(folder, arguments.size)
            if not kept or any(file.stat().st_mtime_ns == before for file, before in kept.items()):
                raise SystemExit("the warm run did not read what the cold one kept")
            if pair["cold"]["loss"] != pair["warm"]["loss"]:
                raise SystemExit(f"the loss is {pair['cold']['loss']} cold, {pair['warm']['loss']} warm")
            for when, found in pair.items():
                times[when].append(float(found["more"]))
    for when, values in times.items():
        low, median, high = np.quantile(values, (0.2, 0.5, 0.8))
        print(f"{when}: {median:.2f} s beyond torch (20-80 %: {low:.2f}-{high:.2f})")
        rows.append([arguments.size, when, f"{low:.3f}", f"{median:.3f}", f"{high:.3f}", machine()])
    save(arguments.out, ["size", "when", "q20", "median", "q80", "machine"], rows)


if __name__ == "__main__":
    main()
