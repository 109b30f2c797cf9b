"""Patches are the right ones: cut from the file by what the JSON says, they give the activation again."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import soundfile
import torch
from patch_alone import alone
from patch_helpers import clicks, detector, pattern, planted
from PIL import Image
from torch import nn

from nst_nd import load, module_extractor
from nst_nd.domains.networks import Network
from nst_nd.errors import ConfigError, InputError, Interrupted
from nst_nd.features.extractor import ChainStage
from nst_nd.patches import network
from nst_nd.patches.record import record_of
from nst_nd.patches.search import Query, search

SAMPLES = Path(__file__).parents[2] / "data_samples"
DEEPER = ("conv1_1", "pool1", "pool2")
RANDOM = {"extractor": {"name": "random", "widths": (3, 5), "channels": (6, 5)}}


CASES = [
    ("photographs", {}, "relu3_1"),
    ("photographs", {}, "pool2"),
    ("volumes", RANDOM, "relu2"),
    ("sounds", RANDOM, "relu2"),
    ("sounds", {"extractor": {"name": "vgg19"}, "padding": "reflect"}, "relu3_1"),
    ("ecgs", RANDOM, "relu2"),
]


@pytest.mark.parametrize(
    ("inputs", "settings", "layer", "inside"), [*((*case, case[0] != "volumes") for case in CASES), (*CASES[2], True)]
)
def test_a_patch_alone_gives_its_activation(inputs, settings, layer, inside, request):
    """From the file's own values by what the JSON says. inside: some of the fields must be whole."""
    files = request.getfixturevalue(inputs)
    found = search(files, settings, Query(layer, (0, 1, 3), top=6, inside=inside and inputs == "volumes"))
    record = json.loads(json.dumps(record_of(found, 0.0)))
    unclipped = count = 0
    for entry in record["units"]:
        assert 1 <= len(entry["patches"]) <= 6
        for patch in entry["patches"]:
            sample = load(files[patch["input"]])
            cut = sample.data[(slice(None), *(slice(a, b) for a, b in patch["box"]))]  # in the file's unit
            assert patch["scaling"]["unit"] == sample.units
            gain, offset = (np.reshape(patch["scaling"][k], (-1, *(1,) * (cut.ndim - 1))) for k in ("gain", "offset"))
            x = torch.from_numpy(((cut - offset) * gain).astype(np.float32))[None]  # gray among colours: three times
            again = alone(found.watched.plain, x, patch["box"], sample.shape, patch["position"])
            # of its own value, not of the largest unit's: float32 rounding is some 1e-6 of it
            np.testing.assert_allclose(float(again[patch["unit"]]), patch["activation"], rtol=1e-5)
            unclipped += not patch["clipped"]
            assert patch["layer"] == found.watched.layer
            assert patch["clipped"] == (patch["box"] != patch["field"])
            unit = sample.grid.unit
            assert patch[unit] == [
                pytest.approx([a * s, b * s]) for (a, b), s in zip(patch["box"], sample.grid.spacing, strict=True)
            ]
            count += 1
    assert count >= 6
    assert unclipped or not inside


@pytest.mark.parametrize(("inputs", "settings", "layer"), CASES[:3] + CASES[3:4])
def test_tiles_change_nothing(inputs, settings, layer, request):
    files = request.getfixturevalue(inputs)
    whole, tiled = (search(files, settings, Query(layer, top=12, edge=edge)) for edge in (None, 8))
    for unit, patches in whole.patches.items():
        assert [(p.input, p.position) for p in patches] == [(p.input, p.position) for p in tiled.patches[unit]]
        for one, other in zip(patches, tiled.patches[unit], strict=True):
            assert one.activation == pytest.approx(other.activation, rel=1e-4)


def test_what_a_region_takes_away_is_said(tmp_path):
    data = np.random.default_rng(0).normal(100, 10, (20, 20, 20)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / "v.nii")
    settings = {**RANDOM, "region": (20.0, 180.0), "lock_mm": 3.0}
    found = search([tmp_path / "v.nii"], settings, Query("relu1", (0,), top=1))
    (patch,) = record_of(found, 0.0)["units"][0]["patches"]
    assert patch["scaling"]["detail"] == {"region": [20.0, 180.0], "lock_mm": 3.0}


def test_no_two_fields_of_one_file_overlap(photographs):
    found = search(photographs, {}, Query("relu2_2", top=25))
    for patches in found.patches.values():
        assert len(patches) == 25
        for n, one in enumerate(patches):
            for other in patches[:n]:
                apart = [a.stop <= b.start or b.stop <= a.start for a, b in zip(one.field, other.field, strict=True)]
                assert one.input != other.input or any(apart)
        assert [p.activation for p in patches] == sorted((p.activation for p in patches), reverse=True)
    each = search(photographs, {}, Query("relu2_2", top=25, per_file=2))
    assert all(len(patches) == 6 for patches in each.patches.values())
    inside = search(photographs, {}, Query("relu2_2", top=25, inside=True))
    assert any(p.clipped for patches in found.patches.values() for p in patches)
    assert not any(p.clipped for patches in inside.patches.values() for p in patches)


@pytest.mark.parametrize("edge", [None, 4])
def test_a_detector_finds_what_was_planted(detecting, tmp_path, edge):
    places = [(7, 9), (7, 16), (30, 40), (57, 67), (2, 60)]  # near neighbours, and the very corners
    planted(tmp_path / "a.png", places, [0.48, 0.44, 0.40, 0.36, 0.32])
    planted(tmp_path / "b.png", [(20, 20), (40, 10)], [-0.46, 0.42], seed=1)
    found = search([tmp_path / "a.png", tmp_path / "b.png"], {}, Query("answer", top=6, edge=edge))
    expected = [(0, (7, 9)), (0, (7, 16)), (1, (40, 10)), (0, (30, 40)), (0, (57, 67)), (0, (2, 60))]
    assert [(p.input, p.position) for p in found.patches[0]] == expected
    assert (found.patches[1][0].input, found.patches[1][0].position) == (1, (20, 20))
    patch = found.patches[0][0]
    assert [tuple(span) for span in patch.box] == [(5, 10), (7, 12)]
    np.testing.assert_allclose(np.sign(patch.view[0][..., 0] - 0.5), pattern(2))


def test_planted_in_time_and_in_a_volume(detecting, tmp_path):
    clicks(tmp_path / "a.wav", 8000, 1.0, [(0.25, 0.5), (0.75, 0.8)])
    found = search([tmp_path / "a.wav"], RANDOM, Query("answer", (0,), top=2))
    seconds = [p["centre_s"][0] for p in record_of(found, 0.0)["units"][0]["patches"]]
    assert seconds == [pytest.approx(0.75 + 0.5 / 8000), pytest.approx(0.25 + 0.5 / 8000)]
    data = 0.01 * np.random.default_rng(0).standard_normal((20, 24, 15))
    data[10:15, 3:8, 6:11] += pattern(3)
    affine = np.array([[2.0, 0, 0, 5], [0, 2, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(data.astype(np.float32), affine), tmp_path / "v.nii.gz")
    found = search([tmp_path / "v.nii.gz"], RANDOM, Query("answer", (0,), top=1))
    (patch,) = record_of(found, 0.0)["units"][0]["patches"]
    assert patch["position"] == [12, 5, 8]
    assert patch["mm"] == [[20.0, 30.0], [6.0, 16.0], [18.0, 33.0]]
    assert patch["centre_world_mm"] == [5 + 24, 6 + 10, 7 + 24]
    np.testing.assert_allclose(found.patches[0][0].view[2], data[12, 3:8, 6:11], atol=1e-6)


def test_a_module_is_watched_like_any_other(monkeypatch, tmp_path):
    conv = nn.Conv2d(1, 2, 5, padding=2, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.stack([torch.from_numpy(pattern(2)), -torch.from_numpy(pattern(2))])[:, None])

    class Even(nn.Sequential):
        def forward(self, x):
            if x.shape[-1] % 2:
                raise RuntimeError("only even sizes\nand more")
            return super().forward(x)

    extractor = module_extractor(Even(conv, nn.ReLU()), 1, 2, ["1"])
    made = lambda *_, **__: [Network("", extractor, {}, {"1": 1.0})]  # noqa: E731
    monkeypatch.setattr(network, "build_networks", made)
    planted(tmp_path / "a.png", [(11, 13), (33, 50)], [0.3, 0.45])
    found = search([tmp_path / "a.png"], {}, Query("1", (0,), top=2))
    assert [p.position for p in found.patches[0]] == [(33, 50), (11, 13)]
    assert found.watched.channels == 2
    planted(tmp_path / "odd.png", [(11, 13)], [0.3], size=(40, 41))
    found = search([tmp_path / "odd.png", tmp_path / "a.png"], {}, Query("1", (0,), top=2))
    assert [p.input for p in found.patches[0]] == [1, 1]
    assert found.skipped[0][1] == "the network does not take a size of 40x41: only even sizes"
    with pytest.raises(ConfigError, match="got 2; layer 1 has 2: allowed are 0 to 1"):
        search([tmp_path / "a.png"], {}, Query("1", (2,)))


def test_other_rates_and_spacings_are_brought_to_the_first(detecting, tmp_path):
    clicks(tmp_path / "a.wav", 8000, 0.5, [(0.1, 0.01)])
    slow = np.zeros(4000)
    slow[1800:1805] = np.repeat(pattern(1), 1)
    soundfile.write(tmp_path / "b.wav", slow, 4000, subtype="FLOAT")
    found = search([tmp_path / "a.wav", tmp_path / "b.wav"], RANDOM, Query("answer", (0,), top=40))
    assert "resampled to the grid of the first input" in found.notes
    patch = next(p for p in record_of(found, 0.0)["units"][0]["patches"] if p["input"] == 1)
    ((start, stop),) = patch["box"]
    assert 1795 <= start < stop <= 1810
    assert patch["seen"]["rate"] == 8000
    assert patch["s"][0] == pytest.approx([start / 4000, stop / 4000], abs=1 / 4000)


def test_gaps_are_no_response(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["time,I"]
    for n, value in enumerate(0.1 * rng.normal(size=2000)):
        rows.append(f"{n / 500:.3f}," + ("" if 800 <= n < 900 else f"{value + (3.0 if n in (799, 900) else 0):.4f}"))
    (tmp_path / "e.csv").write_text("\n".join(rows))
    found = search([tmp_path / "e.csv"], RANDOM, Query("relu1", top=9))
    for patches in found.patches.values():
        assert patches
        assert not any(800 <= patch.position[0] < 900 for patch in patches)


def test_activations_that_are_not_finite_are_named(monkeypatch, tmp_path):
    plain = detector(1, 2)
    (layer,) = plain.stages[0].layers
    huge = replace(layer, weight=layer.weight * 2e35)  # what is strong is beyond float32
    extractor = replace(plain, stages=(ChainStage((huge,)),))
    monkeypatch.setattr(network, "build_networks", lambda *_, **__: [Network("", extractor, {}, {"answer": 1.0})])
    planted(tmp_path / "strong.png", [(20, 20)], [0.48])
    planted(tmp_path / "weak.png", [(20, 20)], [0.1])
    found = search([tmp_path / "strong.png", tmp_path / "weak.png"], {}, Query("answer", (0,), top=1))
    assert [path.name for path, _ in found.skipped] == ["strong.png"]
    assert found.skipped[0][1].startswith("activations of it are not finite")
    assert found.patches[0][0].position == (20, 20)
    with pytest.raises(InputError, match=r"strong\.png: activations of it are not finite"):
        search([tmp_path / "strong.png"], {}, Query("answer", (0,)))


def test_vgg19_begins_with_edges_and_colours(tmp_path):
    """Patches of filters for edges look like them, of filters for colours have the colour; deeper ones see more."""
    photos = []
    for name in ("cat", "tissue"):
        with Image.open(SAMPLES / f"{name}.png") as whole:
            whole.convert("RGB").crop((60, 60, 220, 220)).save(tmp_path / f"{name}.png")
        photos.append(tmp_path / f"{name}.png")
    found = search(photos, {}, Query("conv1_1", tuple(range(64)), top=3, inside=True))
    (first,) = (layer for stage in found.watched.plain.stages for layer in stage.layers)
    every = np.concatenate([load(photo).data.reshape(3, -1) for photo in photos], axis=1)
    edges = colours = 0
    for unit, patches in found.patches.items():
        weight = first.weight[unit].numpy()
        gray, flat = (np.linalg.norm(weight.mean(a, keepdims=True) + 0 * weight) for a in (0, (1, 2)))
        whole = np.linalg.norm(weight)
        if abs(weight.sum()) > 0.3 * whole:
            continue  # of brightness
        for patch in patches:
            seen = np.moveaxis(patch.view[0], -1, 0)
            contrast = seen - seen.mean()
            if gray > 0.9 * whole:
                edges += 1
                assert (weight * contrast).sum() > 0.5 * whole * np.linalg.norm(contrast)
            if flat > 0.9 * whole:
                colours += 1
                direction = weight.sum((1, 2))
                assert direction @ seen.mean((1, 2)) > np.percentile(direction @ every, 90)
    assert min(edges, colours) >= 6
    sides = [search(photos[:1], {}, Query(layer, (0,), top=1)).watched.receptive.extent[0] for layer in DEEPER]
    assert sides == [3, 6, 16]


def test_what_is_refused(photographs, sounds):
    with pytest.raises(ConfigError, match=r"has no layer relu9\nallowed: conv1_1, relu1_1"):
        search(photographs, {}, Query("relu9"))
    with pytest.raises(ConfigError, match="got 64; layer relu1_1 has 64: allowed are 0 to 63"):
        search(photographs, {}, Query("relu1_1", (64,)))
    with pytest.raises(InputError, match=r"s0\.wav is of kind audio, those before it of kind image"):
        search([photographs[0], sounds[0]], {}, Query("relu1_1"))
    with pytest.raises(ConfigError, match="preset volume is for volume; these are of kind image"):
        search(photographs, {"preset": "volume"}, Query("vgg19.relu1_1"))
    with pytest.raises(ConfigError, match=r"photograph|astronaut\.png: .* too little for 160x190"):
        search(photographs, {"max_memory": "1MiB"}, Query("relu1_1"))
    with pytest.raises(Interrupted, match="nothing is written"):
        search(photographs, {}, Query("relu1_1"), should_stop=lambda: True)
    for wrong in (
        {"top": 0},
        {"top": 101},
        {"per_file": 0},
        {"units": ()},
        {"units": (-1,)},
        {"units": tuple(range(65))},
    ):
        with pytest.raises(ConfigError, match="allowed"):
            Query("relu1_1", **wrong)
    with pytest.raises(ConfigError, match=r"64 units x 100 patches is too large; allowed for 64 units: top up to 46,"):
        search(photographs, {}, Query("relu1_1", tuple(range(64)), top=100))
