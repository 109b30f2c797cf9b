"""ECG as CSV: a header row of lead names, one column a lead in mV, and either a `time` column in seconds or a rate."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import DecodeError, InputError
from nst_nd.io.codec import ReadOptions
from nst_nd.io.gaps import bridged
from nst_nd.sample import Grid, Kind, Sample

_DELIMITERS = (",", ";", "\t")
_TIME = "time"
_ROUNDINGS = (0, 1, 2, 3, 6)
_BOM = "\ufeff"
_GAP = "nan"
# a time may be cut instead of rounded, so a whole last digit is forgiven; but never so much of a step that a
# missing sample, which is off by half a step, could pass for rounding
_LAST_DIGITS = 1.01
_OF_A_STEP = 0.26
_RELATIVE = 1e-9


@dataclass(frozen=True)
class CsvSource:
    """How the text was laid out.

    header: the header row as it stands, without its line end; time: the place and the texts of the time column, if
    there is one; leads: how many columns are leads; gap: how a missing value is written.
    """

    delimiter: str
    newline: str
    bom: bool
    header: str
    leads: int
    time: tuple[int, tuple[str, ...]] | None
    gap: str = _GAP


class CsvCodec:
    """Comma, semicolon or tab separated values."""

    name: ClassVar[str] = "CSV"
    suffixes: ClassVar[tuple[str, ...]] = (".csv",)
    kinds: ClassVar[tuple[Kind, ...]] = ("ecg",)
    plain: ClassVar[tuple[str, ...]] = (".csv",)

    def sniff(self, head: bytes) -> bool:  # noqa: ARG002
        """Text has no magic."""
        return False

    def read(self, path: Path, options: ReadOptions) -> Sample:
        """[lead, time] in mV, float64, so that the text comes back value by value; empty and NaN cells are gaps.

        Raises DecodeError or InputError.
        """
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise DecodeError(f"is not text in UTF-8: {error.reason} at byte {error.start}") from error
        bom, text = text.startswith(_BOM), text.removeprefix(_BOM)
        newline = next((mark for mark in ("\r\n", "\n", "\r") if mark in text), "\n")
        header, delimiter, rows = _rows(text)
        names = rows.pop(0)[1]
        values = _numbers(names, rows)
        places = [i for i, name in enumerate(names) if name.strip().lower() == _TIME]
        leads = [i for i in range(len(names)) if i not in places]
        if not leads:
            raise InputError("has a time column and no lead")
        time = (places[0], tuple(cells[places[0]] for _, cells in rows)) if places else None
        rate = _rate(values[:, places[0]], time[1], rows) if time else options.rate
        if rate is None or not (math.isfinite(rate) and rate > 0):
            raise InputError("has no time column (seconds): add one, or give rate in Hz (above 0)")
        grid = Grid(spacing=(1 / rate,), unit="s", rate=rate)
        _check_lengths(names, rows, leads)
        columns = np.ascontiguousarray(values[:, leads].T)
        data, gaps, notes = bridged(columns, np.isnan(columns))
        gap = next((cells[i] for _, cells in rows for i in leads if not _is_value(cells[i])), _GAP)
        source = CsvSource(delimiter, newline, bom, header, len(leads), time, gap)
        if not text.endswith(newline):
            notes.append("its last line has no line end: the file may have been cut")
        return Sample(data, "ecg", "mV", grid, tuple(names[i].strip() for i in leads), source, tuple(notes), gaps)

    def write(self, sample: Sample, path: Path) -> list[str]:
        """Write with as many digits as tell each value apart, in the layout of the input."""
        rate = sample.grid.rate
        if rate is None:
            raise InputError("the sampling rate is unknown, and a CSV needs one")
        own = isinstance(sample.source, CsvSource) and sample.source.leads == sample.nc
        layout, notes = sample.source if own else _fresh(sample), []
        if sample.units != "mV":
            notes.append(f"values are in {sample.units}, which a CSV does not say")
        columns: list[Iterable[str]] = [list(map(repr, lead.tolist())) for lead in sample.data.astype(np.float64)]
        if sample.gaps is not None:
            for column, gaps in zip(columns, sample.gaps, strict=True):
                assert isinstance(column, list)
                for place in np.flatnonzero(gaps).tolist():
                    column[place] = layout.gap
        if layout.time is not None:
            place, texts = layout.time
            columns.insert(place, texts if len(texts) == sample.shape[0] else _times(sample.shape[0], rate))
        out = io.StringIO()
        out.write(layout.header + layout.newline)
        writer = csv.writer(out, delimiter=layout.delimiter, lineterminator=layout.newline)
        writer.writerows(zip(*columns, strict=True))
        path.write_bytes((_BOM if layout.bom else "").encode() + out.getvalue().encode())
        return notes


def _fresh(sample: Sample) -> CsvSource:
    """Commas, a time column, and the lead names of the sample."""
    leads = sample.channels if len(sample.channels) == sample.nc else [f"lead{i + 1}" for i in range(sample.nc)]
    header = io.StringIO()
    csv.writer(header, lineterminator="").writerow((_TIME, *leads))
    return CsvSource(",", "\n", False, header.getvalue(), sample.nc, (0, ()))


def _times(count: int, rate: float) -> list[str]:
    return [repr(t) for t in (np.arange(count) / rate).tolist()]


def _rows(text: str) -> tuple[str, str, list[tuple[int, list[str]]]]:
    """The text of the header row, the delimiter, and line number and cells of every row, the header row first."""
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        rows = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise DecodeError(f"is not a table: {error}") from error
    while rows and not any(cell.strip() for cell in rows[-1][1]):
        rows.pop()
    if len(rows) < 2:
        raise DecodeError("holds no rows of samples below a header row of lead names")
    line, names = rows[0]
    header = "".join(itertools.islice(io.StringIO(text, newline=""), line)).rstrip("\r\n")
    if all(_is_number(name) for name in names):
        raise InputError("line 1 holds numbers; it must be a header row of lead names")
    stripped = [name.strip() for name in names]
    if "" in stripped or len({name.lower() for name in stripped}) < len(names):
        raise InputError(f"line 1: every column needs a name of its own, got {', '.join(map(repr, stripped))}")
    return header, delimiter, rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_value(cell: str) -> bool:
    return bool(cell.strip()) and not math.isnan(float(cell))


def _numbers(names: list[str], rows: list[tuple[int, list[str]]]) -> NDArray[np.float64]:
    """[time, column]; NaN for an empty cell."""
    values = np.empty((len(rows), len(names)))
    for at, (line, cells) in enumerate(rows):
        if len(cells) != len(names):
            raise DecodeError(f"line {line} has {len(cells)} cells where the header row has {len(names)}")
        try:
            values[at] = [float(cell) if cell.strip() else math.nan for cell in cells]
        except ValueError:
            raise _bad_cell(names, line, cells) from None
    timed = [name.strip().lower() == _TIME for name in names]
    bad = np.argwhere(np.isinf(values) | (np.isnan(values) & timed))
    if len(bad):
        line, name = rows[bad[0][0]][0], names[bad[0][1]]
        raise InputError(
            f"line {line}, column {name!r}: {len(bad)} cells are infinite or without a time; "
            "allowed: numbers, and NaN or nothing for a gap in a lead"
        )
    # float() would also take 1_000
    if any("_" in cell for _, cells in rows for cell in cells):
        line, cells = next((n, c) for n, c in rows if any("_" in cell for cell in c))
        raise _bad_cell(names, line, cells)
    return values


def _check_lengths(names: list[str], rows: list[tuple[int, list[str]]], leads: list[int]) -> None:
    """InputError for a lead that ends before others do: its last cells are empty, which is no gap."""
    line, cells = rows[-1]
    short = [i for i in leads if not cells[i].strip()]
    if short:
        missing = next((n for n, (_, row) in enumerate(reversed(rows)) if row[short[0]].strip()), len(rows))
        raise InputError(
            f"column {names[short[0]]!r} ends {missing} samples before line {line}: leads of unequal length\n"
            "cut the others, or write nan where a recording stopped"
        )


def _bad_cell(names: list[str], line: int, cells: list[str]) -> DecodeError:
    name, cell = next(
        (n, c) for n, c in zip(names, cells, strict=True) if (c.strip() and not _is_number(c)) or "_" in c
    )
    return DecodeError(f"line {line}, column {name!r}: {cell!r} is not a number (decimal point, no units)")


def _rate(time: NDArray[np.float64], texts: tuple[str, ...], rows: list[tuple[int, list[str]]]) -> float:
    """Samples per second: the roundest number that agrees with every time as far as its digits go."""
    if len(time) < 2:
        raise InputError("one sample is not enough to see its rate from the time column; remove it and give rate")
    steps = np.diff(time)
    if steps.min() <= 0:
        raise InputError(f"line {rows[int(np.argmin(steps)) + 1][0]}: time does not increase")
    digits = max(_decimals(text) for text in texts)
    span = float(time[-1] - time[0])
    measured = (len(time) - 1) / span
    rounding = _LAST_DIGITS * 10.0**-digits + _RELATIVE * max(span, abs(float(time[0])))
    tolerance = min(rounding, _OF_A_STEP / measured)
    index = np.arange(len(time))
    for places in _ROUNDINGS:
        rate = round(measured, places)
        if rate > 0 and np.abs(time - time[0] - index / rate).max() <= tolerance:
            return float(rate)
    off = np.abs(time - time[0] - index / measured)
    if off.max() > tolerance:
        line = rows[int(np.argmax(off))][0]
        raise InputError(
            f"time is not uniformly spaced, or has too few digits (worst at line {line}); "
            "resample it to a constant rate, or remove the column and give rate"
        )
    return measured


def _decimals(text: str) -> int:
    """Digits behind the decimal point, the exponent taken into account."""
    mantissa, _, exponent = text.strip().lower().partition("e")
    return max(0, len(mantissa.partition(".")[2]) - int(exponent or 0))
