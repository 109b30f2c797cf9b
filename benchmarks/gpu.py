"""The moments kernels on a GPU: is it right, how long does it take, and how far is it from what the GPU can do.

    python benchmarks/gpu.py [--repeats 50] [--peaks 3.35e12 495e12 989e12]
    python benchmarks/gpu.py --floors

Correct first: against float64 in torch, or nothing is timed. Then CUDA events, the caches flushed before each run,
medians and 20 and 80 % quantiles, beside what a user of torch would write (a matrix product per pass, `addmm` back) at
the same precision, and the floor.

The floor is the larger of bytes / bandwidth and operations / rate. Forward, features are read once (C N of them), and
C (C + 1) / 2 products of N are made, 2 operations each; backward they are read once, the gradient is read and written,
and C^2 products of N are made. float32 takes three TF32 products for one. `--floors` prints that table alone, for any
machine; --peaks: bytes per second, and operations per second of TF32 and of 16 bits (an H100 SXM without
sparsity, NVIDIA's data sheet).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import machine, save
from torch import Tensor

from nst_nd.kernels import moments_torch

# C and N: VGG-19's taps at 1024^2, a small network on 256^3, and what one channel or an odd number of them costs
SHAPES = (
    (64, 1 << 20),
    (128, 1 << 18),
    (256, 1 << 16),
    (512, 1 << 14),
    (512, 1 << 12),
    (16, 1 << 24),
    (1, 1 << 24),
    (67, 99_991),
)
KINDS = ((torch.float32, "float32"), (torch.float32, "tf32"), (torch.bfloat16, "float32"), (torch.float16, "float32"))
# of the norm; see tests/core/test_moments_kernels.py
GATES = {"float32": 1e-5, "tf32": 5e-3, "bfloat16": 3e-2, "float16": 3e-3}
PEAKS = (3.35e12, 495e12, 989e12)
FLUSH = 1 << 28


def label(dtype: torch.dtype, precision: str) -> str:
    """Of a kind, as rows say it."""
    return precision if dtype == torch.float32 else str(dtype).removeprefix("torch.")


def floors(channels: int, positions: int, kind: str, peaks: tuple[float, ...]) -> dict[str, tuple[float, str]]:
    """Seconds of each direction at least, and what bounds it."""
    bandwidth, tf32, half = peaks
    size = 2 if kind in ("bfloat16", "float16") else 4
    rate = {"float32": tf32 / 3, "tf32": tf32}.get(kind, half)
    found = {}
    for name, passes, products in (("forward", 1, channels * (channels + 1) / 2), ("backward", 3, channels**2)):
        read = passes * size * channels * positions / bandwidth
        worked = 2 * products * positions / rate
        found[name] = max((read, "bytes"), (worked, "operations"))
    return found


def timed(call: Callable[[], object], repeats: int) -> np.ndarray:
    """Seconds of each run by CUDA events, with a cold second-level cache."""
    flush = torch.empty(FLUSH, dtype=torch.uint8, device="cuda")
    call()
    found = []
    for _ in range(repeats):
        flush.zero_()
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        stop.record()
        stop.synchronize()
        found.append(start.elapsed_time(stop) / 1e3)
    return np.array(found)


def distance(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


def measure(
    channels: int, positions: int, dtype: torch.dtype, precision: str, innermost: bool, repeats: int
) -> list[list[object]]:
    """Rows of one shape: direction, seconds of the kernel and of torch. Ends the program where a result is wrong."""
    from nst_nd.kernels import moments_triton

    generator = torch.Generator("cuda").manual_seed(channels + positions)
    features = torch.randn(channels, positions, generator=generator, device="cuda").to(dtype)
    if innermost:
        features = features.T.contiguous().T
    at_outer = torch.randn(channels, channels, generator=generator, device="cuda", dtype=torch.float64)
    both = (at_outer + at_outer.T).to(dtype)
    grad = torch.zeros_like(features)

    def forward() -> Tensor:
        return moments_triton.moments(features, None, None, with_sum=False, precision=precision)[2]  # type: ignore[arg-type]

    def backward() -> Tensor:
        return moments_triton.moments_vjp(features, None, None, None, at_outer, grad, precision=precision)  # type: ignore[arg-type]

    exact = moments_torch.moments(features.double(), None, None, with_sum=False)[2]
    exact_back = moments_torch.moments_vjp(features.double(), None, None, None, at_outer, None)
    kind = label(dtype, precision)
    for name, found, wanted in (("forward", forward(), exact), ("backward", backward(), exact_back)):
        error = distance(found, wanted)
        if not error < GATES[kind]:
            raise SystemExit(f"{name} {kind} {channels} x {positions}: off by {error:.1e}, allowed {GATES[kind]:.0e}")
    if not torch.equal(forward(), forward()):
        raise SystemExit(f"{kind} {channels} x {positions}: two runs differ")
    del exact, exact_back
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    calls = {
        "forward": (forward, lambda: features @ features.T),
        "backward": (backward, lambda: grad.addmm_(both, features)),
    }
    return [[name, *(timed(call, repeats) for call in pair)] for name, pair in calls.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--peaks", type=float, nargs=3, default=PEAKS)
    parser.add_argument("--floors", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("results/bench/gpu.csv"))
    arguments = parser.parse_args()
    if not arguments.floors and not torch.cuda.is_available():
        raise SystemExit("no GPU here; --floors prints what one could do")
    here = "" if arguments.floors else f"{torch.cuda.get_device_name()}; {machine()}"
    rows: list[list[object]] = []
    for channels, positions in SHAPES:
        for dtype, precision in KINDS:
            kind = label(dtype, precision)
            least = floors(channels, positions, kind, tuple(arguments.peaks))
            for name, (floor, bound) in least.items():
                print(f"{channels:4d} x {positions:<9d} {kind:9s} {name:9s} floor {1e6 * floor:9.1f} us ({bound})")
            if arguments.floors:
                continue
            for innermost in (False, True):
                for name, ours, torchs in measure(channels, positions, dtype, precision, innermost, arguments.repeats):
                    low, median, high = 1e6 * np.quantile(ours, (0.2, 0.5, 0.8))
                    plain, floor = 1e6 * np.median(torchs), 1e6 * least[name][0]
                    rows.append([channels, positions, kind, innermost, name, low, median, high, plain, floor, here])
                    where = "innermost" if innermost else "outermost"
                    print(
                        f"  {name:9s} {where} {median:9.1f} us ({low:.1f}-{high:.1f}), torch {plain:.1f}, "
                        f"{median / floor:.2f} times the floor"
                    )
    if rows:
        header = [
            "C",
            "N",
            "kind",
            "innermost",
            "direction",
            "q20_us",
            "median_us",
            "q80_us",
            "torch_us",
            "floor_us",
            "machine",
        ]
        save(arguments.out, header, rows)
        print(f"rows in {arguments.out}")


if __name__ == "__main__":
    main()
