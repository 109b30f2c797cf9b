"""What a browser is shown of each kind of signal."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from nst_nd import Grid, Sample
from nst_nd.app import pictures
from nst_nd.app.pictures import put, view_of


def drawn(view):
    with Image.open(io.BytesIO(view.png)) as image:
        image.load()
        return image


def test_an_image_as_it_is():
    data = np.random.default_rng(0).uniform(0, 1, (3, 20, 30)).astype(np.float32)
    view = view_of(Sample(data, "image", "full scale", Grid((1.0, 1.0), "px")))
    shown = np.asarray(drawn(view), np.float64)
    assert np.abs(shown - 255.0 * np.moveaxis(data, 0, -1)).max() <= 0.5 + 1e-4
    assert view.facts == {"form": "picture", "width": 30, "height": 20, "caption": "30 x 20"}


def test_a_large_image_is_made_smaller_and_says_so():
    view = view_of(Sample(np.zeros((1, 500, 2000), np.float32), "image", "full scale", Grid((1.0, 1.0), "px")))
    assert drawn(view).size == (900, 225)
    assert view.facts["caption"] == "2000 x 500, shown at 900 x 225"


def test_a_tone_is_bright_where_its_frequency_is():
    rate = 8000.0
    tone = 0.5 * np.sin(2 * np.pi * 1000.0 * np.arange(16000) / rate)
    view = view_of(Sample(tone[None].astype(np.float32), "audio", "full scale", Grid((1 / rate,), "s", rate)))
    bright = np.asarray(drawn(view)).sum(axis=(1, 2))
    height = len(bright)
    # 1 kHz of 4 kHz, the lowest at the bottom
    assert abs(int(bright.argmax()) - 0.75 * height) < 0.02 * height
    assert view.facts["axes"] == {"left": "0 s", "right": "2 s", "bottom": "0", "top": "4 kHz"}


@pytest.mark.parametrize("length", [1, 7, 300])
def test_short_sounds(length):
    sample = Sample(np.full((2, length), 0.1, np.float32), "audio", "full scale", Grid((1 / 8000.0,), "s", 8000.0))
    assert drawn(view_of(sample)).size == (pictures.COLUMNS, pictures.ROWS)


def test_an_ecg_on_paper():
    data = np.random.default_rng(0).normal(0, 0.1, (12, 600)).astype(np.float32)
    view = view_of(Sample(data, "ecg", "mV", Grid((0.01,), "s", 100.0)))
    assert drawn(view).size == (view.facts["width"], view.facts["height"])
    assert view.facts["caption"].startswith("12 leads, 6 s at 100 Hz; shown are 3 leads")


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
def test_slices_are_seen_from_the_feet_with_the_front_up(flips):
    """A voxel at the right, front and head end is at the upper left of the last slice, however the file is ordered."""
    data = np.zeros((1, 6, 8, 4), np.float32)
    data[(0, *(-1 if flip > 0 else 0 for flip in flips))] = 100.0
    affine = np.diag([*(float(flip) for flip in flips), 1.0]) @ np.diag([1.0, 1.0, 3.0, 1.0])
    view = view_of(Sample(data, "volume", "HU", Grid((1.0, 1.0, 3.0), "mm", affine=affine)), (0.0, 100.0))
    facts, sheet = view.facts, np.asarray(drawn(view))
    assert (facts["width"], facts["height"], facts["columns"]) == (6, 8, 2)
    assert facts["slices"] == [0, 1, 2, 3]
    assert facts["mm"] == [0.0, 3.0, 6.0, 9.0]
    assert facts["sides"] == ["R", "L"]
    assert np.argwhere(sheet == 255).tolist() == [[8, 6]]


def test_voxels_that_are_not_square_and_volumes_of_many_slices():
    data = np.random.default_rng(0).normal(size=(1, 40, 40, 100)).astype(np.float32)
    view = view_of(Sample(data, "volume", "arbitrary", Grid((0.5, 1.0, 2.0), "mm")))
    assert (view.facts["width"], view.facts["height"]) == (40, 80)
    assert len(view.facts["slices"]) == pictures.MOST_SLICES
    assert view.facts["sides"] is None
    assert "24 of 100 slices shown" in view.facts["caption"]


def test_a_constant_volume():
    view = view_of(Sample(np.full((1, 4, 4, 4), 7.0, np.float32), "volume", "arbitrary", Grid((1.0, 1.0, 1.0), "mm")))
    assert view.facts["window"] == [7.0, 8.0]


def test_a_picture_on_disk(tmp_path):
    view = view_of(Sample(np.zeros((1, 4, 4), np.float32), "image", "full scale", Grid((1.0, 1.0), "px")))
    for _ in range(2):
        put(view, tmp_path, "result")
    assert json.loads((tmp_path / "result.json").read_text()) == view.facts
    assert (tmp_path / "result.png").read_bytes() == view.png
    assert len(list(tmp_path.iterdir())) == 2
