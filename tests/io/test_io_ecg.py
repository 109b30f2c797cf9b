"""ECG as CSV, NPY and WFDB: rates, units, annotations, and errors that say where."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from io_variants import named, wfdb

from nst_nd.errors import ConfigError, DecodeError, InputError
from nst_nd.io import load, save


def csv_of(tmp_path, text, newline="\n"):
    path = tmp_path / "in.csv"
    path.write_bytes(text.replace("\n", newline).encode())
    return path


# --- CSV ---


@pytest.mark.parametrize(
    ("rate", "digits"), [(360, 3), (500, 3), (1000, 3), (250, 6), (128, 4), (360.5, 6), (0.5, 1), (44100, 8)]
)
def test_rate_is_the_roundest_that_agrees_with_the_time_column(rate, digits, tmp_path):
    rows = "".join(f"{7 + i / rate:.{digits}f},{i}\n" for i in range(400))
    assert load(csv_of(tmp_path, "Time,I\n" + rows)).grid.rate == pytest.approx(rate, rel=1e-12)


def test_time_column_is_kept_as_text_and_values_bit_for_bit(tmp_path):
    values = [0.1, -1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    rows = "".join(f"+{i}.50,{v!r}\n" for i, v in enumerate(values))
    path = csv_of(tmp_path, "time,I\n" + rows)
    sample = load(path)
    assert sample.data.dtype == np.float64
    save(sample, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == path.read_bytes()
    narrow = sample.replace(data=np.full((1, 5), 0.1, np.float32))
    save(narrow, tmp_path / "narrow.csv")
    np.testing.assert_array_equal(load(tmp_path / "narrow.csv").data, narrow.data.astype(np.float64))


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("time,I\n0,1\n0.1,2\n0.2\n", DecodeError, "line 4 has 1 cells where the header row has 2"),
        ("time,I\n0,1\n0.1,abc\n", DecodeError, "line 3, column 'I': 'abc' is not a number"),
        ("time,I\n0,1\n,2\n0.2,1\n", InputError, "line 3, column 'time': 1 cells are infinite or without a time"),
        ("time,I\n0,\n0.1,nan\n0.2,nan\n", InputError, "lead 1 holds no sample at all"),
        (
            "time,I,II\n0,1,1\n0.1,1,\n0.2,1,\n",
            InputError,
            "'II' ends 2 samples before line 4: leads of unequal",
        ),
        ("time,I\n0,1\n\n0.2,1\n", DecodeError, "line 3 has 0 cells"),
        ("time,I\n0,1\n0.1,1_000\n", DecodeError, "'1_000' is not a number"),
        ("time;I\n0;1,5\n1;2,5\n", DecodeError, "decimal point"),
        ("time,I\n0,1\n0.1,1e999\n", InputError, "line 3"),
        ("time,I\n0,1\n0.1,2\n0.3,2\n", InputError, "not uniformly spaced.*line 3"),
        ("time,I\n0,1\n0.1,2\n0.1,2\n", InputError, "line 4: time does not increase"),
        ("time,I\n0,1\n", InputError, "one sample"),
        ("time\n0\n1\n", InputError, "no lead"),
        ("I,II\n0,1\n1,2\n", InputError, "no time column"),
        ("1,2\n3,4\n", InputError, "header row of lead names"),
        ("I,I\n3,4\n", InputError, "name of its own"),
        ("I,\n3,4\n", InputError, "name of its own"),
        ("I,II\n", DecodeError, "no rows"),
        ('I,"II\n1,2\n', DecodeError, "not a table"),
        ("I,\udcff\n", DecodeError, "UTF-8"),
    ],
)
def test_bad_csv_says_where(text, error, match, tmp_path):
    path = tmp_path / "in.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(error, match=match):
        load(path)


@pytest.mark.parametrize("missing", [1, 50, 198])
@pytest.mark.parametrize(("rate", "digits"), [(1000, 3), (360, 3), (512, 3), (500, 6)])
def test_a_missing_sample_does_not_pass_for_rounding(rate, digits, missing, tmp_path):
    rows = [f"{i / rate:.{digits}f},{i}\n" for i in range(200)]
    assert load(csv_of(tmp_path, "time,I\n" + "".join(rows))).grid.rate == rate
    del rows[missing]
    with pytest.raises(InputError, match="not uniformly spaced"):
        load(csv_of(tmp_path, "time,I\n" + "".join(rows)))


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_bad_rate(rate, tmp_path):
    with pytest.raises(InputError, match="rate"):
        load(csv_of(tmp_path, "I\n1\n2\n"), rate=rate)


def test_rate_that_contradicts_the_time_column(tmp_path):
    path = csv_of(tmp_path, "time,I\n0,1\n0.1,2\n")
    assert load(path, rate=10).grid.rate == 10
    with pytest.raises(InputError, match="contradicts"):
        load(path, rate=20)


def test_another_length_gets_new_times(tmp_path):
    sample = load(csv_of(tmp_path, "time,I\n0.0,1\n0.1,2\n0.2,3\n"))
    save(sample.replace(data=np.ones((1, 7))), tmp_path / "out.csv")
    again = load(tmp_path / "out.csv")
    assert again.data.shape == (1, 7)
    assert again.grid.rate == 10


def test_no_line_end_is_noted(tmp_path):
    assert "cut" in load(csv_of(tmp_path, "I\n1\n2"), rate=5).notes[0]


# --- NPY ---


def test_npy_needs_kind_and_rate(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 9)))
    with pytest.raises(InputError, match="give kind"):
        load(tmp_path / "x.npy")
    with pytest.raises(InputError, match="give rate"):
        load(tmp_path / "x.npy", kind="ecg")
    with pytest.raises(InputError, match="shape"):
        load(tmp_path / "x.npy", kind="volume")
    assert load(tmp_path / "x.npy", kind="image").data.shape == (1, 2, 9)


def test_pickles_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, ("raise SystemExit('a pickle was loaded')",))

    np.save(tmp_path / "x.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="pickle"):
        load(tmp_path / "x.npy", kind="ecg", rate=1)
    (tmp_path / "y.npy").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DecodeError):
        load(tmp_path / "y.npy", kind="ecg", rate=1)


def test_refused_arrays(tmp_path):
    for array, kind, match in [
        (np.zeros((9, 7, 3), np.uint8), "image", "channels last"),
        (np.zeros((9, 7), np.int16), "image", "unsigned"),
        (np.zeros(9, np.uint8), "audio", "signed"),
        (np.zeros((9, 9), bool), "ecg", "bool"),
        (np.zeros((9, 9), complex), "ecg", "complex"),
        (np.full((3, 3, 3), 2**60), "volume", "2\\^53"),
        (np.zeros((0, 9)), "ecg", "empty"),
    ]:
        np.save(tmp_path / "x.npy", array)
        with pytest.raises(InputError, match=match):
            load(tmp_path / "x.npy", kind=kind, rate=10 if kind in ("ecg", "audio") else None)


# --- WFDB ---


@pytest.fixture
def record(tmp_path):
    named("wfdb-16x3").make(tmp_path / "in.hea", np.random.default_rng(4))
    return tmp_path / "in.hea"


def test_units_are_converted_with_a_note(record):
    sample = load(record)
    physical = wfdb.rdrecord(str(record.with_suffix(""))).p_signal.T
    np.testing.assert_allclose(sample.data[0], physical[0], rtol=1e-6)
    np.testing.assert_allclose(sample.data[1], physical[1] / 1000, rtol=1e-6)
    np.testing.assert_allclose(sample.data[2], physical[2], rtol=1e-6)
    assert sample.channels == ("I", "lead two", "ABP")
    assert sample.grid.rate == 360.5
    assert any("lead two was converted from uV" in note for note in sample.notes)
    assert any("ABP is in mmHg" in note for note in sample.notes)


def test_read_by_either_name(record):
    np.testing.assert_array_equal(load(record).data, load(record.with_suffix(".dat")).data)


def test_written_by_either_name_and_renamed(record, tmp_path):
    sample = load(record)
    save(sample, tmp_path / "other.dat")
    assert (tmp_path / "other.dat").read_bytes() == record.with_suffix(".dat").read_bytes()
    assert (tmp_path / "other.hea").read_text().startswith("other 3 360.5 101")
    with pytest.raises(ConfigError, match="record name"):
        save(sample, tmp_path / "a b.hea")


def test_gain_is_not_picked_again_and_the_checksum_follows(record, tmp_path):
    sample = load(record)
    save(sample.replace(data=sample.data * np.float32(0.25)), tmp_path / "out.hea")
    old, new = wfdb.rdheader(str(tmp_path / "in")), wfdb.rdheader(str(tmp_path / "out"))
    assert (old.adc_gain, old.baseline, old.units, old.fmt) == (new.adc_gain, new.baseline, new.units, new.fmt)
    digital = wfdb.rdrecord(str(tmp_path / "out"), physical=False).d_signal
    assert [c % 65536 for c in new.checksum] == [int(s) % 65536 for s in digital.sum(axis=0)]
    assert new.init_value == digital[0].tolist()
    assert load(tmp_path / "out.hea").notes == sample.notes


def test_annotations_go_along_and_other_files_do_not(record, tmp_path):
    (tmp_path / "in.qrs").write_bytes(b"\x01\x04\0\0")
    (tmp_path / "in.txt").write_bytes(b"notes of someone\n")
    (tmp_path / "in.json").write_bytes(b"{}")
    sample = load(record)
    save(sample, tmp_path / "out.hea")
    assert sorted(p.name for p in tmp_path.glob("out.*")) == ["out.atr", "out.dat", "out.hea", "out.qrs"]
    assert (tmp_path / "out.atr").read_bytes() == (tmp_path / "in.atr").read_bytes()
    notes = save(sample.replace(data=sample.data[:, :50]), tmp_path / "short.hea")
    assert any("annotations were left out" in note for note in notes)
    assert load(tmp_path / "short.hea").data.shape == (3, 50)


def test_gaps_are_bridged_and_come_back(record):
    whole = load(record).data
    data = bytearray(record.with_suffix(".dat").read_bytes())
    data[12:16] = b"\x00\x80\x00\x80"  # the third sample of the first two leads
    record.with_suffix(".dat").write_bytes(data)
    sample = load(record)
    assert "2 gaps of 2 samples" in " ".join(sample.notes)
    assert np.argwhere(sample.gaps).tolist() == [[0, 2], [1, 2]]
    np.testing.assert_allclose(sample.data[:2, 2], whole[:2, [1, 3]].mean(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(sample.data[~sample.gaps], whole[~sample.gaps])
    save(sample, record.with_name("out.hea"))
    assert record.with_name("out.dat").read_bytes() == bytes(data)


@pytest.mark.parametrize("gap", ["", "nan", "NaN"])
def test_gaps_of_a_csv(gap, tmp_path):
    text = f"time,I,II\n0.0,1.0,{gap}\n0.1,{gap},2.0\n0.2,{gap},3.0\n0.3,4.0,5.0\n"
    (tmp_path / "in.csv").write_text(text)
    sample = load(tmp_path / "in.csv")
    np.testing.assert_allclose(sample.data, [[1, 2, 3, 4], [2, 2, 3, 5]])
    assert sample.gaps.astype(int).tolist() == [[0, 1, 1, 0], [1, 0, 0, 0]]
    assert "2 gaps of 3 samples" in sample.notes[0]
    save(sample, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == text
    save(sample, tmp_path / "out.npy")
    again = load(tmp_path / "out.npy", kind="ecg", rate=10.0)
    np.testing.assert_array_equal(again.gaps, sample.gaps)
    np.testing.assert_array_equal(again.data, sample.data)


def test_a_wrong_checksum_is_noted(record):
    data = bytearray(record.with_suffix(".dat").read_bytes())
    data[12] ^= 4
    record.with_suffix(".dat").write_bytes(data)
    assert any("checksum of lead I " in note for note in load(record).notes)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("in.dat 16 0.25", "in.dat 16x2 0.25", "different sampling rates"),
        ("in 3 360.5", "in/2 3 360.5", "segments"),
        ("in 3 360.5", "in 0 360.5", "without signals"),
        ("in.dat", "gone.dat", "gone.dat is missing"),
        ("in.dat 16 0.25", "in.dat 212 0.25", "differ in format"),
        ("in.dat 16 ", "in.dat 17 ", "unknown WFDB format"),
    ],
)
def test_refused_records(old, new, match, record):
    text = record.read_text()
    assert old in text
    record.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=match):
        load(record)


def test_formats_that_the_package_cannot_write_are_stored_as_others(tmp_path):
    digital = np.random.default_rng(1).integers(-32767, 32768, (40, 2))
    (tmp_path / "in.dat").write_bytes(digital.astype(">i2").tobytes())
    (tmp_path / "in.hea").write_text("in 2 100 40\nin.dat 61 200\nin.dat 61 200\n")
    sample = load(tmp_path / "in.hea")
    assert any("format 61 cannot be written" in note for note in sample.notes)
    assert any("stored as 16" in note for note in save(sample, tmp_path / "out.hea"))
    np.testing.assert_array_equal(wfdb.rdrecord(str(tmp_path / "out"), physical=False).d_signal, digital)


def test_bytes_before_the_samples_stay(tmp_path):
    digital = np.random.default_rng(1).integers(-32767, 32768, (40, 1))
    (tmp_path / "in.dat").write_bytes(b"prefix" + digital.astype("<i2").tobytes())
    (tmp_path / "in.hea").write_text("in 1 100 40\nin.dat 16+6 200\n")
    save(load(tmp_path / "in.hea"), tmp_path / "out.hea")
    assert (tmp_path / "out.dat").read_bytes() == (tmp_path / "in.dat").read_bytes()


def test_header_in_another_script_comes_back(tmp_path):
    named("wfdb-16x3").make(tmp_path / "in.hea", np.random.default_rng(4))
    text = (tmp_path / "in.hea").read_bytes() + "# Größe à 5\x85 µ\n".encode()
    (tmp_path / "in.hea").write_bytes(text)
    save(load(tmp_path / "in.hea"), tmp_path / "out.hea")
    assert (tmp_path / "out.hea").read_bytes() == text.replace(b"in.dat", b"out.dat").replace(b"in 3", b"out 3")
