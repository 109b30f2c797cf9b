"""Audio: streaming files, chunks that travel along, floats beyond full scale."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import soundfile

from nst_nd.errors import ConfigError, DecodeError, InputError
from nst_nd.io import check_source, load, save
from nst_nd.sample import Grid, Sample


@pytest.fixture
def wav(tmp_path):
    frames = np.random.default_rng(5).integers(-(2**15), 2**15, (301, 2)).astype(np.int16)
    soundfile.write(tmp_path / "in.wav", frames, 22050, "PCM_16")
    return tmp_path / "in.wav", frames


def test_values_and_grid(wav):
    path, frames = wav
    sample = load(path)
    np.testing.assert_array_equal(sample.data, (frames.T / 32768).astype(np.float32))
    assert (sample.kind, sample.units, sample.channels) == ("audio", "full scale", ("left", "right"))
    assert (sample.grid.rate, sample.grid.spacing, sample.grid.unit) == (22050.0, (1 / 22050,), "s")


@pytest.mark.parametrize("sizes", [(0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0)])
def test_streaming_wav_is_read_to_its_end(sizes, wav):
    path, frames = wav
    data = path.read_bytes()
    at = data.index(b"data") + 4
    path.write_bytes(data[:4] + struct.pack("<I", sizes[0]) + data[8:at] + struct.pack("<I", sizes[1]) + data[at + 4 :])
    sample = load(path)
    assert "streaming" in sample.notes[0]
    np.testing.assert_array_equal(np.rint(sample.data.T * 32768), frames)


def test_a_data_chunk_larger_than_the_file(wav):
    path, _ = wav
    data = path.read_bytes()
    at = data.index(b"data") + 4
    path.write_bytes(data[:at] + struct.pack("<I", 2**30) + data[at + 4 :])
    with pytest.raises(DecodeError, match="truncated"):
        load(path)


@pytest.mark.parametrize("body", [b"even", b"odd"])
def test_unknown_chunks_travel_along(body, wav, tmp_path):
    path, _ = wav
    data = path.read_bytes() + b"cue " + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    save(load(path), tmp_path / "out.wav")
    assert b"cue " + struct.pack("<I", len(body)) + body in (tmp_path / "out.wav").read_bytes()
    np.testing.assert_array_equal(load(tmp_path / "out.wav").data, load(path).data)


def test_flac_blocks_travel_along(tmp_path):
    frames = np.random.default_rng(5).integers(-(2**15), 2**15, (301, 1)).astype(np.int16)
    soundfile.write(tmp_path / "in.flac", frames, 22050, "PCM_16")
    data = (tmp_path / "in.flac").read_bytes()
    application = bytes([2]) + (40).to_bytes(3, "big") + bytes(range(65, 105))
    (tmp_path / "in.flac").write_bytes(data[:42] + application + data[42:])
    save(load(tmp_path / "in.flac"), tmp_path / "out.flac")
    assert bytes(range(65, 105)) in (tmp_path / "out.flac").read_bytes()
    np.testing.assert_array_equal(soundfile.read(tmp_path / "out.flac", dtype="int16", always_2d=True)[0], frames)


def test_a_flac_whose_samples_changed_is_refused(tmp_path):
    soundfile.write(tmp_path / "in.flac", np.zeros(301), 22050, "PCM_16")
    data = bytearray((tmp_path / "in.flac").read_bytes())
    data[8 + 18] ^= 1  # of the digest
    (tmp_path / "in.flac").write_bytes(data)
    with pytest.raises(DecodeError, match="checksum"):
        load(tmp_path / "in.flac")


def test_floats_beyond_full_scale_stay(tmp_path):
    frames = np.array([[-3.5], [0.0], [7.25]], np.float32)
    soundfile.write(tmp_path / "in.wav", frames, 8000, "FLOAT")
    sample = load(tmp_path / "in.wav")
    np.testing.assert_array_equal(sample.data, frames.T)
    assert save(sample, tmp_path / "out.wav") == []
    notes = save(sample, tmp_path / "out.flac")
    assert any("2 of 3 samples were clipped" in note for note in notes)


def test_no_time_of_writing(tmp_path):
    soundfile.write(tmp_path / "in.wav", np.ones(11, np.float32), 8000, "FLOAT")
    assert b"PEAK" in (tmp_path / "in.wav").read_bytes()
    save(load(tmp_path / "in.wav"), tmp_path / "out.wav")
    data = (tmp_path / "out.wav").read_bytes()
    assert data[data.index(b"PEAK") + 12 :][:4] == bytes(4)


def test_refused_audio(tmp_path):
    soundfile.write(tmp_path / "in.wav", np.zeros(11), 8000, "ULAW")
    with pytest.raises(InputError, match="ULAW"):
        load(tmp_path / "in.wav")
    grid = Grid((1 / 360.5,), "s", 360.5)
    with pytest.raises(InputError, match=r"360\.5"):
        save(Sample(np.zeros((1, 9), np.float32), "audio", "full scale", grid), tmp_path / "out.wav")
    grid = Grid((1 / 8000,), "s", 8000)
    with pytest.raises(InputError, match="9 channels"):
        save(Sample(np.zeros((9, 9), np.float32), "audio", "full scale", grid), tmp_path / "out.flac")


def ogg(path, seconds=1.0, rate=48000, subtype="VORBIS"):
    time = np.arange(round(seconds * rate)) / rate
    frames = np.stack([0.3 * np.sin(2 * np.pi * 440 * time), 0.2 * np.sin(2 * np.pi * 660 * time)], axis=1)
    with soundfile.SoundFile(path, "w", rate, 2, subtype, format="OGG") as file:
        file.title = "two tones"
        file.write(frames.astype(np.float32))
    return frames.T


@pytest.mark.parametrize(("subtype", "suffix"), [("VORBIS", ".ogg"), ("OPUS", ".opus")])
def test_ogg_is_the_same_bytes_or_encoded_anew(subtype, suffix, tmp_path):
    frames = ogg(tmp_path / f"in{suffix}", subtype=subtype)
    sample = load(tmp_path / f"in{suffix}")
    assert sample.data.shape == frames.shape
    assert save(sample, tmp_path / f"same{suffix}") == []
    assert (tmp_path / f"same{suffix}").read_bytes() == (tmp_path / f"in{suffix}").read_bytes()
    notes = save(sample.replace(data=0.5 * sample.data), tmp_path / f"out{suffix}")
    assert any("lossy" in note for note in notes)
    again = load(tmp_path / f"out{suffix}")
    assert again.data.shape == frames.shape
    assert np.abs(again.data - 0.5 * frames)[:, 2000:-2000].max() < 0.03
    with soundfile.SoundFile(tmp_path / f"out{suffix}") as file:
        assert (file.subtype, file.title) == (subtype, "two tones")


def test_an_ogg_that_was_cut_is_refused(tmp_path):
    ogg(tmp_path / "in.ogg", 3.0)
    encoded = (tmp_path / "in.ogg").read_bytes()
    pages = [i for i in range(len(encoded) - 4) if encoded[i : i + 4] == b"OggS"]
    for cut in (pages[-1], pages[-1] + 100, pages[1] + 5, len(encoded) - 1):
        (tmp_path / "cut.ogg").write_bytes(encoded[:cut])
        with pytest.raises(DecodeError, match="truncated"):
            load(tmp_path / "cut.ogg")


def test_opus_has_few_rates(tmp_path):
    sample = Sample(np.zeros((1, 4410), np.float32), "audio", "full scale", Grid((1 / 44100,), "s", 44100.0))
    with pytest.raises(ConfigError, match="allowed: 1 to 255 channels; 8, 12, 16, 24 or 48 kHz"):
        save(sample, tmp_path / "out.opus")
    with pytest.raises(ConfigError, match="cannot be written as Ogg OPUS"):  # before anything is computed
        check_source(sample, tmp_path / "out.opus")
    assert not (tmp_path / "out.opus").exists()
    assert any("lossy" in note for note in save(sample, tmp_path / "out.ogg"))


def test_what_was_below_full_scale_is_stored_below_it(tmp_path):
    noise = np.random.default_rng(0).standard_normal((1, 48000))
    loud = np.clip(0.984 * np.sign(noise), -0.984, 0.984).astype(np.float32)
    sample = Sample(loud, "audio", "full scale", Grid((1 / 48000,), "s", 48000.0))
    assert any("turned down by" in note for note in save(sample, tmp_path / "out.ogg"))
    assert np.abs(load(tmp_path / "out.ogg").data).max() < 1.0


def test_chained_streams_are_refused(tmp_path):
    ogg(tmp_path / "in.ogg")
    encoded = (tmp_path / "in.ogg").read_bytes()
    (tmp_path / "chain.ogg").write_bytes(encoded + encoded)
    with pytest.raises(InputError, match="several streams"):
        load(tmp_path / "chain.ogg")
