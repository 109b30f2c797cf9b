"""The strip of pictures on top of the README, from the results of the demo: wave, image, volume."""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from nst_nd import Sample, load

ROOT = Path(__file__).resolve().parent.parent
TITLES = ("content", "style", "result")


def wave(axis: Axes, sample: Sample) -> None:
    """Two seconds of lead II."""
    rate = sample.grid.rate or 1.0
    axis.plot(np.arange(int(2.5 * rate)) / rate, sample.data[1][: int(2.5 * rate)], linewidth=0.8, color="darkred")
    axis.set_ylim(-0.6, 1.6)


def image(axis: Axes, sample: Sample) -> None:
    """The picture."""
    axis.imshow(np.clip(sample.data, 0, 1).transpose(1, 2, 0))


def volume(axis: Axes, sample: Sample) -> None:
    """The middle slice in a soft-tissue window."""
    axis.imshow(sample.data[0, :, :, sample.shape[2] // 2].T, cmap="gray", vmin=-160, vmax=240, origin="lower")


def main() -> None:
    """Three groups of three panels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=ROOT / "results" / "demo")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "strip.png")
    arguments = parser.parse_args()
    samples = ROOT / "data_samples"
    groups = (
        (wave, (samples / "ecg_rest.hea", samples / "ecg_ambulatory_synthetic.csv", "rest_as_ambulatory.hea")),
        (image, (samples / "cat.png", samples / "tissue.png", "cat_tissue.png")),
        (volume, (samples / "phantom_smooth.nii.gz", samples / "phantom_other_sharp.nii.gz", "smooth_as_sharp.nii.gz")),
    )
    figure, axes = plt.subplots(1, 9, figsize=(18, 2.2))
    for group, (draw, files) in enumerate(groups):
        for i, file in enumerate(files):
            axis = axes[3 * group + i]
            draw(axis, load(arguments.demo / file))
            axis.set_title(TITLES[i], fontsize=9)
            axis.set_axis_off()
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.02, top=0.88, wspace=0.05)
    figure.savefig(arguments.out, dpi=80)


if __name__ == "__main__":
    main()
