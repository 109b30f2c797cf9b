"""Names and messages of other people as text that shows what it is: nothing hidden, nothing endless."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

# of a name or a message on the page
MOST = 400
# of a config or another text of several lines
MOST_LINES, MOST_OF_LINES = 2000, 200_000
# control and format characters (bidi overrides, joiners), halves of characters, private ones, line separators
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str, most: int = MOST) -> str:
    """One line in which every character is seen: the others as \\n or \\u202e; cut after `most`, which is said."""
    shown = "".join(_seen(letter) for letter in text[:most])
    return shown if len(text) <= most else f"{shown}… ({len(text)} characters)"


def visible_lines(text: str) -> str:
    """The same of a text whose line breaks are meant."""
    lines = text[:MOST_OF_LINES].split("\n")
    shown = "\n".join(visible(line, MOST_OF_LINES) for line in lines[:MOST_LINES])
    cut = len(text) > MOST_OF_LINES or len(lines) > MOST_LINES
    return f"{shown}\n… (cut, {len(text)} characters)" if cut else shown


def visible_in(value: Any) -> Any:
    """Every string inside of what JSON can hold, keys included."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(key)): visible_in(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [visible_in(item) for item in value]
    return value


def _seen(letter: str) -> str:
    if unicodedata.category(letter) not in _HIDDEN:
        return letter
    code = ord(letter)
    return _SHORT.get(letter) or (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
