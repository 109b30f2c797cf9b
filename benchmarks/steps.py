"""Whole steps of volumes and sounds against their bare networks, in one run.

    python benchmarks/steps.py [--edge 128] [--seconds 60] [--repeats 5] [--cases volume ct audio]

A step is one evaluation and what L-BFGS makes of it, as in a run of that preset. volume and ct, bare: forward and
gradient at the input of every convolution, at its own size, in the order of the network, with its buffers used again
(see keep_pages) and nothing else; what the plan makes again counts again. audio, bare: the networks as plain torch
modules, STFTs included: forward, and autograd back from ones at the same taps.

Gate: the step's loss is that of plain autograd on the definition of the network, to 1e-4 (at a small size).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import innermost, machine, save, seconds
from torch import Tensor

from nst_nd import Grid, Sample
from nst_nd.cli.process import keep_pages
from nst_nd.domains.domain import Style
from nst_nd.domains.stylize import prepared_transfer
from nst_nd.domains.transfer import Transfer
from nst_nd.engine.field import Field
from nst_nd.engine.stream import Engine
from nst_nd.engine.team import ALONE
from nst_nd.features.convolution import Convolution, MultiWidth
from nst_nd.features.extractor import Extractor
from nst_nd.features.statistics import Moments
from nst_nd.nd import correlate

GATE = 1e-4
RATE = 44100
# a CT step also splits the iterate from what is locked, which no network knows of
AT_MOST = {"volume": 1.15, "ct": None, "audio": 1.3}


def samples(case: str, edge: int, length: float) -> list[Sample]:
    """Content and style."""
    draw = np.random.default_rng(0)
    if case == "audio":
        grid = Grid((1.0 / RATE,), "s", float(RATE))
        data = [0.1 * draw.standard_normal((1, round(RATE * length))).astype(np.float32) for _ in range(2)]
        return [Sample(d, "audio", "full scale", grid) for d in data]
    grid = Grid((0.8, 0.8, 0.8), "mm", None, np.diag([0.8, 0.8, 0.8, 1.0]))
    data = [(40.0 + 12.0 * draw.standard_normal((1, edge, edge, edge))).astype(np.float32) for _ in range(2)]
    return [Sample(d, "volume", "HU", grid) for d in data]


def transfer_of(case: str, edge: int, length: float) -> Transfer:
    content, style = samples(case, edge, length)
    settings: dict[str, Any] = {"preset": case, "device": "cpu", "method": "features"}
    return prepared_transfer(content, [Style(style)], settings, ALONE)


def check(case: str) -> float:
    """Relative difference of the loss from that of the definition in float64, at a small size."""
    transfer = transfer_of(case, 32, 0.5)
    _, engine, x = ready(transfer)
    terms = engine.value_and_grad(x)[0]
    objective = engine.objective
    total = 0.0
    for branch in objective.branches:
        network = branch.extractor.to(x.device, torch.float64)
        taps = network(x.double())
        for term in branch.content:
            target = term.target.data if isinstance(term.target, Field) else term.target
            total += float((taps[term.tap] - target.double()).square().sum() * term.scale * term.weight)
        for term in branch.style:
            mask = branch.masks.get(term.at)
            moments = Moments.of(taps[term.tap], mask, branch.pivots.get(term.at))  # type: ignore[arg-type]
            total += float(term.weight * term.cost(moments))
    named = sum(float(t) for t, name in zip(terms, objective.names, strict=True) if "/" in name)
    return abs(named / total - 1.0)


def ready(transfer: Transfer) -> tuple[Any, Engine, Tensor]:
    """The full size, its engine, and a signal a little off the content."""
    transfer.plan(lambda _: None, None)
    scale = transfer.scales[-1]
    noise = torch.randn(transfer.base.shape, generator=torch.Generator().manual_seed(1))
    x = transfer.own(transfer.base + noise, None)
    engine = Engine(transfer.objective(scale, transfer.own(transfer.base, None)), scale.size, scale.plan.tiling)
    return scale, engine, x


def bare_convolutions(extractor: Extractor, size: tuple[int, ...], again: list[bool]) -> Callable[[], None]:
    """Forward and input gradient of every convolution; again: per stage, whether its forward is done twice."""
    work: list[tuple[Tensor, Tensor, Tensor, Tensor, tuple[int, ...], int]] = []
    nc = extractor.nc
    for stage, twice in zip(extractor.stages, again, strict=True):
        for layer in stage.layers:  # type: ignore[attr-defined]
            for one in layer.branches if isinstance(layer, MultiWidth) else [layer]:
                if isinstance(one, Convolution):
                    x, grad = (innermost(torch.rand(1, n, *size)) for n in (nc, one.weight.shape[0]))
                    back = innermost(one.weight.transpose(0, 1).flip(*range(2, one.weight.dim())).contiguous())
                    work.append((x, grad, one.weight, back, one.halo, 1 + twice))
            nc = layer.channels(nc)
            size = tuple(n // s for n, s in zip(size, layer.stride, strict=True))

    def run() -> None:
        for x, grad, weight, back, halo, times in work:
            ones = (1,) * len(halo)
            for _ in range(times):
                correlate(x, weight, None, halo, ones, ones)
            correlate(grad, back, None, halo, ones, ones)

    return run


def bare(case: str, engine: Engine, x: Tensor, scale: Any) -> Callable[[], None]:
    branches = engine.objective.branches
    if case != "audio":
        runs = []
        for branch, stages in zip(branches, scale.plan.tiling.branches, strict=True):
            again = [stage.keep != "all" for stage in stages]
            runs.append(bare_convolutions(branch.extractor, tuple(x.shape[2:]), again))
        return lambda: [run() for run in runs] and None

    def run() -> None:
        leaf = x.detach().requires_grad_()
        for branch in branches:
            taps = list(branch.extractor(leaf, branch.taps).values())
            torch.autograd.grad(taps, leaf, [torch.ones_like(tap) for tap in taps])

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", type=int, default=128, help="of volumes")
    parser.add_argument("--seconds", type=float, default=60.0, help="of sound")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="+", choices=list(AT_MOST), default=list(AT_MOST))
    parser.add_argument("--out", type=Path, default=Path("results/bench/steps.csv"))
    arguments = parser.parse_args()
    keep_pages()
    rows: list[list[object]] = []
    for case in arguments.cases:
        error = check(case)
        if not error < GATE:
            raise SystemExit(f"{case}: the loss is off by {error:.1e}, allowed {GATE:.0e}; nothing is timed")
        transfer = transfer_of(case, arguments.edge, arguments.seconds)
        scale, engine, x = ready(transfer)
        optimiser = transfer.optimiser(scale.plan)
        iterate = transfer.iterate(scale)
        z = torch.zeros_like(x)

        def step() -> None:
            _, grad = engine.value_and_grad(iterate.signal(z))  # noqa: B023
            optimiser.step(z, iterate.vjp(grad))  # noqa: B023

        least = bare(case, engine, x, scale)
        for warm_up in (least, step, step):
            warm_up()
        pairs = np.array([[seconds(least), seconds(step)] for _ in range(arguments.repeats)])
        ratio = pairs[:, 1] / pairs[:, 0]
        low, median, high = np.quantile(ratio, (0.2, 0.5, 0.8))
        print(
            f"{case}: bare {np.median(pairs[:, 0]):.3f} s, a step {np.median(pairs[:, 1]):.3f} s, ratio {median:.3f} "
            f"(20-80 %: {low:.3f}-{high:.3f}; at most {AT_MOST[case] or 'any'}); loss within {error:.0e}; "
            f"{scale.plan.words()}",
            flush=True,
        )
        size = "x".join(map(str, x.shape[2:]))
        values = [f"{v:.4f}" for v in (*np.median(pairs, axis=0), low, median, high)]
        rows.append([case, size, *values, AT_MOST[case] or "", f"{error:.1e}", machine()])
    header = ["case", "size", "bare_s", "step_s", "q20", "median", "q80", "at_most", "loss_error", "machine"]
    save(arguments.out, header, rows)


if __name__ == "__main__":
    main()
