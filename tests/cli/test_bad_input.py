"""Whatever is wrong: the right exit code, three lines at most, no traceback, nothing left behind."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import soundfile
from conftest import QUICK, noise, write_csv
from PIL import Image

from nst_nd.cli import main as module


@pytest.fixture
def bad(here):
    """Files that cannot be used, beside those that can."""
    Path("empty.png").touch()
    for name in ("c.png", "s.wav", "c.nii.gz"):
        data = Path(name).read_bytes()
        Path(f"cut_{name}").write_bytes(data[: len(data) // 2])
    Path("text.png").write_text("this is no picture\n")
    np.save("nan.npy", np.array([[1.0, np.nan, 2.0, 3.0]], np.float32))
    np.save("gap.npy", np.full((1, 4), np.nan, np.float32))
    Image.new("RGB", (32, 32), (9, 9, 9)).save("flat.png")
    Image.fromarray(noise(3, 3, 3)).save("tiny.png")
    soundfile.write("silent.wav", np.zeros(4000), 8000)
    soundfile.write("c.wav", np.random.default_rng(0).normal(0, 0.1, 4000), 8000)
    soundfile.write("dc.wav", np.full(4000, 0.25), 8000)
    soundfile.write("one.wav", np.array([0.25]), 8000)
    soundfile.write("nan.wav", np.array([0.25, np.nan, 0.1]), 8000, "FLOAT")
    Path("text.wav").write_text("a text is no sound\n")
    Path("lonely.hea").write_text("lonely 1 250 1000\nlonely.dat 16 1000/mV 16 0 0 0 0 I\n")
    Path("unequal.csv").write_text("time,I,II\n0,0.1,0.2\n0.01,0.2,\n0.02,0.3,\n")
    write_csv(here / "three.csv", 3)
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4, 2, 2), np.float32), np.eye(4)), "five.nii.gz")
    Path("file").touch()
    return here


INPUTS = [
    ("none.png", "s.png", "o.png", "no such file"),
    ("c.png", "none.png", "o.png", "no such file"),
    ("empty.png", "s.png", "o.png", "empty"),
    ("cut_c.png", "s.png", "o.png", "truncated"),
    ("text.png", "s.png", "o.png", "not a PNG"),
    ("cut_s.wav", "s.wav", "o.wav", "truncated"),
    ("cut_c.nii.gz", "s.nii.gz", "o.nii.gz", "cut_c.nii.gz"),
    ("nan.npy --kind audio --rate 100", "nan.npy", "o.npy", "NaN"),
    ("gap.npy --kind ecg --rate 100", "gap.npy", "o.npy", "no sample at all"),
    ("c.png", "flat.png", "o.png", "constant"),
    ("c.wav", "silent.wav", "o.wav", "constant"),
    ("c.wav", "dc.wav", "o.wav", "constant"),
    ("silent.wav", "c.wav", "o.wav", "silent"),
    ("one.wav", "c.wav", "o.wav", "need at least"),
    ("nan.wav", "c.wav", "o.wav", "1 of 3 samples are NaN"),
    ("text.wav", "c.wav", "o.wav", "not a WAV/AIFF/FLAC file"),
    ("lonely.hea", "c.csv", "o.hea", "lonely.dat is missing"),
    ("unequal.csv", "c.csv", "o.csv", "leads of unequal length"),
    ("tiny.png --set extractor.0.channels=[4,4,4,4] --set style_layers=[relu4]", "s.png", "o.png", "at least"),
    ("c.csv", "three.csv", "o.csv", "2 channels, the style 3"),
    ("five.nii.gz", "s.nii.gz", "o.nii.gz", "five.nii.gz"),
    ("c.png", "s.wav", "o.png", "kind"),
    (".", "s.png", "o.png", "folder"),
]

COMMANDS = [
    ("c.png s.png -o nowhere/o.png", "not a folder"),
    ("c.png s.png -o file/o.png", "not a folder"),
    ("c.png s.png -o s.wav", "replace|exists"),
    ("c.png s.png -o s.csv", "exists already"),
    ("c.png s.png -o c.png --overwrite", "replace the input c.png"),
    ("c.png s.png -o ./s.png --overwrite", "replace the input s.png"),
    ("c.png s.png -o o.png --mask ./mask.png -o mask.png --overwrite", "replace the input mask.png"),
    ("c.png s.png -o o.xyz", "suffix"),
    ("c.png s.png -o o", "suffix"),
    ("c.png s.png -o o.wav", "kind"),
    ("c.png s.png -o o.png --set sed=1", "did you mean seed"),
    ("c.png s.png -o o.png --set style=c.png", "given twice"),
    ("c.png s.png -o o.png --init nois", "content, noise, style"),
    ("c.png s.png -o o.png --device cuda:99", "not available"),
    ("c.png s.png -o o.png --device gpu", "device"),
    ("c.png s.png -o o.png --iterations many", "iterations"),
    ("c.png s.png -o o.png --iterations -1", "greater than or equal"),
    ("c.png s.png -o o.png --preset sound", "preset"),
    ("c.png s.png -o o.png --set style_layers=[relu9]", "no layer relu9"),
    ("c.png s.png -o o.png --style-mask mask.png --style-mask mask.png", "one for each"),
    ("c.png s.png -o o.png --nonsense", "--nonsense"),
    ("c.png s.png", "output"),
    ("c.png", "STYLE"),
]


def check(ran, status, word, before, folder):
    assert ran.status == status, ran.err
    lines = [line for line in ran.err.splitlines() if not line.startswith("iteration ")]
    assert lines[0].startswith("error: ")
    assert 1 <= len(lines) <= 3
    assert "Traceback" not in ran.err
    assert any(part in ran.err for part in word.split("|")), ran.err
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def files(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


@pytest.mark.parametrize(("content", "style", "output", "word"), INPUTS, ids=[f"{i[0]}-{i[1]}" for i in INPUTS])
def test_inputs_that_cannot_be_used(cli, bad, content, style, output, word):
    before = files(bad)
    path, *options = content.split()
    check(cli("stylize", path, style, "-o", output, *QUICK, *options), 3, word, before, bad)


@pytest.mark.parametrize(("words", "word"), COMMANDS, ids=[c[0] for c in COMMANDS])
def test_command_lines_that_are_wrong(cli, bad, words, word):
    before = files(bad)
    check(cli("stylize", *QUICK, *words.split()), 2, word, before, bad)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("iteration: 3", "job.yaml:4: iteration: unknown key; did you mean iterations?"),
        ("iterations: few", "job.yaml:4: iterations: got 'few'"),
        ("mask: !!python/object/apply:os.remove [c.png]", "job.yaml:4: tag !!python/object/apply:os.remove"),
        ("jobs: []", "job.yaml:4: jobs"),
        ("a: [", "job.yaml:5: not valid YAML"),
    ],
)
def test_job_files_that_are_wrong(cli, bad, text, word):
    Path("job.yaml").write_text(f"content: c.png\nstyle: s.png\noutput: o.png\n{text}\n")
    check(cli("run", "job.yaml"), 2, word, files(bad), bad)


@pytest.mark.parametrize(
    ("words", "word"),
    [
        ("s.png -o o.png --duration 3", "duration"),
        ("s.png -o o.png --size 20", "2 axes"),
        ("s.png -o o.png --size 20x0", "greater than 0"),
        ("s.png -o o.png --size large", "size"),
        ("s.wav -o o.wav --size 20 --duration 2", "choose one"),
    ],
)
def test_textures_that_are_wrong(cli, bad, words, word):
    check(cli("texture", *words.split(), *QUICK), 2, word, files(bad), bad)


def test_an_existing_sidecar_is_not_replaced(cli, bad):
    Path("o.png.json").write_text("{}")
    check(cli("stylize", "c.png", "s.png", "-o", "o.png", *QUICK), 2, "o.png.json: exists", files(bad), bad)


def test_errors_in_json(cli, bad):
    ran = cli("stylize", "none.png", "s.png", "-o", "o.png", "--json")
    assert ran.json == {"error": "none.png: no such file", "exit_status": 3}
    assert cli("stylize", "--json").json["exit_status"] == 2


@pytest.mark.parametrize(
    ("error", "status", "word"),
    [
        (MemoryError(), 4, "out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), 4, "out of memory"),
        (KeyError("x"), 1, "unexpected KeyError: 'x'\nrun again with --debug"),
    ],
)
def test_what_nobody_expected(cli, bad, monkeypatch, error, status, word):
    def broken(*args, **options):
        raise error

    monkeypatch.setattr("nst_nd.job.transfer", broken)
    check(cli("stylize", "c.png", "s.png", "-o", "o.png"), status, word, files(bad), bad)


def test_debug_shows_the_traceback(cli, bad):
    ran = cli("stylize", "none.png", "s.png", "-o", "o.png", "--debug")
    assert ran.status == 3
    assert "Traceback" in ran.err
    assert ran.err.splitlines()[-1] == "error: none.png: no such file"


def test_a_result_without_its_sidecar_is_said(cli, bad, monkeypatch):
    monkeypatch.setattr("nst_nd.sidecar.to_text", lambda record: (_ for _ in ()).throw(OSError(28, "full")))
    ran = cli("stylize", "c.png", "s.png", "-o", "o.png", *QUICK)
    assert ran.status == 4
    assert "o.png is written, its sidecar is not" in ran.err
    assert Path("o.png").is_file()
    assert not Path("o.png.json").exists()
    assert not list(bad.glob(".*.part"))


def test_every_exit_code_is_an_int(cli):
    assert json.dumps(cli("nonsense", "--json").json["exit_status"]) == "2"
    assert module.MOST_LINES == 3
