"""Pictures as files: what is written, what is refused."""

import numpy as np
import pytest
from PIL import Image

from nst_nd import drawing, figures
from nst_nd.drawing.picture import DPI
from nst_nd.errors import ConfigError, InputError, OutputError
from nst_nd.sample import Grid, Sample


def audio(seconds=1.0, rate=16000.0):
    data = 0.2 * np.sin(2 * np.pi * 1000.0 * np.arange(round(seconds * rate)) / rate)
    return Sample(data[None].astype(np.float32), "audio", "full scale", Grid((1 / rate,), "s", rate))


def image(*shape):
    data = np.random.default_rng(0).random(shape or (3, 20, 30)).astype(np.float32)
    return Sample(data, "image", "full scale", Grid((1.0, 1.0), "px"))


@pytest.mark.parametrize("suffix", figures.SUFFIXES)
def test_every_kind_of_picture_is_the_same_bytes_again(suffix, tmp_path):
    for name in ("a", "b"):
        figures.draw(None, image(), image(), tmp_path / f"{name}{suffix}")
    first = (tmp_path / f"a{suffix}").read_bytes()
    assert len(first) > 5000
    assert first == (tmp_path / f"b{suffix}").read_bytes()


def test_a_file_has_the_size_of_its_figure(tmp_path):
    figures.draw(image(), image(), image(), tmp_path / "seen.png")
    wide, high = drawing.comparison(image(), [image()], image()).get_size_inches() * DPI
    with Image.open(tmp_path / "seen.png") as picture:
        assert picture.size == pytest.approx((wide, high), abs=1.0)


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(ConfigError, match=r"allowed: \.png, \.pdf, \.svg"):
        figures.draw(None, audio(), audio(), tmp_path / "sound.bmp")
    with pytest.raises(OutputError, match="make it first"):
        figures.draw(None, audio(), audio(), tmp_path / "none" / "sound.png")
    with pytest.raises(InputError, match="kind audio, image are not drawn together"):
        figures.draw(None, audio(), image(), tmp_path / "both.png")
    with pytest.raises(OutputError, match="would replace"):
        figures.check_figure(tmp_path / "c.png", overwrite=True, others=[tmp_path / "." / "c.png"])
    assert not list(tmp_path.iterdir())


def test_a_picture_that_exists_is_replaced_only_when_allowed(tmp_path):
    short = image(1, 2, 2)
    figures.draw(short, short, short, tmp_path / "short.png")
    with pytest.raises(OutputError, match="exists already"):
        figures.draw(short, short, short, tmp_path / "short.png")
    figures.draw(short, short, short, tmp_path / "short.png", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["short.png"]
