"""EDF and BDF, against files that pyedflib writes; DICOM waveforms."""

import numpy as np
import pydicom
import pyedflib
import pytest
from pydicom.data import get_testdata_file

from nst_nd.errors import ConfigError, DecodeError, InputError
from nst_nd.io import check_source, load, save

RATE, SECONDS = 250, 12


def waves(leads=3, rate=RATE):
    draw = np.random.default_rng(0)
    time = np.arange(SECONDS * rate) / rate
    return 1000.0 * np.sin(2 * np.pi * 1.2 * time) + 50.0 * draw.standard_normal((leads, time.size))


def written(path, data, *, rates=None, unit="uV", kind=None, note=True):
    """A file of these waves, in microvolts."""
    bdf = path.suffix == ".bdf"
    kind = kind or (pyedflib.FILETYPE_BDFPLUS if bdf else pyedflib.FILETYPE_EDFPLUS)
    top = 8388607 if bdf else 32767
    rates = rates or [RATE] * len(data)
    with pyedflib.EdfWriter(str(path), len(data), file_type=kind) as file:
        file.setPatientName("Nobody")
        file.setSignalHeaders(
            [
                {
                    "label": f"ECG V{i + 1}",
                    "dimension": unit,
                    "sample_frequency": rate,
                    "physical_min": -5000.0,
                    "physical_max": 5000.0,
                    "digital_min": -top - 1,
                    "digital_max": top,
                    "transducer": "",
                    "prefilter": "HP:0.05Hz",
                }
                for i, rate in enumerate(rates)
            ]
        )
        file.writeSamples([np.ascontiguousarray(wave) for wave in data])
        if note:
            file.writeAnnotation(3.5, -1, "an event")
    return path


@pytest.mark.parametrize("suffix", [".edf", ".bdf"])
def test_leads_are_in_millivolts_and_come_back_byte_by_byte(suffix, tmp_path):
    data = waves()
    path = written(tmp_path / f"in{suffix}", data)
    sample = load(path)
    assert (sample.kind, sample.units, sample.grid.rate) == ("ecg", "mV", RATE)
    assert sample.channels == ("V1", "V2", "V3")
    np.testing.assert_allclose(sample.data, data / 1000.0, atol=1e-3 if suffix == ".edf" else 1e-5)
    assert "converted from uV to mV" in sample.notes[0]
    assert save(sample, tmp_path / f"out{suffix}") == []
    assert (tmp_path / f"out{suffix}").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("suffix", [".edf", ".bdf"])
def test_only_the_leads_change(suffix, tmp_path):
    path = written(tmp_path / f"in{suffix}", waves())
    sample = load(path)
    changed = sample.data.copy()
    changed[1] = changed[1, ::-1]
    changed[2, :7] = 99.0
    assert save(sample.replace(data=changed), tmp_path / f"out{suffix}")[0].startswith("lead 3: 7 samples clipped")
    again = load(tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(again.data[0], sample.data[0])
    np.testing.assert_array_equal(again.data[1], changed[1])
    assert again.data[2, :7] == pytest.approx(5.0, abs=1e-3)
    with pyedflib.EdfReader(str(tmp_path / f"out{suffix}")) as file:
        assert file.getPatientName() == "Nobody"
        onsets, _, words = file.readAnnotations()
        assert (list(onsets), list(words)) == ([3.5], ["an event"])


def test_a_plain_edf_in_another_unit_is_kept(tmp_path):
    path = written(tmp_path / "in.edf", waves(1), unit="mmHg", kind=pyedflib.FILETYPE_EDF, note=False)
    sample = load(path)
    assert "is in mmHg, not in volts" in sample.notes[0]
    assert np.abs(sample.data).max() > 900
    save(sample, tmp_path / "out.edf")
    assert (tmp_path / "out.edf").read_bytes() == path.read_bytes()


def test_what_is_refused(tmp_path):
    path = written(tmp_path / "rates.edf", [waves(1)[0], waves(1, 500)[0]], rates=[250, 500])
    with pytest.raises(InputError, match=r"rates \(250, 500 Hz\)"):
        load(path)
    path = written(tmp_path / "in.edf", waves())
    encoded = path.read_bytes()
    for cut in (100, 500, len(encoded) // 2, len(encoded) - 10):
        (tmp_path / "cut.edf").write_bytes(encoded[:cut])
        with pytest.raises(DecodeError, match=r"cut\.edf"):
            load(tmp_path / "cut.edf")
    (tmp_path / "apart.edf").write_bytes(encoded.replace(b"EDF+C", b"EDF+D"))
    with pytest.raises(InputError, match="interruptions"):
        load(tmp_path / "apart.edf")
    sample = load(path)
    with pytest.raises(ConfigError, match=r"write it as \.edf"):
        check_source(sample, tmp_path / "out.bdf")
    with pytest.raises(ConfigError, match="not read from one"):
        check_source(sample.replace(source=None), tmp_path / "out.edf")
    with pytest.raises(InputError, match="do not fit"):
        save(sample.replace(data=sample.data[:, :100]), tmp_path / "out.edf")
    assert not (tmp_path / "out.edf").exists()


def test_a_dicom_waveform_is_an_ecg(tmp_path):
    path = get_testdata_file("waveform_ecg.dcm")
    sample = load(path)
    assert (sample.kind, sample.units, sample.grid.rate, sample.data.shape) == ("ecg", "mV", 1000.0, (12, 10000))
    assert sample.channels == ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    # pydicom's own conversion, in microvolts
    wanted = pydicom.dcmread(path).waveform_array(0).T / 1000.0
    np.testing.assert_allclose(sample.data, wanted, rtol=1e-6)
    assert "one of 2 groups" in sample.notes[0]
    save(sample, tmp_path / "out.csv")
    np.testing.assert_array_equal(load(tmp_path / "out.csv").data, sample.data.astype(np.float64))


def edited(tmp_path, change):
    dataset = pydicom.dcmread(get_testdata_file("waveform_ecg.dcm"))
    change(dataset)
    dataset.save_as(tmp_path / "in.dcm")
    return tmp_path / "in.dcm"


def test_dicom_waveforms_that_cannot_be_used(tmp_path):
    def cut(dataset):
        dataset.WaveformSequence[0].WaveformData = dataset.WaveformSequence[0].WaveformData[:1000]

    def coded(dataset):
        dataset.WaveformSequence[0].WaveformSampleInterpretation = "MB"

    def pressure(dataset):
        channel = dataset.WaveformSequence[0].ChannelDefinitionSequence[2]
        channel.ChannelSensitivityUnitsSequence[0].CodeValue = "mm[Hg]"

    for change, error, match in (
        (cut, DecodeError, "truncated: 1000 bytes of 240000"),
        (coded, InputError, "16 bit MB; allowed"),
        (pressure, InputError, "channel 3 of its waveform is no voltage"),
    ):
        with pytest.raises(error, match=match):
            load(edited(tmp_path, change))


def test_padding_of_a_dicom_waveform_is_a_gap(tmp_path):
    def pad(dataset):
        group = dataset.WaveformSequence[0]
        stored = np.frombuffer(group.WaveformData, "<i2").reshape(-1, 12).copy()
        stored[100:150, 3] = -32768
        group.WaveformData = stored.tobytes()
        group.add_new("WaveformPaddingValue", "OW", np.int16(-32768).tobytes())

    sample = load(edited(tmp_path, pad))
    assert np.argwhere(sample.gaps).tolist() == [[3, i] for i in range(100, 150)]
    assert np.abs(sample.data[3, 100:150]).max() < 2.0
