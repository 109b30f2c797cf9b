"""What a header tells is what reading tells, and it takes no memory."""

import numpy as np
import pytest
from io_variants import VARIANTS
from PIL import Image

from nst_nd.io import load, outline
from nst_nd.scratch import extremes


def same(path, **options):
    read, told = load(path, **options), outline(path, **options)
    assert told.data.shape == read.data.shape
    assert (told.kind, told.units, told.channels) == (read.kind, read.units, read.channels)
    assert (told.grid.spacing, told.grid.unit, told.grid.rate) == (read.grid.spacing, read.grid.unit, read.grid.rate)
    assert not any(told.data.strides), "its values take memory"
    return read


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_of_every_variant(variant, tmp_path):
    path = tmp_path / f"a{variant.suffix}"
    variant.make(path, np.random.default_rng(3))
    same(path, **variant.options)


@pytest.mark.parametrize("mode", ["P", "1", "L", "LA", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_of_pictures_that_are_turned_or_converted(mode, orientation, tmp_path):
    pixels = np.random.default_rng(orientation).integers(0, 256, (5, 9), dtype=np.uint8)
    image = Image.fromarray(pixels.astype(np.uint16)) if mode == "I;16" else Image.fromarray(pixels).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    image.save(path, exif=exif)
    shape = same(path).shape
    assert shape == ((5, 9) if orientation < 5 else (9, 5))


def test_of_a_palette_with_transparency(tmp_path):
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).convert("P")
    image.save(tmp_path / "a.png", transparency=3)
    assert same(tmp_path / "a.png").nc == 3


@pytest.mark.parametrize("shape", [(2, 3), (3, 1, 4), (1, 5, 2, 3)])
def test_extremes_where_axes_only_seem_to_be_there(shape):
    values = np.random.default_rng(0).normal(size=(shape[0], *(1 for _ in shape[1:])))
    values[0] = np.nan
    broadcast = np.broadcast_to(values, shape)
    for found in zip(extremes(broadcast), extremes(np.array(broadcast)), strict=True):
        np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(extremes(broadcast)[0], values.reshape(shape[0]))
