"""The folder of one running app: private, temporary, gone at its end; what killed ones left behind goes too."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nst_nd import scratch
from nst_nd.batch.lock import at_work, locked

PREFIX = "nst-nd-app-"
LOCK = "app"
# seconds after which a folder that nobody has a lock in is nobody's; one that is being made has none yet
STALE = 60.0


@contextmanager
def workplace() -> Iterator[Path]:
    """A fresh folder that only this user may read; with it, at its end, goes everything in it.

    Raises ConfigError where there is no place for temporary files.
    """
    above = scratch.folder()
    remove_stale(above)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=above))
    try:
        with locked(folder, LOCK):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_stale(above: Path) -> list[Path]:
    """Remove this user's folders of apps that are gone; those that were removed."""
    gone = []
    for folder in above.glob(f"{PREFIX}*"):
        try:
            status = folder.lstat()
            ours = folder.is_dir() and not folder.is_symlink() and status.st_uid == os.getuid()
        except OSError:
            continue
        if ours and time.time() - status.st_mtime > STALE and not at_work(folder, LOCK):
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder)
    return gone
