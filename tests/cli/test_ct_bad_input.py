"""CT as NIfTI by the command line: bad input is refused in three lines at most, 0 iterations give the same file."""

import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from cli_words import SMALL
from PIL import Image

CT = (*SMALL, "--preset", "ct", "--iterations", "0")
SHAPE = (20, 18, 12)
AFFINE = np.array([[0.8, 0, 0.1, -80], [0, 0.8, 0, -70], [-0.05, 0, 2.5, 30], [0, 0, 0, 1]])


def head(seed=0):
    """HU: air around a skull around a brain with noise."""
    rng = np.random.default_rng(seed)
    hu = np.full(SHAPE, -1000.0)
    hu[2:-2, 2:-2, 1:-1] = 900
    hu[4:-4, 4:-4, 2:-2] = 38
    return (hu + rng.normal(0, 8, SHAPE)).round().astype(np.int16)


def write(name, voxels, affine=AFFINE):
    nibabel.save(nibabel.Nifti1Image(voxels, affine), name)


def region(affine=AFFINE, shape=SHAPE, value=1, dtype=np.uint8):
    mask = np.zeros(shape, dtype)
    mask[6:12, 6:12] = value
    return mask, affine


def edited(name, source, at, layout, *values):
    """A copy of a file with a field of its header overwritten."""
    data = Path(source).read_bytes()
    data = bytearray(gzip.decompress(data) if source.endswith(".gz") else data)
    struct.pack_into(layout, data, at, *values)
    Path(name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


@pytest.fixture
def ct(tmp_path, monkeypatch):
    """The working directory, with good files (c, s, mask) and bad ones."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("c", 1), ("s", 2)):
        write(f"{name}.nii.gz", head(seed))
        write(f"{name}.nii", head(seed))
    write("mask.nii.gz", *region())
    _modalities()
    _masks()
    _broken()
    return tmp_path


def _modalities():
    rng = np.random.default_rng(5)
    write("photo.nii.gz", rng.integers(0, 256, SHAPE).astype(np.uint8))
    signal = np.zeros(SHAPE)
    signal[5:] = rng.uniform(300, 4000, (15, *SHAPE[1:]))
    write("mr.nii.gz", np.hypot(signal + rng.normal(0, 2, SHAPE), rng.normal(0, 2, SHAPE)).astype(np.int16))
    write("normalised.nii.gz", rng.random(SHAPE).astype(np.float32))
    write("unsigned.nii.gz", np.maximum(head() + 1000, 0).astype(np.uint16))
    write("huge.nii.gz", head().astype(np.float32) * 1000)
    write("flat.nii.gz", np.full(SHAPE, 40, np.int16))
    Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)).save("s.png")


def _masks():
    shifted, turned = AFFINE.copy(), AFFINE.copy()
    shifted[2, 3] += 2.5
    turned[:, 0] *= -1
    write("shape.nii.gz", *region(shape=(20, 18, 11)))
    write("shifted.nii.gz", *region(shifted))
    write("turned.nii.gz", *region(turned))
    write("empty.nii.gz", *region(value=0))
    write("labels.nii.gz", *region(value=7))
    write("negative.nii.gz", *region(value=-0.5, dtype=np.float32))
    write("nan_mask.nii.gz", *region(value=np.nan, dtype=np.float32))
    bone = (head(1) > 400).astype(np.uint8)
    write("bone.nii.gz", bone)


def _broken():
    for name, value in (("nan", np.nan), ("inf", -np.inf)):
        hu = head().astype(np.float32)
        hu[3, 4, 5] = value
        write(f"{name}.nii.gz", hu)
    for name in ("c.nii", "c.nii.gz"):
        data = Path(name).read_bytes()
        Path(f"cut_{name}").write_bytes(data[: len(data) * 2 // 3])
    Path("cut_header.nii").write_bytes(Path("c.nii").read_bytes()[:200])
    nibabel.save(nibabel.Nifti1Pair(head(), AFFINE), "alone.hdr")
    Path("alone.img").unlink()
    nibabel.save(nibabel.Nifti1Pair(head(), AFFINE), "headless.img")
    Path("headless.hdr").unlink()
    nibabel.save(nibabel.AnalyzeImage(head(), np.diag([0.8, 0.8, 2.5, 1])), "analyze.hdr")
    edited("zero.nii.gz", "c.nii.gz", 42, "<3h", 20, 0, 12)
    edited("absurd.nii.gz", "c.nii.gz", 42, "<3h", 32767, 32767, 32767)
    edited("absurd.nii", "c.nii", 42, "<3h", 32767, 32767, 32767)
    edited("spacing.nii.gz", "c.nii.gz", 80, "<3f", 0.8, np.nan, 2.5)
    write("frames.nii.gz", np.stack([head(), head(3)], axis=-1))
    write("rgb.nii.gz", np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    Path("text.nii").write_text("no NIfTI at all\n" * 40)


def refused(ran, word, folder, before):
    lines = ran.err.splitlines()
    assert ran.status == 3, ran.err
    assert ran.out == ""
    assert 1 <= len(lines) <= 3, ran.err
    assert lines[0].startswith("error: ")
    assert word in ran.err, ran.err
    assert state(folder) == before


def state(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


MODALITY = [
    ("photo.nii.gz", "at exactly 0: cut there"),
    ("mr.nii.gz", "at exactly 0: cut there"),
    ("normalised.nii.gz", "normalised"),
    ("unsigned.nii.gz", "at exactly 0: cut there"),
    ("huge.nii.gz", "allowed: -100000 to 100000"),
]

BROKEN = [
    ("nan.nii.gz", "nan.nii.gz: 1 of 4320 samples are NaN or infinite"),
    ("inf.nii.gz", "inf.nii.gz: 1 of 4320 samples are NaN or infinite"),
    ("cut_c.nii", "cut_c.nii: the NIfTI file is truncated"),
    ("cut_c.nii.gz", "cut_c.nii.gz: broken or truncated"),
    ("cut_header.nii", "cut_header.nii"),
    ("alone.hdr", "its voxels alone.img are missing; put them beside it"),
    ("headless.img", "its header headless.hdr is missing; put it beside it"),
    ("analyze.hdr", "ANALYZE header without a NIfTI magic"),
    ("zero.nii.gz", "3 dims (20, 0, 12)"),
    ("absurd.nii.gz", "its header claims (32767, 32767, 32767) int16"),
    ("absurd.nii", "its header claims (32767, 32767, 32767) int16"),
    ("spacing.nii.gz", "its voxel size is 0.8xnanx2.5"),
    ("frames.nii.gz", "has 4 axes (20, 18, 12, 2); set channels to true (--channels)"),
    ("rgb.nii.gz", "stores RGB voxels; allowed: uint8"),
    ("text.nii", "text.nii: not a NIfTI file, whatever its suffix says"),
    ("none.nii.gz", "none.nii.gz: no such file"),
]

MASKS = [
    ("shape.nii.gz", "has size (20, 18, 11), what it covers (20, 18, 12); they must agree"),
    ("shifted.nii.gz", "lies on another grid: same size, but corners up to 2.5 mm apart"),
    ("turned.nii.gz", "lies on another grid"),
    ("empty.nii.gz", "0 to 0; allowed: 0 to 1, not 0 everywhere"),
    ("labels.nii.gz", "0 to 7; allowed: 0 to 1"),
    ("negative.nii.gz", "-0.5 to 0; allowed: 0 to 1"),
    ("nan_mask.nii.gz", "NaN"),
    ("cut_c.nii.gz", "cut_c.nii.gz: broken or truncated"),
    ("none.nii.gz", "no such file"),
]


@pytest.mark.parametrize("role", ["content", "style"])
@pytest.mark.parametrize(("file", "word"), MODALITY + BROKEN)
def test_volumes_that_cannot_be_used(cli, ct, role, file, word):
    before = state(ct)
    files = (file, "s.nii.gz") if role == "content" else ("c.nii.gz", file)
    ran = cli("stylize", *files, "-o", "o.nii.gz", *CT)
    refused(ran, word, ct, before)
    if (file, word) in MODALITY:
        assert f"the {role} cannot be CT in HU" in ran.err


@pytest.mark.parametrize("option", ["--mask", "--style-mask"])
@pytest.mark.parametrize(("file", "word"), MASKS)
def test_masks_that_do_not_fit(cli, ct, option, file, word):
    before = state(ct)
    refused(cli("stylize", "c.nii.gz", "s.nii.gz", "-o", "o.nii.gz", *CT, option, file), word, ct, before)


def test_a_mask_of_bone_alone_leaves_no_tissue(cli, ct):
    before = state(ct)
    words = ("stylize", "c.nii.gz", "s.nii.gz", "-o", "o.nii.gz", *CT, "--mask", "bone.nii.gz")
    refused(cli(*words), "leaves no position", ct, before)


@pytest.mark.parametrize(("style", "word"), [("s.png", "the style is of kind image"), ("flat.nii.gz", "constant")])
def test_styles_that_are_none(cli, ct, style, word):
    before = state(ct)
    refused(cli("stylize", "c.nii.gz", style, "-o", "o.nii.gz", *CT), word, ct, before)


@pytest.mark.parametrize("forms", ["both", "none", "rounded"])
def test_masks_that_do_fit(cli, ct, forms):
    mask, affine = region()
    if forms == "rounded":
        affine = affine + np.random.default_rng(1).uniform(-1, 1, (4, 4)) * [[1e-4], [1e-4], [1e-4], [0]]
    write("good.nii.gz", mask, None if forms == "none" else affine)
    ran = cli("stylize", "c.nii.gz", "s.nii.gz", "-o", "o.nii.gz", *CT, "--mask", "good.nii.gz")
    assert ran.status == 0, ran.err
    assert ("do not both say where they lie" in ran.err) == (forms == "none")


@pytest.mark.parametrize("padding", [-1024, -2000, -3024, -32768])
def test_padding_is_usual_in_ct(cli, ct, padding):
    hu = head(1)
    hu[:2, :2] = padding
    write("padded.nii.gz", hu)
    ran = cli("stylize", "padded.nii.gz", "s.nii.gz", "-o", "o.nii.gz", *CT)
    assert ran.status == 0, ran.err
    assert ("padding or noise of air" in ran.err) == (padding < -1100)
    np.testing.assert_array_equal(nibabel.load("o.nii.gz").dataobj.get_unscaled(), hu)


def unpacked(name):
    data = Path(name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


VARIANTS = [
    ("int16", ".nii.gz", (1, 0), "<", "both"),
    ("int16", ".nii", (0, 0), ">", "sform"),
    ("int16", ".hdr", (1, 0), ">", "qform"),
    ("uint16", ".nii.gz", (1, -1024), "<", "disagreeing"),
    ("uint16", ".nii", (2, -1024), ">", "neither"),
    ("uint8", ".nii", (10, -1024), "<", "both"),
    ("int8", ".nii.gz", (16, 0.5), "<", "both"),
    ("int32", ".nii", (0.1, 3.7), "<", "sform"),
    ("uint32", ".hdr", (0.5, -2000), "<", "qform"),
    ("int64", ".nii", (np.nan, np.nan), "<", "both"),
    ("float32", ".nii.gz", (1, 0), ">", "neither"),
    ("float32", ".nii", (0.1, 3.7), "<", "both"),
    ("float64", ".nii", (2, -1024), "<", "disagreeing"),
]


def variant(name, dtype, suffix, scaling, order, forms):
    """The head in such a file, with an extension and every field of its header set to something."""
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(dtype))
    header.set_data_shape(SHAPE)
    header["pixdim"][1:4] = 0.8, 0.8, 2.5
    if forms in ("both", "qform", "disagreeing"):
        header.set_qform(np.diag([-1, -1, 1, 1]) @ AFFINE if forms == "disagreeing" else AFFINE, 1, strip_shears=True)
    if forms in ("both", "sform", "disagreeing"):
        header.set_sform(AFFINE, 2)
    header["descrip"], header["cal_max"], header["intent_code"] = b"a head", 80, 3
    header["xyzt_units"] = 0 if forms == "neither" else 2
    header["scl_slope"], header["scl_inter"] = scaling
    pair = suffix == ".hdr"
    header["magic"], header["vox_offset"] = (header.pair_magic, 0) if pair else (header.single_magic, 384)
    extension = b"\1\0\0\0" + np.array([32, 6], f"{order}i4").tobytes() + b"a comment".ljust(24, b"\0")
    slope, inter = scaling if scaling[0] > 0 else (1, 0)
    stored = (head(1) - inter) / slope
    kind = np.dtype(dtype).newbyteorder(order)
    if kind.kind != "f":
        stored = np.clip(np.rint(stored), np.iinfo(kind).min, np.iinfo(kind).max)
    start, raw = header.binaryblock + extension, stored.astype(kind).tobytes(order="F")
    whole = start if pair else start + raw
    Path(f"{name}{suffix}").write_bytes(gzip.compress(whole) if suffix == ".nii.gz" else whole)
    if pair:
        Path(f"{name}.img").write_bytes(raw)


@pytest.mark.parametrize(("dtype", "suffix", "scaling", "order", "forms"), VARIANTS)
def test_zero_iterations_give_the_same_file(cli, ct, dtype, suffix, scaling, order, forms):
    variant("in", dtype, suffix, scaling, order, forms)
    ran = cli("stylize", f"in{suffix}", "s.nii.gz", "-o", f"out{suffix}", *CT)
    assert ran.status == 0, ran.err
    assert unpacked(f"out{suffix}") == unpacked(f"in{suffix}")
    if suffix == ".hdr":
        assert unpacked("out.img") == unpacked("in.img")
