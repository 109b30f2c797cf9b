"""Nothing lost, nothing invented: lesions that are there keep their contrast, and none are found where there are none.

    python benchmarks/ct_lesions.py [--phantoms 50] [--pairs sharper smoother] [--methods spectral default ...]

Contrast: balls of 3, 5 and 8 mm radius, 10 HU in soft tissue and 100 HU in lung, are put into the phantom. The same
noise with and without them goes through a method; the difference over each ball is compared with that of the content,
or, with the resolution term, of the true image by the style's kernel.

Detection: phantoms without lesions, each with noise of its own, are restyled; a matched filter looks for balls in
uniform soft tissue. Its threshold is the one above which it has a given number of hits in true images of the style's
kernel, of other noise; the true images of the content's own noise say how far such a number scatters.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, save
from ct_methods import features, sample
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter

from nst_nd.domains.metrics.lesions import detections, threshold_for
from nst_nd.sample import Sample

sys.path.insert(0, str(Path(__file__).parents[1] / "data_samples"))
from make_phantom import Ellipse, Kernel, make_phantom

SPACING = (0.7, 0.7, 2.0)
CENTRE, STYLE_CENTRE = (52.0, 46.0), (-52.0, 46.0)
SIZE, SMALL = (224, 224, 24), (128, 128, 16)
RADII_MM = (3.0, 5.0, 8.0)
# x, y, z in mm of balls by tissue, and what they add in HU
PLACES = {
    "soft": (
        10.0,
        ((30.0, 32.0, -16.0), (62.0, 34.0, -16.0), (98.0, 36.0, -14.0), (45.0, 78.0, 14.0), (90.0, 74.0, 14.0)),
    ),
    "lung": (100.0, ((82.0, -18.0, 20.0), (70.0, 6.0, 20.0), (92.0, 24.0, 18.0))),
}
PAIRS = {"sharper": ("smooth", "sharp"), "smoother": ("sharp", "smooth")}
METHODS: dict[str, dict[str, Any]] = {
    "spectral": {"method": "spectral"},
    "default": {},
    "spectral, resolution": {"method": "spectral", "resolution": True},
    "default, resolution": {"resolution": True},
}
# of those, in many phantoms
MANY = ("spectral", "default", "spectral, resolution")
# true images: how many hits per ml the threshold lets through
PER_ML = 0.02


def balls(shift: int) -> Iterator[tuple[str, float, tuple[float, float, float], list[Ellipse]]]:
    """Tissue, radius, place and the ellipses that make each ball; shift: which radius stands where."""
    depth = SIZE[2]
    heights = (np.arange(depth) - (depth - 1) / 2) * SPACING[2]
    for tissue, (delta, places) in PLACES.items():
        for n, (x, y, z) in enumerate(places):
            radius = RADII_MM[(n + shift) % len(RADII_MM)]
            half = np.sqrt(np.maximum(radius**2 - (heights - z) ** 2, 0.0))
            cuts = [
                Ellipse(x, y, float(a), float(a), delta, low=float(h) - 1e-6, high=float(h) + 1e-6)
                for a, h in zip(half, heights, strict=True)
                if a > 0
            ]
            yield tissue, radius, (x, y, z), cuts


def phantom(kernel: str | Kernel, seed: int, size: tuple[int, ...], centre: tuple[float, float], **more: Any) -> Sample:
    return sample(make_phantom(size, SPACING, kernel, seed, centre=centre, **more), SPACING)


def inside(place: tuple[float, float, float], radius: float) -> NDArray[np.bool_]:
    """[i, j, k]: voxels whose middle lies in the ball."""
    origin = [c - (n - 1) / 2 * mm for c, n, mm in zip((*CENTRE, 0.0), SIZE, SPACING, strict=True)]
    axes = np.indices(SIZE, sparse=True)
    parts = [(o + a * mm - p) ** 2 for o, a, mm, p in zip(origin, axes, SPACING, place, strict=True)]
    found: NDArray[np.bool_] = parts[0] + parts[1] + parts[2] <= radius**2
    return found


def contrasts(pairs: Sequence[str], methods: Sequence[str], rows: list[list[object]], out: Path) -> None:
    print(f"{'pair':10}{'method':24}{'tissue':8}{'radius mm':>10}{'balls':>7}{'kept':>8}{'least':>8}{'most':>8}")
    for pair in pairs:
        own, goal = PAIRS[pair]
        style = phantom(goal, 1, SIZE, STYLE_CENTRE, anatomy=1)
        for name in methods:
            settings = METHODS[name]
            run = features(**settings)
            kept: dict[tuple[str, float], list[float]] = {}
            plain = run(phantom(own, 0, SIZE, CENTRE), style).data[0]
            for shift in range(len(RADII_MM)):
                found = list(balls(shift))
                extra = [ellipse for *_, cuts in found for ellipse in cuts]
                after = run(phantom(own, 0, SIZE, CENTRE, extra=extra), style).data[0] - plain
                kernel = goal if settings.get("resolution") else own
                bare, filled = (phantom(kernel, 0, SIZE, CENTRE, extra=e).data[0] for e in ((), extra))
                for tissue, radius, place, _ in found:
                    where = inside(place, radius)
                    share = float(after[where].mean() / (filled - bare)[where].mean())
                    kept.setdefault((tissue, radius), []).append(share)
            for (tissue, radius), shares in sorted(kept.items()):
                print(
                    f"{pair:10}{name:24}{tissue:8}{radius:10.0f}{len(shares):7}"
                    f"{np.mean(shares):8.3f}{min(shares):8.3f}{max(shares):8.3f}",
                    flush=True,
                )
                rows.append(
                    [
                        pair,
                        name,
                        f"contrast in {tissue}",
                        radius,
                        len(shares),
                        *map(_short, (np.mean(shares), min(shares), max(shares))),
                    ]
                )
                save(out, HEAD, rows)


def uniform(clean: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Soft tissue of a noise-free phantom, far enough from everything else for a ball and its ring."""
    low = gaussian_filter(clean.astype(np.float64), (2.0, 2.0, 0.0))
    return binary_erosion((low > 35) & (low < 65), np.ones((3, 3, 1), bool), iterations=6)


def hits(samples: list[Sample], masks: list[NDArray[np.bool_]], radius: float, threshold: float) -> int:
    return sum(len(detections(s, m, radius, threshold)[0]) for s, m in zip(samples, masks, strict=True))


def inventions(count: int, pairs: Sequence[str], methods: Sequence[str], rows: list[list[object]], out: Path) -> None:
    clean = phantom(Kernel(0.5, 0.0, 0.8), 0, SMALL, CENTRE).data[0]
    mask = uniform(clean)
    ml = float(mask.sum() * np.prod(SPACING) / 1000.0)
    print(f"\n{count} phantoms without lesions, {ml:.1f} ml of uniform soft tissue each")
    print(f"{'pair':10}{'method':24}{'radius mm':>10}{'true':>8}{'others':>8}{'result':>8}")
    masks = [mask] * count
    for pair in pairs:
        own, goal = PAIRS[pair]
        contents = [phantom(own, 1000 + n, SMALL, CENTRE) for n in range(count)]
        truths = [phantom(goal, 1000 + n, SMALL, CENTRE) for n in range(count)]
        others = [phantom(goal, 5000 + n, SMALL, CENTRE) for n in range(count)]
        style = phantom(goal, 1, SMALL, STYLE_CENTRE, anatomy=1)
        for name in (name for name in methods if name in MANY):
            run = features(**METHODS[name])
            results = [run(content, style) for content in contents]
            for radius in RADII_MM:
                threshold = threshold_for([*zip(others, masks, strict=True)], radius, PER_ML)
                found = [hits(s, masks, radius, threshold) for s in (others, truths, results)]
                print(f"{pair:10}{name:24}{radius:10.0f}{found[0]:8}{found[1]:8}{found[2]:8}", flush=True)
                rows.append(
                    [pair, name, "hits without lesions (other true images, true, result)", radius, count, *found]
                )
                save(out, HEAD, rows)


HEAD = ["pair", "method", "what", "radius mm", "count", "mean or others", "least or true", "most or result"]


def _short(value: float) -> float:
    return round(float(value), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phantoms", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("results/bench/ct_lesions.csv"))
    parser.add_argument("--pairs", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    arguments = parser.parse_args()
    print(machine())
    rows: list[list[object]] = []
    contrasts(arguments.pairs, arguments.methods, rows, arguments.out)
    inventions(arguments.phantoms, arguments.pairs, arguments.methods, rows, arguments.out)


if __name__ == "__main__":
    main()
