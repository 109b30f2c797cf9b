"""Waveforms of DICOM: the recorded leads of an ECG, in mV. Of the header, only lead names get into messages."""

from __future__ import annotations

from typing import Any

import numpy as np

from nst_nd.errors import DecodeError, InputError
from nst_nd.io.gaps import bridged
from nst_nd.sample import Grid, Sample

# UCUM codes of voltages, in mV
_MILLIVOLTS = {"V": 1e3, "mV": 1.0, "uV": 1e-3, "nV": 1e-6}
_TYPES = {(8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "i2", (16, "US"): "u2", (32, "SL"): "i4", (32, "UL"): "u4"}
# how vendors write a lead: "Lead I (Einthoven)", "LEAD V1"
_BEFORE = "LEAD "


def has_waveform(dataset: Any) -> bool:
    """Whether a dataset holds waveforms in place of an image."""
    return bool(dataset.get("WaveformSequence"))


def sample_of(dataset: Any) -> Sample:
    """[lead, time] in mV of the first group that was recorded (not derived, as a median beat is).

    Padding values are gaps. Raises DecodeError (truncated) and InputError (no such group, no voltage, coded values).
    """
    groups = list(dataset.WaveformSequence)
    recorded = [g for g in groups if str(g.get("WaveformOriginality", "")) == "ORIGINAL"]
    group = next(iter(recorded or groups))
    notes = []
    if len(groups) > 1:
        notes.append(f"one of {len(groups)} groups of waveforms is read: the first that was recorded")
    allocated, coded = int(group.WaveformBitsAllocated), str(group.WaveformSampleInterpretation)
    if (allocated, coded) not in _TYPES:
        allowed = ", ".join(f"{b} bit {c}" for b, c in _TYPES)
        raise InputError(f"holds a waveform of {allocated} bit {coded}; allowed: {allowed}")
    little = dataset.file_meta.TransferSyntaxUID.is_little_endian
    dtype = np.dtype(("<" if little else ">") + _TYPES[allocated, coded])
    nc, length = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    encoded = bytes(group.WaveformData)
    if len(encoded) < nc * length * dtype.itemsize or nc * length == 0:
        raise DecodeError(f"its waveform is truncated: {len(encoded)} bytes of {nc * length * dtype.itemsize}")
    stored = np.frombuffer(encoded, dtype, nc * length).reshape(length, nc).T
    gain, offset, names = zip(*(_channel(c, i) for i, c in enumerate(group.ChannelDefinitionSequence)), strict=True)
    if len(names) != nc:
        raise DecodeError(f"its waveform has {nc} channels and defines {len(names)}")
    padding = group.get("WaveformPaddingValue")
    gaps = np.zeros(stored.shape, np.bool_)
    if padding is not None:
        value = np.frombuffer(padding, dtype, 1)[0] if isinstance(padding, bytes) else padding
        gaps = stored == value
    real = stored * np.reshape(gain, (-1, 1)) + np.reshape(offset, (-1, 1))
    data, bridges, said = bridged(real.astype(np.float32), gaps)
    rate = float(group.SamplingFrequency)
    if not (np.isfinite(rate) and rate > 0):
        raise DecodeError("its waveform has a sampling rate that is not above 0")
    notes += [*said, "read from DICOM: written in another format, such as .csv or .hea"]
    grid = Grid(spacing=(1.0 / rate,), unit="s", rate=rate)
    return Sample(np.ascontiguousarray(data), "ecg", "mV", grid, names, None, tuple(notes), bridges)


def _channel(channel: Any, number: int) -> tuple[float, float, str]:
    """mV per stored step, mV at a stored 0, and the lead's name."""
    units = channel.get("ChannelSensitivityUnitsSequence")
    unit = str(units[0].CodeValue) if units else ""
    if unit not in _MILLIVOLTS:
        raise InputError(f"channel {number + 1} of its waveform is no voltage; allowed: {', '.join(_MILLIVOLTS)}")
    factor = _MILLIVOLTS[unit]
    gain = float(channel.ChannelSensitivity) * float(channel.get("ChannelSensitivityCorrectionFactor") or 1.0) * factor
    source = channel.get("ChannelSourceSequence")
    meaning = str(source[0].get("CodeMeaning", "")) if source else ""
    name = meaning.split("(")[0].strip()
    name = name[len(_BEFORE) :].strip() if name.upper().startswith(_BEFORE) else name
    return gain, float(channel.get("ChannelBaseline") or 0.0) * factor, name or f"lead{number + 1}"
