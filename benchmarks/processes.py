"""Peak memory of each of two gloo processes against that of one, on one job with the same tiles.

    python benchmarks/processes.py [--size 384 320 320] [--preset ct] [--edge 48] [--iterations 3] [--processes 2]

The job is a whole transfer of a synthetic CT-like volume (see large_volume.py): loading, preparing, targets, L-BFGS
steps, the result. Its plan is fixed beforehand and the same for all: tiles of one edge, everything else in memory and
none of it in scratch files, so that what is measured is what processes share out. Peaks are resident memory above what
the imports took; the ratio is that of the largest process to the single one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import machine, save
from large_volume import phantom
from streaming import verdict

TARGET = 0.6
MIB = 2**20

_CHILD = """
import json, os, sys, time
sys.path.insert(0, sys.argv[1])
import processes
processes.measure(json.loads(sys.argv[2]))
"""


def measure(words: dict[str, object]) -> None:
    """What each process does: the transfer, and one line of JSON in a file of its own."""
    from nst_nd.domains import transfer as transfers
    from nst_nd.domains.domain import Style
    from nst_nd.domains.stylize import transfer
    from nst_nd.engine.launch import joined
    from nst_nd.engine.memory import peak_resident, resident, return_large_blocks, trim
    from nst_nd.engine.plan import tiled_plan
    from nst_nd.io import load

    return_large_blocks()
    # the plan that all ways have in common
    transfers.make_plan = lambda demand, _: tiled_plan(demand, words["edge"])
    with joined("cpu") as team:
        trim()
        imports = resident()
        started = time.perf_counter()
        settings = {"preset": words["preset"], "iterations": words["iterations"], "scales": [1], "device": "cpu"}
        content, style = load("content.nii"), load("style.nii")
        result = transfer(content, [Style(style)], settings=settings, team=team)
        losses = [step.loss for step in result.history] if result is not None else []
        found = {"peak": peak_resident() - imports, "seconds": time.perf_counter() - started, "losses": losses}
        Path(f"{team.count}.{team.rank}.json").write_text(json.dumps(found))


def run(folder: Path, count: int, words: dict[str, object]) -> list[dict[str, object]]:
    """What the processes said of themselves."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"] if count > 1 else []
    child = folder / "child.py"
    child.write_text(_CHILD)
    command = [sys.executable, *launcher, str(child), str(Path(__file__).parent), json.dumps(words)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    subprocess.run(command, cwd=folder, env=environment, check=True)
    return [json.loads((folder / f"{count}.{rank}.json").read_text()) for rank in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=(384, 320, 320))
    parser.add_argument("--preset", default="ct")
    parser.add_argument("--edge", type=int, default=48, help="of the tiles")
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/bench/processes.csv"))
    arguments = parser.parse_args()
    words = {"preset": arguments.preset, "edge": arguments.edge, "iterations": arguments.iterations}
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder, size = Path(name), tuple(arguments.size)
        phantom(size, (0.7, 0.7, 0.7), 0, True, folder / "content.nii")
        phantom((128, 128, 64), (0.7, 0.7, 0.7), 1, False, folder / "style.nii")
        found = {count: run(folder, count, words) for count in (1, arguments.processes)}
    for count, members in found.items():
        for rank, member in enumerate(members):
            print(f"{count} processes, {rank}: peak {member['peak'] / MIB:.0f} MiB, {member['seconds']:.0f} s")
            rows.append(["x".join(map(str, size)), arguments.preset, arguments.edge, count, rank, member["peak"]])
            rows[-1] += [f"{member['seconds']:.1f}", time.strftime("%Y-%m-%d"), machine()]
    save(
        arguments.out,
        ["size", "preset", "edge", "processes", "rank", "peak_bytes", "seconds", "date", "machine"],
        rows,
    )
    one, two = found[1][0], found[arguments.processes]
    first = [members[0]["losses"] for members in found.values()]
    verdict("the first loss, relative difference", abs(first[0][0] - first[1][0]) / first[0][0], 1e-5)
    verdict(f"largest of {arguments.processes} processes/one, peak", max(m["peak"] for m in two) / one["peak"], TARGET)
    print(f"rows in {arguments.out}")


if __name__ == "__main__":
    main()
