"""WFDB: the digital samples are read, and scaled here, so that gain, baseline and every integer come back."""

from __future__ import annotations

import glob
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import ConfigError, DecodeError, InputError
from nst_nd.io import wfdb_formats, wfdb_header
from nst_nd.io.codec import ReadOptions, registry, suffix_of
from nst_nd.io.gaps import bridged
from nst_nd.io.quantise import to_integers
from nst_nd.io.wfdb_header import HeaderText
from nst_nd.sample import Grid, Kind, Sample

# what the wfdb package cannot write goes into the smallest plain format that holds it
_REPLACEMENT = {"8": "32", "61": "16", "160": "16", "310": "16", "311": "16"}
_MILLIVOLTS = {"mV": 1.0, "V": 1e3, "uV": 1e-3, "\N{MICRO SIGN}V": 1e-3, "nV": 1e-6}
_FRESH_GAIN = 1000
_LARGEST_ANNOTATION = 2**26


@dataclass(frozen=True, eq=False)
class WfdbSource:
    """The header text, scaling per lead, signal files with what precedes their samples, and annotation files.

    files, formats, gain, baseline, factor: per lead; factor: mV in one of the lead's units; prefixes: by signal file;
    companions: bytes by suffix; length: samples per lead.
    """

    text: HeaderText
    files: tuple[str, ...]
    formats: tuple[str, ...]
    gain: NDArray[np.float64]
    baseline: NDArray[np.float64]
    factor: NDArray[np.float64]
    prefixes: dict[str, bytes]
    companions: dict[str, bytes]
    length: int


class WfdbCodec:
    """Records of PhysioNet's waveform database format: a .hea header with its signal files."""

    name: ClassVar[str] = "WFDB"
    suffixes: ClassVar[tuple[str, ...]] = (".hea", ".dat")
    kinds: ClassVar[tuple[Kind, ...]] = ("ecg",)
    plain: ClassVar[tuple[str, ...]] = (".hea", ".dat")

    def sniff(self, head: bytes) -> bool:  # noqa: ARG002
        """A header is text without a magic."""
        return False

    def read(self, path: Path, options: ReadOptions) -> Sample:  # noqa: ARG002
        """[lead, time] in mV; leads in other than volts keep their unit, with a note. Invalid samples are gaps.

        Raises DecodeError (broken, truncated) and InputError (several rates, several segments).
        """
        if suffix_of(path) == ".dat":
            raise InputError(f"its header {path.with_suffix('.hea').name} is missing; put it beside it")
        text = wfdb_header.parse(path.read_bytes())
        record = str(path.absolute().with_suffix(""))
        wfdb = _wfdb()
        header = wfdb.rdheader(record)
        wfdb_formats.check_header(header, path.parent)
        digital = wfdb.rdrecord(record, physical=False, ignore_skew=True).d_signal
        if header.sig_len is not None and len(digital) != header.sig_len:
            raise DecodeError(f"the WFDB record is truncated: {len(digital)} of {header.sig_len} samples are there")
        notes = _notes(header, wfdb_header.checksums_agree(text, digital))
        source = _source(header, text, path, len(digital))
        gaps = wfdb_formats.gaps_in(digital, header.fmt)
        data, bridges, said = bridged(_to_millivolts(digital, source), gaps)
        notes += said
        rate = float(header.fs)
        if not rate > 0:
            raise DecodeError(f"the WFDB header is broken: a sampling rate of {rate:g} Hz")
        grid = Grid(spacing=(1 / rate,), unit="s", rate=rate)
        names = tuple(name or f"lead{i + 1}" for i, name in enumerate(header.sig_name))
        return Sample(data, "ecg", "mV", grid, names, source, tuple(notes), bridges)

    def write(self, sample: Sample, path: Path) -> list[str]:
        """Write header, signal files and annotations under the name of `path`; gain 1000 per mV without an input."""
        name = path.with_suffix("").name
        if not wfdb_header.RECORD_NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no WFDB record name; allowed: letters, digits, - and _")
        notes: list[str] = []
        source = sample.source
        if not isinstance(source, WfdbSource) or len(source.files) != sample.nc:
            source = _fresh(sample, name)
            exact = np.array_equal(_to_millivolts(_to_digital(sample.data, source)[0], source), sample.data)
            notes += [] if exact else ["values were rounded to steps of 1/1000 mV"]
        digital, clipped = _to_digital(sample.data, source)
        if sample.gaps is not None:
            notes += _mark_gaps(digital, sample.gaps, source.formats)
        formats = {i: _REPLACEMENT[f] for i, f in enumerate(source.formats) if f not in wfdb_formats.WRITABLE}
        notes += [f"format {source.formats[i]} cannot be written: stored as {new}" for i, new in formats.items()]
        files = _renamed(source, name)
        _write_signals(path.parent, files, source, formats, digital)
        text = wfdb_header.render(source.text, name, files, formats, digital)
        path.with_suffix(".hea").write_bytes(text)
        if source.companions and len(digital) != source.length:
            notes.append("annotations were left out: the record has another length now")
        else:
            for suffix, content in source.companions.items():
                path.with_name(name + suffix).write_bytes(content)
        return list(dict.fromkeys(notes)) + clipped


def _wfdb() -> Any:
    """The package, whose import warns of what it asks of pandas."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wfdb
    return wfdb


def _notes(header: Any, agree: list[bool]) -> list[str]:
    notes = []
    for name, unit, good in zip(header.sig_name, header.units, agree, strict=True):
        if unit not in _MILLIVOLTS:
            notes.append(f"lead {name} is in {unit}, not in volts: its values are kept as they are")
        elif unit != "mV":
            notes.append(f"lead {name} was converted from {unit} to mV; the file keeps its own unit on writing")
        if not good:
            notes.append(f"the checksum of lead {name} does not agree with its samples")
    if any(header.skew):
        notes.append("the leads are shifted against each other in time (skew): read as they are stored")
    unwritable = sorted({f for f in header.fmt if f not in wfdb_formats.WRITABLE})
    notes += [f"WFDB format {f} cannot be written: it would be stored as {_REPLACEMENT[f]}" for f in unwritable]
    return notes


def _source(header: Any, text: HeaderText, path: Path, length: int) -> WfdbSource:
    prefixes = {}
    for file, offset in zip(header.file_name, header.byte_offset, strict=True):
        if offset:
            with (path.parent / file).open("rb") as signal:
                prefixes[file] = signal.read(offset)
    return WfdbSource(
        text,
        tuple(header.file_name),
        tuple(header.fmt),
        np.array(header.adc_gain, np.float64)[:, None],
        np.array(header.baseline, np.float64)[:, None],
        np.array([_MILLIVOLTS.get(unit, 1.0) for unit in header.units])[:, None],
        prefixes,
        _companions(path, set(header.file_name)),
        length,
    )


def _companions(path: Path, signals: set[str]) -> dict[str, bytes]:
    """Annotation files beside the record: same name, another suffix, and the end mark of an annotation file."""
    known = {suffix for codec in registry() for suffix in codec.suffixes}
    found = {}
    for file in sorted(path.parent.glob(glob.escape(path.stem) + ".*")):
        own = file.stem == path.stem and file.name not in signals and suffix_of(file) not in known
        if own and file.is_file() and file.stat().st_size <= _LARGEST_ANNOTATION:
            content = file.read_bytes()
            if len(content) % 2 == 0 and content.endswith(b"\0\0"):
                found[file.suffix] = content
    return found


def _to_millivolts(digital: NDArray[Any], source: WfdbSource) -> NDArray[Any]:
    """[time, lead] integers as [lead, time] in mV: float32 if that gives every integer back, else float64."""
    values = (digital.T - source.baseline) / source.gain * source.factor
    narrow = values.astype(np.float32)
    same = np.array_equal(np.rint(_inverse(narrow, source)), digital.T)
    return np.ascontiguousarray(narrow if same else values)


def _inverse(values: NDArray[Any], source: WfdbSource) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):  # absurd gains, for which nothing is the same as it was
        result: NDArray[np.float64] = values.astype(np.float64) / source.factor * source.gain + source.baseline
    return result


def _to_digital(data: NDArray[Any], source: WfdbSource) -> tuple[NDArray[Any], list[str]]:
    """[lead, time] in mV as [time, lead] integers within the format of each lead, and a note on clipping."""
    real = _inverse(data, source)
    out = np.empty((data.shape[1], data.shape[0]), np.int64)
    notes = []
    for lead, fmt in enumerate(source.formats):
        bits = 32 if fmt == "8" else wfdb_formats.BITS[fmt]
        out[:, lead], clipped = to_integers(real[lead], np.int64, bits, spare_lowest=True)
        notes += [f"lead {lead + 1}: {note}" for note in clipped]
    return out, notes


def _mark_gaps(digital: NDArray[Any], gaps: NDArray[np.bool_], formats: tuple[str, ...]) -> list[str]:
    """The value for a gap into samples [time, lead]; a note where a format has none."""
    notes = []
    for lead, fmt in enumerate(formats):
        stored = wfdb_formats.gap_value(_REPLACEMENT.get(fmt, fmt))
        if stored is not None:
            digital[gaps[lead], lead] = stored
        elif gaps[lead].any():
            notes.append(f"lead {lead + 1}: format {fmt} has no mark for a gap: a straight line is stored there")
    return notes


def _fresh(sample: Sample, name: str) -> WfdbSource:
    """A record in mV with 1000 steps per mV, in the smallest format that holds the peak."""
    if sample.grid.rate is None:
        raise InputError("the sampling rate is unknown, and a WFDB record needs one")
    peak = float(np.abs(sample.data).max()) * _FRESH_GAIN
    bits = next((b for b in (16, 24, 32) if peak < 2 ** (b - 1) - 1), None)
    if bits is None:
        raise InputError(f"a peak of {peak / _FRESH_GAIN:g} mV does not fit a WFDB record; use .csv or .npy")
    leads = sample.channels if len(sample.channels) == sample.nc else tuple(f"lead{i + 1}" for i in range(sample.nc))
    length = sample.shape[0]
    text = wfdb_header.fresh(name, sample.grid.rate, leads, str(bits), bits, _FRESH_GAIN, length)
    ones = np.ones((sample.nc, 1))
    files, formats = (f"{name}.dat",) * sample.nc, (str(bits),) * sample.nc
    return WfdbSource(text, files, formats, ones * _FRESH_GAIN, ones * 0, ones, {}, {}, length)


def _renamed(source: WfdbSource, name: str) -> list[str]:
    """The signal files under the new record name."""
    old = wfdb_header.record_name(source.text)
    return [name + file.removeprefix(old) if file.startswith(old) else f"{name}_{file}" for file in source.files]


def _write_signals(
    folder: Path, files: list[str], source: WfdbSource, formats: dict[int, str], digital: NDArray[Any]
) -> None:
    record = _wfdb().Record()
    record.file_name = files
    record.fmt = [formats.get(i, fmt) for i, fmt in enumerate(source.formats)]
    # the package would fill the space before the samples with zeros, and say so on stdout
    record.byte_offset = None
    record.d_signal = digital
    record.wr_dat_files(write_dir=str(folder))
    for new, old in dict(zip(files, source.files, strict=True)).items():
        if old in source.prefixes:
            (folder / new).write_bytes(source.prefixes[old] + (folder / new).read_bytes())
