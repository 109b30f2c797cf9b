"""One evaluation in tiles against the same in memory at once, over sizes: time, flatness, peak memory.

    python benchmarks/streaming.py [--sizes 64 128 192 256 320] [--networks small vgg] [--image [1280]]

An evaluation is value and gradient of a style objective (relative Gram costs), the engine only: no optimiser.

small: 3-D, 1-16-32-64 channels, two 3x3x3 convolutions with ReLU a stage, average pooling, seeded random weights;
       style on the first ReLU of each stage and on the last one.
vgg:   VGG-19 inflated to 3-D up to relu3_1; style on relu1_1, relu2_1, relu3_1. No content term, whose target would
       take memory on all ways alike.
image: (--image) VGG-19 in 2-D up to relu5_1, the five style layers and content on relu4_2; tiles of a sixth of the
       edge.

Three ways: "plain" is in-memory autograd tuned by hand that uses nothing of the engine (see common.py); "one tile" is
the engine without tiling; "streamed" the engine in tiles (see `streamed_plan`). The first two run where their estimate
is within 60 % of the free memory; elsewhere the table shows "-".

Why it is fair: each way runs in a process of its own, so peaks are its own; all keep the allocator's pages and warm up
once, so nobody pays for page faults; all compute the same numbers, which is checked; at each size the ways take turns,
there and back again, so that a machine that drifts drifts for all. Peaks are resident memory above what the imports
took, from the warm-up on: what building a network or a target took for a moment is not in them.

The gate comes first: float32 gradients of the three ways, in tiles that meet, against plain float64 autograd. Of
millions of units a few are so near 0 that rounding decides whether their ReLU lets the gradient through, in any float32
run; one such unit changes the gradient by about 1e-4 where it looks. So the relative error has to be below 1e-5 on the
90 % of positions where it is least, and below 1e-3 on all; both are printed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch
from common import machine, plain_value_and_grad, save, seconds
from evaluation import CONTENT, STYLE, objective_for, signals
from torch import Tensor

from nst_nd import STATISTICS, Branch, Objective, StyleTerm, vgg19
from nst_nd.boxes import tiles, whole
from nst_nd.engine.memory import free_memory, peak_resident, resident, trim
from nst_nd.engine.objective import style_moments
from nst_nd.engine.stream import Engine, Tiling
from nst_nd.engine.sweep import StagePlan
from nst_nd.features.convolution import Convolution
from nst_nd.features.extractor import ChainStage, Extractor
from nst_nd.features.layer import Layer, Pool
from nst_nd.nd import channels_last

WAYS = ("plain", "one tile", "streamed")
MIB = 2**20
KEPT = 300 * MIB
SHARE_OF_FREE = 0.6
GATE, GATE_ALL, CALM = 1e-5, 1e-3, 0.9
SAME = 1e-4
# size and edge of the tiles of the gate
GATES = {"small": (48, 16), "vgg": (48, 16), "image": (96, 32)}
FLAT_FROM = 128
FLAT, STREAMED, ONE_TILE = 1.25, 1.5, 1.05
IMAGE_TIME, IMAGE_PEAK = 1.3, 0.5


def small_network() -> tuple[Extractor, tuple[str, ...]]:
    """See the module; He et al. 2015's variance, so that activations keep their size."""
    generator = torch.Generator().manual_seed(0)
    stages: list[ChainStage] = []
    nc, ones = 1, (1, 1, 1)
    for depth, wide in enumerate((16, 32, 64), 1):
        layers: list[Layer] = []
        for i in (1, 2):
            weight = torch.randn(wide, nc, 3, 3, 3, generator=generator) * (2 / (27 * nc)) ** 0.5
            bias = torch.zeros(wide)
            layers.append(Convolution(f"relu{depth}_{i}", channels_last(weight), bias, ones, ones, "zeros", True))
            nc = wide
        layers.append(Pool(f"pool{depth}", (2, 2, 2), "average"))
        stages.append(ChainStage(tuple(layers)))
    return Extractor("small", 1, 3, tuple(stages)), ("relu1_1", "relu2_1", "relu3_1", "relu3_2")


def case(network: str, size: int) -> tuple[Objective, Tensor]:
    """The objective of a network and the signal at which it is evaluated: noise, against a smoother style."""
    if network == "image":
        content, style, x = signals(size)
        extractor = vgg19(3, 2).to(x.device, torch.float32).until([*STYLE, CONTENT])
        return objective_for(extractor, content, style), x
    whole_network, taps = small_network() if network == "small" else (vgg19(1, 3), STYLE[:3])
    extractor = whole_network.to(torch.device("cpu"), torch.float32).until(taps)
    generator = torch.Generator().manual_seed(1)
    style = torch.nn.functional.interpolate(torch.randn(1, 1, 12, 12, 12, generator=generator) * 60, scale_factor=4)
    gram = STATISTICS["gram"]
    moments = style_moments(extractor, channels_last(style), [gram])
    terms = tuple(StyleTerm(tap, tap, 1.0, gram, gram.read(moments[tap]), "relative") for tap in taps)
    x = torch.randn(1, 1, size, size, size, generator=generator) * 60
    return Objective((Branch(extractor, (), terms),)), channels_last(x)


def stages_of(objective: Objective, size: Sequence[int], tile: int | None) -> list[tuple[int, int]]:
    """Bytes that each stage keeps for its way back, and those on top at work, in tiles of this edge or at once."""
    branch, here, found = objective.branches[0], tuple(size), []
    nc = branch.extractor.nc
    for stage in branch.extractor.stages:
        cores = [whole(here)] if tile is None else tiles(whole(here), (tile,) * len(here), stage.stride_at(None))
        prints = [stage.footprint(nc, stage.windows(core, here, branch.taps), branch.taps, "all") for core in cores]
        found.append((4 * sum(p.saved for p in prints), 4 * max(p.working for p in prints)))
        here, nc = stage.output(here), stage.channels(nc)
    return found


def at_once(objective: Objective, size: Sequence[int]) -> int:
    """Bytes that a run in memory is expected to take."""
    stages = stages_of(objective, size, None)
    return sum(saved for saved, _ in stages) + max(working for _, working in stages)


def streamed_plan(objective: Objective, size: Sequence[int], tile: int, most: int = KEPT) -> Tiling:
    """Tiles of one edge; from the last stage up, activations are kept while together they stay within `most` bytes.

    Of the others, and always of the first, only slopes are.
    """
    plans: list[StagePlan] = []
    total = 0
    sizes = stages_of(objective, size, tile)
    for i in reversed(range(len(sizes))):
        total += sizes[i][0]
        plans.insert(0, StagePlan((tile,) * len(size), "all" if i > 0 and total <= most else "slopes"))
    return Tiling((tuple(plans),), (tile,) * len(size))


def gradient_of(objective: Objective, x: Tensor, way: str, tile: int, most: int = KEPT) -> Callable[[], Tensor]:
    """One evaluation in one of the three ways; what it returns is the gradient."""
    if way == "plain":
        plain = plain_value_and_grad(objective, torch.float32)
        return lambda: plain(x)[1]
    size = x.shape[2:]
    engine = Engine(objective, size, streamed_plan(objective, size, tile, most) if way == "streamed" else None)
    return lambda: engine.value_and_grad(x)[1]


def gate(network: str) -> tuple[float, float]:
    """Relative error of the ways' float32 gradients against float64, the worst: on the calm positions, and on all."""
    size, tile = GATES[network]
    objective, x = case(network, size)
    reference = plain_value_and_grad(objective, torch.float64)(x)[1]
    calm, everywhere = 0.0, 0.0
    for way, most in (("plain", 0), ("one tile", 0), ("streamed", KEPT), ("streamed", 0)):
        ours = gradient_of(objective, x, way, tile, most)()
        error = ((ours - reference).abs() / reference.norm()).flatten().sort().values
        calm = max(calm, float(error[: int(CALM * error.numel())].norm()))
        everywhere = max(everywhere, float(error.norm()))
    return calm, everywhere


def pass_gates(networks: Iterable[str]) -> dict[str, float]:
    """The errors on the calm positions; SystemExit where a gradient is off."""
    found = {}
    for network in networks:
        calm, everywhere = gate(network)
        words = (
            f"{calm:.1e} on {CALM:.0%} of the positions (allowed {GATE:.0e}), {everywhere:.1e} on all ({GATE_ALL:.0e})"
        )
        print(f"{network}: gradients against float64 at edge {GATES[network][0]}: {words}", flush=True)
        if not (calm < GATE and everywhere < GATE_ALL):
            raise SystemExit(f"{network}: the gradient is off; nothing is timed")
        found[network] = calm
    return found


def measure(network: str, size: int, way: str, tile: int, repeats: int) -> None:
    """What a process of its own does: a warm-up, `repeats` evaluations, and one line of JSON."""
    trim()
    imports = resident()
    objective, x = case(network, size)
    run = gradient_of(objective, x, way, tile)
    trim()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from here
    except OSError:
        print("the peak includes what building the objective took", file=sys.stderr)
    ready = resident() - imports
    run()
    times = [seconds(run) for _ in range(repeats)]
    peak = peak_resident() - imports
    grad, flat = run().double().reshape(-1), x.double().reshape(-1)
    sums = [float(grad.norm()), float(grad @ flat / flat.norm())]
    print(json.dumps({"seconds": times, "peak": peak, "ready": ready, "checksum": sums}))


_CHILD = """
import json, sys
sys.path.insert(0, sys.argv[1])
from nst_nd.cli.process import keep_pages
keep_pages()
import streaming
streaming.measure(*json.loads(sys.argv[2]))
"""


@dataclass
class Run:
    """One way at one size.

    peak, ready: bytes above the imports; ready: before the first evaluation, that is network, targets and signal.
    why: the reason that it was not measured, or did not come to its end.
    """

    network: str
    size: int
    way: str
    estimate: int
    seconds: list[float] = field(default_factory=list)
    peak: int = 0
    ready: int = 0
    checksum: list[float] = field(default_factory=list)
    why: str = ""

    @property
    def voxel(self) -> float:
        """Nanoseconds per position and evaluation."""
        return median(self.seconds) * 1e9 / self.size ** (2 if self.network == "image" else 3)

    def visit(self, tile: int, repeats: int) -> None:
        """Measure in a fresh process and add what comes back."""
        arguments = json.dumps([self.network, self.size, self.way, tile, repeats])
        command = [sys.executable, "-c", _CHILD, str(Path(__file__).parent), arguments]
        child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if child.returncode:
            self.why = f"failed with {child.returncode}"
            return
        found = json.loads(child.stdout.splitlines()[-1])
        self.seconds += found["seconds"]
        self.peak, self.ready = max(self.peak, found["peak"]), max(self.ready, found["ready"])
        self.checksum = found["checksum"]


def at_size(network: str, size: int, tile: int, repeats: int, started: float) -> list[Run]:
    """All ways at one size, taking turns there and back again."""
    objective, x = case(network, GATES[network][0])
    estimate = at_once(objective, (size,) * (x.dim() - 2))
    del objective, x
    runs = [Run(network, size, way, 0 if way == "streamed" else estimate) for way in WAYS]
    for run in runs:
        if run.estimate > SHARE_OF_FREE * free_memory():
            run.why = "too large"
    going = [run for run in runs if not run.why]
    visits = 1 if len(going) == 1 else min(2, repeats)
    for turn in range(visits):
        for run in going if turn % 2 == 0 else reversed(going):
            if not run.why:
                run.visit(tile, (repeats + turn) // 2 if visits == 2 else repeats)
            told = run.why or f"{run.seconds[-1]:.2f} s, {run.voxel:.0f} ns per voxel, peak {run.peak / MIB:.0f} MiB"
            print(f"[{time.perf_counter() - started:5.0f} s] {network} {size} {run.way}: {told}", flush=True)
    return runs


def off(runs: Sequence[Run]) -> float:
    """The largest relative difference between the ways' gradients at one size."""
    sums = [run.checksum for run in runs if run.checksum]
    return max(abs(a - b) for one in sums for a, b in zip(one, sums[-1], strict=True)) / sums[-1][0] if sums else 0.0


def ratio(a: Run, b: Run) -> float | None:
    """How many times as long a takes as b; None where one of them was not measured."""
    return None if a.why or b.why else a.voxel / b.voxel


def table(sizes: Sequence[Sequence[Run]]) -> None:
    """A line per size; "-" where a way was not measured."""
    heads = [f"{w} ns" for w in WAYS], ["streamed/plain", "one tile/plain"], [f"{w} MiB" for w in WAYS]
    print("\n" + sizes[0][0].network + ": ns per voxel and evaluation, medians; peaks above the imports")
    print(f"{'size':>5s}" + "".join(f"{head:>16s}" for group in heads for head in group))
    for runs in sizes:
        plain, one, streamed = runs
        cells = ["-" if run.why else f"{run.voxel:.0f}" for run in runs]
        cells += ["-" if r is None else f"{r:.3f}" for r in (ratio(streamed, plain), ratio(one, plain))]
        cells += ["-" if run.why else f"{run.peak / MIB:.0f}" for run in runs]
        print(f"{plain.size:5d}" + "".join(f"{cell:>16s}" for cell in cells))


def verdict(what: str, value: float | None, target: float) -> None:
    """One line: met, MISSED, or not measured."""
    if value is None:
        print(f"  {what}: not measured (target {target:g})")
    else:
        print(f"  {what}: {value:.4g} (target {target:g}) {'met' if value <= target else 'MISSED'}")


def judge(sizes: Sequence[Sequence[Run]]) -> None:
    """The verdicts of one network."""
    streamed = [runs[2].voxel for runs in sizes if runs[2].size >= FLAT_FROM and not runs[2].why]
    against = [[r for runs in sizes if (r := ratio(runs[i], runs[0])) is not None] for i in (2, 1)]
    if sizes[0][0].network == "image":
        both = [(runs[2], other) for runs in sizes for other in runs[:2] if not runs[2].why and not other.why]
        verdict(
            "streamed/in memory, time, the worse one",
            max((a.voxel / b.voxel for a, b in both), default=None),
            IMAGE_TIME,
        )
        verdict(
            "streamed/in memory, peak, the worse one", max((a.peak / b.peak for a, b in both), default=None), IMAGE_PEAK
        )
    else:
        flat = max(streamed) / min(streamed) if len(streamed) > 1 else None
        verdict(f"flatness: slowest/fastest streamed voxel from {FLAT_FROM} on", flat, FLAT)
        verdict("worst streamed/plain", max(against[0], default=None), STREAMED)
    verdict("worst one tile/plain", max(against[1], default=None), ONE_TILE)
    verdict("worst difference between the ways' gradients", max(off(runs) for runs in sizes), SAME)
    for run in (run for runs in sizes for run in runs if run.why.startswith("failed")):
        print(f"  {run.size} {run.way}: {run.why.upper()}")


def write(path: Path, runs: Sequence[Run], errors: dict[str, float], tile: dict[str, int]) -> None:
    """Every run with its seconds, its peak, and what it ran on."""
    here = [machine(), "cpu", torch.__version__, datetime.date.today().isoformat()]
    header = ["network", "size", "way", "tile", "median_s", "ns_per_voxel", "peak_bytes", "ready_bytes"]
    header += ["estimate_bytes", "seconds", "gradient_error", "not_measured", "machine", "device", "torch", "date"]
    rows = []
    for run in runs:
        times = [f"{median(run.seconds):.4f}", f"{run.voxel:.1f}", run.peak, run.ready] if run.seconds else [""] * 4
        each = " ".join(f"{s:.4f}" for s in run.seconds)
        edge = tile[run.network] if run.way == "streamed" else ""
        start = [run.network, run.size, run.way, edge, *times, run.estimate or "", each]
        rows.append([*start, f"{errors[run.network]:.1e}", run.why, *here])
    save(path, header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 192, 256, 320])
    parser.add_argument("--networks", nargs="*", choices=("small", "vgg"), default=["small", "vgg"])
    parser.add_argument("--image", type=int, nargs="?", const=1280, help="the image too, of this edge (1280)")
    parser.add_argument("--tile", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/bench/streaming.csv"))
    arguments = parser.parse_args()
    sizes = dict.fromkeys(arguments.networks, arguments.sizes)
    tile = dict.fromkeys(sizes, arguments.tile)
    if arguments.image:
        sizes["image"], tile["image"] = [arguments.image], arguments.image // 6
    errors = pass_gates(sizes)
    started = time.perf_counter()
    done: dict[str, list[list[Run]]] = {network: [] for network in sizes}
    for network, edges in sizes.items():
        for size in edges:
            done[network].append(at_size(network, size, tile[network], arguments.repeats, started))
            write(arguments.out, [run for all_ in done.values() for runs in all_ for run in runs], errors, tile)
    for found in done.values():
        table(found)
        judge(found)
    print(f"{machine()}; rows in {arguments.out}")
    if any(run.why.startswith("failed") for all_ in done.values() for runs in all_ for run in runs):
        raise SystemExit("some runs failed, see above")


if __name__ == "__main__":
    main()
