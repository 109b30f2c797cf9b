"""What `status` shows, and jobs that nobody asks for any more."""

import json
import os
import pty
import select
import signal
import subprocess
import time

from batch_files import IMAGES, run, words


def read_terminal(leader, seconds):
    """What was written to a terminal until it was closed, or for so long."""
    said, until = b"", time.monotonic() + seconds
    while time.monotonic() < until:
        if not select.select([leader], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(leader, 1 << 16)
        except OSError:  # nobody has the other end any more
            break
        said += piece
    return said.decode(errors="replace")


def test_in_a_terminal_the_table_lives_until_nothing_is_at_work(here):
    (here / "b.yaml").write_text(IMAGES.replace("iterations: 3", "iterations: 150"))
    batch = subprocess.Popen(words("run", "b.yaml", "--quiet", "--workers", 1), cwd=here)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        time.sleep(0.2)
        if json.loads(run(here, "status", "b", "--json").stdout).get("counts", {}).get("running"):
            break
    leader, follower = pty.openpty()
    watch = subprocess.Popen(words("status", "b"), cwd=here, stdout=follower, stderr=follower)
    os.close(follower)
    try:
        said = read_terminal(leader, 120)
        assert watch.wait(30) == 0
        assert batch.wait(60) == 0
    finally:
        for process in (watch, batch):
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
        os.close(leader)
    assert "running" in said
    assert "3 done; nothing is at work" in said


def test_what_is_no_longer_asked_for_is_forgotten_unless_done(here):
    (here / "in" / "img1.png").write_bytes(b"no image")
    (here / "b.yaml").write_text(IMAGES)
    assert run(here, "run", "b.yaml", "--quiet").returncode == 5
    (here / "b.yaml").write_text(IMAGES.replace("img[0-2]", "img2"))
    assert run(here, "run", "b.yaml", "--only", "img2*", "--quiet").returncode == 0
    assert json.loads(run(here, "status", "b", "--json").stdout)["counts"]["failed"] == 1
    assert run(here, "run", "b.yaml", "--quiet").returncode == 0
    counts = json.loads(run(here, "status", "b", "--json").stdout)["counts"]
    assert (counts["done"], counts["failed"]) == (2, 0)
