"""What can be HU passes, crops of all kinds included; what cannot is refused with what it is."""

import numpy as np
import pytest

from nst_nd import Grid, Sample
from nst_nd.domains.hounsfield import check_hounsfield
from nst_nd.errors import InputError

RNG = np.random.default_rng(8)
SIZE = (24, 24, 24)


def sample(values, units="arbitrary"):
    values = np.asarray(values, np.float64)
    data = values.reshape((-1, *values.shape[-3:])) if values.ndim >= 3 else np.broadcast_to(values, (1, *SIZE)).copy()
    return Sample(data, "volume", units, Grid((1.0, 1.0, 1.0), "mm"))


def tissue(mean, sigma, size=SIZE):
    return RNG.normal(mean, sigma, size).round()


def with_bone(values):
    """A corner of bone, so that the range is wide."""
    values = values.copy()
    values[:4, :4, :4] = tissue(900, 80, (4, 4, 4))
    return values


def photo():
    return RNG.integers(0, 256, SIZE)


def mr(noise=2.0):
    """Rician: background, and tissue up to 4000."""
    signal = np.zeros(SIZE)
    signal[8:] = RNG.uniform(500, 4000, (16, 24, 24))
    real, imaginary = RNG.normal(0, noise, (2, *SIZE))
    return np.hypot(signal + real, imaginary).round()


def head():
    """Air, skull and brain."""
    values = tissue(35, 8)
    values[:6] = tissue(-1000, 8, (6, 24, 24))
    values[6:9] = tissue(1200, 90, (3, 24, 24))
    return values


REFUSED = [
    ("normalised", lambda: RNG.random(SIZE), "0.* to .*normalised"),
    ("normalised to -1..1", lambda: RNG.uniform(-1, 1, SIZE), "normalised"),
    ("photo", photo, "0 to 255, none below 0 but .* at exactly 0"),
    ("windowed", lambda: np.clip((head() + 160) / 400 * 255, 0, 255).round(), "cut there"),
    ("mr", mr, "none below 0"),
    ("mr, masked", lambda: np.where(np.arange(24) < 4, 0, RNG.integers(300, 900, SIZE)), "none below 0"),
    ("labels", lambda: RNG.integers(0, 5, SIZE), "0 to 4, none below 0"),
    ("without its intercept", lambda: np.maximum(head() + 1024, 0) * (np.arange(24) > 2), "none below 0"),
    ("too high", lambda: head() * 1000, "allowed: -100000 to 100000"),
    ("too low", lambda: np.where(np.arange(24) < 1, -1e6, head()), "-1e\\+06 to"),
]

PASSING = [
    ("head", head),
    ("soft tissue", lambda: RNG.integers(20, 81, SIZE)),
    ("liver with contrast", lambda: tissue(110, 12)),
    ("vessel beside kidney", lambda: np.where(np.arange(24) < 9, tissue(240, 15), tissue(60, 12))),
    ("bone alone", lambda: tissue(900, 200).clip(150)),
    ("metal", lambda: np.where(np.arange(24) < 3, 30710, tissue(40, 9))),
    ("air alone", lambda: tissue(-1000, 10)),
    ("lung", lambda: tissue(-850, 40)),
    ("water, no noise", lambda: np.zeros(SIZE)),
    ("water, hardly any noise", lambda: tissue(0, 1)),
    ("fractions of HU", lambda: RNG.normal(40, 8, SIZE)),
]


@pytest.mark.parametrize(("make", "match"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_what_cannot_be_hu_is_refused(make, match):
    with pytest.raises(InputError, match=f"the style cannot be CT in HU: its values are .*{match}") as caught:
        check_hounsfield(sample(make()), "style")
    assert len(str(caught.value).splitlines()) == 2
    assert "rescale" in str(caught.value)


@pytest.mark.parametrize("make", [p[1] for p in PASSING], ids=[p[0] for p in PASSING])
def test_what_may_be_hu_passes_without_a_note(make):
    assert check_hounsfield(sample(make()), "content") == []


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0, 5.0, 10.0, 20.0])
@pytest.mark.parametrize("surrounded", [lambda x: x, with_bone], ids=["alone", "with bone"])
def test_no_crop_of_one_tissue_is_refused_whatever_its_mean_and_noise(sigma, surrounded):
    for above in np.linspace(2, 5, 25):
        for _ in range(4):
            assert check_hounsfield(sample(surrounded(tissue(above * sigma, sigma))), "content") == []


@pytest.mark.parametrize("padding", [-1200, -2000, -3024, -32768, -33792])
def test_padding_is_allowed_and_said(padding):
    values = head()
    values[0, :2, :3] = padding
    (note,) = check_hounsfield(sample(values), "content")
    assert note == f"6 voxels of the content lie below -1100 HU (down to {padding}): padding or noise of air"
    values[0, :2, :3] = -1024
    assert check_hounsfield(sample(values), "content") == []


def test_a_file_that_says_hu_is_believed():
    assert check_hounsfield(sample(photo(), "HU"), "content") == []
    with pytest.raises(InputError, match="allowed"):
        check_hounsfield(sample(head() * 1000, "HU"), "content")


def test_every_channel_counts():
    with pytest.raises(InputError, match="allowed"):
        check_hounsfield(sample(np.stack([head(), head() * 1000])), "content")
    assert check_hounsfield(sample(np.stack([head(), photo()])), "content") == []  # air in the other channel
