"""Methods for CT side by side: what each part buys, on phantoms whose truth is known and on a real head.

    python benchmarks/ct_methods.py [--pairs sharper smoother ...] [--size 256 256 24]

Pairs: sharper, smoother (one raw noise through two kernels; the style is another body), uneven_sharper, uneven_smoother
(the style's noise comes in bursts and streaks, and is correlated from slice to slice), head_sharper, head_smoother (two
parts of the head CT of the Debian package invesalius-examples, one of them made smoother, the other noisier; left out
where the package is not installed). Nothing is tuned from pair to pair; every metric is one that no method optimises.

Where the true image of the style's kernel is known (sharper, smoother): RMSE to it over that of the untouched
content, and f50 at the border of the disc of -100 HU over the true image's.
"""

from __future__ import annotations

import argparse
import plistlib
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from classical import filtered, noised
from common import machine, save
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

import nst_nd
from nst_nd.domains.metrics.edge_response import edge_response
from nst_nd.domains.metrics.volume import ct_metrics
from nst_nd.errors import InputError
from nst_nd.sample import Grid, Sample

sys.path.insert(0, str(Path(__file__).parents[1] / "data_samples"))
from make_phantom import KERNELS, Kernel, make_phantom

HEAD = Path("/usr/share/doc/invesalius-examples/examples/Cranium.inv3")
SPACING = (0.7, 0.7, 5.0)
PAIRS = ("sharper", "smoother", "uneven_sharper", "uneven_smoother", "head_sharper", "head_smoother")
NO_GUARDS: dict[str, Any] = {"lock_mm": None, "protect": None, "region": None}


def features(**settings: Any) -> Callable[[Sample, Sample], Sample]:
    """A transfer by the ct preset with these settings, rounded to whole HU as a file would be."""

    def run(content: Sample, style: Sample) -> Sample:
        result = nst_nd.stylize(content, style, preset="ct", **settings).sample
        return result.replace(data=np.rint(result.data))

    return run


def untouched(content: Sample, style: Sample) -> Sample:
    del style
    return content


METHODS: dict[str, Callable[[Sample, Sample], Sample]] = {
    "untouched": untouched,
    "classical (a) filter": filtered,
    "classical (b) noise": noised,
    "plain Gram": features(method="features", **NO_GUARDS),
    "Gram with lock and region": features(method="features"),
    "spectral": features(method="spectral"),
    "spectral, then Gram, no lock": features(lock_mm=None),
    "spectral, then Gram (default)": features(),
    "default with resolution": features(resolution=True),
}
# of the phantoms: the middle of the field of view, and of the fat disc that lies in it, in mm; its radius
CONTENT_CENTRE, DISC, DISC_MM = (52.0, 46.0), (10.0, 4.0), 7.0
COLUMNS = {
    "NPS dB": "nps_distance_after",
    "3-D NPS dB": "nps3d_distance_after",
    "Gram": "noise_gram_distance_after",
    "sd HU": "noise_sd_after",
    "of": "noise_sd_style",
    "lung HU": "hu_bias_lung",
    "fat HU": "hu_bias_fat",
    "soft HU": "hu_bias_soft",
    "drift HU": "hu_drift",
    "edges": "false_edges",
    "changed": "protected_changed",
}


def sample(data: NDArray[Any], spacing: tuple[float, ...]) -> Sample:
    grid = Grid(spacing, "mm", None, np.diag([*spacing, 1.0]))
    return Sample(np.ascontiguousarray(data, np.float32)[None], "volume", "HU", grid)


def uneven(kernel: str, seed: int, size: tuple[int, ...], **where: Any) -> NDArray[Any]:
    """A phantom whose noise has bursts, a slope, streaks and correlation from slice to slice; same sd over all."""
    known = KERNELS[kernel]
    clean = make_phantom(size, SPACING, Kernel(known.f50, 0.0, known.cutoff), seed, **where).astype(np.float64)
    noise = gaussian_filter1d(make_phantom(size, SPACING, kernel, seed, **where) - clean, 0.8, axis=2, mode="wrap")
    draw = np.random.default_rng(seed + 99)
    bursts = gaussian_filter(draw.standard_normal(size), (8, 8, 1.0))
    loud = np.exp(0.6 * bursts / bursts.std()) * np.linspace(0.6, 1.4, size[0])[:, None, None]
    streaks = gaussian_filter(draw.standard_normal(size), (0.6, 6, 0.7))
    streaks -= gaussian_filter(streaks, (2.5, 6, 0.7))
    noise = noise / noise.std() * loud + 0.5 * streaks / streaks.std()
    return np.rint(clean + known.noise_sd * noise / noise.std())


def head_pair(sharper: bool) -> tuple[Sample, Sample]:
    """Two parts of the head: one smoothed in the plane, the other with high-frequency noise of 25 HU."""
    with tarfile.open(HEAD) as archive:
        members = {Path(m.name).name: m for m in archive.getmembers()}
        facts = plistlib.load(archive.extractfile(members["main.plist"]))  # type: ignore[arg-type]
        raw = archive.extractfile(members["matrix.dat"]).read()  # type: ignore[union-attr]
    whole = np.frombuffer(raw, np.int16).reshape(facts["matrix"]["shape"]).transpose(2, 1, 0).astype(np.float64)
    content, style = whole[..., 8:32], whole[..., 36:60]
    smooth, noisy = (content, style) if sharper else (style, content)
    noise = np.random.default_rng(0).standard_normal(noisy.shape)
    noise = gaussian_filter(noise - gaussian_filter(noise, (1.0, 1.0, 0)), (0.5, 0.5, 0.6))
    noisy = np.rint(noisy + 25.0 * noise / noise.std())
    smooth = np.rint(gaussian_filter(smooth, (0.6, 0.6, 0)))
    pair = (smooth, noisy) if sharper else (noisy, smooth)
    spacing = tuple(facts["spacing"])
    return sample(pair[0], spacing), sample(pair[1], spacing)


def pair_of(name: str, size: tuple[int, ...]) -> tuple[Sample, Sample]:
    """Content and style."""
    if name.startswith("head"):
        return head_pair(name.endswith("sharper"))
    own, goal = ("smooth", "sharp") if name.endswith("sharper") else ("sharp", "smooth")
    content = make_phantom(size, SPACING, own, 0, centre=CONTENT_CENTRE)
    where = {"centre": (-52.0, 46.0), "anatomy": 1}
    style = uneven(goal, 1, size, **where) if "uneven" in name else make_phantom(size, SPACING, goal, 1, **where)
    return sample(content, SPACING), sample(style, SPACING)


def truth_of(name: str, size: tuple[int, ...]) -> Sample | None:
    """The content as the style's kernel would have shown it; None where nobody knows."""
    if name not in ("sharper", "smoother"):
        return None
    goal = "sharp" if name == "sharper" else "smooth"
    return sample(make_phantom(size, SPACING, goal, 0, centre=CONTENT_CENTRE), SPACING)


def against_truth(truth: Sample | None, content: Sample, result: Sample) -> tuple[float, float]:
    """RMSE as a share of the content's, and f50 as a share of the truth's."""
    if truth is None:
        return np.nan, np.nan
    errors = [np.sqrt(np.mean((s.data - truth.data) ** 2)) for s in (result, content)]
    origin = [c - (n - 1) / 2 * mm for c, n, mm in zip(CONTENT_CENTRE, truth.shape[:2], SPACING[:2], strict=True)]
    centre = [(d - o) / mm for d, o, mm in zip(DISC, origin, SPACING[:2], strict=True)]
    lower = slice(0, truth.shape[2] // 2)  # the discs are in these slices
    found, wanted = (edge_response(s, centre, DISC_MM, half_mm=3.4, across=lower).f50 for s in (result, truth))
    return float(errors[0] / errors[1]), found / wanted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--size", type=int, nargs=3, default=(256, 256, 24), help="of the phantoms")
    parser.add_argument("--out", type=Path, default=Path("results/bench/ct_methods.csv"))
    arguments = parser.parse_args()
    rows: list[list[object]] = []
    for name in arguments.pairs:
        if name.startswith("head") and not HEAD.is_file():
            print(f"{name}: left out, {HEAD.name} is not installed (make debian)")
            continue
        content, style = pair_of(name, tuple(arguments.size))
        truth = truth_of(name, tuple(arguments.size))
        columns = [*COLUMNS, "RMSE", "f50"]
        print(f"\n{name}\n{'':32}{'s':>7}" + "".join(f"{column:>11}" for column in columns))
        for method in arguments.methods:
            started = time.perf_counter()
            try:
                result = METHODS[method](content, style)
            except InputError as error:
                print(f"{method:32}refused: {str(error).splitlines()[0]}", flush=True)
                continue
            seconds = time.perf_counter() - started
            found = ct_metrics(content, style, result)
            values = [*(found[key] for key in COLUMNS.values()), *against_truth(truth, content, result)]
            print(f"{method:32}{seconds:7.1f}" + "".join(f"{v:11.3f}" for v in values), flush=True)
            rows.append([name, method, round(seconds, 1), *(round(v, 4) for v in values), machine()])
            save(arguments.out, ["pair", "method", "seconds", *columns, "machine"], rows)


if __name__ == "__main__":
    main()
