"""A batch of twelve jobs of every kind, killed twenty times."""

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

from batch_files import TWELVE, events, results, run, words

KILLS = 20
LATEST = 5.0


def complete(out):
    """Names of outputs whose sidecar says that they are done, and lies there whole."""
    found = set()
    for sidecar in out.rglob("*.json"):
        output = sidecar.with_suffix("")
        if ".nst-nd" in sidecar.parts or not output.is_file():
            continue
        told = json.loads(sidecar.read_text())
        if told["status"] == "done" and told["output"]["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest():
            found.add(str(output.relative_to(out)))
    return found


def test_killed_twenty_times_it_ends_as_if_it_had_not_been(here):
    (here / "twelve.yaml").write_text(TWELVE)
    assert run(here, "run", "twelve.yaml", "--out", "whole", "--quiet").returncode == 0
    wanted = results(here / "whole")
    assert len(wanted) == 12
    moments, out = random.Random(5), here / "out"
    finished: dict[str, int] = {}
    for _ in range(KILLS):
        process = subprocess.Popen(
            words("run", "twelve.yaml", "--out", "out", "--quiet"), cwd=here, start_new_session=True
        )
        try:
            process.wait(moments.uniform(0.2, LATEST))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if out.is_dir():
            log = events(out) if (out / ".nst-nd" / "events.jsonl").is_file() else []
            for name in complete(out):
                finished.setdefault(name, len(log))
    last = run(here, "run", "twelve.yaml", "--out", "out")
    assert last.returncode == 0, last.stderr
    assert results(out) == wanted
    log = events(out)
    for name, known in finished.items():
        again = [event for event in log[known:] if event.get("name") == name and event["event"] == "running"]
        assert not again, f"{name} was computed again after it was finished"
    own = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    stray = own - set(wanted) - {f"{name}.json" for name in wanted}
    assert {p.split("/")[0] for p in stray} == {".nst-nd"}
    assert {p.split("/", 1)[1] for p in stray} == {
        *("lock", "lock-parts", "manifest.sqlite", "events.jsonl", "workers.log")
    }


def test_workers_end_with_their_coordinator(here):
    (here / "twelve.yaml").write_text(TWELVE.replace("iterations: 12", "iterations: 4000"))
    process = subprocess.Popen(words("run", "twelve.yaml", "--out", "out", "--quiet"), cwd=here)
    try:
        until = time.monotonic() + 120
        # two of them; imports start other programs for a moment
        while time.monotonic() < until and len(workers := [p for p in children(process.pid) if is_worker(p)]) < 2:
            time.sleep(0.1)
        assert len(workers) == 2
    finally:
        process.kill()
        process.wait()
    while time.monotonic() < until and any(alive(pid) for pid in workers):
        time.sleep(0.1)
    assert not any(alive(pid) for pid in workers)


def is_worker(pid):
    try:
        return b"nst_nd.cli.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def children(pid):
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
