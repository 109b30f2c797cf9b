"""Pictures and the JSON beside them, and inputs that are made: what they show, and how they are written."""

import json
import math
import os
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import soundfile
import torch
from patch_helpers import clicks, pattern, planted
from PIL import Image
from torch import nn

from nst_nd import module_extractor
from nst_nd.boxes import Span
from nst_nd.domains.networks import Network
from nst_nd.drawing.scale import nice_length
from nst_nd.errors import ConfigError, Interrupted, OutputError
from nst_nd.features.extractor import ChainStage
from nst_nd.io import ReadOptions
from nst_nd.patches import draw, network
from nst_nd.patches.maximise import maximised, unrectified
from nst_nd.patches.record import save
from nst_nd.patches.search import Query, search
from nst_nd.patches.views import edge_for, envelope, view
from nst_nd.sample import Grid, Sample

SMALL = {"extractor": {"name": "random", "widths": (3,), "channels": (4, 4)}}


def words(figure):
    return [text.get_text() for text in figure.texts] + [t.get_text() for axes in figure.axes for t in axes.texts]


@pytest.fixture
def image(tmp_path, detecting):
    places = [(7, 9), (30, 40), (1, 60)]
    planted(tmp_path / "a.png", places, [0.45, 0.4, 0.35])
    return tmp_path / "a.png"


def test_images_are_drawn_as_they_are(image):
    found = search([image], {}, Query("answer", (0, 1), top=3))
    figure = draw.figure_of(found)
    assert len(figure.axes) == sum(len(patches) for patches in found.patches.values())
    first, _, last = (axes.images[0].get_array() for axes in figure.axes[:3])
    assert first.shape == (5, 5, 4)
    stored = np.asarray(Image.open(image))[5:10, 7:12] / 255
    np.testing.assert_allclose(first[..., 0], stored, atol=1e-6)
    assert (first[..., 3] == 1).all()
    assert last[0, :, 3].tolist() == [0.0] * 5  # the field of the last one begins above the picture
    said = " ".join(words(figure))
    assert "receptive field 5 x 5 px; 1 input;" in said
    assert "hatched" in said
    assert "a *" in said


def test_traces_share_a_time_axis_in_seconds(detecting, tmp_path):
    clicks(tmp_path / "a.wav", 8000, 0.5, [(0.1, 0.5), (0.3, 0.4)])
    found = search([tmp_path / "a.wav"], SMALL, Query("answer", (0, 1), top=2))
    figure = draw.figure_of(found)
    assert {axes.get_xlim() for axes in figure.axes} == {(0.0, 5 / 8000)}
    assert len({axes.get_ylim() for axes in figure.axes[:2]}) == 1
    assert "a 0.10 s" in words(figure)
    assert "time in s from the start of the receptive field" in words(figure)


def test_volumes_are_planes_with_a_bar_in_mm(tmp_path):
    data = np.random.default_rng(0).normal(100, 20, (30, 14, 12)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / "v.nii")
    found = search([tmp_path / "v.nii"], SMALL, Query("relu2", (0,), top=2, inside=True))
    figure = draw.figure_of(found)
    assert len(figure.axes) == 3 * 2
    extent = found.watched.receptive.extent
    sides = [extent[0] * 2.0, extent[1] * 2.0, extent[2] * 3.0]
    shown = [axes.images[0].get_extent() for axes in figure.axes[:3]]
    assert shown == [[0, sides[a], 0, sides[b]] for a, b in ((0, 1), (0, 2), (1, 2))]
    bars = [t for t in words(figure) if t.endswith(" mm")]
    assert bars == [f"{nice_length(sides[a] / 2):g} mm" for a in (0, 0, 1)]
    patch = found.patches[0][0]
    middle = [(span.start + span.stop) // 2 for span in patch.field]
    inside = [slice(*span) for span in patch.field]
    np.testing.assert_array_equal(patch.view[1], data[inside[0], middle[1], inside[2]])


def test_views():
    data = np.arange(24, dtype=np.float32).reshape(1, 4, 6)
    sample = Sample(data, "image", "full scale", Grid((1.0, 1.0), "px"))
    (shown,) = view(sample, (Span(-1, 2), Span(4, 8)))
    assert np.isnan(shown[0]).all()
    assert shown[1, :2, 0].tolist() == [4.0, 5.0]
    assert np.isnan(shown[1, 2:]).all()
    (thin,) = view(sample, (Span(0, 4), Span(0, 6)), edge=2)
    assert thin[..., 0].tolist() == [[0.0, 3.0], [12.0, 15.0]]
    wave = np.sin(np.arange(10_000, dtype=np.float32))[None]
    low, high = envelope(wave)[0]
    assert low.size == 2000
    assert (low.min(), high.max()) == (wave.min(), wave.max())
    assert edge_for("image", (Span(0, 500), Span(0, 500)), 3, 64 * 25) < 100


@pytest.mark.parametrize("name", [rb"$\frac$.png", b"\xff\xfe$.png", b"line\nbreak_{.png"])
def test_names_are_no_mathematics_and_may_be_no_text(name, image):
    file = image.rename(image.with_name(os.fsdecode(name)))
    found = search([file, file.with_name("$gone$.png")], {}, Query("answer", (0,), top=1))
    target = file.with_name("fig.png")
    record = save(found, target, overwrite=False, seconds=1.0)
    kept = name.decode(errors="backslashreplace").replace("\\x", "\\udc")
    assert record["files"][0]["name"] == record["units"][0]["patches"][0]["file"] == kept
    assert json.loads(target.with_name("fig.png.json").read_text(encoding="utf-8")) == json.loads(json.dumps(record))
    (caption,) = (text for text in words(draw.figure_of(found)) if "$" in text or "line" in text)
    assert caption in (r"$\frac$", r"\udcff\udcfe$", "line break_{")


@pytest.mark.parametrize("unit", [r"$\frac$", "\udcff", "µV"])
def test_units_of_values_are_shown_as_they_are(unit, detecting, tmp_path):
    clicks(tmp_path / "a.wav", 8000, 0.5, [(0.1, 0.5)])
    found = search([tmp_path / "a.wav"], SMALL, Query("answer", (0,), top=1))
    found = replace(found, first=found.first.replace(units=unit))
    save(found, tmp_path / "fig.png", overwrite=False, seconds=1.0)
    label = draw.figure_of(found).axes[0].get_ylabel()
    assert label.split()[1] == ("?" if unit == "\udcff" else unit)


@pytest.mark.parametrize(
    ("nc", "shown", "said"), [(2, [0, 0, 0], "channel 1 of 2"), (5, [0, 1, 2], "channels 1 to 3 of 5")]
)
def test_images_of_other_numbers_of_channels(nc, shown, said, detecting, tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(0.2, 0.8, (nc, 40, 50)).astype(np.float32))
    found = search([tmp_path / "a.npy"], {}, Query("answer", (0,), top=2, inside=True), ReadOptions(kind="image"))
    save(found, tmp_path / "fig.png", overwrite=False, seconds=1.0)
    figure = draw.figure_of(found)
    np.testing.assert_allclose(
        figure.axes[0].images[0].get_array()[..., :3], found.patches[0][0].view[0][..., shown], atol=1e-6
    )
    assert said in " ".join(words(figure))


def test_the_words_on_top_fit(tmp_path, detecting):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(0.2, 0.8, (2, 6, 6)).astype(np.float32))
    found = search([tmp_path / "a.npy"], {}, Query("answer", (0,), top=1), ReadOptions(kind="image"))
    patch = replace(found.patches[0][0], field=(Span(-1, 4), Span(-1, 4)))
    figure = draw.figure_of(replace(found, patches={0: [patch]}))
    assert "* reaches beyond the signal, hatched; shown: channel 1 of 2" in words(figure)
    figure.canvas.draw()
    width = figure.bbox.width
    assert all(text.get_window_extent().x1 < width for text in figure.texts)


def test_captions_and_the_axis_begin_with_the_field(detecting, tmp_path):
    data = 0.001 * np.random.default_rng(0).standard_normal(120)
    data[:4] += 0.5 * pattern(1)[1:]  # as if it began one sample before the sound
    soundfile.write(tmp_path / "a.wav", data, 40, subtype="FLOAT")
    found = search([tmp_path / "a.wav"], SMALL, Query("answer", (0,), top=1))
    assert found.patches[0][0].field[0].start == -1
    assert "a -0.03 s *" in words(draw.figure_of(found))  # -1/40


def test_how_much_one_picture_holds():
    draw.check_room("volume", 9, 100, True)
    draw.check_room("image", 64, 46, False)
    with pytest.raises(ConfigError, match=r"64 units x 100 patches x 3 planes .* allowed for 64 units: top up to 15,"):
        draw.check_room("volume", 64, 100, False)
    with pytest.raises(ConfigError, match="top up to 14,"):
        draw.check_room("volume", 64, 15, True)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_picture_and_json_appear_together(suffix, image):
    found = search([image], {}, Query("answer", (0,), top=2))
    target = image.with_name(f"fig{suffix}")
    record = save(found, target, overwrite=False, seconds=1.0)
    assert target.stat().st_size > 2000
    assert json.loads(target.with_name(f"fig{suffix}.json").read_text()) == json.loads(json.dumps(record))
    assert str(image.parent) not in json.dumps(record)
    before = target.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        save(found, target, overwrite=False, seconds=1.0)
    save(found, target, overwrite=True, seconds=1.0)
    assert target.read_bytes() == before
    assert sorted(p.name for p in image.parent.iterdir()) == ["a.png", f"fig{suffix}", f"fig{suffix}.json"]


def test_an_input_is_made_for_a_detector(image):
    found = search([image], {}, Query("answer", (0, 1), top=2, ranges=True))
    made = maximised(found, 100, 0)
    for unit, sign in ((0, 1), (1, -1)):
        one = made.synthetic[unit]
        assert one.activation > max(1.2 * one.start, found.patches[unit][0].activation * 0.8)
        picture = one.view[0][..., 0]
        assert np.corrcoef(picture.ravel(), sign * found.patches[0][0].view[0][..., 0].ravel())[0, 1] > 0.7
        assert picture.min() >= -1e-6
        assert picture.max() <= 1 + 1e-6
    again = maximised(search([image], {}, Query("answer", (0,), top=2, ranges=True)), 100, 0)
    assert np.array_equal(again.synthetic[0].view[0], made.synthetic[0].view[0])
    figure = draw.figure_of(made)
    assert len(figure.axes) == 2 + sum(len(patches) for patches in found.patches.values())
    assert words(figure).count("made for it") == 2
    with pytest.raises(Interrupted):
        maximised(found, 5, 0, should_stop=lambda: True)
    with pytest.raises(ValueError, match="ranges"):
        maximised(search([image], {}, Query("answer", (0,))), 5, 0)


@pytest.mark.parametrize("kind", ["sound", "volume"])
def test_inputs_are_made_in_one_and_three_dimensions(kind, tmp_path):
    rng = np.random.default_rng(1)
    if kind == "sound":
        soundfile.write(tmp_path / "x.wav", rng.normal(0, 0.1, 4000), 8000)
        file = tmp_path / "x.wav"
    else:
        nibabel.save(
            nibabel.Nifti1Image(rng.normal(0, 9, (16, 16, 12)).astype(np.float32), np.eye(4)), tmp_path / "x.nii"
        )
        file = tmp_path / "x.nii"
    found = search([file], SMALL, Query("relu2", (0,), top=2, ranges=True))
    made = maximised(found, 25, 3)
    for unit, one in made.synthetic.items():
        assert math.isfinite(one.activation)
        assert one.activation > found.patches[unit][0].activation
    assert len(draw.figure_of(made).axes) == (3 if kind == "volume" else 1) * (1 + len(found.patches[0]))


class OfOneSize(nn.Sequential):
    def forward(self, x):
        if x.shape[2:] != (24, 40):
            raise RuntimeError(f"takes 24x40, not {tuple(x.shape[2:])}")
        return super().forward(x)


@pytest.mark.parametrize("everything", [False, True])
def test_an_input_is_made_for_a_module_of_one_size(everything, tmp_path, monkeypatch):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 2, 5, padding=2), *([nn.InstanceNorm2d(2)] if everything else []), nn.LeakyReLU()]
    last = str(len(layers) - 1)
    extractor = module_extractor(OfOneSize(*layers), 3, 2, [last], probe=(24, 40))
    monkeypatch.setattr(network, "build_networks", lambda *_, **__: [Network("", extractor, {}, {last: 1.0})])
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(60, 190, (24, 40, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    settings = {"extractor": {"name": "random", "probe": (24, 40)}}
    found = search([tmp_path / "a.png"], settings, Query(last, (0,), top=2, ranges=True))
    one = maximised(found, 40, 0).synthetic[0]
    assert one.activation > found.patches[0][0].activation
    assert one.samples == ((24, 40) if everything else (5, 5))


def test_the_last_rectifier_goes():
    from nst_nd import random_network, vgg19

    for made, tap in ((vgg19(1, 2, blocks=1), "relu1_2"), (random_network(1, 2, channels=(6, 4)), "relu1")):
        found, plain = unrectified(made.until([tap]))
        assert found
        assert isinstance(plain.stages[-1], ChainStage)
        assert not unrectified(plain)[0]
    assert not unrectified(vgg19(1, 2, blocks=1).until(["pool1"]))[0]
