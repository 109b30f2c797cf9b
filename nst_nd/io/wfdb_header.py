"""The text of a WFDB header: kept line by line, with only the fields replaced that a new record needs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import DecodeError, InputError

RECORD_NAME = re.compile(r"[-\w]+", re.ASCII)
# bytes of other scripts, seen as Latin-1, hold what Python takes for spaces and line ends
_WORD = re.compile(r"\S+", re.ASCII)
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_CHECKSUM = 2**16
# where the fields stand in a signal line
_FILE, _FORMAT, _INITIAL, _SUM = 0, 1, 5, 6
_LENGTH = 3


@dataclass(frozen=True)
class HeaderText:
    """The lines of a .hea file (Latin-1, so that every byte comes back), and which of them is what."""

    lines: tuple[str, ...]
    record: int
    signals: tuple[int, ...]


def parse(encoded: bytes) -> HeaderText:
    """Raises DecodeError where lines are missing and InputError for a multi-segment or an empty record."""
    lines = _LINE.findall(encoded.decode("latin-1"))
    content = [i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
    words = _WORD.findall(lines[content[0]]) if content else []
    if len(words) < 2 or not words[1].isdecimal():
        raise DecodeError("the WFDB header is broken: its record line is missing")
    if "/" in words[0]:
        raise InputError("is a WFDB record of several segments; give one segment, or join them first")
    count = int(words[1])
    if count == 0:
        raise InputError("is a WFDB record without signals")
    signals = content[1:]
    if len(signals) != count:
        raise DecodeError(f"the WFDB header is truncated or broken: {len(signals)} of {count} signal lines are there")
    if any(len(_WORD.findall(lines[i])) < 2 for i in signals):
        raise DecodeError("the WFDB header is broken: a signal line has no format")
    if not lines[signals[-1]].endswith("\n"):
        raise DecodeError("the WFDB header is truncated: its last signal line has no line end")
    return HeaderText(tuple(lines), content[0], tuple(signals))


def record_name(text: HeaderText) -> str:
    """The name that the record gives itself."""
    return str(_WORD.findall(text.lines[text.record])[0])


def checksums_agree(text: HeaderText, digital: NDArray[Any]) -> list[bool]:
    """Per signal, whether its checksum (16 bits of the sum) is that of the samples [time, lead]; True without one."""
    words = [_WORD.findall(text.lines[i]) for i in text.signals]
    sums = digital.sum(axis=0, dtype=np.int64)
    return [
        len(w) <= _SUM or not _is_integer(w[_SUM]) or (int(w[_SUM]) - int(s)) % _CHECKSUM == 0
        for w, s in zip(words, sums, strict=True)
    ]


def render(
    text: HeaderText, name: str, files: Sequence[str], formats: Mapping[int, str], digital: NDArray[Any]
) -> bytes:
    """The header of a record `name` with these samples [time, lead]; formats: by signal, where they change."""
    lines = list(text.lines)
    lines[text.record] = _replaced(lines[text.record], {0: name, _LENGTH: str(len(digital))})
    for number, at in enumerate(text.signals):
        samples = digital[:, number]
        words = _WORD.findall(lines[at])
        total = int(samples.sum(dtype=np.int64))
        changes = {_FILE: files[number], _INITIAL: str(int(samples[0]))}
        if number in formats:
            changes[_FORMAT] = re.sub(r"^\d+", formats[number], words[_FORMAT])
        if len(words) > _SUM and _is_integer(words[_SUM]) and (int(words[_SUM]) - total) % _CHECKSUM:
            changes[_SUM] = str((total + _CHECKSUM // 2) % _CHECKSUM - _CHECKSUM // 2)
        lines[at] = _replaced(lines[at], changes)
    return "".join(lines).encode("latin-1")


def fresh(name: str, rate: float, leads: Sequence[str], fmt: str, bits: int, gain: int, length: int) -> HeaderText:
    """The header of a new record in mV; initial values and checksums are filled in by `render`."""
    hertz = np.format_float_positional(rate, trim="-")
    lines = [f"{name} {len(leads)} {hertz} {length}\n"]
    for number, lead in enumerate(leads):
        description = " ".join(lead.split()) or f"lead{number + 1}"
        lines.append(f"{name}.dat {fmt} {gain}(0)/mV {bits} 0 0 0 0 {description}\n")
    # names may be in any script, so the text goes through UTF-8 as the bytes of a read header do
    return parse("".join(lines).encode("utf-8"))


def _replaced(line: str, changes: Mapping[int, str]) -> str:
    """The line with some of its words replaced, its spacing kept; words that are not there are not added."""
    for number, match in reversed(list(enumerate(_WORD.finditer(line)))):
        if number in changes:
            line = line[: match.start()] + changes[number] + line[match.end() :]
    return line


def _is_integer(word: str) -> bool:
    return re.fullmatch(r"-?\d+", word, re.ASCII) is not None
