"""EDF and BDF: what changes are the samples of the leads; header, annotations and every other byte stay.

pyedflib reads, and refuses what is not as the formats ask (Kemp et al. 1992, Kemp & Olivan 2003).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import ConfigError, DecodeError, InputError
from nst_nd.io.codec import ReadOptions, suffix_of
from nst_nd.io.quantise import to_integers
from nst_nd.sample import Grid, Kind, Sample

_EDF, _BDF = b"0       ", b"\xffBIOSEMI"
_BLOCK = 256
# the number of data records
_RECORDS = slice(236, 244)
# bytes per signal before the numbers of samples per record, and of one such number
_BEFORE_COUNTS, _COUNT = 216, 8
_LABEL = 16
_MILLIVOLTS = {"V": 1e3, "mV": 1.0, "uV": 1e-3, "nV": 1e-6, "\N{MICRO SIGN}V": 1e-3}
_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
# labels of the standard: "ECG V1"
_KINDS = ("ECG ", "EKG ")


@dataclass(frozen=True, eq=False)
class EdfSource:
    """The file as it was. width: bytes of a sample. counts: samples per record of every signal; leads: which are leads.

    gain: mV per step, offset: mV at 0; low, high: digital limits; all per lead.
    """

    encoded: bytes = field(repr=False)
    width: int
    counts: tuple[int, ...]
    leads: tuple[int, ...]
    gain: NDArray[np.float64]
    offset: NDArray[np.float64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @property
    def records(self) -> NDArray[np.uint8]:
        """[record, byte] of a copy."""
        start = _BLOCK * (len(self.counts) + 1)
        per_record = sum(self.counts) * self.width
        count = (len(self.encoded) - start) // per_record
        whole = np.frombuffer(self.encoded, np.uint8, count * per_record, start)
        return whole.reshape(count, per_record).copy()

    def place(self, lead: int) -> slice:
        """Bytes of a lead in a record."""
        start = sum(self.counts[: self.leads[lead]]) * self.width
        return slice(start, start + self.counts[self.leads[lead]] * self.width)


class EdfCodec:
    """The European data format, with 16 or (BDF) 24 bits a sample."""

    name: ClassVar[str] = "EDF/BDF"
    suffixes: ClassVar[tuple[str, ...]] = (".edf", ".bdf")
    kinds: ClassVar[tuple[Kind, ...]] = ("ecg",)
    plain: ClassVar[tuple[str, ...]] = ()

    def sniff(self, head: bytes) -> bool:
        """By the version."""
        return head.startswith(_BDF) or (head.startswith(_EDF) and head[_BLOCK - 4 : _BLOCK].strip().isdigit())

    def read(self, path: Path, options: ReadOptions) -> Sample:  # noqa: ARG002
        """[lead, time] in mV; signals in other than volts keep their unit, with a note.

        Raises DecodeError (broken, truncated) and InputError (several rates, interrupted, no signals).
        """
        encoded = path.read_bytes()
        notes: list[str] = []
        _check_length(encoded)
        with _opened(path) as file:
            if file.signals_in_file == 0:
                raise InputError("holds annotations and no signal")
            rates = sorted({float(r) for r in file.getSampleFrequencies()})
            if len(rates) > 1:
                shown = ", ".join(f"{r:g}" for r in rates)
                raise InputError(f"its signals have different sampling rates ({shown} Hz); resample them to one first")
            labels = [label.strip() for label in file.getSignalLabels()]
            source = _source(file, encoded, labels, notes)
            digital = np.stack([file.readSignal(i, digital=True) for i in range(len(labels))])
        data = _real(digital, source)
        names = tuple(_name(label, i) for i, label in enumerate(labels))
        grid = Grid(spacing=(1.0 / rates[0],), unit="s", rate=rates[0])
        return Sample(data, "ecg", "mV", grid, names, source, tuple(notes))

    def check(self, sample: Sample, path: Path) -> None:
        """ConfigError unless the sample came from EDF or BDF, and has as many bits as the suffix says."""
        if not isinstance(sample.source, EdfSource):
            raise ConfigError(
                "an EDF file is written with the header of the one that was read, and this was not read from one\n"
                "write it in another format, such as .csv or .hea"
            )
        suffix = ".edf" if sample.source.width == 2 else ".bdf"
        if suffix_of(path) != suffix:
            raise ConfigError(f"what was read has {sample.source.width * 8} bits; write it as {suffix}")

    def write(self, sample: Sample, path: Path) -> list[str]:
        """The file that was read, with other samples. Raises ConfigError (not from EDF), InputError (another size)."""
        self.check(sample, path)
        source: EdfSource = sample.source
        records = source.records
        length = len(records) * source.counts[source.leads[0]]
        if sample.data.shape != (len(source.leads), length):
            raise InputError(f"{sample.data.shape} samples do not fit a file of {(len(source.leads), length)}")
        notes = []
        for lead, wave in enumerate(sample.data):
            steps = (wave.astype(np.float64) - source.offset[lead]) / source.gain[lead]
            clipped = int(np.count_nonzero((np.rint(steps) < source.low[lead]) | (np.rint(steps) > source.high[lead])))
            steps = np.clip(steps, source.low[lead], source.high[lead])
            stored, _ = to_integers(steps, np.int32)
            if clipped:
                notes.append(f"lead {lead + 1}: {clipped} samples clipped to {source.low[lead]}..{source.high[lead]}")
            little = stored.astype("<i4").view(np.uint8).reshape(-1, 4)[:, : source.width]
            records[:, source.place(lead)] = little.reshape(len(records), -1)
        start = _BLOCK * (len(source.counts) + 1)
        stop = start + records.size
        path.write_bytes(source.encoded[:start] + records.tobytes() + source.encoded[stop:])
        return notes


def _check_length(encoded: bytes) -> None:
    """DecodeError for a file shorter than its header says; pyedflib would print that as well."""
    try:
        count, records = int(encoded[_BLOCK - 4 : _BLOCK]), int(encoded[_RECORDS])
        at = _BLOCK + count * _BEFORE_COUNTS
        samples = sum(int(encoded[at + i * _COUNT : at + (i + 1) * _COUNT]) for i in range(count))
    except ValueError:
        raise DecodeError("is broken or truncated: its header has no numbers where they belong") from None
    width = 3 if encoded.startswith(_BDF) else 2
    needed = _BLOCK * (count + 1) + max(0, records) * samples * width
    if len(encoded) < needed:
        raise DecodeError(f"is truncated: {len(encoded)} bytes of {needed}")


def _opened(path: Path) -> Any:
    try:
        import pyedflib
    except ImportError as error:
        raise InputError('EDF needs the package pyedflib; install it with: pip install "nst_nd[edf]"') from error
    try:
        return pyedflib.EdfReader(str(path), annotations_mode=pyedflib.DO_NOT_READ_ANNOTATIONS)
    except OSError as error:
        words = str(error).rpartition(": ")[2].strip() or type(error).__name__
        if "discontinuous" in words.lower() or "interrupt" in words.lower():
            raise InputError("is a recording with interruptions (EDF+D); cut it into pieces first") from None
        raise DecodeError(f"is broken or truncated: {words}") from None


def _source(file: Any, encoded: bytes, labels: list[str], notes: list[str]) -> EdfSource:
    count = int(encoded[_BLOCK - 4 : _BLOCK])
    at = _BLOCK + count * _BEFORE_COUNTS
    counts = tuple(int(encoded[at + i * _COUNT : at + (i + 1) * _COUNT]) for i in range(count))
    own = [encoded[_BLOCK + i * _LABEL : _BLOCK + (i + 1) * _LABEL].decode("latin-1").strip() for i in range(count)]
    leads = tuple(i for i, label in enumerate(own) if label not in _ANNOTATIONS)
    gain, offset, low, high = [], [], [], []
    for i, label in enumerate(labels):
        unit = file.getPhysicalDimension(i).strip()
        if unit not in _MILLIVOLTS:
            notes.append(f"signal {label} is in {unit or 'no unit'}, not in volts: its values are kept as they are")
        elif unit != "mV":
            notes.append(f"signal {label} was converted from {unit} to mV; the file keeps its own unit on writing")
        factor = _MILLIVOLTS.get(unit, 1.0)
        bottom, top = int(file.getDigitalMinimum(i)), int(file.getDigitalMaximum(i))
        step = (file.getPhysicalMaximum(i) - file.getPhysicalMinimum(i)) / (top - bottom)
        gain.append(step * factor)
        offset.append((file.getPhysicalMinimum(i) - bottom * step) * factor)
        low.append(min(bottom, top))
        high.append(max(bottom, top))
    width = 3 if encoded.startswith(_BDF) else 2
    return EdfSource(encoded, width, counts, leads, np.array(gain), np.array(offset), np.array(low), np.array(high))


def _real(digital: NDArray[Any], source: EdfSource) -> NDArray[Any]:
    """[lead, time] in mV: float32 if that gives every integer back, else float64."""
    gain, offset = source.gain[:, None], source.offset[:, None]
    values = digital * gain + offset
    narrow = values.astype(np.float32)
    same = np.array_equal(np.rint((narrow.astype(np.float64) - offset) / gain), digital)
    return narrow if same else values


def _name(label: str, number: int) -> str:
    for kind in _KINDS:
        label = label.removeprefix(kind)
    return label.strip() or f"lead{number + 1}"
