"""Restyle one sample of each kind by its preset, draw before, style and after, and print what changed.

python examples/demo.py [--out results/demo] [--only image audio ecg volume ct] [--quick]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from nst_nd import Sample, load

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
COLUMNS = ("content", "style", "result")
# the colour range of CT pictures, in HU
SOFT_TISSUE = (-160.0, 240.0)
QUICK_ITERATIONS = 4


def draw_images(samples: list[Sample]) -> Figure:
    """The pictures side by side."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2))
    for axis, sample, title in zip(axes, samples, COLUMNS, strict=True):
        picture = np.clip(sample.data, 0, 1).transpose(1, 2, 0)
        axis.imshow(picture if sample.nc == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=1)
        axis.set_title(f"{title}, {sample.shape[1]} x {sample.shape[0]}")
        axis.set_axis_off()
    return figure


def draw_audio(samples: list[Sample]) -> Figure:
    """Waveforms above spectrograms, the same scales in every column."""
    figure, axes = plt.subplots(2, 3, figsize=(14, 6), sharey="row")
    for column, (sample, title) in enumerate(zip(samples, COLUMNS, strict=True)):
        rate = sample.grid.rate or 1.0
        seconds = np.arange(sample.shape[0]) / rate
        axes[0, column].plot(seconds, sample.data[0], linewidth=0.3)
        axes[0, column].set(title=title, ylim=(-1, 1), xlabel="s")
        # a floor of -120 dB, so that silence has a colour
        signal = sample.data[0] + 1e-9
        axes[1, column].specgram(signal, NFFT=1024, Fs=rate, noverlap=512, vmin=-150, vmax=-40)
        axes[1, column].set(xlabel="s")
    axes[0, 0].set_ylabel("full scale, channel 1")
    axes[1, 0].set_ylabel("Hz")
    return figure


def draw_ecg(samples: list[Sample]) -> Figure:
    """Leads II and V1 over the same five seconds."""
    figure, axes = plt.subplots(3, 1, figsize=(14, 7.5), sharex=True, sharey=True)
    for axis, sample, title in zip(axes, samples, COLUMNS, strict=True):
        rate = sample.grid.rate or 1.0
        shown = slice(0, int(5 * rate))
        for lead in (1, 6):
            axis.plot(np.arange(sample.shape[0])[shown] / rate, sample.data[lead][shown], label=sample.channels[lead])
        axis.set(title=title, ylabel="mV")
        axis.grid(color="mistyrose")
        axis.legend(loc="upper right")
    axes[-1].set_xlabel("s")
    return figure


def draw_volumes(samples: list[Sample], limits: tuple[float, float] | None = None) -> Figure:
    """The middle slice along each axis, in mm, each volume in its own range unless limits are given."""
    figure, axes = plt.subplots(3, 3, figsize=(12, 11))
    for column, (sample, title) in enumerate(zip(samples, COLUMNS, strict=True)):
        volume = sample.data[0]
        low, high = limits or np.percentile(volume, (0.5, 99.5))
        for row, axis_of_slice in enumerate((2, 1, 0)):
            across, up = (i for i in range(3) if i != axis_of_slice)
            section = np.take(volume, volume.shape[axis_of_slice] // 2, axis=axis_of_slice).T
            extent = (
                0,
                volume.shape[across] * sample.grid.spacing[across],
                0,
                volume.shape[up] * sample.grid.spacing[up],
            )
            axes[row, column].imshow(section, cmap="gray", vmin=low, vmax=high, origin="lower", extent=extent)
            axes[row, column].set_xlabel("mm")
        axes[0, column].set_title(title)
    return figure


def draw_ct(samples: list[Sample]) -> Figure:
    """As volumes, in a soft-tissue window."""
    return draw_volumes(samples, SOFT_TISSUE)


# config -> content, style, result, picture
JOBS: dict[str, tuple[str, str, str, Callable[[list[Sample]], Figure]]] = {
    "image": ("cat.png", "tissue.png", "cat_tissue.png", draw_images),
    "audio": ("music.flac", "fire_synthetic.wav", "music_fire.flac", draw_audio),
    "ecg": ("ecg_rest.hea", "ecg_ambulatory_synthetic.csv", "rest_as_ambulatory.hea", draw_ecg),
    "volume": ("mr_epi.nii.gz", "mr_t1.nii.gz", "epi_t1.nii.gz", draw_volumes),
    "ct": ("phantom_smooth.nii.gz", "phantom_other_sharp.nii.gz", "smooth_as_sharp.nii.gz", draw_ct),
}


def run(name: str, out: Path, *, quick: bool) -> dict[str, float | None]:
    """One job through the command line; returns its metrics and the seconds it took."""
    import json

    command = [sys.executable, "-m", "nst_nd", "run", str(CONFIGS / f"{name}.yaml"), "--out", str(out), "--overwrite"]
    if quick:
        command += ["--set", f"iterations={QUICK_ITERATIONS}"]
    started = time.perf_counter()
    subprocess.run(command, check=True)
    content, style, result, draw = JOBS[name]
    samples = [load(ROOT / "data_samples" / content), load(ROOT / "data_samples" / style), load(out / result)]
    figure = draw(samples)
    figure.tight_layout()
    figure.savefig(out / f"{name}.png", dpi=110)
    plt.close(figure)
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
