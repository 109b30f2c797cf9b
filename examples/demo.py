"""Restyle one sample of each kind by its preset, draw before, style and after, and print what changed.

python examples/demo.py [--out results/demo] [--only image audio ecg volume ct] [--quick]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nst_nd import load
from nst_nd.figures import draw

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
QUICK_ITERATIONS = 4


# config -> content, style, result
JOBS: dict[str, tuple[str, str, str]] = {
    "image": ("cat.png", "tissue.png", "cat_tissue.png"),
    "audio": ("music.flac", "fire_synthetic.wav", "music_fire.flac"),
    "ecg": ("ecg_rest.hea", "ecg_ambulatory_synthetic.csv", "rest_as_ambulatory.hea"),
    "volume": ("mr_epi.nii.gz", "mr_t1.nii.gz", "epi_t1.nii.gz"),
    "ct": ("phantom_smooth.nii.gz", "phantom_other_sharp.nii.gz", "smooth_as_sharp.nii.gz"),
}


def run(name: str, out: Path, *, quick: bool) -> dict[str, float | None]:
    """One job through the command line; returns its metrics and the seconds it took."""
    import json

    command = [sys.executable, "-m", "nst_nd", "run", str(CONFIGS / f"{name}.yaml"), "--out", str(out), "--overwrite"]
    if quick:
        command += ["--set", f"iterations={QUICK_ITERATIONS}"]
    started = time.perf_counter()
    subprocess.run(command, check=True)
    content, style, result = JOBS[name]
    samples = [load(ROOT / "data_samples" / content), load(ROOT / "data_samples" / style), load(out / result)]
    draw(*samples, out / f"{name}.png", overwrite=True, hounsfield=name == "ct")
    record = json.loads((out / f"{result}.json").read_text())
    return {**record["metrics"], "seconds": time.perf_counter() - started}


def main() -> None:
    """Every kind in turn, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "demo")
    parser.add_argument("--only", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--quick", action="store_true", help="a few iterations each: does it run at all")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    table = Table("kind", "metric", "before", "after", title="What changed")
    for name in arguments.only:
        console.rule(name)
        metrics = run(name, arguments.out, quick=arguments.quick)
        for key, value in metrics.items():
            if key.endswith("_before"):
                continue
            before = metrics.get(key.replace("_after", "_before")) if key.endswith("_after") else None
            words = ["" if v is None else f"{v:.4g}" for v in (before, value)]
            table.add_row(name, key.removesuffix("_after"), *words)
        table.add_section()
    console.print(table)
    console.print(f"Results with their sidecars, and a picture of each (image.png, audio.png, ...): {arguments.out}")


if __name__ == "__main__":
    main()
