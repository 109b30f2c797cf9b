"""What needs a process of its own: start-up time, signals, pipes."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import QUICK, SMALL

COMMAND = [sys.executable, "-m", "nst_nd"]
LIGHT = """
import sys
from nst_nd.cli.main import main
try:
    main({words})
except SystemExit:
    pass
heavy = {{"torch", "numpy", "scipy", "nst_nd.config", "nst_nd.job"}} & set(sys.modules)
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""


@pytest.fixture
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def start(*words):
    return subprocess.Popen(
        [*COMMAND, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def test_help_answers_at_once():
    fastest = min(_seconds([*COMMAND, "--help"]) for _ in range(3))
    assert fastest < 0.5


def _seconds(command):
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


@pytest.mark.parametrize("words", [[], ["--help"], ["--version"], ["stylize", "--help"], ["run"], ["nonsense"]])
def test_nothing_heavy_is_imported_to_help(words):
    done = subprocess.run([sys.executable, "-c", LIGHT.format(words=words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_stdout_is_json_and_the_exit_code_is_passed_on(here, one_thread):
    done = subprocess.run([*COMMAND, "stylize", "c.png", "s.png", "-o", "o.png", "--json", *QUICK], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"] == "o.png"
    failed = subprocess.run([*COMMAND, "info", "none.png", "--json"], capture_output=True)
    assert failed.returncode == 3
    assert json.loads(failed.stdout) == {"error": "none.png: no such file", "exit_status": 3}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_the_best_so_far(here, one_thread, number):
    process = start("stylize", "c.png", "s.png", "-o", "o.png", *SMALL, "--iterations", 5_000)
    _until_a_step(process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "interrupted: the best so far is in o.png"
    record = json.loads(Path("o.png.json").read_text())
    assert record["status"] == "interrupted"
    assert 0 < len(record["steps"]["rows"]) < 5_000
    assert Path("o.png").stat().st_size == record["output"]["bytes"]
    assert out.splitlines()[0] == "o.png"


def test_a_second_one_stops_at_once_and_leaves_nothing(here, one_thread):
    before = sorted(Path().iterdir())
    # steps that take long, so that the second signal falls into the first one's step
    words = ("--set", "extractor=random", "--set", "style_layers=[relu3]", "--set", "content_layers=[relu3]")
    process = start(
        "texture", "s.png", "--size", "900x900", "-o", "o.png", "--iterations", 10, "--set", "scales=[1]", *words
    )
    _until_a_step(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "error: interrupted; nothing is written"
    assert "Traceback" not in err
    assert sorted(Path().iterdir()) == before


def _until_a_step(process):
    for line in process.stderr:
        if line.startswith("iteration "):
            return
    raise AssertionError(f"ended with {process.wait()} before any step")


def test_nobody_reads_on():
    with subprocess.Popen([*COMMAND, "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode != 0
