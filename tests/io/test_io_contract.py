"""What every codec promises, for every format and variant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from io_variants import FAMILIES, VARIANTS, Variant, named

from nst_nd.errors import ConfigError
from nst_nd.io import load, save
from nst_nd.sample import Grid, Sample

every = pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
family = pytest.mark.parametrize("variant", FAMILIES, ids=lambda v: v.name)


def made(variant: Variant, folder: Path, name: str = "in") -> Path:
    path = folder / f"{name}{variant.suffix}"
    variant.make(path, np.random.default_rng(7))
    return path


@every
def test_unchanged_comes_back_bit_for_bit(variant, tmp_path):
    path = made(variant, tmp_path)
    sample = load(path, **variant.options)
    assert sample.data.dtype in (np.float32, np.float64)
    assert sample.data.flags.c_contiguous
    out = tmp_path / f"out{variant.suffix}"
    assert save(sample, out) == []
    assert variant.stored(out) == variant.stored(path)
    assert variant.header(out) == variant.header(path)


@family
def test_same_bytes_twice(variant, tmp_path):
    sample = load(made(variant, tmp_path), **variant.options)
    outs = [tmp_path / folder / f"out{variant.suffix}" for folder in ("a", "b")]
    for out in outs:
        out.parent.mkdir()
        save(sample, out)
    for one, two in zip(*[sorted(out.parent.iterdir()) for out in outs], strict=True):
        assert one.read_bytes() == two.read_bytes()


@every
def test_changed_data_is_rounded_into_the_same_format(variant, tmp_path):
    path = made(variant, tmp_path)
    sample = load(path, **variant.options)
    axes = tuple(range(1, sample.data.ndim))
    lowest, highest = sample.data.min(axes, keepdims=True), sample.data.max(axes, keepdims=True)
    # halfway to the middle of each channel, so that nothing clips
    wanted = sample.data / 2 + (lowest / 4 + highest / 4)
    out = tmp_path / f"out{variant.suffix}"
    notes = save(sample.replace(data=wanted), out)
    assert not any("clipped" in note for note in notes)
    again = load(out, **variant.options)
    assert again.data.dtype == sample.data.dtype
    error = np.abs(again.data - wanted)
    if not variant.lossless:
        assert error.mean() < 0.1
        assert any("lossy" in note for note in notes)
    elif variant.bits:
        # channels reach almost, but not quite, the ends of the range
        assert (error <= 0.51 * (highest - lowest) * 1.2 / 2**variant.bits).all()
    else:
        np.testing.assert_allclose(again.data, wanted, rtol=1e-3 if "float16" in variant.name else 1e-6)


@family
def test_out_of_range_is_clipped_and_counted(variant, tmp_path):
    sample = load(made(variant, tmp_path), **variant.options)
    if variant.suffix in (".csv", ".ogg") or "float" in variant.name:
        pytest.skip("floats have no range to speak of")
    data = sample.data.copy()
    data.flat[:3] = 1e30
    notes = save(sample.replace(data=data), tmp_path / f"out{variant.suffix}")
    assert next(note for note in notes if "clipped" in note).split(" of ")[0].split()[-1] == "3"
    assert load(tmp_path / f"out{variant.suffix}", **variant.options).data.max() <= 1e11


ACROSS = [
    ("png-3x8", ".tif"), ("png-4x16", ".tif"), ("png-1x16", ".tif"), ("tiff-uint16x3", ".png"), ("png-1x8", ".npy"),
    ("wav-pcm_16-file-2", ".flac"), ("wav-pcm_24-file-2", ".aiff"), ("flac-pcm_24-file-2", ".wav"),
    ("aiff-pcm_s8-file-1", ".wav"), ("wav-pcm_u8-file-2", ".flac"), ("wav-pcm_16-file-2", ".npy"),
    ("csv-comma", ".npy"), ("wfdb-16x3", ".csv"), ("wfdb-32x2", ".csv"), ("npy-ecg-float64-fortran", ".csv"),
    ("nifti1.nii-int16-5x7x3-1", ".hdr"), ("nifti1.hdr-int16-5x7x3-1", ".nii"),
    ("nifti1.nii.gz-int16-5x7x3-0.1", ".nii"), ("nifti1.nii-int16-5x7x3x2-1", ".npy"),
    ("npy-volume-float32", ".nii.gz"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "suffix"), ACROSS)
def test_across_lossless_formats_of_a_kind(name, suffix, tmp_path):
    variant = named(name)
    sample = load(made(variant, tmp_path), **variant.options)
    out = tmp_path / f"out{suffix}"
    save(sample, out)
    options = {"kind": sample.kind} if suffix == ".npy" else {}
    if suffix == ".npy" and sample.grid.rate:
        options["rate"] = sample.grid.rate
    channels = {"channels": True} if sample.kind == "volume" and sample.nc > 1 else {}
    again = load(out, **options, **channels)
    np.testing.assert_array_equal(again.data.astype(np.float64), sample.data.astype(np.float64))
    assert again.grid.rate == sample.grid.rate


LOSSY = [
    ("tiff-float32x3", ".png", "rounded"), ("png-3x16", ".jpg", "rounded to 8 bits"), ("png-4x8", ".jpg", "alpha"),
    ("png-3x8", ".jpg", "lossy"), ("wav-float-file-2", ".flac", "rounded to PCM_24"),
    ("wav-pcm_32-file-2", ".flac", "rounded to PCM_24"), ("csv-comma", ".hea", "rounded"),
    ("npy-volume-float64", ".nii", "float32"), ("wav-pcm_16-file-2", ".aiff", "chunks"), ("png-1x8", ".npy", "grid"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "suffix", "said"), LOSSY)
def test_what_is_lost_is_said(name, suffix, said, tmp_path):
    variant = named(name)
    notes = save(load(made(variant, tmp_path), **variant.options), tmp_path / f"out{suffix}")
    assert any(said in note for note in notes), notes


@pytest.mark.parametrize(("kind", "space"), [("image", 2), ("audio", 1), ("ecg", 1), ("volume", 3)])
def test_a_sample_made_from_nothing(kind, space, tmp_path):
    data = np.random.default_rng(3).random((1, *[9] * space)).astype(np.float32)
    rate = 500.0 if space == 1 else None
    grid = Grid((1 / 500.0,) if rate else (1.0,) * space, "s" if rate else "px" if space == 2 else "mm", rate)
    sample = Sample(data, kind, "arbitrary", grid)
    for suffix in {"image": ".png .jpg .tif", "audio": ".wav .flac .aiff", "ecg": ".csv .hea", "volume": ".nii .hdr"}[
        kind
    ].split():
        save(sample, tmp_path / f"out{suffix}")
        again = load(tmp_path / f"out{suffix}")
        assert again.kind == kind
        assert np.abs(again.data - data).max() < (0.4 if suffix == ".jpg" else 1e-3)


def test_a_kind_that_the_format_cannot_hold(tmp_path):
    sample = load(made(named("png-3x8"), tmp_path))
    with pytest.raises(ConfigError, match=r"cannot hold image; allowed: \.png, .*\.npy"):
        save(sample, tmp_path / "out.wav")
    with pytest.raises(ConfigError, match=r"'\.xyz'"):
        save(sample, tmp_path / "out.xyz")
    assert not list(tmp_path.glob("out*"))
