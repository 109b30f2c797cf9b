"""Killed and resumed, in several processes, and compared: with real processes."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest
from cli_words import SMALL

COMMON = ("c.nii.gz", "s.nii.gz", *SMALL, "--set", "scales=[0.5, 1]", "--device", "cpu")
LONG = ("--iterations", "60")


def start(*words, ranks=0, **environment):
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks else []
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, *launcher, "-m", "nst_nd", *words]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done(*words, ranks=0, status=0, **environment):
    process = start(*words, ranks=ranks, **environment)
    out, err = process.communicate(timeout=120)
    assert process.returncode == status, err[-2000:]
    return out, err


def inode(path):
    """Of a file that may not be there: a newer checkpoint is another file."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def killed_after_progress(here, words, pause):
    """Started, killed `pause` seconds after its first new checkpoint; False where it finished before that."""
    before = inode(here / "resumed.nii.gz.ckpt")
    process = start(*words, "-o", "resumed.nii.gz", "--resume", NST_ND_CHECKPOINT_SECONDS="0")
    while inode(here / "resumed.nii.gz.ckpt") in (None, before) and process.poll() is None:
        time.sleep(0.002)
    time.sleep(pause)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(("optimizer", "kills"), [("lbfgs", 7), ("adam", 3)])
def test_killed_at_random_moments_and_resumed_gives_the_same_bytes(here, optimizer, kills):
    words = ("stylize", *COMMON, *LONG, "--set", f"optimizer={optimizer}")
    done(*words, "-o", "whole.nii.gz")
    draw = random.Random(optimizer)
    killed = [killed_after_progress(here, words, draw.uniform(0.0, 0.05)) for _ in range(kills)]
    assert killed[0]
    if all(killed):
        assert not (here / "resumed.nii.gz").exists()
        done(*words, "-o", "resumed.nii.gz", "--resume")
    assert (here / "resumed.nii.gz").read_bytes() == (here / "whole.nii.gz").read_bytes()
    assert not (here / "resumed.nii.gz.ckpt").exists()
    told = [json.loads((here / f"{name}.nii.gz.json").read_text())["steps"] for name in ("whole", "resumed")]
    assert told[0] == told[1]
    assert not list(here.glob("*.part"))


def test_a_checkpoint_is_not_lost_and_not_mixed_up(here):
    words = ("stylize", *COMMON, *LONG, "-o", "out.nii.gz")
    process = start(*words, NST_ND_CHECKPOINT_SECONDS="0")
    while not (here / "out.nii.gz.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _, err = done(*words, status=2)
    assert "--resume" in err
    _, err = done(*words, "--resume", "--seed", "5", status=3)
    assert "settings differ" in err
    broken = (here / "out.nii.gz.ckpt").read_bytes()
    (here / "out.nii.gz.ckpt").write_bytes(broken[:-10])
    _, err = done(*words, "--resume", status=3)
    assert "damaged or cut short" in err
    (here / "out.nii.gz.ckpt").write_bytes(broken)
    done(*words, "--overwrite")
    assert not (here / "out.nii.gz.ckpt").exists()


def test_two_processes_give_what_one_gives(here):
    few = ("--iterations", "6")  # rounding grows with the steps of a quasi-Newton method
    done("stylize", *COMMON, *few, "-o", "one.nii.gz")
    _, err = done("stylize", *COMMON, *few, "-o", "two.nii.gz", ranks=2)
    assert "2 slabs along axis" in err
    one, two, content = (nibabel.load(f"{name}.nii.gz").get_fdata() for name in ("one", "two", "c"))
    assert np.abs(one - two).max() <= 1e-3 * np.abs(one - content).max()
    assert json.loads((here / "two.nii.gz.json").read_text())["memory"]["processes"] == 2


def test_two_processes_killed_and_resumed(here):
    words = ("stylize", *COMMON, *LONG, "--preset", "ct", "--set", "protect=[0, 400]", "--set", "region=[0, 300]")
    done(*words, "-o", "whole.nii.gz", ranks=2)
    process = start(*words, "-o", "out.nii.gz", ranks=2, NST_ND_CHECKPOINT_SECONDS="0")
    while not (here / "out.nii.gz.ckpt").exists():
        assert process.poll() is None, process.stderr.read()[-2000:]
        time.sleep(0.01)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert not (here / "out.nii.gz").exists()
    assert (here / "out.nii.gz.ckpt").exists()
    done(*words, "-o", "out.nii.gz", "--resume", ranks=2)
    assert (here / "out.nii.gz").read_bytes() == (here / "whole.nii.gz").read_bytes()


def test_verify(here):
    extra = (
        "--set",
        "extractor=random",
        "--set",
        "extractor.0.channels=[4, 4]",
        "--set",
        "style_layers=[relu1, relu2]",
    )
    words = ("verify", "--content", "c.nii.gz", "--style", "s.nii.gz", "--tile", "6", "--json", *extra)
    out, _ = done(*words, "--set", "content_layers=[relu2]", "--set", "device=cpu")
    told = json.loads(out)
    assert told["fine"] is True
    assert [f["how"].split()[0] for f in told["findings"]] == ["tiles", "2"]
    assert all(0 < f["relative_error"] < 1e-5 for f in told["findings"])
