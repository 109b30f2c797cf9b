"""nst-nd patches as a command: what it prints, writes and refuses."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from nst_nd.cli.patches import parsed_units
from nst_nd.errors import ConfigError

NETWORK = ("--network", "random", "--set", "extractor.0.channels=[4, 4]", "--set", "extractor.0.widths=[3]")
QUICK = ("--layer", "relu2", "--top", "2", "--units", "0-1", *NETWORK)


@pytest.fixture
def photos(here):
    """A folder with two pictures, beside the files of `here`."""
    (here / "photos").mkdir()
    shutil.copy("c.png", "photos/b.png")
    shutil.copy("s.png", "photos/a.png")
    return here


def test_a_folder_becomes_a_picture(cli, photos):
    ran = cli("patches", "photos", *QUICK, "-o", "fig.png")
    assert ran.status == 0, ran.err
    assert ran.out.splitlines()[0] == "fig.png"
    assert "files 2/2" in ran.err
    record = json.loads((photos / "fig.png.json").read_text())
    assert (record["layer"], record["inputs"], record["skipped"]) == ("relu2", 2, [])
    assert [entry["unit"] for entry in record["units"]] == [0, 1]
    assert record["axes"] == ["y", "x"]
    assert {p["file"] for entry in record["units"] for p in entry["patches"]} <= {"a.png", "b.png"}
    assert [file["name"] for file in record["files"]] == sorted(file["name"] for file in record["files"])
    with Image.open("fig.png") as picture:
        assert picture.size[0] > 300


def test_json_and_quiet(cli, photos):
    ran = cli("patches", "photos/*.png", *QUICK, "-o", "fig.svg", "--json")
    assert ran.status == 0
    assert ran.json["output"] == "fig.svg"
    assert "files" not in ran.err
    ran = cli("patches", "photos", *QUICK, "-o", "fig.svg", "--quiet", "--overwrite", "--maximise", "--steps", "3")
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    record = json.loads((photos / "fig.svg.json").read_text())
    assert record["units"][0]["synthetic"]["steps"] == 3


def test_what_cannot_be_used_is_named_and_left_out(cli, photos):
    (photos / "photos/broken.png").write_bytes((photos / "c.png").read_bytes()[:300])
    ran = cli("patches", "photos", *QUICK, "-o", "fig.png")
    assert ran.status == 5
    assert "warning: broken.png is left out: " in ran.err
    assert json.loads((photos / "fig.png.json").read_text())["skipped"][0]["file"] == "broken.png"
    ran = cli("patches", "photos", *QUICK, "-o", "other.png", "--strict")
    assert ran.status == 3
    assert "error: broken.png" in ran.err
    assert not (photos / "other.png").exists()


def test_a_table_among_photos_is_left_out(cli, photos):
    (photos / "photos/0_labels.csv").write_text("file,label\na.png,1\n")
    shutil.copy("s.png", "photos/c.png")
    (photos / os.fsdecode(b"photos/\xff\x1b[1m.csv")).write_text("file,label\n")
    ran = cli("patches", "photos", *QUICK, "-o", "fig.png")
    assert ran.status == 5
    assert "warning: 0_labels.csv is left out: is of kind ecg, the others of kind image" in ran.err
    assert "warning: \\udcff\\u001b[1m.csv is left out" in ran.err
    record = json.loads((photos / "fig.png.json").read_text())
    assert (record["kind"], record["inputs"], len(record["skipped"])) == ("image", 5, 2)
    ran = cli("patches", "photos", *QUICK, "-o", "other.png", "--strict")
    assert (ran.status, "error: 0_labels.csv: is of kind ecg" in ran.err) == (3, True)
    ran = cli("patches", "photos", "photos/0_labels.csv", *QUICK, "-o", "other.png")
    assert ran.status == 3  # it decides, and is no ECG
    assert "no input can be used" in ran.err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (
            ("photos", "--layer", "relu7", *NETWORK, "-o", "f.png"),
            2,
            "no layer relu7\nallowed: relu1, pool1",
        ),
        (("photos", "--layer", "relu2", *NETWORK, "--units", "0-4", "-o", "f.png"), 2, "got 4; layer relu2 has 4"),
        (("photos", *QUICK, "--units", "x", "-o", "f.png"), 2, "allowed: 3, or 0-8, or 0-8,12"),
        (("photos", *QUICK, "--top", "0", "-o", "f.png"), 2, "--top"),
        (("photos/a.png", "s.wav", *QUICK, "-o", "f.png"), 3, "s.wav is of kind audio"),
        (("empty", *QUICK, "-o", "f.png"), 3, "empty: no file in it that can be read"),
        (("gone.png", *QUICK, "-o", "f.png"), 3, "gone.png: no such file or folder"),
        (("photos", *QUICK, "-o", "f.bmp"), 2, "allowed: .png, .pdf, .svg"),
        (("photos", *QUICK, "-o", "c.png"), 2, "c.png: exists already"),
        (("photos", *QUICK, "-o", "none/f.png"), 2, "make it first"),
        (("photos", "--layer", "relu2", "--network", "alexnet", "-o", "f.png"), 2, "alexnet"),
        (("photos", *QUICK, "--preset", "ct", "-o", "f.png"), 2, "preset ct is for volume"),
        (("photos", *QUICK, "--set", "nonsense=1", "-o", "f.png"), 2, "unknown key"),
        (
            ("c.nii.gz", "--layer", "relu1_1", "-o", "f.png"),
            2,
            "no layer relu1_1\nallowed: vgg19.conv1_1",
        ),
    ],
)
def test_what_is_refused(cli, photos, words, status, said):
    (photos / "empty").mkdir()
    before = sorted(path.name for path in photos.iterdir())
    ran = cli("patches", *words)
    assert (ran.status, said in ran.err) == (status, True), ran.err
    assert sorted(path.name for path in photos.iterdir()) == before


def test_interrupted_nothing_is_written(cli, photos, monkeypatch):
    from nst_nd.patches import record

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(record, "figure_of", stopped)
    before = sorted(path.name for path in photos.iterdir())
    ran = cli("patches", "photos", *QUICK, "-o", "fig.png")
    assert (ran.status, "nothing is written" in ran.err) == (130, True)
    monkeypatch.undo()
    monkeypatch.chdir(photos)
    real = record.figure_of

    class Half:
        """A picture that is interrupted while it is written."""

        def savefig(self, path, **_):
            path.write_bytes(b"half")
            raise KeyboardInterrupt

    assert real is not None
    monkeypatch.setattr(record, "figure_of", lambda found: Half())
    ran = cli("patches", "photos", *QUICK, "-o", "fig.png")
    assert ran.status == 130
    assert sorted(path.name for path in photos.iterdir()) == before


def test_signals_and_volumes(cli, photos):
    for file, kind in (("c.csv", "ecg"), ("s.wav", "audio"), ("c.nii.gz", "volume")):
        ran = cli("patches", file, *QUICK, "-o", f"{kind}.png", "--quiet")
        assert ran.status == 0, ran.err
        assert json.loads((photos / f"{kind}.png.json").read_text())["kind"] == kind
    np.save("x.npy", np.random.default_rng(0).normal(size=(2, 400)).astype(np.float32))
    ran = cli("patches", "x.npy", *QUICK, "-o", "npy.png", "--kind", "ecg", "--rate", "100", "--quiet")
    assert ran.status == 0, ran.err


@pytest.mark.parametrize(("words", "units"), [("3", (3,)), ("0-2", (0, 1, 2)), ("5, 1-2,2", (5, 1, 2))])
def test_units(words, units):
    assert parsed_units(words) == units


@pytest.mark.parametrize("words", ["", "a", "3-1", "1-", "-1", "0-64", "1,,2"])
def test_no_units(words):
    with pytest.raises(ConfigError, match="allowed"):
        parsed_units(words)
