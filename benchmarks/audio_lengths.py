"""Minutes of sound in bounded memory: nanoseconds per sample and step, and peaks, from 5 s to 5 min of stereo.

    python benchmarks/audio_lengths.py [--seconds 5 20 60 300] [--max-memory 3GiB] [--steps 4]

The whole default preset on 44.1 kHz stereo, made of noise and tones from a seed, each length in a process of its own:
`nst_nd.stylize` with --max-memory. A step's time is the median between the callbacks of two steps; the peak is of the
whole process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from common import machine, save

RATE = 44100.0


def sound(seconds: float, seed: int) -> np.ndarray:
    """[2, time]: noise of changing loudness, and a few tones."""
    draw = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    swell = 1.0 + 0.8 * np.sin(2 * np.pi * (0.7 + seed) * t)
    data = 0.05 * swell * draw.standard_normal((2, t.size))
    for hertz in (110.0, 441.0 + 50 * seed, 2500.0):
        data += 0.05 * np.sin(2 * np.pi * hertz * t)
    return data.astype(np.float32)


def measure(seconds: float, max_memory: str, steps: int) -> None:
    """In a process of its own: one line of numbers."""
    from nst_nd import Grid, Sample, stylize
    from nst_nd.engine.memory import peak_resident

    grid = Grid((1.0 / RATE,), "s", RATE)
    content, style = (Sample(sound(s, i), "audio", "full scale", grid) for i, s in enumerate((seconds, 5.0)))
    times = [time.perf_counter()]
    stylize(
        content,
        style,
        iterations=steps,
        max_memory=max_memory,
        on_step=lambda _: times.append(time.perf_counter()),
    )
    print(median(np.diff(times)[1:]), peak_resident())


def main() -> None:
    """One row per length."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0, 20.0, 60.0, 300.0])
    parser.add_argument("--max-memory", default="3GiB")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--one", action="store_true", help="measure here, and print two numbers")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    arguments = parser.parse_args()
    if arguments.one:
        measure(arguments.seconds[0], arguments.max_memory, arguments.steps)
        return
    rows = []
    for seconds in arguments.seconds:
        command = [sys.executable, __file__, "--one", "--seconds", str(seconds), "--steps", str(arguments.steps)]
        done = subprocess.run(
            [*command, "--max-memory", arguments.max_memory], capture_output=True, text=True, check=True
        )
        step, peak = map(float, done.stdout.split())
        each = 1e9 * step / (2 * seconds * RATE)
        print(f"{seconds:6.0f} s   {step:8.2f} s a step   {each:7.0f} ns per sample   peak {peak / 2**20:6.0f} MiB")
        rows.append([seconds, arguments.max_memory, f"{step:.3f}", f"{each:.0f}", f"{peak / 2**20:.0f}", machine()])
    found = [float(row[3]) for row in rows]
    print(f"slowest over fastest sample: {max(found) / min(found):.2f}")
    save(arguments.out, ["seconds", "max_memory", "step_s", "ns_per_sample", "peak_mib", "machine"], rows)


if __name__ == "__main__":
    main()
