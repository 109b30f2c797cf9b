"""Mutations of valid files, each given to the command line: `python tests/fuzz/fuzzing.py --count 3000 --seed 1`.

Allowed: exit code 0 with an output that can be read, or 2 or 3 with no output. Not allowed: another code, a traceback,
more than 10 seconds, more than 1 GiB of memory above what the process had, anything left behind.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import soundfile
from PIL import Image

SECONDS, BYTES = 10, 1 << 30
ALLOWED_WITHOUT = (2, 3)
SMALL = ("--set", "extractor={name: random, channels: [4]}", "--set", "style_layers=[relu1]")
SMALL = (*SMALL, "--set", "content_layers=[relu1]", "--set", "scales=[1]", "--set", "method=features")
SMALL = (*SMALL, "--iterations", "1", "--quiet")


@dataclass(frozen=True)
class Seed:
    """A valid job. victim: the file that is mutated; words: of the command line; out: what it writes."""

    victim: str
    words: tuple[str, ...]
    out: str


def make_seeds(folder: Path) -> list[Seed]:
    """Valid files of each kind in a folder, and the jobs that use them."""
    rng = np.random.default_rng(0)
    with contextlib.chdir(folder):
        for name, size in (("c.png", (20, 24, 3)), ("s.png", (20, 24, 3)), ("gray.png", (20, 24))):
            Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(name)
        Image.fromarray(rng.integers(0, 256, (20, 24), dtype=np.uint8)).convert("P").save("palette.png")
        Image.fromarray(rng.integers(0, 65536, (20, 24), dtype=np.uint16)).save("deep.png")
        for name, kind in (("c.wav", "PCM_16"), ("s.wav", "PCM_16"), ("f.wav", "FLOAT"), ("p.wav", "PCM_24")):
            soundfile.write(name, rng.normal(0, 0.1, (600, 2 if name == "p.wav" else 1)), 8000, kind)
        for name in ("c.nii", "s.nii", "c.nii.gz"):
            volume = nibabel.Nifti1Image(rng.normal(100, 30, (8, 9, 7)).astype(np.float32), np.eye(4))
            nibabel.save(volume, name)
        short = nibabel.Nifti1Image(rng.integers(-1000, 900, (8, 9, 7)).astype(np.int16), np.diag([1.0, 1.0, 2.0, 1.0]))
        short.header.set_slope_inter(2.0, -5.0)
        nibabel.save(short, "i.nii")
        for name in ("c", "s"):
            leads = rng.normal(0, 0.3, (300, 2))
            np.rint(1000.0 * leads).astype("<i2").tofile(f"{name}.dat")
            lines = [f"{name}.dat 16 1000(0)/mV 16 0 0 0 0 {lead}" for lead in ("I", "II")]
            Path(f"{name}.hea").write_text("\n".join([f"{name} 2 250 300", *lines]) + "\n")
            rows = [f"{k / 250:.3f},{a:.3f},{b:.3f}" for k, (a, b) in enumerate(leads)]
            Path(f"{name}.csv").write_text("\n".join(["time,I,II", *rows]) + "\n")
        Path("job.yaml").write_text(
            "content: c.png\nstyle: {path: s.png, weight: 0.5}\noutput: o.png\npreset: image\niterations: 1\n"
            "extractor: [{name: random, channels: [4], label: r}]\nstyle_layers: [relu1]\ncontent_layers: [relu1]\n"
            "scales: [1]\nseed: 7\nstyle_weight: 1.5e2\n"
        )
        Path("batch.yaml").write_text(
            "defaults: {style: s.png, iterations: 1, preset: image}\nmatrix: {seed: [1, 2]}\njobs:\n"
            '  - {content: c.png, output: "{content.stem}_{seed}.png"}\n'
        )

    def with_style(victim: str, style: str, suffix: str) -> Seed:
        return Seed(victim, ("stylize", victim, style, "-o", f"out{suffix}", *SMALL), f"out{suffix}")

    images = [with_style(name, "s.png", ".png") for name in ("c.png", "gray.png", "palette.png", "deep.png")]
    sounds = [with_style(name, "s.wav", ".wav") for name in ("c.wav", "f.wav", "p.wav")]
    volumes = [with_style(name, "s.nii", ".nii") for name in ("c.nii", "i.nii", "c.nii.gz")]
    style = Seed("s.nii", ("stylize", "c.nii", "s.nii", "-o", "out.nii", *SMALL), "out.nii")
    leads = [
        Seed(f"c.{end}", ("stylize", "c.hea", "s.hea", "-o", "out.hea", *SMALL), "out.hea") for end in ("hea", "dat")
    ]
    table = with_style("c.csv", "s.csv", ".csv")
    configs = [
        Seed("job.yaml", ("run", "job.yaml", "--out", "out", "--dry-run"), "out"),
        Seed("batch.yaml", ("run", "batch.yaml", "--out", "out", "--dry-run", "--quiet"), "out"),
    ]
    return [*images, *sounds, *volumes, style, *leads, *leads, table, table, *configs, *configs]


NUMBERS = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
)
MARKS = (",", ":", " ", "\n", "\t", "\r", '"', "#", ";", "-", "\ufeff")
WORDS = (
    *("nan", "inf", "-1", "0", "1e309", "99999999999999999999", "1e-320", "-0.0", "''", "~", "null", "true", "yes"),
    *("../../x", "/etc/passwd", "{", "}", "[", "]", "&a", "*a", "!!python/name:os.system", "é\u202e", "\x00", "c.png"),
)


def mutated(data: bytes, draw: random.Random, text: bool) -> bytes:
    """One to four changes of a file."""
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        data = (_text if text and draw.random() < 0.8 else _bytes)(data, draw)
    return data


def mutated_inside(victim: Path, data: bytes, draw: random.Random) -> bytes:
    """As mutated, under checksums and compression that hold: otherwise these are all that is ever looked at."""
    if victim.suffix == ".gz":
        return gzip.compress(mutated(gzip.decompress(data), draw, False), 1)
    chunks = []
    place = 8
    while place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + size]))
        place += 12 + size
    at = draw.randrange(len(chunks))
    name, body = chunks[at]
    if name == b"IDAT":
        body = zlib.compress(mutated(zlib.decompress(body), draw, False))
    elif body:
        body = mutated(body, draw, False)
    change = draw.randrange(8)
    chunks[at : at + 1] = [] if change == 0 else [(name, body)] * (2 if change == 1 else 1)
    made = (len(b).to_bytes(4, "big") + n + b + zlib.crc32(n + b).to_bytes(4, "big") for n, b in chunks)
    return data[:8] + b"".join(made)


def _bytes(data: bytes, draw: random.Random) -> bytes:
    if not data:
        return bytes(draw.randrange(256) for _ in range(draw.randrange(64)))
    # headers are where it matters
    at = draw.randrange(min(len(data), draw.choice((64, 400, len(data)))))
    many = draw.choice((1, 2, 4, 8, 64, 400))
    other = draw.randrange(len(data))
    changes: tuple[Callable[[], bytes], ...] = (
        lambda: data[:at],
        lambda: data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :],
        lambda: data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :],
        lambda: _over(data, at, draw.choice(NUMBERS)),
        lambda: _over(data, at, draw.choice(NUMBERS)),
        lambda: data[:at] + data[at + many :],
        lambda: data[:at] + bytes(many) + data[at:],
        lambda: data[:at] + data[other : other + many] + data[at:],
        lambda: _over(data, at, data[other : other + many]),
        lambda: data + data[at : at + many],
    )
    return draw.choice(changes)()


def _over(data: bytes, at: int, other: bytes) -> bytes:
    return data[:at] + other + data[at + len(other) :]


def _text(data: bytes, draw: random.Random) -> bytes:
    said = data.decode("utf-8", "surrogateescape")
    lines = said.split("\n")
    at = draw.randrange(len(lines))
    tokens = list(re.finditer(r"[\w.+-]+", said))
    change = draw.randrange(6)
    if change < 3 and tokens:
        token = draw.choice(tokens)
        said = said[: token.start()] + draw.choice(WORDS) + said[token.end() :]
    elif change == 3:
        said = "\n".join(lines[:at] + lines[at + 1 :])
    elif change == 4:
        said = "\n".join([*lines[: at + 1], *lines[at:]])
    else:
        place = draw.randrange(len(said) + 1)
        said = said[:place] + draw.choice(MARKS) + said[place:]
    return said.encode("utf-8", "surrogateescape")


@dataclass
class Case:
    """What a mutation led to; wrong: why that is not allowed, "" where it is."""

    number: int
    seed: Seed
    status: int | None
    said: str
    seconds: float
    wrong: str


def cases(count: int, seed: int, folder: Path, *, through: str = "process") -> Iterator[Case]:
    """Mutations 0 .. count - 1 of a seed, each in a fresh folder. through: this process, or a command of its own."""
    inside = folder / "seeds"
    inside.mkdir()
    seeds = make_seeds(inside)
    call = _in_process if through == "process" else _in_another
    for valid in dict.fromkeys(seeds):
        place = folder / "case"
        shutil.copytree(inside, place)
        status, said, _ = call(valid.words, place)
        assert status == 0, f"{valid}: {status} {said}"
        shutil.rmtree(place)
    for number in range(count):
        draw = random.Random(f"{seed} {number}")
        chosen = draw.choice(seeds)
        place = folder / "case"
        shutil.copytree(inside, place)
        victim = place / chosen.victim
        text = victim.suffix in (".csv", ".yaml", ".hea")
        if victim.suffix in (".png", ".gz") and draw.random() < 0.7:
            victim.write_bytes(mutated_inside(victim, victim.read_bytes(), draw))
        else:
            victim.write_bytes(mutated(victim.read_bytes(), draw, text))
        before = {path.name for path in place.iterdir()}
        started = time.monotonic()
        status, said, grown = call(chosen.words, place)
        seconds = time.monotonic() - started
        wrong = _wrong(status, said, seconds, grown, place, before, chosen)
        yield Case(number, chosen, status, said, seconds, wrong)
        if not wrong:
            shutil.rmtree(place)
        else:
            shutil.move(place, folder / f"wrong-{number}")


def _wrong(status: int | None, said: str, seconds: float, grown: int, place: Path, before: set[str], seed: Seed) -> str:
    from nst_nd.io import load

    if status is None:
        return f"more than {SECONDS} s"
    if "Traceback" in said:
        return "a traceback"
    if grown > BYTES:
        return f"{grown >> 20} MiB more"
    new = {path.name for path in place.iterdir()} - before
    if status in ALLOWED_WITHOUT:
        return f"left {sorted(new)}" if new else ""
    if status != 0:
        return f"exit code {status}"
    if seed.words[0] == "stylize":
        try:
            load(place / seed.out)
        except Exception as error:
            return f"an output that cannot be read: {error}"
    return ""


class _TooLong(BaseException):
    pass


def _in_process(words: tuple[str, ...], place: Path) -> tuple[int | None, str, int]:
    from nst_nd.cli.main import main
    from nst_nd.engine.memory import peak_resident, resident

    def alarm(number: int, frame: object) -> None:
        raise _TooLong

    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident()
    said = io.StringIO()
    old = signal.signal(signal.SIGALRM, alarm)
    signal.alarm(SECONDS)
    status: int | None = 1
    try:
        with contextlib.chdir(place), contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            main(list(words))
    except SystemExit as left:
        status = int(left.code or 0)
    except _TooLong:
        status = None
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    return status, said.getvalue(), peak_resident() - before


def _in_another(words: tuple[str, ...], place: Path) -> tuple[int | None, str, int]:
    command = [sys.executable, "-m", "nst_nd", *words]
    try:
        # the import takes seconds by itself
        ran = subprocess.run(command, cwd=place, capture_output=True, timeout=6 * SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return None, "", 0
    return ran.returncode, (ran.stdout + ran.stderr).decode("utf-8", "replace"), 0


def main() -> None:
    """Say what was not allowed, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--through", choices=("process", "command"), default="process")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    counts: dict[str, int] = {}
    wrong = 0
    for case in cases(arguments.count, arguments.seed, folder, through=arguments.through):
        key = f"{Path(case.seed.victim).suffix} {case.status}"
        counts[key] = counts.get(key, 0) + 1
        if case.wrong:
            wrong += 1
            print(f"{case.number} {case.seed.victim}: {case.wrong}\n    {case.said.strip()[:600]}", flush=True)
    print({key: counts[key] for key in sorted(counts)})
    print(f"{arguments.count} mutations, {wrong} not as they should be" + (f", kept in {folder}" if wrong else ""))
    if not wrong:
        shutil.rmtree(folder)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
