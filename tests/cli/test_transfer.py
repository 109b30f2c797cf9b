"""stylize, texture and run on disk: results, sidecars, determinism."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import QUICK, SMALL

import nst_nd


def sidecar(path):
    def no_constants(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(Path(f"{path}.json").read_text(), parse_constant=no_constants)


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_result_and_sidecar(cli, here):
    (here / "in").mkdir()
    (here / "c.png").rename(here / "in" / "c.png")
    ran = cli("stylize", "in/c.png", "s.png", "-o", "o.png", *QUICK, "--style-weight", 5, "--seed", 3)
    assert ran.status == 0
    assert ran.out.splitlines()[0] == "o.png"
    record = sidecar("o.png")
    assert record["status"] == "done"
    assert record["settings"]["style_weight"] == 5
    assert (record["seed"], record["device"], record["kind"]) == (3, "cpu", "image")
    assert record["threads"] >= 1
    assert [(i["role"], i["name"]) for i in record["inputs"]] == [("content", "c.png"), ("style", "s.png")]
    assert record["inputs"][0]["sha256"] == sha256("in/c.png")
    assert record["output"]["sha256"] == sha256("o.png")
    assert record["versions"]["nst_nd"] == nst_nd.__version__
    assert record["versions"]["torch"]
    assert record["metrics"]
    assert record["seconds"] > 0
    assert record["peak_memory_bytes"] > 2**20
    assert "caution" not in record
    assert record["networks"][0].startswith("random(")
    assert str(here) not in Path("o.png.json").read_text()
    columns, rows = record["steps"]["columns"], record["steps"]["rows"]
    assert columns[:2] == ["iteration", "scale"]
    assert {"content/relu2", "style/relu1", "style/relu2"} <= set(columns)
    assert [row[0] for row in rows] == [1, 2]
    assert all(len(row) == len(columns) for row in rows)
    assert nst_nd.load("o.png").shape == (32, 40)


def test_same_command_same_bytes_other_seed_other_bytes(cli, here):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        options = ("--init", "noise", "--seed", seed)
        assert cli("stylize", "c.png", "s.png", "-o", f"{name}.out.png", *QUICK, *options).status == 0
    a, b, c = (Path(f"{name}.out.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c
    first, again = sidecar("a.out.png"), sidecar("b.out.png")
    assert list(first) == list(again)
    assert first["steps"] == again["steps"]


def test_json_is_one_document_and_nothing_else(cli, here):
    ran = cli("stylize", "c.png", "s.png", "-o", "o.png", *QUICK, "--json")
    assert ran.json["output"] == "o.png"
    assert ran.json["status"] == "done"
    assert "iteration" not in ran.err


def test_quiet_says_nothing_but_the_sidecar_does(cli, here):
    loud = cli("stylize", "c.png", "s.png", "-o", "a.png", *QUICK, "--set", "style_scale=0.8")
    assert "note: style resized" in loud.err
    quiet = cli("stylize", "c.png", "s.png", "-o", "b.png", *QUICK, "--set", "style_scale=0.8", "--quiet")
    assert (quiet.out, quiet.err) == ("", "")
    assert any("resized" in note for note in sidecar("b.png")["notes"])


def test_overwrite_replaces(cli, here):
    Path("o.png").write_text("old")
    assert cli("stylize", "c.png", "s.png", "-o", "o.png", *QUICK).status == 2
    assert Path("o.png").read_text() == "old"
    assert cli("stylize", "c.png", "s.png", "-o", "o.png", *QUICK, "--overwrite").status == 0
    assert sidecar("o.png")["output"]["sha256"] == sha256("o.png")


def test_masks_weights_and_several_styles(cli, here):
    words = ("stylize", "c.png", "s.png", "c.png", "-o", "o.png", *QUICK, "--init", "noise", "--mask", "mask.png")
    ran = cli(*words, "--style-mask", "mask.png", "--style-mask", "mask.png", "--set", "style.0.weight=3")
    assert ran.status == 0, ran.err
    content, result = nst_nd.load("c.png").data, nst_nd.load("o.png").data
    assert np.array_equal(result[..., :20], content[..., :20])
    assert not np.array_equal(result[..., 20:], content[..., 20:])
    record = sidecar("o.png")
    roles = [i["role"] for i in record["inputs"]]
    assert roles == ["content", "style", "style mask", "style", "style mask", "mask"]
    assert {"style1/relu1", "style2/relu1"} <= set(record["steps"]["columns"])


def test_init_from_a_file(cli, here):
    words = ("stylize", "c.png", "s.png", "-o", "o.png", *SMALL, "--iterations", 0, "--init", "./s.png")
    assert cli(*words).status == 0
    assert np.array_equal(nst_nd.load("o.png").data, nst_nd.load("s.png").data)
    assert sidecar("o.png")["settings"]["init"] == "s.png"


def test_volumes_carry_the_caution(cli, here):
    ran = cli("stylize", "c.nii.gz", "s.nii.gz", "-o", "o.nii.gz", *QUICK)
    assert ran.status == 0, ran.err
    assert sidecar("o.nii.gz")["caution"] == "for research, not for diagnosis"


def test_textures(cli, here):
    assert cli("texture", "s.png", "--size", "24x16", "-o", "t.png", *QUICK).status == 0
    assert nst_nd.load("t.png").shape == (16, 24)
    assert cli("texture", "s.png", "-o", "own.png", *QUICK).status == 0
    assert nst_nd.load("own.png").shape == (32, 40)
    assert cli("texture", "s.wav", "--duration", 0.25, "-o", "t.wav", *QUICK).status == 0
    made = nst_nd.load("t.wav")
    assert (made.shape, made.grid.rate) == ((2000,), 8000)
    assert [i["role"] for i in sidecar("t.wav")["inputs"]] == ["style"]


def job_file(here, **more):
    keys = {
        "content": "c.png",
        "style": "s.png",
        "output": "o.png",
        "extractor": [{"name": "random", "channels": [4, 4]}],
        "content_layers": ["relu2"],
        "style_layers": ["relu1"],
        "scales": [1],
        "iterations": 2,
        **more,
    }
    (here / "jobs").mkdir(exist_ok=True)
    for name in ("c.png", "s.png"):
        (here / "jobs" / name).write_bytes((here / name).read_bytes())
    (here / "jobs" / "one.yaml").write_text(json.dumps(keys))
    return "jobs/one.yaml"


def test_run_writes_into_a_folder_named_after_the_file(cli, here):
    ran = cli("run", job_file(here), "--set", "seed=5")
    assert ran.status == 0, ran.err
    assert {p.name for p in Path("jobs/one").iterdir()} == {"o.png", "o.png.json"}
    assert sidecar("jobs/one/o.png")["seed"] == 5


def test_run_writes_under_out(cli, here):
    assert cli("run", job_file(here), "--out", "x/y").status == 0
    assert Path("x/y/o.png.json").is_file()
    assert not Path("jobs/one").exists()


def test_run_leaves_no_folder_when_it_fails(cli, here):
    assert cli("run", job_file(here, content="none.png")).status == 3
    assert not Path("jobs/one").exists()


@pytest.mark.parametrize("output", ["../o.png", "/tmp/o.png"])
def test_run_stays_under_its_folder(cli, here, output):
    ran = cli("run", job_file(here, output=output))
    assert ran.status == 2
    assert "--out" in ran.err


def test_config_file_under_the_options(cli, here):
    Path("my.yaml").write_text("style_weight: 7\niterations: 9\nseed: 4\n")
    assert cli("stylize", "c.png", "s.png", "-o", "o.png", "--config", "my.yaml", *QUICK).status == 0
    settings = sidecar("o.png")["settings"]
    assert (settings["style_weight"], settings["iterations"], settings["seed"]) == (7, 2, 4)
