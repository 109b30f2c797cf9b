"""A volume of a batch that several processes do together."""

import json
import os
import signal
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest
from batch_files import SMALL_IMAGE, events, results, run, words
from test_killed import alive, children

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
    looked = run(here, "run", "b.yaml", "--dry-run")
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


@pytest.mark.parametrize("which", [0, -1], ids=["torchrun", "one of them"])
def test_one_of_them_killed_all_is_tried_again(here, which):
    (here / "b.yaml").write_text(TOGETHER.replace("iterations: 4", "iterations: 300"))
    process = subprocess.Popen(words("run", "b.yaml", "--quiet", "--only", "large*"), cwd=here)
    below = processes_of(process, 3)
    time.sleep(3.0)
    os.kill(below[which], signal.SIGKILL)
    assert process.wait(200) == 0
    running = [e for e in events(here / "b") if e["event"] == "running"]
    assert len(running) == 2


def test_they_stop_when_asked_and_end_with_their_coordinator(here):
    (here / "b.yaml").write_text(TOGETHER.replace("iterations: 4", "iterations: 100000"))
    process = subprocess.Popen(words("run", "b.yaml", "--quiet", "--only", "large*"), cwd=here)
    below = processes_of(process, 3)
    time.sleep(8.0)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert not any(alive(pid) for pid in below)
    assert json.loads(run(here, "status", "b", "--json").stdout)["counts"]["interrupted"] == 1
    process = subprocess.Popen(words("run", "b.yaml", "--quiet", "--only", "large*"), cwd=here)
    below = processes_of(process, 3)
    time.sleep(5.0)
    process.kill()
    process.wait()
    until = time.monotonic() + 60
    while time.monotonic() < until and any(alive(pid) for pid in below):
        time.sleep(0.2)
    assert not any(alive(pid) for pid in below)
