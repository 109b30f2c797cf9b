"""Targets on disk: the same bits as without, and nothing that can end a run."""

import os

import numpy as np
import pytest
import torch
from core_samples import image

import nst_nd
from nst_nd.domains import target_cache, targets

SMALL = {
    "extractor": [{"name": "random", "channels": (4, 4)}],
    "style_layers": ("relu1", "relu2"),
    "content_layers": ("relu2",),
    "iterations": 2,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(target_cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(target_cache, "_folder", None)
    target_cache.keep_targets()
    return tmp_path / "cache"


@pytest.fixture
def made(monkeypatch):
    """How many times moments were computed."""
    calls = []
    original = targets._found_moments
    monkeypatch.setattr(targets, "_found_moments", lambda *words: calls.append(1) or original(*words))
    return calls


def run(style_seed=3, **more):
    return nst_nd.stylize(image(seed=1), image(seed=style_seed), **SMALL | more).sample.data


@pytest.mark.parametrize("statistic", ["gram", "covariance"])
def test_the_second_run_reads_what_the_first_one_computed(folder, made, monkeypatch, statistic):
    first = run(statistic=statistic)
    computed = len(made)
    assert computed > 0
    assert target_cache.size_of(folder)[0] == computed
    np.testing.assert_array_equal(run(statistic=statistic), first)
    assert len(made) == computed
    monkeypatch.setattr(target_cache, "_folder", None)
    np.testing.assert_array_equal(run(statistic=statistic), first)
    assert len(made) == 2 * computed


@pytest.mark.parametrize(
    "change",
    [
        {"style_seed": 4},
        {"statistic": "covariance"},
        {"extractor": [{"name": "random", "channels": (4, 4), "seed": 1}]},
        {"style_layers": ("relu1",)},
        {"padding": "circular"},
        {"scales": (0.7, 1.0)},
    ],
    ids=str,
)
def test_what_they_depend_on_is_told_apart(folder, made, change):
    run()
    before = len(made)
    found = run(**change)
    assert len(made) > before
    target_cache._folder = None
    np.testing.assert_array_equal(found, run(**change))


def test_threads_and_content_size(folder, made):
    run()
    before = len(made)
    nst_nd.stylize(image(seed=1, size=(33, 28)), image(seed=3), **SMALL)
    assert len(made) == before  # the style is what it was
    torch.set_num_threads(2)
    try:
        run()
    finally:
        torch.set_num_threads(1)
    assert len(made) > before  # sums may differ in a last bit


@pytest.mark.parametrize("harm", [b"", b"not a file of tensors", None], ids=["empty", "broken", "cut"])
def test_a_broken_file_is_made_again(folder, made, harm):
    first = run()
    computed = len(made)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:-5] if harm is None else harm)
    np.testing.assert_array_equal(run(), first)
    assert len(made) == 2 * computed
    run()
    assert len(made) == 2 * computed


def test_a_folder_that_cannot_be_written_is_left_alone(tmp_path, monkeypatch, made):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(target_cache.VARIABLE, str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(target_cache, "_folder", None)
    target_cache.keep_targets()
    assert np.isfinite(run()).all()
    assert made


def test_the_oldest_go(folder, monkeypatch):
    run()
    files = sorted(folder.iterdir())
    for age, file in enumerate(files):
        os.utime(file, (1000 - age, 1000 - age))
    monkeypatch.setattr(target_cache, "MOST_BYTES", files[0].stat().st_size)
    target_cache._prune(folder)
    assert sorted(folder.iterdir()) == files[:1]


def test_nothing_is_kept_unless_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(target_cache.VARIABLE)
    assert target_cache.cache_folder() == tmp_path / "nst_nd"
    monkeypatch.setattr(target_cache, "_folder", None)
    run()
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv(target_cache.VARIABLE, "")
    assert target_cache.cache_folder() is None
