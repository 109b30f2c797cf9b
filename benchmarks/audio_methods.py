"""Audio: the default preset against classical methods, other extractors, and itself without its parts.

    python benchmarks/audio_methods.py [--pair CONTENT STYLE ...] [--seconds 6] [--only ROW ...] [--out FILE]

By default music by fire and fire by music (data_samples). Give pairs of your own files for more.

Rows:
    untouched            the content
    equalised            spectral matching, by an STFT (audio_classical.py)
    vocoded, vocoded .6  channel vocoder: the style in the content's band envelopes, and in their power of 0.6
    ulyanov              one random convolution on the log spectrogram, then Griffin-Lim; as many seconds as the default
    spectral             the product's own equaliser (method spectral)
    default              the audio preset
    features             without the equalised start
    no content           without the content term
    gram                 Gram matrices of envelopes, powers and modulations in place of their moments
    random               seeded random kernels of several widths, octave by octave (Gram), and two spectrograms
    spectrogram          random kernels of several widths along a log spectrogram's frames (Gram)
    vgg                  VGG-19 collapsed to one axis (Gram of relu1_1 to relu4_1)
    speech               a small trained network, see trained.py (Gram of its four layers)
    rhythm               the default and the correlations of loudness over time

All start from the content (random, spectrogram, vgg, speech: from the equalised one, as the default does), share the
content term where they have one, and take the default's number of steps. Columns are the metrics of `nst-nd metrics`,
of which none is what a row optimises: the envelope statistics come from another filter bank.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import audio_classical
import numpy as np
from common import machine, save
from trained import SPEECH_LAYERS, trained

from nst_nd import Sample, stylize
from nst_nd.domains.metrics import measure
from nst_nd.domains.octaves import octave_layers, octaves
from nst_nd.domains.resolve import resolve
from nst_nd.domains.signals import resample
from nst_nd.io import load

DATA = Path(__file__).parent.parent / "data_samples"
PAIRS = [("music.flac", "fire_synthetic.wav"), ("fire_synthetic.wav", "music.flac")]
COLUMNS = (
    "envelope_distance_after",
    "onset_correlation",
    "style_correlation",
    "spectrum_distance_after",
    "log_spectral_distance_after",
    "style_distance_after",
    "peak",
)
COCHLEA = {"name": "cochlea", "bands": 40}
SPECTROGRAM = {"name": "spectrogram", "window": 2048, "hop": 512, "widths": (1, 3, 9, 27), "filters": 96}
FINE = {**SPECTROGRAM, "label": "fine", "window": 512, "hop": 128, "filters": 64}
# a style of Gram matrices: relative costs, which the preset's paper weighs so
GRAM = {"statistics": {}, "style_weight": 10.0}


def features(extractors: list[Any], layers: tuple[str, ...], **more: Any) -> dict[str, Any]:
    """Settings of a row: these networks beside the cochlea's content term, and these style layers alike."""
    weights = (1.0 / len(layers),) * len(layers)
    own = {"extractor": [COCHLEA, *extractors], "style_layers": layers, "style_layer_weights": weights}
    return {**GRAM, **own, **more}


def rows(rate: float) -> dict[str, dict[str, Any]]:
    """Settings of every row that the product makes, for contents at this rate in Hz."""
    default = resolve({}, "audio")
    count, speech = 8, trained("speech", rate)
    return {
        "spectral": {"method": "spectral"},
        "default": {},
        "features": {"method": "features"},
        "no content": {"content_weight": 0.0},
        "gram": features([SPECTROGRAM], ("cochlea.powers", "cochlea.modulation", "cochlea.envelope")),
        "random": features(
            [SPECTROGRAM, FINE, *octaves(count, widths=(3, 9, 17))],
            ("spectrogram.magnitude", "spectrogram.filters", "fine.magnitude", "fine.filters", *octave_layers(count)),
        ),
        "spectrogram": features([SPECTROGRAM], ("spectrogram.magnitude", "spectrogram.filters")),
        "vgg": features(["vgg19"], tuple(f"vgg19.relu{i}_1" for i in (1, 2, 3, 4))),
        **({"speech": features([speech], tuple(f"speech.{name}" for name in SPEECH_LAYERS))} if speech else {}),
        "rhythm": {
            "style_layers": (*default.style_layers, "cochlea.rhythm"),
            "style_layer_weights": (*(default.style_layer_weights or ()), 1.0),
            "statistics": {**default.statistics, "cochlea.rhythm": "correlation"},
        },
    }


def classical(content: Sample, style: Sample, seconds: float) -> dict[str, Callable[[], np.ndarray]]:
    """The rivals that are not of the product."""
    ours = content.data.astype(np.float64)
    theirs = np.asarray(resample(style, content.grid.rate, []), np.float64)
    if len(theirs) != len(ours):
        theirs = np.repeat(theirs.mean(axis=0, keepdims=True), len(ours), axis=0)
    return {
        "untouched": lambda: ours,
        "equalised": lambda: audio_classical.equalised(ours, theirs),
        "vocoded": lambda: audio_classical.vocoded(ours, theirs),
        "vocoded .6": lambda: audio_classical.vocoded(ours, theirs, 0.6),
        "ulyanov": lambda: audio_classical.ulyanov(ours, theirs, seconds),
    }


def cut(sample: Sample, seconds: float) -> Sample:
    """Its first seconds."""
    return sample.replace(data=sample.data[:, : round(seconds * (sample.grid.rate or 1.0))], source=None)


def main() -> None:
    """The table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pair", nargs=2, action="append", metavar=("CONTENT", "STYLE"))
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--only", nargs="+", metavar="ROW", help="these rows; ulyanov then has 30 s")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    arguments = parser.parse_args()
    steps = {} if arguments.iterations is None else {"iterations": arguments.iterations}
    table: list[list[object]] = []
    print(f"{'pair':24}{'method':14}{'s':>6}  " + "".join(f"{c.removesuffix('_after')[:20]:>22}" for c in COLUMNS))
    for ours, theirs in arguments.pair or [(str(DATA / a), str(DATA / b)) for a, b in PAIRS]:
        content, style = (cut(load(Path(path)), arguments.seconds) for path in (ours, theirs))
        pair = f"{Path(ours).stem} by {Path(theirs).stem}"

        def report(name: str, seconds: float, result: Sample) -> None:
            found = measure(content, [style], result)  # noqa: B023
            values = [found[column] for column in COLUMNS]
            print(f"{pair[:22]:24}{name:14}{seconds:6.1f}  " + "".join(f"{v:22.3f}" for v in values), flush=True)  # noqa: B023
            table.append([pair, name, f"{seconds:.1f}", *(f"{v:.4f}" for v in values), machine()])  # noqa: B023
            save(arguments.out, ["pair", "method", "seconds", *COLUMNS, "machine"], table)

        spent = {"default": 30.0}
        for name, settings in rows(content.grid.rate or 1.0).items():
            if arguments.only and name not in arguments.only:
                continue
            started = time.perf_counter()
            result = stylize(content, style, **{**steps, **settings}).sample
            spent[name] = time.perf_counter() - started
            report(name, spent[name], result)
        for name, make in classical(content, style, spent["default"]).items():
            if arguments.only and name not in arguments.only:
                continue
            started = time.perf_counter()
            data = make()
            report(name, time.perf_counter() - started, content.replace(data=data.astype(np.float32)))


if __name__ == "__main__":
    main()
