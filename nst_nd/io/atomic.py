"""Files that appear complete or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nst_nd.errors import ComputationError, OutputError

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def publishing(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A path of the same name in a fresh private folder beside `path`; what is there at the end is moved into place.

    Companions are moved first and `path` itself last. The private folder goes in any case, also on Ctrl-C.
    Raises OutputError (exists, folder missing or not writable) and ComputationError (disk full).
    """
    folder = None
    try:
        _refuse_existing(path, overwrite)
        if not path.parent.is_dir():
            raise OutputError(f"{path}: the folder {path.parent} does not exist; make it first")
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name[:60]}.", suffix=".part", dir=path.parent))
        yield folder / path.name
        _publish(folder, path, overwrite)
    except OSError as error:
        # NumPy's short write carries no error number
        if error.errno in _DISK_FULL or (error.errno is None and shutil.disk_usage(path.parent).free == 0):
            raise ComputationError(f"{path}: disk full; nothing was written. Make room and run again") from error
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _publish(folder: Path, path: Path, overwrite: bool) -> None:
    made = sorted(folder.iterdir(), key=lambda file: (file.name == path.name, file.name))
    for file in made:
        _refuse_existing(path.parent / file.name, overwrite)
        _sync(file)
    for file in made:
        file.replace(path.parent / file.name)
    _sync(path.parent)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give a file name")
    if not overwrite and os.path.lexists(path):
        raise OutputError(f"{path}: exists already; choose another name or allow overwriting")


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot sync a folder
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
