"""Whatever lies on the disk, load gives a whole Sample or an error of ours with one clear line."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from io_variants import FAMILIES, Variant, named

from nst_nd.errors import DecodeError, InputError, NstError
from nst_nd.io import codec_for, load
from nst_nd.sample import Sample

binary = [v for v in FAMILIES if v.suffix not in (".csv", ".hea")]
family = pytest.mark.parametrize("variant", FAMILIES, ids=lambda v: v.name)


def made(variant: Variant, folder: Path) -> Path:
    path = folder / f"in{variant.suffix}"
    variant.make(path, np.random.default_rng(11))
    return path


def outcome(path: Path, variant: Variant) -> Sample | NstError:
    """Anything but a Sample or an error of ours fails the test by itself."""
    try:
        return load(path, **variant.options)
    except NstError as error:
        caught = error
    assert str(path.parent) in str(caught)
    assert len(str(caught).splitlines()) <= 3
    return caught


def offsets(size: int) -> list[int]:
    """The header byte by byte, then spots all over, then the last bytes."""
    rng = np.random.default_rng(size)
    spots = rng.integers(0, size, 60).tolist()
    return sorted({k for k in (*range(1, 120), *spots, *range(size - 12, size)) if 0 < k < size})


@pytest.mark.parametrize("variant", binary, ids=lambda v: v.name)
def test_truncated_is_refused_wherever_it_is_cut(variant, tmp_path):
    path = made(variant, tmp_path)
    whole = path.read_bytes()
    for size in offsets(len(whole)):
        path.write_bytes(whole[:size])
        if variant.suffix == ".hdr" and size == 348:
            continue  # a header without extensions is whole
        assert isinstance(outcome(path, variant), DecodeError), f"cut at {size} of {len(whole)}"


@pytest.mark.parametrize(
    ("name", "companion"),
    [("wfdb-16x3", ".dat"), ("wfdb-212x1", ".dat"), ("wfdb-516x2", ".dat"), ("nifti1.hdr-int16-5x7x3-1", ".img")],
)
def test_truncated_companion_is_refused(name, companion, tmp_path):
    variant = named(name)
    path = made(variant, tmp_path)
    data = path.with_suffix(companion)
    whole = data.read_bytes()
    for size in [0, *offsets(len(whole))]:
        data.write_bytes(whole[:size])
        assert isinstance(outcome(path, variant), DecodeError), f"cut at {size} of {len(whole)}"
    data.unlink()
    assert companion in str(outcome(path, variant))


@pytest.mark.parametrize("name", ["wfdb-16x3", "wfdb-212x1"])
def test_truncated_wfdb_header(name, tmp_path):
    variant = named(name)
    path = made(variant, tmp_path)
    whole = path.read_bytes()
    for size in range(1, whole.index(b"# a test") - 1):
        path.write_bytes(whole[:size])
        assert isinstance(outcome(path, variant), DecodeError), f"cut at {size}"


@family
def test_flipped_bits_in_the_header(variant, tmp_path):
    path = made(variant, tmp_path)
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(120):
        broken = bytearray(whole)
        broken[rng.integers(0, min(len(whole), 400))] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(broken)
        refused += isinstance(outcome(path, variant), NstError)
    assert refused > 0


@family
def test_random_bytes_behind_the_magic(variant, tmp_path):
    path = made(variant, tmp_path)
    whole = path.read_bytes()
    rng = np.random.default_rng(6)
    for _ in range(20):
        start = int(rng.integers(4, 64))
        path.write_bytes(whole[:start] + rng.bytes(300))
        assert isinstance(outcome(path, variant), NstError)


@family
def test_empty_missing_folder_and_no_permission(variant, tmp_path):
    path = tmp_path / f"x{variant.suffix}"
    with pytest.raises(InputError, match="no such file"):
        load(path, **variant.options)
    path.mkdir()
    with pytest.raises(InputError, match="folder"):
        load(path, **variant.options)
    path.rmdir()
    path.write_bytes(b"")
    with pytest.raises(DecodeError, match="empty"):
        load(path, **variant.options)
    path.chmod(0)
    if not os.access(path, os.R_OK):  # root may read everything
        with pytest.raises(InputError, match="permission"):
            load(path, **variant.options)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match="regular"):
        load(tmp_path / "pipe.png")


@pytest.mark.parametrize("variant", binary, ids=lambda v: v.name)
def test_wrong_suffix_is_read_by_content_with_a_note(variant, tmp_path):
    if variant.suffix == ".hdr":
        pytest.skip("its voxels are found by the suffix")
    path = made(variant, tmp_path)
    other = tmp_path / ("other.csv" if variant.suffix != ".npy" else "other.png")
    other.write_bytes(path.read_bytes())
    sample = load(other, **variant.options)
    assert any("whatever its suffix says" in note for note in sample.notes)
    np.testing.assert_array_equal(sample.data, load(path, **variant.options).data)


def test_unknown_content_and_suffix(tmp_path):
    path = tmp_path / "x.xyz"
    path.write_bytes(b"no magic at all")
    with pytest.raises(DecodeError, match=r"'\.xyz'; known: \.png"):
        codec_for(path, reading=True)
    path = tmp_path / "x.png"
    path.write_bytes(b"no magic at all")
    with pytest.raises(DecodeError, match="not a PNG"):
        load(path)


def test_contradicting_options(tmp_path):
    path = made(named("wav-pcm_16-file-2"), tmp_path)
    assert load(path, kind="audio", rate=44100).grid.rate == 44100
    with pytest.raises(InputError, match="44100 Hz, which contradicts rate=8000"):
        load(path, rate=8000)
    with pytest.raises(InputError, match="is of kind audio, not image"):
        load(path, kind="image")


# --- headers that claim more than the file can hold: refused before anything of that size is allocated ---


def test_png_bomb(tmp_path):
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    for side in (15_000, 100_000):
        header = struct.pack(">2I5B", side, side, 8, 6, 0, 0, 0)
        data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
        (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
        with pytest.raises(DecodeError, match=f"claims {side} x {side} pixels"):
            load(tmp_path / "bomb.png")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".hdr"])
def test_nifti_that_claims_terabytes(suffix, tmp_path):
    variant = named(f"nifti1{suffix}-int16-5x7x3-1")
    path = made(variant, tmp_path)
    data = bytearray(gzip.decompress(path.read_bytes()) if suffix == ".nii.gz" else path.read_bytes())
    struct.pack_into("<3h", data, 42, 30000, 30000, 30000)
    path.write_bytes(gzip.compress(data) if suffix == ".nii.gz" else data)
    with pytest.raises(DecodeError, match="truncated"):
        load(path)


def test_jpeg_npy_and_wfdb_that_claim_too_much(tmp_path):
    path = made(named("jpeg-RGB-80-2-True"), tmp_path)
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc2")
    struct.pack_into(">2H", data, frame + 5, 65000, 65000)
    path.write_bytes(data)
    with pytest.raises(DecodeError, match="65000 x 65000"):
        load(path)
    path = made(named("npy-volume-float32"), tmp_path)
    path.write_bytes(path.read_bytes().replace(b"(2, 5, 4, 3)", b"(9999999999,)"))
    with pytest.raises(InputError):
        load(path, kind="volume")
    path = made(named("wfdb-16x3"), tmp_path)
    path.write_bytes(path.read_bytes().replace(b" 101\n", b" 9999999999999\n"))
    with pytest.raises(DecodeError, match="truncated"):
        load(path)


@pytest.mark.parametrize(
    "name", ["tiff-float32x3", "wav-float-file-2", "nifti1.nii-float32-5x7x3-1", "npy-volume-float32"]
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(name, value, tmp_path):
    variant = named(name)
    path = made(variant, tmp_path)
    data = bytearray(path.read_bytes())
    at = {".tif": len(data) // 2 // 4 * 4, ".wav": data.find(b"data") + 8, ".nii": 368, ".npy": 128}[variant.suffix]
    data[at : at + 4] = np.float32(value).tobytes()
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"in\.\w+: 1 of \d+ samples are NaN or infinite"):
        load(path, **variant.options)
