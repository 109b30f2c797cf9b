"""help, info, doctor, schema, the progress and the signals."""

import json
import signal
import sys
from pathlib import Path

import pytest
import torch

from nst_nd import __version__
from nst_nd.cli.process import stopping
from nst_nd.cli.progress import progress
from nst_nd.cli.table import metric_lines
from nst_nd.config import Job
from nst_nd.engine.optimise import Step
from nst_nd.errors import InputError, Interrupted
from nst_nd.job import run_job

COMMANDS = ("stylize", "texture", "run", "metrics", "info", "doctor", "schema")


def test_no_words_print_the_help(cli):
    ran = cli()
    assert ran.status == 0
    assert all(name in ran.out for name in COMMANDS)
    assert ran.out == cli("--help").out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example(cli, name):
    ran = cli(name, "--help")
    assert ran.status == 0
    assert f"\n  nst-nd {name}" in ran.out


def test_version(cli):
    assert cli("--version").out == f"nst-nd {__version__}\n"


def test_info(cli, here):
    image = cli("info", "c.png", "--json").json
    assert (image["kind"], image["size"], image["channels"]) == ("image", [40, 32], 3)
    audio = cli("info", "s.wav", "--json").json
    assert (audio["kind"], audio["rate"], audio["seconds"]) == ("audio", 8000, 0.5)
    volume = cli("info", "c.nii.gz", "--json").json
    assert (volume["kind"], volume["size"], volume["spacing"]) == ("volume", [16, 16, 16], [1, 1, 1])
    words = cli("info", "c.csv").out
    assert "ecg" in words
    assert "100" in words
    assert "mV" in words


def test_doctor_finds_all(cli, here):
    ran = cli("doctor", "--json")
    assert ran.status == 0
    assert ran.json["usable"] is True
    assert ran.json["weights"]["vgg19"] == "16 convolutions"
    assert "cpu" in ran.json["devices"]["available"]
    assert cli("doctor").out.endswith("all usable\n")


def test_doctor_says_what_is_missing(cli, monkeypatch):
    def broken():
        raise InputError("weights not found: there")

    monkeypatch.setattr("nst_nd.features.weights.vgg19_weights", broken)
    ran = cli("doctor")
    assert ran.status == 3
    assert "FAIL weights  error weights not found: there" in ran.out


def test_schema_is_json(cli):
    assert json.loads(cli("schema").out)["properties"]["style_weight"]["description"]


def step(i, total=40):
    return Step(i, total, 0, 2, (8, 8), 0.1 * i, 1, ("a", "b"), torch.tensor([1.0, 2.0]))


def test_progress_in_lines_is_short(capsys):
    with progress(quiet=False) as on_step:
        for i in range(1, 41):
            on_step(step(i))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1] == "iteration 40/40  scale 1/2 (8x8)  loss 3  4.0 s"


def test_progress_on_a_terminal_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress(quiet=False) as on_step:
        on_step(step(20))
    assert "20/40" in capsys.readouterr().err


def test_quiet_progress_is_none(capsys):
    with progress(quiet=True) as on_step:
        assert on_step is None
    assert capsys.readouterr().err == ""


def test_signal_handlers_are_put_back(here):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stopping() as asked:
        assert not asked()
        signal.raise_signal(signal.SIGTERM)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_stopped_before_the_first_step(here):
    job = Job.model_validate({"content": "c.png", "style": "s.png", "output": "o.png"})
    with pytest.raises(Interrupted, match="nothing is written"):
        run_job(job, should_stop=lambda: True)
    assert not Path("o.png").exists()


def test_metrics_before_and_after_share_a_line():
    lines = metric_lines({"style_before": 2.0, "rms": None, "style_after": 0.5, "edge_after": 1.0})
    assert [line.split() for line in lines] == [
        ["style", "2", "->", "0.5"],
        ["rms", "cannot", "be", "measured"],
        ["edge_after", "1"],
    ]
