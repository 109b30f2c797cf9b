"""Which network is the ct preset's: each in its place, everything else as the preset has it.

    python benchmarks/ct_extractors.py [--pairs uneven_sharper ...] [--size 160 160 16]

Networks: random ones, one for each of three octaves (the default), on all three axes, slices alone, or three planes;
VGG-19 inflated to three axes, on slices, or on three planes. Pairs and metrics are those of ct_methods.py where noise
is not what the spectral method alone can make (bursts, streaks, correlation from slice to slice), and the head CT.
There is no medical 3-D network with weights in any package that the project may depend on, so none is in the table.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from common import machine, save
from ct_methods import COLUMNS, HEAD, PAIRS, features, pair_of

from nst_nd.domains.ct import CT_OCTAVES
from nst_nd.domains.metrics.volume import ct_metrics
from nst_nd.domains.octaves import octaves

PLANES = ((0, 1), (0, 2), (1, 2))
VGG_LAYERS = ("relu1_1", "relu2_1", "relu3_1")


def random(*planes: tuple[int, int]) -> dict[str, Any]:
    """The preset's octaves, once for each plane."""
    networks = [
        {**spec, "plane": plane, "label": f"p{n}{spec['label']}"}
        for n, plane in enumerate(planes)
        for spec in octaves(CT_OCTAVES, widths=(3, 5))
    ]
    return {
        "extractor": networks,
        "style_layers": tuple(f"{spec['label']}.relu{i}" for spec in networks for i in (1, 2)),
        "content_layers": (f"p0o{CT_OCTAVES - 1}.relu2",),
    }


def vgg(*planes: tuple[int, int] | None) -> dict[str, Any]:
    """VGG-19 to relu3_1, once for each plane; None: inflated."""
    labels = [f"p{n}" for n in range(len(planes))]
    prefix = [f"{label}." if len(planes) > 1 else "" for label in labels]
    return {
        "extractor": [{"name": "vgg19", "label": label, "plane": p} for label, p in zip(labels, planes, strict=True)],
        "style_layers": tuple(f"{p}{layer}" for p in prefix for layer in VGG_LAYERS),
        "content_layers": (f"{prefix[0]}relu3_1",),
    }


NETWORKS: dict[str, dict[str, Any]] = {
    "none (spectral alone)": {"method": "spectral"},
    "random octaves (default)": {},
    "random octaves, slices": random(PLANES[0]),
    "random octaves, three planes": random(*PLANES),
    "VGG-19 inflated": vgg(None),
    "VGG-19, slices": vgg(PLANES[0]),
    "VGG-19, three planes": vgg(*PLANES),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = ("uneven_sharper", "uneven_smoother", "head_sharper")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=chosen)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--size", type=int, nargs=3, default=(160, 160, 16), help="of the phantoms")
    parser.add_argument("--out", type=Path, default=Path("results/bench/ct_extractors.csv"))
    arguments = parser.parse_args()
    rows: list[list[object]] = []
    for name in arguments.pairs:
        if name.startswith("head") and not HEAD.is_file():
            print(f"{name}: left out, {HEAD.name} is not installed (make debian)")
            continue
        content, style = pair_of(name, tuple(arguments.size))
        print(f"\n{name}\n{'':32}{'s':>7}" + "".join(f"{column:>11}" for column in COLUMNS))
        for network in arguments.networks:
            started = time.perf_counter()
            result = features(**NETWORKS[network])(content, style)
            seconds = time.perf_counter() - started
            found = ct_metrics(content, style, result)
            values = [found[key] for key in COLUMNS.values()]
            print(f"{network:32}{seconds:7.1f}" + "".join(f"{v:11.3f}" for v in values), flush=True)
            rows.append([name, network, round(seconds, 1), *(round(v, 4) for v in values), machine()])
            save(arguments.out, ["pair", "network", "seconds", *COLUMNS, "machine"], rows)


if __name__ == "__main__":
    main()
