"""ECG: the default preset against beats plus matched noise, other extractors, and itself without its parts.

    python benchmarks/ecg_methods.py [--pair CONTENT STYLE ...] [--out FILE]

By default the sample recordings in both directions. Rows:
    untouched      the content
    matched noise  the content's beats, and noise with the spectrum of the style's rest and its slow rise and fall
    spectral       the product's method: the content's rest filtered, what is missing added, leads kept together
    default        features from there, seven octaves of random kernels and one network that sees the level
    features       the default's networks on the whole recording, beats and all, from the content
    one random     one random network of several widths in place of the octaves, from the spectral start
    vgg            VGG-19 collapsed to one axis, relu1_1 to relu3_1, from the spectral start
    trained        a small network trained on ECG, see trained.py, from the spectral start
Columns are the metrics of `nst-nd metrics`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, save
from trained import ECG_LAYERS, trained

from nst_nd import Sample, stylize
from nst_nd.domains.beats import beats_of
from nst_nd.domains.ecg_noise import Rest
from nst_nd.domains.metrics import measure
from nst_nd.domains.signals import resample
from nst_nd.io import load

DATA = Path(__file__).parent.parent / "data_samples"
PAIRS = [("ecg_rest.hea", "ecg_ambulatory_synthetic.csv"), ("ecg_ambulatory_synthetic.csv", "ecg_rest.hea")]
COLUMNS = (
    "residual_distance_after",
    "beat_correlation",
    "beat_gain",
    "r_peaks_lost",
    "r_shift_ms",
    "qrs_change_ms",
    "qt_change_ms",
    "st_change_mv",
    "limb_law_mv",
    "style_distance_after",
)
VGG_LAYERS = ("relu1_1", "relu2_1", "relu3_1")
ROWS: dict[str, dict[str, Any]] = {
    "spectral": {"method": "spectral"},
    "default": {},
    "features": {"method": "features"},
    "one random": {
        "extractor": [{"name": "random", "widths": (3, 9, 27), "channels": (48, 64, 96, 96)}],
        "style_layers": tuple(f"relu{i}" for i in range(1, 5)),
        "content_layers": ("relu1",),
    },
    "vgg": {"extractor": ["vgg19"], "style_layers": VGG_LAYERS, "content_layers": ("relu1_1",)},
}


def rows(rate: float) -> dict[str, dict[str, Any]]:
    """Settings of every row that the product makes, for contents at this rate in Hz."""
    network = trained("ecg", rate)
    if network is None:
        return ROWS
    return {**ROWS, "trained": {"extractor": [network], "style_layers": ECG_LAYERS, "content_layers": ECG_LAYERS[:1]}}


def matched_noise(content: Sample, style: Sample, seed: int = 0) -> Sample:
    """The content's beats, and Gaussian noise with each lead's spectrum and the slow amplitude of the style's rest."""
    rate, length = content.grid.rate or 1.0, content.shape[0]
    theirs = style.replace(data=resample(style, rate, []), grid=content.grid)
    beats = beats_of(content)
    assert beats is not None
    rest = Rest.of(theirs.data, beats_of(theirs), rate)
    f = np.fft.rfftfreq(length, 1.0 / rate)
    waves = np.fft.rfft(np.random.default_rng(seed).standard_normal((content.nc, length)))
    amplitude = np.sqrt([np.interp(f, rest.frequencies, power) for power in rest.power])
    noise = np.fft.irfft(waves * amplitude, length) * np.resize(rest.bursts, length)
    return content.replace(data=(beats.drawn(length) + noise).astype(content.data.dtype))


def main() -> None:
    """The table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pair", nargs=2, action="append", metavar=("CONTENT", "STYLE"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    arguments = parser.parse_args()
    table: list[list[object]] = []
    print(f"{'pair':28}{'method':15}{'s':>6} " + "".join(f"{c.removesuffix('_after')[:17]:>19}" for c in COLUMNS))
    for ours, theirs in arguments.pair or [(str(DATA / a), str(DATA / b)) for a, b in PAIRS]:
        content, style = load(Path(ours)), load(Path(theirs))
        pair = f"{Path(ours).stem} by {Path(theirs).stem}"
        made = {
            "untouched": lambda content=content, style=style: content,  # noqa: ARG005
            "matched noise": lambda content=content, style=style: matched_noise(content, style),
            **{
                name: lambda content=content, style=style, row=row: stylize(content, style, **row).sample
                for name, row in rows(content.grid.rate or 1.0).items()
            },
        }
        for name, make in made.items():
            started = time.perf_counter()
            result = make()
            seconds = time.perf_counter() - started
            found = measure(content, [style], result)
            values = [found[column] for column in COLUMNS]
            print(f"{pair[:26]:28}{name:15}{seconds:6.1f} " + "".join(f"{v:19.4f}" for v in values), flush=True)
            table.append([pair, name, f"{seconds:.1f}", *(f"{v:.4f}" for v in values), machine()])
            save(arguments.out, ["pair", "method", "seconds", *COLUMNS, "machine"], table)


if __name__ == "__main__":
    main()
