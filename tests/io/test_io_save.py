"""Saving: complete or not at all, never over something unless told, and nothing left behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from io_variants import FAMILIES, named

from nst_nd.errors import ComputationError, InputError, OutputError
from nst_nd.io import codec, load, save

family = pytest.mark.parametrize("variant", FAMILIES, ids=lambda v: v.name)


@pytest.fixture
def sample(tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    named("wfdb-16x3").make(folder / "in.hea", np.random.default_rng(1))
    return load(folder / "in.hea")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@family
def test_refuses_to_overwrite_unless_told(variant, tmp_path):
    path = tmp_path / f"in{variant.suffix}"
    variant.make(path, np.random.default_rng(1))
    sample = load(path, **variant.options)
    out = tmp_path / f"out{variant.suffix}"
    out.write_bytes(b"old")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=r"out\..*exists already"):
        save(sample, out)
    assert contents(tmp_path) == before
    save(sample, out, overwrite=True)
    assert variant.stored(out) == variant.stored(path)
    assert not list(tmp_path.glob(".*"))


def test_refuses_to_overwrite_a_companion(sample, tmp_path):
    (tmp_path / "out.dat").write_bytes(b"old")
    with pytest.raises(OutputError, match=r"out\.dat: exists already"):
        save(sample, tmp_path / "out.hea")
    assert contents(tmp_path) == {"out.dat": b"old"}


def test_folder_missing_not_writable_or_in_the_way(sample, tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        save(sample, tmp_path / "no" / "out.hea")
    (tmp_path / "out.hea").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        save(sample, tmp_path / "out.hea", overwrite=True)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        save(sample, tmp_path / "file" / "out.hea")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if not os.access(locked, os.W_OK):  # root may write everywhere
        with pytest.raises(OutputError, match="cannot be written"):
            save(sample, locked / "out.hea")


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ComputationError),
        (OSError(errno.EACCES, "Permission denied"), OutputError),
        (InputError("does not fit"), InputError),
        (RuntimeError("a bug"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
@pytest.mark.parametrize("moment", ["before", "midway", "sync", "move"])
def test_interrupted_at_any_moment_leaves_the_old_file(raised, seen, moment, sample, tmp_path, monkeypatch):
    out = tmp_path / "out.hea"
    out.write_bytes(b"old")
    before = contents(tmp_path)
    writer = codec.codec_for(out, reading=False)
    genuine = type(writer).write

    def write(self, sample, path):
        if moment == "before":
            raise raised
        notes = genuine(self, sample, path)
        if moment == "midway":
            raise raised
        return notes

    def fail(*_args, **_options):
        raise raised

    monkeypatch.setattr(type(writer), "write", write)
    if moment == "sync":
        monkeypatch.setattr("nst_nd.io.atomic.os.fsync", fail)
    if moment == "move":
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(seen, match="disk full" if seen is ComputationError else None):
        save(sample, out, overwrite=True)
    monkeypatch.undo()
    assert contents(tmp_path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["given", "out.hea"]


def test_the_file_asked_for_comes_last(sample, tmp_path, monkeypatch):
    moved = []
    genuine = Path.replace

    def replace(self, target):
        moved.append(Path(target).name)
        return genuine(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    save(sample, tmp_path / "out.hea")
    assert moved == ["out.atr", "out.dat", "out.hea"]


def test_long_and_odd_names(tmp_path):
    named("png-3x8").make(tmp_path / "in.png", np.random.default_rng(1))
    sample = load(tmp_path / "in.png")
    for name in ("x" * 240 + ".png", "ä b'\".png", ".png.png", "a.b.PNG"):
        save(sample, tmp_path / name)
        np.testing.assert_array_equal(load(tmp_path / name).data, sample.data)
    with pytest.raises(OutputError):
        save(sample, tmp_path / ("x" * 300 + ".png"))
