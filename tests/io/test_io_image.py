"""Images: orientation, alpha, metadata, depths, and what is refused."""

from __future__ import annotations

import io

import numpy as np
import png
import pytest
import tifffile
from PIL import Image, ImageOps

from nst_nd.errors import DecodeError, InputError
from nst_nd.io import load, save


@pytest.fixture
def rng():
    return np.random.default_rng(21)


def pixels(rng, *shape):
    return rng.integers(0, 256, shape).astype(np.uint8)


def opened(path):
    with Image.open(path) as image:
        image.load()
        return image


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_undone(suffix, orientation, rng, tmp_path):
    path, out = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "a test"
    Image.fromarray(pixels(rng, 9, 5, 3)).save(path, exif=exif, dpi=(300, 100), icc_profile=b"p" * 200)
    before = opened(path)
    sample = load(path)
    seen = np.asarray(ImageOps.exif_transpose(before))
    np.testing.assert_array_equal(np.rint(sample.data * 255), np.moveaxis(seen, -1, 0))
    assert save(sample, out) == []
    after = opened(out)
    np.testing.assert_array_equal(np.asarray(after), np.asarray(before))
    assert after.info == before.info
    # a changed image keeps its metadata and lies as before
    save(sample.replace(data=sample.data * np.float32(0.5)), out, overwrite=True)
    assert opened(out).info == before.info
    assert opened(out).size == before.size


def test_orientation_of_tiff_and_across_formats(rng, tmp_path):
    stored = pixels(rng, 9, 5, 3)
    tifffile.imwrite(tmp_path / "in.tif", stored, photometric="rgb", metadata=None, extratags=[(274, "H", 1, 6, True)])
    sample = load(tmp_path / "in.tif")
    assert sample.data.shape == (3, 5, 9)
    np.testing.assert_array_equal(np.rint(sample.data * 255), np.moveaxis(np.rot90(stored, -1), -1, 0))
    save(sample, tmp_path / "out.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), stored)
    for suffix in (".png", ".jpg"):
        save(sample, tmp_path / f"out{suffix}")
        assert load(tmp_path / f"out{suffix}").data.shape == (3, 5, 9)
    np.testing.assert_array_equal(load(tmp_path / "out.png").data, sample.data)


def test_metadata_across_formats(rng, tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 8, "a test"
    Image.fromarray(pixels(rng, 9, 5, 3)).save(
        tmp_path / "in.jpg", exif=exif, dpi=(300, 300), icc_profile=b"p" * 200, quality=90
    )
    sample = load(tmp_path / "in.jpg")
    assert save(sample, tmp_path / "out.png") == []
    assert any("EXIF" in note for note in save(sample, tmp_path / "out.tif"))
    for suffix in (".png", ".tif"):
        image = opened(tmp_path / f"out{suffix}")
        assert image.info["icc_profile"] == b"p" * 200
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        np.testing.assert_array_equal(load(tmp_path / f"out{suffix}").data, sample.data)
    assert opened(tmp_path / "out.png").getexif()[0x010E] == "a test"


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_is_carried_beside_and_dropped_with_a_note(suffix, rng, tmp_path):
    stored = pixels(rng, 9, 5, 4)
    Image.fromarray(stored).save(tmp_path / f"in{suffix}")
    sample = load(tmp_path / f"in{suffix}")
    assert sample.data.shape == (3, 9, 5)
    assert sample.channels == ("red", "green", "blue")
    changed = sample.replace(data=1 - sample.data)
    assert save(changed, tmp_path / f"out{suffix}") == []
    written = np.asarray(opened(tmp_path / f"out{suffix}"))
    np.testing.assert_array_equal(written[..., 3], stored[..., 3])
    np.testing.assert_array_equal(written[..., :3], 255 - stored[..., :3])
    notes = save(sample.replace(data=sample.data[:, :4]), tmp_path / f"small{suffix}")
    assert any("its size is another" in note for note in notes)
    gray = sample.replace(data=sample.data[:1])
    save(gray, tmp_path / f"gray{suffix}")
    assert load(tmp_path / f"gray{suffix}").data.shape == (1, 9, 5)


def test_alpha_changes_depth_with_the_image(rng, tmp_path):
    rows = rng.integers(0, 65536, (9, 20)).astype(np.uint16)
    with (tmp_path / "in.png").open("wb") as file:
        png.Writer(5, 9, greyscale=False, alpha=True, bitdepth=16).write(file, rows)
    sample = load(tmp_path / "in.png")
    save(sample, tmp_path / "out.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), rows.reshape(9, 5, 4))


def test_rounding_is_to_nearest_even(rng, tmp_path):
    Image.fromarray(pixels(rng, 1, 4)).save(tmp_path / "in.png")
    sample = load(tmp_path / "in.png")
    data = (np.array([[[0.5, 1.5, 2.5, 254.5]]]) / 255).astype(np.float64)
    data = np.where(data * 255 % 1 == 0.5, data, np.nextafter(data, 1))  # as near to the half as a float gets
    halves = data * 255 % 1 == 0.5
    save(sample.replace(data=data), tmp_path / "out.png")
    wanted = np.array([0, 2, 2, 254])
    written = np.asarray(opened(tmp_path / "out.png"))[0]
    assert halves.any()
    np.testing.assert_array_equal(written[halves[0, 0]], wanted[halves[0, 0]])


def test_palette_and_one_bit_are_converted_with_a_note(rng, tmp_path):
    colours = Image.fromarray(pixels(rng, 9, 5, 3)).quantize(7)
    colours.save(tmp_path / "palette.png")
    sample = load(tmp_path / "palette.png")
    np.testing.assert_array_equal(np.rint(sample.data * 255), np.moveaxis(np.asarray(colours.convert("RGB")), -1, 0))
    assert "palette" in sample.notes[0]
    colours.save(tmp_path / "transparent.png", transparency=3)
    save(load(tmp_path / "transparent.png"), tmp_path / "out.png")
    assert opened(tmp_path / "out.png").mode == "RGBA"
    bits = Image.fromarray(pixels(rng, 9, 5)).convert("1")
    for suffix in (".png", ".tif"):
        bits.save(tmp_path / f"bits{suffix}")
        sample = load(tmp_path / f"bits{suffix}")
        np.testing.assert_array_equal(sample.data[0], np.asarray(bits).astype(np.float32))
        assert "1-bit" in sample.notes[0]
        save(sample, tmp_path / f"out-bits{suffix}")
        np.testing.assert_array_equal(load(tmp_path / f"out-bits{suffix}").data, sample.data)
    colours.save(tmp_path / "palette.tif")
    sample = load(tmp_path / "palette.tif")
    np.testing.assert_array_equal(np.rint(sample.data * 255), np.moveaxis(np.asarray(colours.convert("RGB")), -1, 0))


def test_ancillary_chunks_of_png_travel_along(rng, tmp_path):
    path = tmp_path / "in.png"
    with path.open("wb") as file:
        writer = png.Writer(4, 3, greyscale=False, gamma=0.45, transparent=(1, 2, 3), background=(4, 5, 6))
        writer.write(file, pixels(rng, 3, 12))
    sample = load(path)
    assert any("tRNS" in note for note in sample.notes)
    save(sample, tmp_path / "out.png")
    kept = [[c for c in png.Reader(bytes=p.read_bytes()).chunks() if c[0] != b"IDAT"] for p in tmp_path.glob("*.png")]
    assert kept[0] == kept[1]
    assert len(kept[0]) == 5


def test_jpeg_keeps_its_bytes_or_its_tables(rng, tmp_path):
    smooth = np.linspace(0, 255, 40 * 30 * 3).reshape(40, 30, 3).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "in.jpg", quality=63, subsampling=1)
    sample = load(tmp_path / "in.jpg")
    save(sample, tmp_path / "same.jpg")
    assert (tmp_path / "same.jpg").read_bytes() == (tmp_path / "in.jpg").read_bytes()
    notes = save(sample.replace(data=1 - sample.data), tmp_path / "out.jpg")
    assert any("lossy" in note for note in notes)
    assert opened(tmp_path / "out.jpg").quantization == opened(tmp_path / "in.jpg").quantization
    assert opened(tmp_path / "out.jpg").layer == opened(tmp_path / "in.jpg").layer
    assert np.abs(load(tmp_path / "out.jpg").data - (1 - sample.data)).max() < 0.1


def test_refused_images(rng, tmp_path):
    frames = [Image.fromarray(pixels(rng, 9, 5, 3)) for _ in range(2)]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="animated"):
        load(tmp_path / "moving.png")
    frames[0].save(tmp_path / "pages.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="2 pages"):
        load(tmp_path / "pages.tif")
    frames[0].convert("CMYK").save(tmp_path / "cmyk.jpg")
    with pytest.raises(InputError, match="CMYK"):
        load(tmp_path / "cmyk.jpg")
    frames[0].convert("CMYK").save(tmp_path / "cmyk.tif")
    with pytest.raises(InputError, match="colour space"):
        load(tmp_path / "cmyk.tif")
    tifffile.imwrite(tmp_path / "signed.tif", np.zeros((3, 4), np.int16), metadata=None)
    with pytest.raises(InputError, match="int16"):
        load(tmp_path / "signed.tif")
    sample = load_gray(tmp_path, rng)
    with pytest.raises(InputError, match="2 channels"):
        save(sample.replace(data=np.repeat(sample.data, 2, axis=0)), tmp_path / "two.png")


def load_gray(folder, rng):
    Image.fromarray(pixels(rng, 9, 5)).save(folder / "gray.png")
    return load(folder / "gray.png")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits"])
def test_tiff_compressions_that_need_another_decoder(mode, compression, rng, tmp_path):
    shape = (9, 5) if mode == "L" else (9, 5, len(mode))
    stored = pixels(rng, *shape)
    Image.fromarray(stored).save(tmp_path / "in.tif", compression=compression)
    notes = save(load(tmp_path / "in.tif"), tmp_path / "out.tif")
    assert notes == [] or "deflate" in notes[0]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), stored)


def test_png_with_a_wrong_checksum(rng, tmp_path):
    out = io.BytesIO()
    Image.fromarray(pixels(rng, 9, 5)).save(out, "PNG")
    data = bytearray(out.getvalue())
    data[data.index(b"IDAT") + 6] ^= 1
    (tmp_path / "in.png").write_bytes(data)
    with pytest.raises(DecodeError, match="checksum"):
        load(tmp_path / "in.png")
