"""Files to search in, and the search with a network of which everything is known."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import soundfile
from patch_helpers import detector
from PIL import Image

from nst_nd.domains.networks import Network
from nst_nd.patches import network

SAMPLES = Path(__file__).parents[2] / "data_samples"


@pytest.fixture
def detecting(monkeypatch):
    """The search watches the detector, whatever the settings say."""

    def build(settings, nc, ndim, kernel, *, with_content, rates):
        (layer,) = settings.style_layers
        return [Network("", detector(nc, ndim).until([layer]), {}, {layer: 1.0})]

    monkeypatch.setattr(network, "build_networks", build)


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


@pytest.fixture(scope="module")
def ecgs():
    return [SAMPLES / "ecg_rest.hea"]
