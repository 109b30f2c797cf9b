"""Files that were dropped on the page. What belongs together (a header and its data) shares a slot, a folder."""

from __future__ import annotations

import json
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from nst_nd.app.looking import drawn, outlined
from nst_nd.app.names import safe_name
from nst_nd.app.pictures import CT_WINDOW
from nst_nd.app.refused import RefusedError
from nst_nd.batch.worker import LONGEST_ERROR
from nst_nd.engine.memory import in_words
from nst_nd.errors import NstError
from nst_nd.io import codec_for, suffix_of
from nst_nd.io.codec import FOLDER_HOLDS
from nst_nd.job import RATELESS
from nst_nd.sample import Kind

# slots at a time, the oldest of which makes room for a new one; files in one: a header, its data, annotations
MOST_SLOTS, MOST_FILES = 16, 4
# bytes that are left free on the disk, and after how many that is looked at again
RESERVE, LOOK_EVERY = 2**28, 2**26
# which of several files is named in a job; the others lie beside it
_FIRST = (".hea", ".hdr")


@dataclass
class Slot:
    """What was dropped in one place. files: names, of regular files in `folder`. kind: of signal, once it is known."""

    name: str
    folder: Path
    files: dict[str, int] = field(default_factory=dict)
    kind: Kind | None = None
    words: str = ""
    error: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def main(self) -> str:
        """The file that a job names."""
        ranked = sorted(self.files, key=lambda name: (suffix_of(Path(name)) not in _FIRST, name))
        if not ranked:
            raise RefusedError("nothing has been uploaded there yet")
        return ranked[0]

    @property
    def rate(self) -> float | None:
        """Hz, as was said of a file that does not say."""
        rate = self.options.get("rate")
        return rate if suffix_of(Path(self.main)) in RATELESS else None

    def seen(self) -> dict[str, Any]:
        """For the page."""
        files = [{"name": name, "bytes": size} for name, size in self.files.items()]
        known = {"kind": self.kind, "words": self.words, "error": self.error, "options": self.options}
        return {"slot": self.name, "files": files, **known}


class Uploads:
    """All slots of an app. most: bytes of one file."""

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        self.slots: dict[str, Slot] = {}
        self.lock = threading.Lock()
        folder.mkdir()

    def open(self) -> Slot:
        """A fresh slot."""
        while len(self.slots) >= MOST_SLOTS:  # pages that were closed have left theirs; jobs have files of their own
            self.remove(next(iter(self.slots)))
        with self.lock:
            name = secrets.token_hex(8)
            slot = Slot(name, self.folder / name / "files")
            slot.folder.mkdir(parents=True)
            self.slots[name] = slot
            return slot

    def get(self, name: str) -> Slot:
        """A slot by its name. Raises RefusedError where there is none."""
        try:
            return self.slots[name]
        except KeyError:
            raise RefusedError("there is no such place for files (any more)", 404) from None

    def remove(self, name: str) -> None:
        """With its files."""
        with self.lock:
            slot = self.slots.pop(self.get(name).name)
        shutil.rmtree(slot.folder.parent, ignore_errors=True)

    def check_length(self, said: str | None) -> int | None:
        """The length that a request promises; RefusedError where it is too much, or no number."""
        if said is None:
            return None
        if not (said.isascii() and said.isdecimal() and len(said) < 20):
            raise RefusedError(f"Content-Length is {said[:30]!r}; allowed: a number of bytes")
        length = int(said)
        if length > self.most:
            raise self.too_large(in_words(length))
        self.check_room(length)
        return length

    def check_room(self, length: int) -> None:
        """RefusedError where the disk has no room for so many bytes."""
        free = shutil.disk_usage(self.folder).free
        if length > free - RESERVE:
            raise RefusedError(f"there is no room for the file on this machine's disk; {in_words(free)} are free", 507)

    @contextmanager
    def receiving(self, slot: Slot, given: str, said: str | None) -> Iterator[Receiver]:
        """Where the bytes of a file go. It is in the slot at the end, or not at all.

        given: its name on the other side. said: Content-Length, if any. Raises RefusedError.
        """
        length = self.check_length(said)
        name = safe_name(given)
        if suffix_of(Path(name)) == FOLDER_HOLDS:
            raise RefusedError("DICOM is not taken here; `nst-nd stylize FOLDER` does it, or convert it to NIfTI")
        if name not in slot.files and len(slot.files) >= MOST_FILES:
            raise RefusedError(
                f"{MOST_FILES} files are there already, and no more belong together; remove them first", 409
            )
        part = self.folder / f".{secrets.token_hex(8)}.part"
        try:
            with part.open("xb") as file:
                receiver = Receiver(file, self, length)
                yield receiver
            if length is not None and receiver.count != length:
                raise RefusedError(f"{receiver.count} bytes came where Content-Length promised {length}")
            if not receiver.count:
                raise RefusedError(f"{name} is empty")
            part.replace(slot.folder / name)
            slot.files[name] = receiver.count
        except OSError as error:
            raise RefusedError(f"{name} cannot be stored: {error.strerror or error}", 507) from error
        finally:
            part.unlink(missing_ok=True)

    def look(self, slot: Slot, **options: Any) -> None:
        """Find out what is in a slot: its kind and size in words, or why it cannot be used.

        options: kind and rate, of files that do not say.
        """
        with slot.lock:
            slot.kind, slot.words, slot.error = None, "", ""
            slot.options = {key: value for key, value in options.items() if value is not None}
            shutil.rmtree(slot.folder.parent / "views", ignore_errors=True)
            path = slot.folder / slot.main
            try:
                if codec_for(path, reading=True).name == "DICOM":
                    raise RefusedError("DICOM is not taken here; `nst-nd stylize` does it, or convert it to NIfTI")
                seen = outlined(path, slot.options.get("kind"), slot.rate)
            except NstError as error:
                slot.error = without_folder(str(error), slot.folder)
                return
            slot.kind = seen.kind
            sizes = " x ".join(map(str, reversed(seen.shape) if seen.kind == "image" else seen.shape))
            at = f" at {seen.rate:g} Hz" if seen.rate else ""
            slot.words = f"{seen.kind}, {sizes}{at}, {seen.nc} channel{'s' if seen.nc > 1 else ''}"

    def view(self, slot: Slot, preset: str | None) -> tuple[Path, dict[str, Any]]:
        """The picture of a slot as that preset wants it, drawn when it is first asked for, and its facts.

        Raises RefusedError where it cannot be read or drawn.
        """
        with slot.lock:
            if slot.kind is None:
                raise RefusedError(slot.error or "nothing has been uploaded there yet", 409)
            window = CT_WINDOW if preset == "ct" and slot.kind == "volume" else None
            folder = slot.folder.parent / "views" / ("own" if window is None else "ct")
            if not (folder / "view.json").exists():
                folder.mkdir(parents=True, exist_ok=True)
                try:
                    drawn(slot.folder / slot.main, slot.kind, slot.rate, folder, window)
                except NstError as error:
                    raise RefusedError(without_folder(str(error), slot.folder), 409) from error
            return folder / "view.png", dict(json.loads((folder / "view.json").read_text()))

    def too_large(self, got: str) -> RefusedError:
        """The answer to a file that has `got`, in words."""
        return RefusedError(
            f"the file has {got}, more than the {in_words(self.most)} that are allowed\n"
            "start the app with --max-upload for more, or use `nst-nd stylize`",
            413,
        )


class Receiver:
    """Writes what comes, and counts it."""

    def __init__(self, file: IO[bytes], uploads: Uploads, length: int | None) -> None:
        self.file, self.uploads, self.length, self.count = file, uploads, length, 0

    def take(self, data: bytes) -> None:
        """The next bytes. Raises RefusedError where they are too many, whatever was promised."""
        self.count += len(data)
        if self.count > self.uploads.most:
            raise self.uploads.too_large(f"more than {in_words(self.uploads.most)}")
        if self.count // LOOK_EVERY > (self.count - len(data)) // LOOK_EVERY:
            self.uploads.check_room(0)
        self.file.write(data)


def without_folder(message: str, folder: Path) -> str:
    """A message with names alone, cut to a length for people."""
    return message.replace(f"{folder}/", "").replace(str(folder), "")[:LONGEST_ERROR]
