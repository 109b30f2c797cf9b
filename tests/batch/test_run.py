"""What a batch does, does again, and does not do."""

import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from batch_files import IMAGES, events, look, results, run, words
from PIL import Image
from test_killed import children

from nst_nd.batch.coordinator import RESERVED


def names(out, event):
    return [e["name"] for e in events(out) if e["event"] == event]


@pytest.fixture
def images(here):
    (here / "b.yaml").write_text(IMAGES)
    return here


def test_what_is_missing_or_changed_is_done_and_nothing_else(images):
    out = images / "b"
    first = run(images, "run", "b.yaml", "--json")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout) | {"seconds": 0} == {
        **{"folder": "b", "jobs": 3, "kept": 0, "done": 3, "failed": 0, "left": 0, "warned": 0, "seconds": 0}
    }
    again = json.loads(run(images, "run", "b.yaml", "--json").stdout)
    assert (again["kept"], again["done"]) == (3, 0)
    # one input changes, one output is lost, one is tampered with
    before = results(out)
    Image.fromarray(np.full((32, 40, 3), 99, np.uint8)).save(images / "in" / "img0.png")
    (out / "img1.png").unlink()
    Image.open(images / "in" / "img1.png").save(out / "img2.png")
    assert json.loads(run(images, "run", "b.yaml", "--json").stdout)["done"] == 3
    after = results(out)
    assert before["img0.png"] != after["img0.png"]
    assert {k: v for k, v in before.items() if k != "img0.png"} == {k: v for k, v in after.items() if k != "img0.png"}
    # what was asked for changes
    (images / "b.yaml").write_text(IMAGES.replace("seed: 3", "seed: 3, style_weight: 7"))
    assert json.loads(run(images, "run", "b.yaml", "--json").stdout)["done"] == 3
    assert json.loads(run(images, "run", "b.yaml", "--json", "--workers", 3).stdout)["kept"] == 3


def test_a_lost_manifest_is_made_from_what_lies_there(images):
    assert run(images, "run", "b.yaml").returncode == 0
    (images / "b" / ".nst-nd" / "manifest.sqlite").unlink()
    assert json.loads(run(images, "run", "b.yaml", "--json").stdout)["kept"] == 3
    (images / "b" / ".nst-nd" / "manifest.sqlite").write_bytes(b"x" * 5000)
    broken = run(images, "run", "b.yaml")
    assert broken.returncode == 3
    assert "damaged" in broken.stderr


def test_one_that_cannot_be_done_leaves_the_others(images):
    (images / "in" / "img1.png").write_bytes((images / "in" / "img1.png").read_bytes()[:300])
    ran = run(images, "run", "b.yaml")
    assert ran.returncode == 5
    assert "img1.png (b.yaml:5)" in ran.stderr
    assert sorted(results(images / "b")) == ["img0.png", "img2.png"]
    status = json.loads(look(images, "status", "b", "--json").stdout)
    assert (status["counts"]["done"], status["counts"]["failed"], status["running"]) == (2, 1, False)
    (failed,) = status["jobs"]
    assert (failed["state"], failed["exit_status"]) == ("failed", 3)
    assert str(images) not in json.dumps(status["jobs"])
    assert "img1.png" in look(images, "status", "b").stdout
    # nothing has changed: it stays so; mended, it is done
    assert json.loads(run(images, "run", "b.yaml", "--json").stdout) | {"seconds": 0} == {
        **{"folder": "b", "jobs": 3, "kept": 2, "done": 0, "failed": 1, "left": 0, "warned": 0, "seconds": 0}
    }
    Image.open(images / "in" / "img0.png").save(images / "in" / "img1.png")
    assert run(images, "run", "b.yaml").returncode == 0


def test_only_and_parts(images):
    assert run(images, "run", "b.yaml", "--only", "*1.png").returncode == 0
    assert sorted(results(images / "b")) == ["img1.png"]
    nothing = run(images, "run", "b.yaml", "--only", "cat")
    assert nothing.returncode == 2
    parts = [
        subprocess.Popen(words("run", "b.yaml", "--out", "p", "--part", f"{i}/2", "--quiet"), cwd=images)
        for i in (1, 2)
    ]
    assert [part.wait(120) for part in parts] == [0, 0]
    assert len(results(images / "p")) == 3
    assert json.loads(look(images, "status", "p", "--json").stdout)["counts"]["done"] == 3
    assert json.loads(run(images, "run", "b.yaml", "--out", "p", "--json").stdout)["kept"] == 3
    assert look(images, "run", "b.yaml", "--part", "3/2").returncode == 2


def test_two_runs_of_one_batch_are_refused(images):
    (images / "b.yaml").write_text(IMAGES.replace("iterations: 3", "iterations: 4000"))
    process = subprocess.Popen(words("run", "b.yaml", "--quiet"), cwd=images)
    try:
        wait_for(lambda: (images / "b" / ".nst-nd" / "events.jsonl").exists() and "running" in text(images / "b"))
        second = run(images, "run", "b.yaml")
        assert second.returncode == 2
        assert "at work" in second.stderr
        assert "running" in look(images, "status", "b").stdout
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
    assert not results(images / "b")
    status = json.loads(look(images, "status", "b", "--json").stdout)
    assert status["counts"]["interrupted"] == 1


def text(out):
    return (out / ".nst-nd" / "events.jsonl").read_text()


def wait_for(what, seconds=60):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def kill_a_worker(process, out, number):
    """Once the log has so many jobs begun."""
    wait_for(lambda: (out / ".nst-nd" / "events.jsonl").exists() and text(out).count('"running"') >= number)
    time.sleep(0.3)
    for pid in children(process.pid):
        os.kill(pid, signal.SIGKILL)


def test_a_killed_worker_is_replaced_and_its_job_done(images):
    (images / "b.yaml").write_text(IMAGES.replace("iterations: 3", "iterations: 200"))
    process = subprocess.Popen(words("run", "b.yaml", "--quiet", "--only", "img0.png"), cwd=images)
    kill_a_worker(process, images / "b", 1)
    assert process.wait(120) == 0
    assert [e["attempt"] for e in events(images / "b") if e["event"] == "done"] == [2]


def test_killed_again_it_has_failed_and_the_next_run_completes(images):
    (images / "b.yaml").write_text(IMAGES.replace("iterations: 3", "iterations: 4000"))
    process = subprocess.Popen(words("run", "b.yaml", "--only", "img0.png", "--quiet"), cwd=images)
    for number in (1, 2):
        kill_a_worker(process, images / "b", number)
    assert process.wait(120) == 5
    (failed,) = json.loads(look(images, "status", "b", "--json").stdout)["jobs"]
    assert "killed from outside" in failed["error"]
    assert failed["attempts"] == 2
    (images / "b.yaml").write_text(IMAGES)
    assert run(images, "run", "b.yaml").returncode == 0


def test_strangers_are_not_replaced(images):
    (images / "b").mkdir()
    (images / "b" / "img0.png").write_bytes(b"mine")
    ran = run(images, "run", "b.yaml")
    assert ran.returncode == 5
    assert (images / "b" / "img0.png").read_bytes() == b"mine"
    assert run(images, "run", "b.yaml", "--overwrite").returncode == 0
    assert (images / "b" / "img0.png").read_bytes() != b"mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk(images):
    out = images / "b"
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(out)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(images / "in" / f"img{i}.png")
    try:
        # room for what is set aside and for one of three
        (out / "filler").write_bytes(bytes(shutil.disk_usage(out).free - 2 * RESERVED - 100_000))
        ran = run(images, "run", "b.yaml")
        assert ran.returncode == 5, ran.stderr
        assert "disk full" in ran.stderr
        counts = json.loads(look(images, "status", "b", "--json").stdout)["counts"]
        assert (counts["failed"], counts["done"]) == (2, 1)
        (out / "filler").unlink()
        last = run(images, "run", "b.yaml")
        assert last.returncode == 0, last.stderr
        assert len(results(out)) == 3
    finally:
        subprocess.run(["umount", str(out)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_folder_that_cannot_be_written(images):
    (images / "b.yaml").write_text(IMAGES + "  - content: in/img0.png\n    output: sub/x.png\n")
    sub = images / "b" / "sub"
    sub.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "none", str(sub)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        ran = run(images, "run", "b.yaml")
        assert ran.returncode == 5
        assert "cannot be written" in ran.stderr
    finally:
        subprocess.run(["umount", str(sub)], check=True)
    assert len(results(images / "b")) == 3
    # the network's own layers are the fourth job's: vgg19
    assert run(images, "run", "b.yaml", "--set", "iterations=1").returncode == 0
