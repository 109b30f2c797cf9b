"""--figure: a picture beside the result, refused before anything is computed where it cannot be."""

import nibabel
import numpy as np
import pytest
from cli_words import SMALL
from PIL import Image

QUICK = (*SMALL, "--iterations", "1", "--quiet")


@pytest.mark.parametrize(
    ("suffix", "more"),
    [(".png", ()), (".csv", ()), (".nii.gz", ()), (".nii.gz", ("--preset", "ct", "--set", "method=features"))],
)
def test_every_kind_is_drawn_beside_its_result(suffix, more, cli, here):
    ran = cli("stylize", f"c{suffix}", f"s{suffix}", "-o", f"out{suffix}", "--figure", "seen.png", *QUICK, *more)
    assert (ran.status, ran.err) == (0, "")
    with Image.open("seen.png") as picture:
        assert min(picture.size) > 200
    assert {"seen.png", f"out{suffix}", f"out{suffix}.json"} <= {path.name for path in here.iterdir()}
    assert not list(here.glob("*.part"))


def test_a_texture_is_drawn_with_its_style(cli, here):
    ran = cli("texture", "s.wav", "-o", "more.wav", "--figure", "seen.pdf", "--set", "iterations=0", "--quiet")
    assert (ran.status, ran.err) == (0, "")
    assert (here / "seen.pdf").read_bytes()[:4] == b"%PDF"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("seen.bmp", "allowed: .png, .pdf, .svg"),
        ("none/seen.png", "make it first"),
        ("c.png", "would replace c.png"),
        ("out.png", "would replace out.png"),
    ],
)
def test_places_that_are_refused(name, said, cli, here):
    before = sorted(path.name for path in here.iterdir())
    ran = cli("stylize", "c.png", "s.png", "-o", "out.png", "--figure", name, "--overwrite", *QUICK)
    assert ran.status == 2
    assert said in ran.err
    assert sorted(path.name for path in here.iterdir()) == before


def test_a_picture_that_exists_is_kept(cli, here):
    (here / "seen.png").write_text("mine")
    words = ("stylize", "c.png", "s.png", "-o", "out.png", "--figure", "seen.png", *QUICK)
    ran = cli(*words)
    assert ran.status == 2
    assert "seen.png: exists already" in ran.err
    assert (here / "seen.png").read_text() == "mine"
    assert not (here / "out.png").exists()
    assert cli(*words, "--overwrite").status == 0
    assert (here / "seen.png").read_bytes()[:4] == b"\x89PNG"


def test_a_result_is_kept_where_its_picture_fails(cli, here, monkeypatch):
    from nst_nd import job
    from nst_nd.errors import OutputError

    def fails(*_, **__):
        raise OutputError("seen.png: cannot be written")

    monkeypatch.setattr(job, "write", fails)
    ran = cli("stylize", "c.png", "s.png", "-o", "out.png", "--figure", "seen.png", *QUICK)
    assert ran.status == 2
    assert "out.png is written, its picture is not" in ran.err
    assert (here / "out.png.json").exists()


def test_metrics_and_info_draw_too(cli, here):
    ran = cli("metrics", "c.png", "--content", "c.png", "--style", "s.png", "--figure", "seen.svg", "--json")
    assert ran.status == 0
    assert "<svg" in (here / "seen.svg").read_text()
    assert cli("info", "c.png", "--figure", "seen.png").status == 0
    assert "exists already" in cli("info", "c.png", "--figure", "seen.png").err
    assert "would replace c.png" in cli("info", "c.png", "--figure", "c.png", "--overwrite").err


@pytest.mark.parametrize(
    ("window", "said"),
    [("liver", "soft tissue, lung"), ("1,x", "soft tissue"), ("5,1", "two numbers"), ("nan,1", "two")],
)
def test_windows_that_are_none(window, said, cli, here):
    ran = cli("info", "c.nii.gz", "--figure", "seen.png", f"--window={window}")
    assert ran.status == 2
    assert said in ran.err
    assert not (here / "seen.png").exists()


def test_windows_change_the_picture(cli, here):
    data = np.random.default_rng(0).normal(40, 100, (12, 12, 12)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), "v.nii.gz")
    shown = []
    for window in ("brain", "lung", "-100,300"):
        assert cli("info", "v.nii.gz", "--figure", "seen.png", f"--window={window}", "--overwrite").status == 0
        shown.append((here / "seen.png").read_bytes())
    assert len(set(shown)) == 3
    ran = cli("info", "v.nii.gz", "--window", "brain")
    assert ran.status == 2
    assert "give --figure too" in ran.err
