"""A volume of a batch that several processes do together."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from batch_files import SMALL_IMAGE, events, look, results, run, words
from test_killed import alive, children

from nst_nd.batch.executors import Task
from nst_nd.batch.expand import expand
from nst_nd.batch.group import Group
from nst_nd.batch.records import Record
from nst_nd.draft import read_yaml

TOGETHER = f"""
defaults: {{iterations: 4, seed: 3}}
jobs:
  - content: in/vol1.nii.gz
    style: in/vol0.nii.gz
    output: large.nii.gz
    processes: 2{SMALL_IMAGE}
  - content: in/img0.png
    style: in/img3.png
    output: small.png{SMALL_IMAGE}
"""


def family(pid):
    """All processes below this one."""
    below = children(pid)
    return [*below, *(far for near in below for far in family(near))]


def processes_of(process, count):
    """Of a run, once there are so many below it."""
    until = time.monotonic() + 60
    while time.monotonic() < until and len(family(process.pid)) < count:
        time.sleep(0.1)
    return family(process.pid)


def test_processes_together_in_a_batch_give_what_torchrun_gives(here):
    (here / "b.yaml").write_text(TOGETHER)
    looked = look(here, "run", "b.yaml", "--dry-run")
    assert looked.returncode == 0, looked.stderr
    assert "each of 2 processes" in looked.stdout
    ran = run(here, "run", "b.yaml", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["done"] == 2
    assert [e["name"] for e in events(here / "b") if e["event"] == "running"] == ["small.png", "large.nii.gz"]
    told = json.loads((here / "b" / "large.nii.gz.json").read_text())
    assert told["memory"]["processes"] == 2
    (here / "one.yaml").write_text(
        "content: in/vol1.nii.gz\nstyle: in/vol0.nii.gz\noutput: x.nii.gz\niterations: 4\nseed: 3\nprocesses: 2\n"
        "extractor: {name: random, channels: [8, 8]}\nstyle_layers: [relu1, relu2]\ncontent_layers: [relu2]\n"
    )
    alone = run(here, "run", "one.yaml", "--out", "alone")
    assert alone.returncode == 2
    assert "torchrun --nproc-per-node 2" in alone.stderr
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "nst_nd"]
    subprocess.run(
        [sys.executable, *launcher, "run", "one.yaml", "--out", "alone", "--quiet"],
        cwd=here,
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    here_, there = (np.asarray(nibabel.load(p).dataobj) for p in (here / "b/large.nii.gz", here / "alone/x.nii.gz"))
    np.testing.assert_allclose(here_, there, rtol=1e-4, atol=1e-3)
    before = results(here / "b")
    assert json.loads(run(here, "run", "b.yaml", "--json").stdout)["kept"] == 2
    assert results(here / "b") == before


def rank_of(pid):
    """Which of the processes of a job this is; None: torchrun, or too early to know."""
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return next((int(word[5:]) for word in words if word.startswith(b"RANK=")), None)


def at_work(here, process, name="large.nii.gz"):
    """Processes of the run by rank (None: torchrun), once they have written a checkpoint."""
    until = time.monotonic() + 120
    while not (here / "b" / f"{name}.ckpt").is_file():
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.1)
    return {rank_of(pid): pid for pid in family(process.pid)}


def started(here, *more):
    """The large job, long enough to be disturbed, with checkpoints every second."""
    (here / "b.yaml").write_text(TOGETHER.replace("iterations: 4", "iterations: 300"))
    environment = {**os.environ, "NST_ND_CHECKPOINT_SECONDS": "1"}
    return subprocess.Popen(
        words("run", "b.yaml", "--quiet", "--only", "large*", *more), cwd=here, env=environment, stderr=subprocess.PIPE
    )


def ended(process, seconds=200):
    """Exit code and what was said; no traceback."""
    said = process.communicate(timeout=seconds)[1].decode()
    assert "Traceback" not in said
    return process.returncode, said


def strays(here):
    """What is left of groups in the batch's own folder."""
    return [path.name for path in (here / "b" / ".nst-nd").glob("*") if path.name.startswith("task-")]


@pytest.mark.parametrize("rank", [None, 0, 1], ids=["torchrun", "first", "second"])
def test_one_of_them_killed_all_is_tried_again(here, rank):
    process = started(here)
    os.kill(at_work(here, process)[rank], signal.SIGKILL)
    assert ended(process)[0] == 0
    assert [e["event"] for e in events(here / "b") if "name" in e] == ["running", "running", "done"]
    told = json.loads((here / "b" / "large.nii.gz.json").read_text())
    assert any("went on from a checkpoint" in note for note in told["notes"])
    assert strays(here) == []


def test_what_stops_another_than_the_first_is_said(here):
    process = started(here)
    pid = at_work(here, process)[1]
    used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.prlimit(pid, resource.RLIMIT_AS, (used, used))
    code, _ = ended(process)
    failed = json.loads(look(here, "status", "b", "--json").stdout)["jobs"]
    assert code == 5
    assert [(job["error"][:13], job["exit_status"]) for job in failed] == [("out of memory", 4)]
    assert strays(here) == []


def test_a_task_of_any_length_and_one_without_a_device(here):
    labels = ", ".join(map(str, range(40000)))
    (here / "b.yaml").write_text(
        TOGETHER + "  - content: in/vol1.nii.gz\n    style: {path: in/vol0.nii.gz, labels: [" + labels + "]}\n"
        "    output: long.nii.gz\n    processes: 2\n"
        "  - {content: in/vol1.nii.gz, style: in/vol0.nii.gz, output: gpu.nii.gz, processes: 2, device: cuda}\n"
    )
    ran = run(here, "run", "b.yaml")
    assert ran.returncode == 5
    assert "Traceback" not in ran.stderr
    assert sorted(results(here / "b")) == ["large.nii.gz", "small.png"]
    failed = {job["name"]: job for job in json.loads(look(here, "status", "b", "--json").stdout)["jobs"]}
    assert "label" in failed["long.nii.gz"]["error"]
    if not torch.cuda.is_available():
        assert "device cuda is not available here" in failed["gpu.nii.gz"]["error"]
        assert failed["gpu.nii.gz"]["exit_status"] == 2
        looked = run(here, "run", "b.yaml", "--dry-run", "--executor", "slurm", "--only", "gpu*")
        assert looked.returncode == 0, looked.stderr


def test_what_keeps_them_from_coming_together_is_said(here):
    (here / "b.yaml").write_text(TOGETHER)
    # a worker that finds a GPU asked for and fewer of them than processes, as on a machine whose GPUs have gone
    (planned,) = [one for one in planned_of(here) if one.name == "large.nii.gz"]
    home = here / "home"
    home.mkdir()
    task = Task(planned.job.model_copy(update={"device": "cuda"}), Record("large.nii.gz", "running"), False)
    group = Group.started(home, task.words(), 2, cores=2)
    group.process.wait(120)
    found = group.failure()
    assert (found.state, found.exit_status) == ("failed", 2)
    assert "2 processes on this machine, which has" in found.error
    group.clear()
    group.process.stdin.close()
    assert list(home.iterdir()) == []


def planned_of(here):
    path = here / "b.yaml"
    return expand(path, read_yaml(path), here / "out", (), {})


def test_they_stop_when_asked_and_end_with_their_coordinator(here):
    (here / "b.yaml").write_text(TOGETHER.replace("iterations: 4", "iterations: 100000"))
    process = subprocess.Popen(words("run", "b.yaml", "--quiet", "--only", "large*"), cwd=here)
    below = processes_of(process, 3)
    time.sleep(8.0)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert not any(alive(pid) for pid in below)
    assert json.loads(look(here, "status", "b", "--json").stdout)["counts"]["interrupted"] == 1
    process = subprocess.Popen(words("run", "b.yaml", "--quiet", "--only", "large*"), cwd=here)
    below = processes_of(process, 3)
    time.sleep(5.0)
    process.kill()
    process.wait()
    until = time.monotonic() + 60
    while time.monotonic() < until and any(alive(pid) for pid in below):
        time.sleep(0.2)
    assert not any(alive(pid) for pid in below)
