"""Whole steps of volumes and sounds against their bare networks, in one run.

    python benchmarks/steps.py [--edge 128] [--seconds 60] [--repeats 5] [--cases volume ct audio]

A step is one evaluation and what L-BFGS makes of it, as in a run of that preset. Bare, of volume and ct: forward and
gradient at the input of every convolution, at its own size, in the order of the network, with its buffers used again
(see keep_pages) and nothing else; what the plan makes again counts again; as direct convolutions, and by the methods
that the plan takes (Winograd's for some). Bare, of audio: the networks as plain torch modules, STFTs included: forward,
and autograd back from ones at the same taps. Of all: the networks there and back as the engine itself runs them,
without statistics, costs and optimiser.

Gate: the step's loss is that of plain autograd on the definition of the network, to 1e-4 (at a small size).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import bare_convolutions, machine, save, seconds
from torch import Tensor

from nst_nd import Grid, Sample
from nst_nd.cli.process import keep_pages
from nst_nd.domains.domain import Style
from nst_nd.domains.stylize import prepared_transfer
from nst_nd.domains.transfer import Transfer
from nst_nd.engine.field import Field
from nst_nd.engine.stream import Engine
from nst_nd.engine.sweep import StagePlan, Sweep
from nst_nd.engine.team import ALONE
from nst_nd.features.extractor import Extractor
from nst_nd.features.statistics import Moments

GATE = 1e-4
RATE = 44100
# a CT step also splits the iterate from what is locked, which no network knows of
CASES = ("volume", "ct", "audio")
AT_MOST = {("volume", "its own convolutions"): 1.15, ("audio", "the networks' own passes"): 1.3}


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


def bare(case: str, engine: Engine, x: Tensor, scale: Any) -> dict[str, Callable[[], object]]:
    """What a step is measured against, by name."""
    ways: dict[str, Callable[[], object]] = {"the networks' own passes": passes(engine, x, scale)}
    if case == "audio":
        return {"torch modules": modules(engine, x), **ways}
    for words, chosen in (("direct convolutions", False), ("its own convolutions", True)):
        runs = []
        for branch, stages in zip(engine.objective.branches, scale.plan.tiling.branches, strict=True):
            again = twice(branch.extractor, stages, branch.taps)
            runs.append(bare_convolutions(branch.extractor, x.shape[2:], again, chosen=chosen))
        ways[words] = lambda runs=runs: [run() for run in runs]  # type: ignore[misc]
    return ways


def twice(extractor: Extractor, stages: Sequence[StagePlan], taps: Collection[str]) -> set[str]:
    """The layers whose forward is done again on the way back; of those that keep slopes up to the last tap alone."""
    found: set[str] = set()
    for stage, plan in zip(extractor.stages, stages, strict=True):
        names = [layer.name for layer in stage.layers]  # type: ignore[attr-defined]
        last = max((names.index(tap) + 1 for tap in taps if tap in names), default=0)
        found |= set({"all": [], "slopes": names[:last], "nothing": names}[plan.keep])
    return found


def passes(engine: Engine, x: Tensor, scale: Any) -> Callable[[], None]:
    """The networks there and back as the engine runs them, pools and transforms too; ones come back."""
    branches = [(b.extractor, frozenset(b.taps)) for b in engine.objective.branches]
    sweeps = [
        Sweep(extractor, taps, tuple(x.shape[2:]), stages)
        for (extractor, taps), stages in zip(branches, scale.plan.tiling.branches, strict=True)
    ]

    def ones(_: str, __: Any, activations: Tensor, grad: Tensor | None) -> Tensor:
        return torch.ones_like(activations) if grad is None else grad.add_(1.0)

    def run() -> None:
        into = Field.of(torch.zeros_like(x))
        for sweep in sweeps:
            sweep.forward(Field.of(x), lambda *_: None)
            sweep.backward(ones, into)

    return run


def modules(engine: Engine, x: Tensor) -> Callable[[], None]:
    """The same networks in plain torch: autograd back from ones."""

    def run() -> None:
        leaf = x.detach().requires_grad_()
        for branch in engine.objective.branches:
            taps = list(branch.extractor(leaf, branch.taps).values())
            torch.autograd.grad(taps, leaf, [torch.ones_like(tap) for tap in taps])

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", type=int, default=128, help="of volumes")
    parser.add_argument("--seconds", type=float, default=60.0, help="of sound")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
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

        ways = bare(case, engine, x, scale)
        for warm_up in (*ways.values(), step, step):
            warm_up()
        rounds = np.array([[seconds(way) for way in (step, *ways.values())] for _ in range(arguments.repeats)])
        size = "x".join(map(str, x.shape[2:]))
        print(f"{case} {size}: loss within {error:.0e}; {scale.plan.words()}")
        for way, times in zip(ways, rounds.T[1:], strict=True):
            low, ratio, high = np.quantile(rounds[:, 0] / times, (0.2, 0.5, 0.8))
            asked = AT_MOST.get((case, way))
            print(
                f"  over {way}: {np.median(rounds[:, 0]):.3f} s, {np.median(times):.3f} s, ratio {ratio:.3f} "
                f"(20-80 %: {low:.3f}-{high:.3f})"
                + ("" if asked is None else f", at most {asked} asked" + (": MISSED" if ratio > asked else "")),
                flush=True,
            )
            values = [f"{v:.4f}" for v in (np.median(times), np.median(rounds[:, 0]), low, ratio, high)]
            rows.append([case, size, way, *values, asked or "", f"{error:.1e}", machine()])
    header = ["case", "size", "over", "bare_s", "step_s", "q20", "median", "q80", "at_most", "loss_error", "machine"]
    save(arguments.out, header, rows)


if __name__ == "__main__":
    main()
