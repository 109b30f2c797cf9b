"""What each idea for a quicker result buys: seconds and evaluations to a stated loss, one idea more in each row.

    python benchmarks/ideas.py [--cases image volume ecg] [--evaluations 100]

The stated loss is what the first row has after so many evaluations: L-BFGS with 10 pairs, steps alike at all
frequencies, direct convolutions, from the content at one scale. A row that does not get there in twice as many says how
far it got. image: the classic objective (see time_to_quality.py) on 256^2. volume: the volume preset's own on 48^3
(VGG-19 and a small random network). ecg: random networks of the ECG preset on ten seconds. The last row of each ends by
itself on a plateau (20 steps that lower the loss by less than 1 %): seconds and loss of the end.
Gate: all rows begin with the same loss, to 1e-4.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from common import machine, save
from time_to_quality import PAIRS, SETTINGS, image

from nst_nd import Grid, Sample, stylize
from nst_nd.cli.process import keep_pages
from nst_nd.domains import shared

GATE = 1e-4
PLATEAU = 0.01
IDEAS: dict[str, dict[str, Any]] = {
    "L-BFGS, 10 pairs": {"step_exponent": 0.0, "history": 10, "winograd": False},
    "20 pairs": {"step_exponent": 0.0, "history": 20, "winograd": False},
    "steps by frequency": {"step_exponent": 0.5, "history": 20, "winograd": False},
    "Winograd": {"step_exponent": 0.5, "history": 20, "winograd": True},
}


def case(name: str) -> tuple[Sample, Sample, dict[str, Any]]:
    """Content, style and settings."""
    draw = np.random.default_rng(0)
    if name == "image":
        pair = [image(read, 256) for read in PAIRS["astronaut"]]
        content, style = (Sample(x, "image", "full scale", Grid((1.0, 1.0), "px"), ("R", "G", "B")) for x in pair)
        return content, style, dict(SETTINGS)
    if name == "volume":
        grid = Grid((1.0, 1.0, 1.0), "mm", None, np.eye(4))
        made = [torch.from_numpy(draw.standard_normal((1, 1, 48, 48, 48))).float() for _ in range(2)]
        blur = torch.nn.functional.avg_pool3d
        data = [blur(made[0], 9, 1, 4) * 900.0, blur(made[1], 3, 1, 1) * 200.0 + blur(made[1], 7, 1, 3) * 300.0]
        content, style = (Sample(x[0].numpy(), "volume", None, grid) for x in data)
        return content, style, {"preset": "volume"}
    rate = 500.0
    seconds = np.arange(5000) / rate
    beats = np.exp(-(((seconds % 0.8) - 0.4) ** 2) / (2 * 0.012**2))
    slow = 0.1 * np.sin(2 * np.pi * 0.3 * seconds)
    rough = np.convolve(draw.standard_normal(5000), np.ones(5) / 5, "same") * 0.15
    content, style = (
        Sample(np.float32(x)[None], "ecg", "mV", Grid((1.0 / rate,), "s", rate), ("I",))
        for x in (beats + 0.01 * draw.standard_normal(5000), beats + slow + rough)
    )
    return content, style, {"preset": "ecg", "method": "features"}


def run(
    content: Sample, style: Sample, settings: dict[str, Any], idea: dict[str, Any], target: float | None, steps: int
) -> tuple[list[float], list[float]]:
    """Losses and when they were known; ends at the target."""
    given = {k: v for k, v in idea.items() if k != "winograd"}
    losses: list[float] = []
    clock: list[float] = []
    started = time.perf_counter()

    def on_step(step: Any) -> None:
        losses.append(step.loss)
        clock.append(time.perf_counter() - started)

    def reached() -> bool:
        return target is not None and losses[-1] <= target

    by = shared.by_winograd if idea["winograd"] else lambda extractor: extractor
    with mock.patch.object(shared, "by_winograd", by):
        stylize(
            content,
            style,
            on_step=on_step,
            should_stop=reached,
            **{**settings, **given, "iterations": steps, "scales": (1.0,), "device": "cpu"},
        )
    return losses, clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=("image", "volume", "ecg"), default=["image", "volume", "ecg"])
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("results/bench/ideas.csv"))
    arguments = parser.parse_args()
    keep_pages()
    rows: list[list[object]] = []
    for name in arguments.cases:
        content, style, settings = case(name)
        target, first, before = None, 0.0, 0.0
        ways = [(words, idea, arguments.evaluations * 2) for words, idea in IDEAS.items()]
        ways.append(("plateau", {**IDEAS["Winograd"], "plateau": PLATEAU}, 1000))
        for words, idea, steps in ways:
            base = target is None
            aim = None if words == "plateau" else target
            losses, clock = run(content, style, settings, idea, aim, arguments.evaluations if base else steps)
            if base:
                target, first, before = min(losses), losses[0], clock[-1]
            if abs(losses[0] / first - 1.0) > GATE:
                raise SystemExit(f"{name}, {words}: begins with {losses[0]:.6g}, the first row with {first:.6g}")
            there = words == "plateau" or min(losses) <= target
            print(
                f"{name:8}{words:20}{len(losses):5} evaluations {clock[-1]:7.1f} s  loss {min(losses):.5g}"
                + (f"  {clock[-1] / before:.2f} of the first row" if there else "  not reached"),
                flush=True,
            )
            ratio = f"{clock[-1] / before:.3f}" if there else ""
            rows.append([name, words, f"{target:.5g}", f"{min(losses):.5g}", len(losses), f"{clock[-1]:.2f}", ratio])
    here = machine()
    save(
        arguments.out,
        ["case", "idea", "target", "loss", "evaluations", "seconds", "ratio", "machine"],
        [[*row, here] for row in rows],
    )


if __name__ == "__main__":
    main()
