"""All benchmarks of speed, memory and time to quality, one after the other, and a page of what they found.

    python benchmarks/suite.py [--only evaluation steps ...] [--page] [--out results/bench]

Each is a program of its own with its own gates; one that fails is named on the page and at the end, and the others go
on. --page: no measuring, the page alone, from the tables that are there. The page is one file with its pictures inside.
Takes two hours or so and wants a quiet machine.
"""

from __future__ import annotations

import argparse
import base64
import csv
import html
import io
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Picture:
    """Bars of one column of a table. value: the column; label: columns that name a bar; only: (column, its value).

    low, high: columns of quantiles. bound: what is asked for, at most (at least, for higher).
    """

    title: str
    value: str
    label: tuple[str, ...]
    only: tuple[str, str] | None = None
    low: str = ""
    high: str = ""
    bound: float | None = None
    logarithmic: bool = False


@dataclass(frozen=True)
class Benchmark:
    """A program beside this one, and what to draw of its table."""

    name: str
    what: str
    words: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()


_EVALUATION = ("size", "pooling")
SUITE = (
    Benchmark(
        "evaluation",
        "one evaluation of the classic objective on an image",
        pictures=(
            Picture("over a plain program", "median", _EVALUATION, ("figure", "over plain"), "q20", "q80", 0.85),
            Picture("over its bare convolutions", "median", _EVALUATION, ("figure", "over bare"), "q20", "q80", 1.1),
        ),
    ),
    Benchmark(
        "steps",
        "whole steps of volumes and sounds over their bare networks",
        pictures=(Picture("a step over", "median", ("case", "size", "over"), None, "q20", "q80"),),
    ),
    Benchmark(
        "time_to_quality",
        "time to the loss that plain L-BFGS has after 250 evaluations",
        pictures=(Picture("share of the plain run's time", "ratio", ("pair", "size"), bound=0.5),),
    ),
    Benchmark(
        "ideas",
        "what each idea buys, one more in each row",
        pictures=(Picture("time to the first row's loss", "ratio", ("case", "idea")),),
    ),
    Benchmark(
        "start",
        "from the start of a process to its first evaluation, torch's import not counted",
        pictures=(Picture("seconds", "median", ("when",), None, "q20", "q80", 2.0),),
    ),
    Benchmark(
        "precision",
        "what each precision loses against float64",
        pictures=(
            Picture("error of the gradient", "gradient_error", ("network", "axes", "precision"), logarithmic=True),
        ),
    ),
    Benchmark(
        "report_opening",
        "reports: megabytes, and seconds to open them in headless chromium",
        pictures=(
            Picture("seconds", "median", ("page",), None, "q20", "q80", 2.0),
            Picture("megabytes", "megabytes", ("page",), bound=15.0),
        ),
    ),
    Benchmark("streaming", "tiles against everything at once: time and memory", ("--image",)),
    Benchmark("processes", "peak memory of two processes against one"),
    Benchmark("workers", "jobs per second of two workers against one"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[b.name for b in SUITE], default=[b.name for b in SUITE])
    parser.add_argument("--page", action="store_true", help="the page alone")
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    arguments = parser.parse_args()
    failed: list[str] = []
    for benchmark in SUITE:
        if not arguments.page and benchmark.name in arguments.only:
            failed += [] if measured(benchmark, arguments.out) else [benchmark.name]
    page = arguments.out / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(page_of(arguments.out, failed), encoding="utf-8")
    print(f"{page}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def measured(benchmark: Benchmark, out: Path) -> bool:
    print(f"\n{benchmark.name}: {benchmark.what}", flush=True)
    started = time.perf_counter()
    words = [str(HERE / f"{benchmark.name}.py"), *benchmark.words, "--out", str(out / f"{benchmark.name}.csv")]
    status = subprocess.run([sys.executable, *words], check=False).returncode
    print(f"{benchmark.name}: {'done' if status == 0 else 'FAILED'} after {time.perf_counter() - started:.0f} s")
    return status == 0


def page_of(out: Path, failed: Sequence[str]) -> str:
    parts = []
    for benchmark in SUITE:
        file = out / f"{benchmark.name}.csv"
        said = f"<h2>{benchmark.name}</h2><p>{html.escape(benchmark.what)}</p>"
        if benchmark.name in failed:
            said += "<p class=bad>It failed: what stands here is of an earlier run.</p>"
        if not file.is_file():
            parts.append(f"<section>{said}<p>Not measured.</p></section>")
            continue
        with file.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        pictures = "".join(drawn(picture, rows) for picture in benchmark.pictures)
        parts.append(f"<section>{said}{pictures}{table(rows)}</section>")
    return PAGE.format(when=time.strftime("%Y-%m-%d"), parts="\n".join(parts))


def drawn(picture: Picture, rows: Sequence[dict[str, str]]) -> str:
    """An <img> of bars."""
    chosen = [r for r in rows if picture.only is None or r[picture.only[0]] == picture.only[1]]
    if not chosen:
        return ""
    names = [" ".join(r[column] for column in picture.label) for r in chosen]
    values = [float(r[picture.value] or "nan") for r in chosen]
    figure, axes = plt.subplots(figsize=(7.0, 0.9 + 0.32 * len(values)), layout="constrained")
    error = None
    if picture.low:
        low, high = ([float(r[column]) for r in chosen] for column in (picture.low, picture.high))
        error = [[v - a for v, a in zip(values, low, strict=True)], [b - v for v, b in zip(values, high, strict=True)]]
    axes.barh(names, values, color="#4878a8", xerr=error, ecolor="#222222", capsize=3)
    axes.invert_yaxis()
    if picture.logarithmic:
        axes.set_xscale("log")
    if picture.bound is not None:
        axes.axvline(picture.bound, color="#b03030", linestyle="--")
        axes.text(picture.bound, -0.55, f" asked: {picture.bound:g}", color="#b03030", va="bottom", fontsize=8)
    axes.set_xlabel(picture.title)
    axes.spines[["top", "right"]].set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    plt.close(figure)
    words = "; ".join(f"{name} {value:.3g}" for name, value in zip(names, values, strict=True))
    encoded = base64.b64encode(stream.getvalue()).decode()
    return f'<img alt="{html.escape(f"{picture.title}: {words}", quote=True)}" src="data:image/png;base64,{encoded}">'


def table(rows: Sequence[dict[str, str]]) -> str:
    """All columns but the machine, which is said once, before them, where it is the same everywhere."""
    machines = {r.get("machine", "") for r in rows}
    columns = [c for c in rows[0] if c != "machine" or len(machines) > 1]
    head = "".join(f"<th scope=col>{html.escape(c)}</th>" for c in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(r[c])}</td>" for c in columns) + "</tr>" for r in rows)
    where = f"<p>{html.escape(machines.pop())}</p>" if len(machines) == 1 else ""
    return f"{where}<details><summary>table</summary><table><tr>{head}</tr>{body}</table></details>"


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>nst_nd benchmarks</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }}
img {{ max-width: 100%; display: block; background: #fff; }}
table {{ border-collapse: collapse; font-size: 0.85rem; }}
td, th {{ border-bottom: 1px solid #ccc; padding: 0.2rem 0.6rem; text-align: left; }}
.bad {{ color: #b03030; }}
details {{ overflow-x: auto; }}
</style></head><body><main><h1>nst_nd benchmarks</h1>
<p>{when}. Ratios compare runs of one call of a program on one machine; where bars have whiskers, they are medians of
runs in turn, with 20 and 80 %.</p>
{parts}
</main></body></html>
"""


if __name__ == "__main__":
    raise SystemExit(main())
