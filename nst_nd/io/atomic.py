"""Files, and folders of files, that appear complete or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nst_nd.errors import ComputationError, OutputError

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def publishing(path: Path, *, overwrite: bool, folder_of: str | None = None) -> Iterator[Path]:
    """A path of the same name in a fresh private folder beside `path`; what is there at the end is moved into place.

    Companions are moved first and `path` itself last. The private folder goes in any case, also on Ctrl-C.
    folder_of: `path` is to be a folder, of files with this suffix; only a folder of nothing else is ever replaced.
    Raises OutputError (exists, folder missing or not writable) and ComputationError (disk full).
    """
    folder = None
    try:
        refuse_existing(path, overwrite, folder_of)
        if not path.parent.is_dir():
            raise OutputError(f"{path}: the folder {path.parent} does not exist; make it first")
        folder = Path(tempfile.mkdtemp(prefix=private_prefix(path), suffix=".part", dir=path.parent))
        yield folder / path.name
        _publish(folder, path, overwrite, folder_of)
    except OSError as error:
        # NumPy's short write carries no error number
        if error.errno in _DISK_FULL or (error.errno is None and shutil.disk_usage(path.parent).free == 0):
            raise ComputationError(f"{path}: disk full; nothing was written. Make room and run again") from error
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def private_prefix(path: Path) -> str:
    """How the names of private folders for this path begin, and no others: those that end with .part are its."""
    return f".{hashlib.sha256(path.name.encode(errors='surrogateescape')).hexdigest()[:20]}."


def refuse_existing(path: Path, overwrite: bool, folder_of: str | None = None) -> None:
    """OutputError where there is something at `path` already that is not to be replaced; see `publishing`."""
    if path.is_dir() and folder_of is None:
        raise OutputError(f"{path}: is a folder; give a file name")
    if not overwrite and os.path.lexists(path):
        raise OutputError(f"{path}: exists already; choose another name or allow overwriting")
    if folder_of is None or not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        raise OutputError(f"{path}: is a file or a link, and a folder is to be written; choose another name")
    others = [file for file in path.iterdir() if file.suffix.lower() != folder_of or not file.is_file()]
    if others:
        raise OutputError(f"{path}: is a folder with more than {folder_of} files in it; it is not replaced")


def _publish(folder: Path, path: Path, overwrite: bool, folder_of: str | None) -> None:
    made = sorted(folder.iterdir(), key=lambda file: (file.name == path.name, file.name))
    for file in made:
        refuse_existing(path.parent / file.name, overwrite, folder_of if file.name == path.name else None)
        for inner in file.iterdir() if file.is_dir() else ():
            _sync(inner)
        _sync(file)
    for file in made:
        _move(file, path.parent / file.name)
    _sync(path.parent)


def _move(file: Path, target: Path) -> None:
    """In one step; a folder that is in the way in two, and then it goes with the private folder."""
    if not target.is_dir():
        file.replace(target)
        return
    aside = file.with_name("old")
    target.replace(aside)
    try:
        file.replace(target)
    except BaseException:
        aside.replace(target)
        raise


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot sync a folder
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
