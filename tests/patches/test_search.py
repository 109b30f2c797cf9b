"""Patches are the right ones: cut from the file by what the JSON says, they give the activation again."""

import json
import tracemalloc
import weakref
from pathlib import Path

import nibabel
import numpy as np
import pytest
import soundfile
import torch
from patch_alone import alone
from patch_helpers import clicks, pattern, planted
from PIL import Image
from torch import nn

from nst_nd import load, module_extractor
from nst_nd.domains import PRESETS
from nst_nd.domains.networks import Network
from nst_nd.errors import ConfigError, DecodeError, InputError, Interrupted
from nst_nd.patches import network
from nst_nd.patches import search as part
from nst_nd.patches.record import record_of
from nst_nd.patches.search import Query, search

SAMPLES = Path(__file__).parents[2] / "data_samples"
RANDOM = {"extractor": {"name": "random", "widths": (3, 5), "channels": (6, 5)}}


def photo(name, path, step=1, box=(slice(None), slice(None))):
    skimage = pytest.importorskip("skimage.data")
    Image.fromarray(getattr(skimage, name)()[box][::step, ::step]).save(path)
    return path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Colour and gray, of different sizes."""
    folder = tmp_path_factory.mktemp("photographs")
    crop = (slice(20, 180), slice(40, 230))
    return [photo(name, folder / f"{name}.png", 1, crop) for name in ("astronaut", "chelsea", "brick")]


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    rng = np.random.default_rng(0)
    for n, size in enumerate([(30, 28, 17), (21, 33, 19)]):
        data = np.cumsum(rng.normal(100, 30, size), axis=n).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(data, np.diag([1.5, 1.5, 2.0, 1.0])), folder / f"v{n}.nii")
    return [folder / "v0.nii", folder / "v1.nii"]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    for n in range(2):
        noise = np.cumsum(np.random.default_rng(n).normal(0, 0.01, (3000 + 500 * n, 2)), axis=0)
        soundfile.write(folder / f"s{n}.wav", np.clip(noise - noise.mean(0), -0.9, 0.9), 8000, subtype="FLOAT")
    return [folder / "s0.wav", folder / "s1.wav"]


CASES = [
    ("photographs", {}, "relu3_1"),
    ("photographs", {}, "pool2"),
    ("volumes", RANDOM, "relu2"),
    ("sounds", RANDOM, "relu2"),
    ("sounds", {"extractor": {"name": "vgg19"}, "padding": "reflect"}, "relu3_1"),
]


@pytest.mark.parametrize(("inputs", "settings", "layer"), CASES)
def test_a_patch_alone_gives_its_activation(inputs, settings, layer, request):
    files = request.getfixturevalue(inputs)
    found = search(files, settings, Query(layer, (0, 1, 3), top=6))
    record = json.loads(json.dumps(record_of(found, 0.0)))
    domain, count = PRESETS[record["preset"]], 0
    for entry in record["units"]:
        assert 1 <= len(entry["patches"]) <= 6
        for patch in entry["patches"]:
            sample = load(files[patch["input"]])
            if sample.nc != found.first.nc:  # gray among colours
                sample = sample.replace(data=np.repeat(sample.data, 3, axis=0), channels=())
            x = domain.prepare(None, [sample], found.settings).styles[0]
            cut = x[(slice(None), slice(None), *(slice(a, b) for a, b in patch["box"]))]
            again = alone(found.watched.plain, cut, patch["box"], sample.shape, patch["position"])
            largest = max(abs(patch["activation"]), float(again.abs().max()))
            assert float(again[patch["unit"]]) == pytest.approx(patch["activation"], abs=1e-5 * largest)
            assert patch["layer"] == found.watched.layer
            assert patch["clipped"] == (patch["box"] != patch["field"])
            unit = sample.grid.unit
            assert patch[unit] == [
                pytest.approx([a * s, b * s]) for (a, b), s in zip(patch["box"], sample.grid.spacing, strict=True)
            ]
            count += 1
    assert count >= 6


@pytest.mark.parametrize(("inputs", "settings", "layer"), CASES[:3] + CASES[3:4])
def test_tiles_change_nothing(inputs, settings, layer, request):
    files = request.getfixturevalue(inputs)
    whole, tiled = (search(files, settings, Query(layer, top=12, edge=edge)) for edge in (None, 8))
    for unit, patches in whole.patches.items():
        assert [(p.input, p.position) for p in patches] == [(p.input, p.position) for p in tiled.patches[unit]]
        for one, other in zip(patches, tiled.patches[unit], strict=True):
            assert one.activation == pytest.approx(other.activation, rel=1e-4)


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


def test_memory_does_not_grow_with_the_number_of_inputs(monkeypatch, tmp_path):
    files = []
    for n in range(12):
        data = np.random.default_rng(n).normal(100, 30, (48, 48, 40)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / f"{n}.nii")
        files.append(tmp_path / f"{n}.nii")
    alive, most = [], []
    read = part.load

    def reading(*words, **options):
        sample = read(*words, **options)
        alive.append(weakref.ref(sample.data))
        most.append(sum(ref() is not None for ref in alive))
        return sample

    monkeypatch.setattr(part, "load", reading)
    small = {"extractor": {"name": "random", "widths": (3,), "channels": (4, 4)}}
    search(files[:1], small, Query("relu1", (0,)))  # what is imported once
    peaks = []
    for count in (2, 12):
        tracemalloc.start()
        search(files[:count], small, Query("relu1", (0,)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(most) == 1
    assert peaks[1] < peaks[0] + 300_000  # less than one of the files


def test_files_that_cannot_be_used_are_named(photographs, tmp_path):
    (tmp_path / "broken.png").write_bytes(photographs[0].read_bytes()[:500])
    Image.fromarray(np.full((50, 50), 7, np.uint8)).save(tmp_path / "flat.png")
    Image.fromarray(np.arange(9, dtype=np.uint8).reshape(3, 3)).save(tmp_path / "small.png")
    bad = [tmp_path / name for name in ("broken.png", "flat.png", "small.png")]
    files = [bad[0], photographs[0], *bad[1:], photographs[1]]
    found = search(files, {}, Query("relu3_1", (0,)))
    assert [path.name for path, _ in found.skipped] == ["broken.png", "flat.png", "small.png"]
    reasons = [reason for _, reason in found.skipped]
    assert "broken or truncated" in reasons[0] or "truncated" in reasons[0]
    assert "is constant" in reasons[1]
    assert "needs at least" in reasons[2]
    assert {p.input for p in found.patches[0]} <= {1, 4}
    alone_found = search([photographs[0], photographs[1]], {}, Query("relu3_1", (0,)))
    assert [p.position for p in found.patches[0]] == [p.position for p in alone_found.patches[0]]
    with pytest.raises(DecodeError, match=r"^broken\.png"):
        search(files, {}, Query("relu3_1", (0,), strict=True))
    with pytest.raises(InputError, match=r"no input can be used: broken\.png: .*\(and 2 more\)"):
        search(bad, {}, Query("relu3_1", (0,)))


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
