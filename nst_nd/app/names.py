"""Names of files that came over the network, made harmless; they are shown and written, never looked up."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from nst_nd.app.refused import RefusedError
from nst_nd.io import stem_of, suffix_of

# bytes of UTF-8: what file systems hold, less what is put before and behind a name
LONGEST = 120
# letters and digits of any script, and what people put into names; no control characters, no bidirectional marks
_STRANGE = re.compile(r"[^\w .()+,=@&'!~\[\]-]")
# what a WFDB record may be called, and so every output
_PLAIN = re.compile(r"[^A-Za-z0-9_-]+")


def safe_name(given: str) -> str:
    """A name for a file in a folder of its own: like the one given, as far as that is harmless.

    Raises RefusedError for what is no name of a file: empty, `.`, `..`, or with a folder in it.
    """
    if not given.strip() or given in (".", "..") or any(sign in given for sign in "/\\\0"):
        raise RefusedError(f"{given[:60]!r} is no name of a file; allowed: a name without a folder")
    name = _STRANGE.sub("_", unicodedata.normalize("NFC", given)).strip(" ").lstrip(".")
    at = len(name) - len(suffix_of(Path(name)) if name else "")
    at = at if len(name[at:].encode()) <= 16 else len(name)
    stem, suffix = name[:at], name[at:]
    while len(f"{stem}{suffix}".encode()) > LONGEST:
        stem = stem[:-1]
    return f"{stem.strip(' .') or 'file'}{suffix}"


def output_stem(content: str, style: str) -> str:
    """cat.png, tissue.png -> cat_tissue: letters, digits, - and _ alone."""
    parts = [_PLAIN.sub("_", stem_of(Path(name))).strip("_")[:40] for name in (content, style)]
    return "_".join(part for part in parts if part) or "result"
