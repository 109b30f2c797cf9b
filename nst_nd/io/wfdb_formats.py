"""The sample formats of WFDB: their bits, which can be written, and what makes a record unusable before it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import DecodeError, InputError

# bits of a stored sample; the lowest value of each stands for a gap, but in format 8, which holds differences
BITS = {"8": 8, "16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12, "310": 10, "311": 10}
_FLAC = {"508": 8, "516": 16, "524": 24}
BITS |= _FLAC
WRITABLE = ("80", "212", "16", "24", "32", "508", "516", "524")


def check_header(header: Any, folder: Path) -> None:
    """Refuse what is not supported, and signal files shorter than the header says, before they are read."""
    if any(n not in (None, 1) for n in header.samps_per_frame):
        raise InputError("its leads have different sampling rates; resample them to one rate first")
    unknown = {f for f in header.fmt if f not in BITS}
    if unknown:
        allowed = ", ".join(BITS)
        raise DecodeError(f"is broken or in an unknown WFDB format, {', '.join(sorted(unknown))}; allowed: {allowed}")
    for file in dict.fromkeys(header.file_name):
        places = [i for i, name in enumerate(header.file_name) if name == file]
        if not file or file == "~" or not (folder / file).is_file():
            raise InputError(f"its signal file {file} is missing; put it beside the header")
        if places != list(range(places[0], places[-1] + 1)) or len({header.fmt[i] for i in places}) > 1:
            raise InputError(f"the leads of {file} do not stand together in the header, or differ in format")
        fmt, offset = header.fmt[places[0]], header.byte_offset[places[0]] or 0
        if fmt in _FLAC:
            _check_flac(folder / file, header.sig_len or 0, offset)
            continue
        if header.sig_len is None:
            continue
        samples = header.sig_len * len(places)
        # three samples of ten bits share four bytes
        needed = offset + (-(-samples * 4 // 3) if BITS[fmt] == 10 else -(-samples * BITS[fmt] // 8))
        found = (folder / file).stat().st_size
        if found < needed:
            raise DecodeError(f"its signal file {file} is truncated: {found} bytes of {needed}")


def _check_flac(path: Path, needed: int, offset: int) -> None:
    import soundfile

    if offset:
        raise InputError(f"the samples of {path.name} start at an offset into a FLAC file; convert it to format 16")
    found = soundfile.info(str(path)).frames
    if found < needed:
        raise DecodeError(f"its signal file {path.name} is truncated: {found} samples of {needed}")


def gap_value(fmt: str) -> int | None:
    """The stored value that stands for a gap; None for format 8, which has none."""
    return None if fmt == "8" else -(2 ** (BITS[fmt] - 1))


def gaps_in(digital: NDArray[Any], formats: list[str]) -> NDArray[np.bool_]:
    """[lead, time], where samples [time, lead] are marked as missing."""
    found = np.zeros(digital.T.shape, np.bool_)
    for lead, fmt in enumerate(formats):
        if (lowest := gap_value(fmt)) is not None:
            found[lead] = digital[:, lead] == lowest
    return found
