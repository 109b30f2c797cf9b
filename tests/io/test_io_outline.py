"""What a header tells is what reading tells, and it takes no memory."""

import numpy as np
import pytest
import tifffile
from io_variants import VARIANTS
from PIL import Image, JpegImagePlugin

from nst_nd.errors import DecodeError
from nst_nd.io import load, outline
from nst_nd.scratch import extremes

# EXIF orientation 6, as a tag of TIFF
TURNED = (274, "H", 1, 6, True)


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


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_of_jpeg_without_decoding(mode, orientation, tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels).convert(mode).save(path, exif=exif, icc_profile=b"profile", dpi=(72, 72))
    read = same(path)
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", None)
    told = outline(path)
    assert (told.shape, told.notes, told.source.dpi) == (read.shape, read.notes, read.source.dpi)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DecodeError, match="truncated"):
        outline(path)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["rgb", "palette", "bilevel", "inverted"])
def test_of_tiff_without_decoding(kind, planar, tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 2, (5, 9, 3) if kind == "rgb" else (5, 9), dtype=np.uint8)
    options = {
        "rgb": {"photometric": "rgb", "planarconfig": planar},
        "palette": {"photometric": "palette", "colormap": np.arange(768, dtype=np.uint16).reshape(3, 256)},
        "bilevel": {},
        "inverted": {"photometric": "miniswhite"},
    }[kind]
    if planar == "separate" and kind == "rgb":
        pixels = np.moveaxis(pixels, -1, 0)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels.astype(bool) if kind == "bilevel" else pixels, extratags=[TURNED], **options)
    read = same(path)
    assert read.shape == (9, 5)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", None)
    told = outline(path)
    assert (told.shape, told.notes) == (read.shape, read.notes)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DecodeError, match="truncated"):
        outline(path)


@pytest.mark.parametrize("shape", [(2, 3), (3, 1, 4), (1, 5, 2, 3)])
def test_extremes_where_axes_only_seem_to_be_there(shape):
    values = np.random.default_rng(0).normal(size=(shape[0], *(1 for _ in shape[1:])))
    values[0] = np.nan
    broadcast = np.broadcast_to(values, shape)
    for found in zip(extremes(broadcast), extremes(np.array(broadcast)), strict=True):
        np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(extremes(broadcast)[0], values.reshape(shape[0]))
