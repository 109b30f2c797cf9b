"""What `status` shows, and jobs that nobody asks for any more."""

import json
import os
import pty
import select
import signal
import sqlite3
import subprocess
import sys
import time

from batch_files import IMAGES, look, run, words


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
        if json.loads(look(here, "status", "b", "--json").stdout).get("counts", {}).get("running"):
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
    assert json.loads(look(here, "status", "b", "--json").stdout)["counts"]["failed"] == 1
    assert run(here, "run", "b.yaml", "--quiet").returncode == 0
    counts = json.loads(look(here, "status", "b", "--json").stdout)["counts"]
    assert (counts["done"], counts["failed"]) == (2, 0)


def test_another_batch_in_the_folder_leaves_what_was_begun(here):
    for name in ("img0", "img1"):
        (here / f"{name}.yaml").write_text(IMAGES.replace("img[0-2]", name))
    assert run(here, "run", "img0.yaml", "--out", "b", "--quiet").returncode == 0
    # as a kill between the output and its sidecar leaves it
    (here / "b" / "img0.png.json").unlink()
    with sqlite3.connect(here / "b" / ".nst-nd" / "manifest.sqlite") as manifest:
        manifest.execute("UPDATE jobs SET state = 'running', output = '{}'")
    manifest.close()
    assert run(here, "run", "img1.yaml", "--out", "b", "--quiet").returncode == 0
    ran = run(here, "run", "img0.yaml", "--out", "b")
    assert ran.returncode == 0, ran.stderr


def test_after_a_kill_in_the_middle_of_a_change_of_the_manifest(here):
    (here / "b.yaml").write_text(IMAGES)
    assert run(here, "run", "b.yaml", "--quiet").returncode == 0
    manifest = here / "b" / ".nst-nd" / "manifest.sqlite"
    killed = (
        "import os, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA cache_size = 1')\n"
        "c.execute('BEGIN')\n"
        "c.execute('UPDATE jobs SET state = \\'failed\\'')\n"
        "for i in range(500): c.execute('INSERT INTO files VALUES (?, ?, ?)', (str(i), 'x' * 500, 'y'))\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", killed, str(manifest)], check=True)
    assert manifest.with_name("manifest.sqlite-journal").exists()
    looked = look(here, "run", "b.yaml", "--dry-run")
    assert looked.returncode == 0, looked.stderr
    status = json.loads(look(here, "status", "b", "--json").stdout)
    assert status["counts"]["done"] == 3
