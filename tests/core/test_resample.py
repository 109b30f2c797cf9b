"""Styles of another voxel spacing: the same in mm."""

import numpy as np
import pytest
from core_samples import QUICK, volume
from scipy.ndimage import gaussian_filter

from nst_nd import Grid, Sample, scratch, stylize
from nst_nd.domains.metrics.noise import noise_at, quiet_squares, spectrum_distance
from nst_nd.domains.resample import on_spacing


def ct(data, spacing):
    return Sample(np.asarray(data)[None], "volume", "HU", Grid(spacing, "mm", None, np.diag([*spacing, 1.0])))


def waves(size, spacing, cycles=(3, 5, 2)):
    """Cosines over the extent, which every spacing that shows them samples alike."""
    axes = [np.cos(np.pi * c * (np.arange(n) + 0.5) / n) for c, n in zip(cycles, size, strict=True)]
    return ct(100.0 + 30.0 * axes[0][:, None, None] * axes[1][:, None] * axes[2], spacing)


@pytest.mark.parametrize("factors", [(2.0, 0.5, 1.0), (1.5, 1.25, 2.0), (0.5, 0.75, 0.5)])
@pytest.mark.parametrize("piece", [None, 4096])
def test_what_both_spacings_show_is_the_same(factors, piece, monkeypatch):
    if piece:
        monkeypatch.setattr(scratch, "PIECE", piece // 8)
        monkeypatch.setattr(scratch, "LARGE", 4096)
    size = (24, 40, 16)
    other = tuple(round(n * f) for n, f in zip(size, factors, strict=True))
    notes = []
    spacing = tuple(1.0 / f for f in factors)
    found = on_spacing(waves(size, (1.0, 1.0, 1.0)), spacing, notes, pick=False)
    assert found.shape == other
    assert found.grid.spacing == pytest.approx(spacing)
    np.testing.assert_allclose(found.data, waves(other, spacing).data, atol=1e-9)
    assert len(notes) == 1
    assert "is compared in mm" in notes[0]


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 3.0), (0.8, 0.64, 3.0), (1.0, 1.0, 3.0)])
def test_noise_keeps_its_spectrum(spacing):
    goal = (0.7, 0.7, 3.0)
    shape = (*(round(120.0 / mm) for mm in spacing[:2]), 12)
    white = np.random.default_rng(0).standard_normal(shape)
    noise = gaussian_filter(white, (0.5 / spacing[0], 0.5 / spacing[1], 0.0), mode="wrap")
    style = ct(50.0 + 20.0 * noise / noise.std(), spacing)
    found = on_spacing(style, goal, [], pick=True)
    ours, theirs = (noise_at(s, quiet_squares(s)) for s in (style, found))
    assert theirs.sd == pytest.approx(ours.sd, rel=0.08)  # squares of 32 voxels lose other low frequencies
    assert spectrum_distance(ours, theirs) < 1.0


def test_slices_are_picked_and_none_is_made_up():
    style = ct(np.arange(2.0 * 3 * 10).reshape(2, 3, 10), (1.0, 1.0, 1.0))
    found = on_spacing(style, (1.0, 1.0, 2.5), [], pick=True)
    assert np.array_equal(found.data, style.data[..., [1, 3, 6, 8]])
    assert on_spacing(style, (1.0, 1.0, 0.4), [], pick=True).shape == (2, 3, 10)
    assert on_spacing(style, (1.0, 1.0, 0.4), [], pick=False).shape == (2, 3, 25)


def test_alike_is_left_alone_and_so_is_what_would_grow_too_large():
    style, notes = waves((8, 9, 7), (1.0, 1.0, 1.0)), []
    assert on_spacing(style, (1.04, 0.97, 1.0), notes, pick=False) is style
    assert not notes
    assert on_spacing(style, (0.4, 0.4, 0.4), notes, pick=False) is style
    assert "compared voxel by voxel" in notes[0]


@pytest.mark.parametrize("preset", ["volume", "ct"])
def test_the_choice_is_said_and_can_be_made(preset):
    content = volume(size=(20, 20, 10), seed=1)
    style = volume(size=(40, 40, 10), seed=2, spacing=(0.5, 0.5, 1.2))
    if preset == "ct":
        content, style = (s.replace(data=s.data - 250.0, units="HU") for s in (content, style))
    options = {**QUICK, "preset": preset, "iterations": 1}
    in_mm, in_voxels = (stylize(content, style, compare=how, **options) for how in ("mm", "voxels"))
    assert any("as 20 x 20 x 10 voxels instead of 40 x 40 x 10" in note for note in in_mm.notes)
    assert not any("spacing differs" in note for note in in_voxels.notes)
    assert not np.array_equal(in_mm.sample.data, in_voxels.sample.data)
