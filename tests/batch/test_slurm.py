"""Batches on a real Slurm of two nodes; left out where it is not installed or may not be started."""

import json
import subprocess
import time

import pytest
from batch_files import IMAGES, TWELVE, events, results, run, words
from slurm_here import asked, cluster, missing
from test_group import TOGETHER

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
ON_SLURM = "executor: slurm\nslurm: {cpus: 1, minutes: 10}\n"
LONG = IMAGES.replace("iterations: 3", "iterations: 400")


@pytest.fixture(scope="module")
def daemons(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def slurm(daemons):
    """With an empty queue."""
    asked(daemons, "scancel", "--me")
    wait_for(lambda: not asked(daemons, "squeue", "--noheader"))
    return daemons


def wait_for(what, seconds=90):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.3)


def running(slurm):
    return asked(slurm, "squeue", "--noheader", "--array", "--states=RUNNING", "--format=%i").split()


def not_in_two_minutes(slurm, number):
    """Once a task that was queued again has left its node, start it.

    Slurm waits two minutes with that, so that the credential of its first run is forgotten and a late word of its end
    is not taken for that of the second. A person may say that it need not; a few seconds are enough here.
    """
    wait_for(lambda: asked(slurm, "squeue", "--noheader", "--array", f"--jobs={number}", "--format=%t") == "PD")
    time.sleep(5.0)
    asked(slurm, "scontrol", "release", number)
    asked(slurm, "scontrol", "update", f"jobid={number}", "starttime=now")


def what_tasks_said(folder):
    return "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob(".nst-nd/slurm/*.out")))


def test_the_same_bytes_as_on_one_machine(here, slurm):
    (here / "t.yaml").write_text(TWELVE.replace("workers: 2", "workers: 1") + ON_SLURM)
    one = {**slurm, "OMP_NUM_THREADS": "1"}
    assert run(here, "run", "t.yaml", "--out", "local", "--executor", "local", "--quiet", env=one).returncode == 0
    ran = run(here, "run", "t.yaml", "--out", "out", env=slurm)
    assert ran.returncode == 0, ran.stderr
    assert results(here / "out") == results(here / "local")
    again = run(here, "run", "t.yaml", "--out", "out", "--json", env=slurm)
    assert json.loads(again.stdout)["kept"] == 12


def test_processes_together_in_one_task(here, slurm):
    (here / "t.yaml").write_text(TOGETHER + ON_SLURM)
    one = {**slurm, "OMP_NUM_THREADS": "1"}
    assert run(here, "run", "t.yaml", "--out", "local", "--executor", "local", "--quiet", env=one).returncode == 0
    ran = run(here, "run", "t.yaml", "--out", "out", env=slurm)
    assert ran.returncode == 0, ran.stderr
    assert json.loads((here / "out" / "large.nii.gz.json").read_text())["memory"]["processes"] == 2
    assert results(here / "out") == results(here / "local")


def test_a_task_that_is_queued_again_completes(here, slurm):
    (here / "b.yaml").write_text(LONG + ON_SLURM)
    process = subprocess.Popen(words("run", "b.yaml", "--quiet"), cwd=here, env=slurm)
    try:
        wait_for(lambda: running(slurm))
        time.sleep(2.0)
        number = running(slurm)[0]
        asked(slurm, "scontrol", "requeue", number)
        not_in_two_minutes(slurm, number)
        assert process.wait(240) == 0
    finally:
        process.kill()
    assert len(results(here / "b")) == 3


@pytest.mark.parametrize("job", ["small.png", "large.nii.gz"])
def test_before_its_time_limit_a_task_checkpoints_and_is_queued_again(here, slurm, job):
    (here / "b.yaml").write_text(TOGETHER.replace("iterations: 4", "iterations: 1500") + ON_SLURM)
    # checkpoints by time alone would come too late
    often = {**slurm, "NST_ND_CHECKPOINT_SECONDS": "4"}
    process = subprocess.Popen(words("run", "b.yaml", "--quiet", "--only", job), cwd=here, env=often)
    try:
        wait_for(lambda: (here / "b" / f"{job}.ckpt").is_file())
        number = running(slurm)[0]
        asked(slurm, "scancel", "--signal=USR2", number)  # what comes before a time limit, and with a preemption
        not_in_two_minutes(slurm, number)
        assert process.wait(240) == 0
    finally:
        process.kill()
    happened = [e["event"] for e in events(here / "b") if "name" in e]
    assert happened == ["running", "done"], what_tasks_said(here / "b")
    told = json.loads((here / "b" / f"{job}.json").read_text())
    assert any("went on from a checkpoint" in note for note in told["notes"])


def test_a_cancelled_task_is_sent_once_more(here, slurm):
    (here / "b.yaml").write_text(IMAGES.replace("iterations: 3", "iterations: 3000") + ON_SLURM)
    process = subprocess.Popen(words("run", "b.yaml", "--quiet", "--only", "img0.png"), cwd=here, env=slurm)
    try:
        wait_for(lambda: running(slurm))
        time.sleep(2.0)
        asked(slurm, "scancel", running(slurm)[0])
        assert process.wait(240) == 0
    finally:
        process.kill()
    assert [e["attempt"] for e in events(here / "b") if e["event"] == "done"] == [2]


def test_tasks_of_a_killed_coordinator_are_cancelled_by_the_next(here, slurm):
    (here / "b.yaml").write_text(IMAGES.replace("iterations: 3", "iterations: 40000") + ON_SLURM)
    process = subprocess.Popen(words("run", "b.yaml", "--quiet"), cwd=here, env=slurm)
    try:
        wait_for(lambda: running(slurm))
    finally:
        process.kill()
        process.wait()
    assert running(slurm)
    (here / "b.yaml").write_text(IMAGES + ON_SLURM)
    ran = run(here, "run", "b.yaml", env=slurm)
    assert ran.returncode == 0, ran.stderr
    wait_for(lambda: not running(slurm), 30)  # a task ends a moment after its record
    assert len(results(here / "b")) == 3


def test_what_slurm_refuses_is_said(here, slurm):
    (here / "b.yaml").write_text(IMAGES + "executor: slurm\nslurm: {partition: nowhere}\n")
    ran = run(here, "run", "b.yaml", env=slurm)
    assert ran.returncode == 4
    assert "Slurm did not take the jobs" in ran.stderr
