"""Mapped scratch arrays: where they lie, what they take, what is said when there is no room."""

from __future__ import annotations

import errno
import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from nst_nd import scratch
from nst_nd.errors import ComputationError, ConfigError

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
MIB = 2**20


def resident_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssFile"))


def test_an_array_is_zeros_that_keep_what_is_written_and_leave_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("NST_ND_SCRATCH", str(tmp_path))
    array = scratch.mapped((3, 5, 7), ">i2")
    assert list(tmp_path.iterdir()) == []
    assert array.dtype == ">i2"
    assert array.flags.c_contiguous
    assert not array.any()
    array[1, 2] = np.arange(7)
    scratch.release(array)
    np.testing.assert_array_equal(array[1, 2], np.arange(7))
    assert array.sum() == 21


def test_only_large_arrays_are_mapped(monkeypatch):
    monkeypatch.setattr(scratch, "LARGE", 100)
    assert scratch.is_mapped(scratch.empty((5, 5), np.float32))
    assert not scratch.is_mapped(scratch.empty((6, 4), np.float32))
    assert scratch.mapped((0, 4), np.float32).shape == (0, 4)


@linux
def test_release_gives_the_pages_back_through_any_view():
    array = scratch.mapped((8, MIB), np.float32)
    before = resident_mib()
    views = [array, array[3:, 5:], array.reshape(-1)[::2], array.T.view(np.uint32)]
    for view in views:
        array[...] = 2.0
        assert resident_mib() > before + 30
        scratch.release(view)
        assert resident_mib() < before + 2
        assert (array[:, ::1000] == 2.0).all()
    scratch.release(np.ones(3), array)


@linux
def test_tensors_are_recognised_by_the_memory_that_they_share():
    import torch

    tensor = torch.from_numpy(scratch.mapped((1, MIB, 8), np.float32))[:, 5:]
    before = resident_mib()
    assert scratch.is_mapped(tensor)
    tensor.fill_(1.0)
    scratch.release(tensor)
    assert resident_mib() < before + 2
    assert tensor[0, -1, -1] == 1.0
    assert not scratch.is_mapped(torch.zeros(3))
    assert scratch.mapped_tensor((2, 3), torch.bfloat16).dtype == torch.bfloat16


def test_an_array_goes_with_its_last_view():
    count = len(scratch._MAPPINGS)
    array = scratch.mapped((4, 4), np.float32)
    view = array[1:]
    del array
    assert scratch.is_mapped(view)
    del view
    gc.collect()
    assert len(scratch._MAPPINGS) == count


def test_a_part_of_a_file_is_read_only(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc" + np.arange(5, dtype="<i4").tobytes())
    with path.open("rb") as file:
        values = scratch.of_file(file, 5, "<i4", 3)
        with pytest.raises(TypeError):
            scratch.of_file(file, 6, "<i4", 3)
    np.testing.assert_array_equal(values, np.arange(5))
    assert not values.flags.writeable
    scratch.release(values)
    assert values[4] == 4


@linux
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_when_the_array_is_made(code, tmp_path, monkeypatch):
    def full(handle, offset, length):
        assert (offset, length) == (0, 3 * 2**30)
        raise OSError(code, os.strerror(code))

    monkeypatch.setenv("NST_ND_SCRATCH", str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ComputationError) as told:
        scratch.mapped((3, 2**28), np.float32)
    message = str(told.value)
    assert str(tmp_path) in message
    assert "3.00 GiB" in message
    assert "free" in message
    assert len(message.splitlines()) <= 3


def test_a_folder_that_cannot_be_used_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for name in ("missing", "file"):
        monkeypatch.setenv("NST_ND_SCRATCH", str(tmp_path / name))
        with pytest.raises(ConfigError, match=f"NST_ND_SCRATCH is .*{name}"):
            scratch.folder()


@pytest.mark.parametrize(
    ("mounts", "in_memory"),
    [
        ("/dev/a / ext4 rw 0 0", False),
        ("/dev/a / ext4 rw 0 0\ntmpfs {here} tmpfs rw 0 0", True),
        ("tmpfs {up} tmpfs rw 0 0\n/dev/b {here} xfs rw 0 0", False),
        ("tmpfs {here} ramfs rw 0 0\n/dev/b {here} xfs rw 0 0", False),
        ("/dev/b {up} xfs rw 0 0\ntmpfs {here}/other tmpfs rw 0 0", False),
    ],
)
def test_a_temporary_folder_in_memory_is_avoided(mounts, in_memory, tmp_path, monkeypatch):
    here = tmp_path / "with space"
    here.mkdir()
    table = mounts.format(here=str(here).replace(" ", r"\040"), up=tmp_path)
    (tmp_path / "mounts").write_text(table + "\n")
    monkeypatch.delenv("NST_ND_SCRATCH", raising=False)
    monkeypatch.setattr(scratch, "_MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(here))
    assert scratch.folder() == (Path("/var/tmp") if in_memory else here)
    monkeypatch.setattr(scratch, "_MOUNTS", tmp_path / "missing")
    assert scratch.folder() == here


@pytest.mark.parametrize("size", [1, 24, 100, 10_000])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_chunks_cover_an_axis_in_order(axis, size):
    array = np.zeros((5, 6, 7), np.float32)
    pieces = list(scratch.chunks(array, axis, size))
    assert [i for piece in pieces for i in range(piece.start, piece.stop)] == list(range(array.shape[axis]))
    each = array.nbytes // array.shape[axis]
    assert all((piece.stop - piece.start) * each <= max(size, each) for piece in pieces)


def test_piecewise_and_extremes_are_those_of_the_whole(monkeypatch):
    monkeypatch.setattr(scratch, "PIECE", 100)
    data = np.random.default_rng(1).normal(size=(3, 11, 5)).astype(np.float32)
    mask = np.random.default_rng(2).random((1, 11, 5)) > 0.5
    found = scratch.piecewise(lambda d, m: np.where(m, d, 0.0), data, mask, nc=3, dtype=np.float64)
    np.testing.assert_array_equal(found, np.where(mask, data, 0.0))
    np.testing.assert_array_equal(scratch.extremes(data), (data.min(axis=(1, 2)), data.max(axis=(1, 2))))
    data[1, 7, 2] = np.nan
    low, high = scratch.extremes(data)
    assert np.isnan([low[1], high[1]]).all()
    assert np.isfinite(low[[0, 2]]).all()
