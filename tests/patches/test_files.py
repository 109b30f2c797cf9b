"""What becomes of files that cannot be used, are of another kind, go away, or lie turned."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nst_nd.errors import DecodeError, InputError
from nst_nd.patches import search as part
from nst_nd.patches.record import record_of
from nst_nd.patches.search import Query, search

RANDOM = {"extractor": {"name": "random", "widths": (3, 5), "channels": (6, 5)}}


def test_other_kinds_that_nobody_named_are_left_out(photographs, sounds, tmp_path):
    (tmp_path / "labels.csv").write_text("file,label\na,1\n")
    table = tmp_path / "labels.csv"
    files = [table, *photographs[:2]]
    found = search(files, {}, Query("relu1_1", (0,)), loose=files)
    assert found.skipped == [(table, "is of kind ecg, the others of kind image")]
    assert {p.input for p in found.patches[0]} <= {1, 2}
    with pytest.raises(InputError, match=r"labels\.csv: is of kind ecg, the others of kind image"):
        search(files, {}, Query("relu1_1", (0,), strict=True), loose=files)
    with pytest.raises(InputError, match=r"is of kind image, those before it of kind ecg"):
        search(files, {}, Query("relu1_1", (0,)))
    # what is named decides, and then the preset
    found = search([*photographs, sounds[0]], RANDOM, Query("relu1", (0,)), loose=photographs)
    assert (found.kind, len(found.skipped)) == ("audio", 3)
    found = search(
        [*photographs, sounds[0]], {**RANDOM, "preset": "audio"}, Query("relu1", (0,)), loose=[*photographs, sounds[0]]
    )
    assert (found.kind, len(found.skipped)) == ("audio", 3)


@pytest.mark.parametrize("when", ["while it is read", "later"])
def test_an_input_may_go_away(photographs, tmp_path, monkeypatch, when):
    files = [Path(shutil.copy(file, tmp_path)) for file in photographs[:2]]
    read = part.load

    def reading(path, **options):
        sample = read(path, **options)
        gone = path if when == "while it is read" else files[0] if path == files[1] else None
        if gone == files[0]:
            gone.unlink()
        return sample

    monkeypatch.setattr(part, "load", reading)
    found = search(files, {}, Query("relu1_1", (0,), per_file=1))
    first, second = record_of(found, 0.0)["files"]
    assert first["name"] == "astronaut.png"
    assert second["sha256"]
    if when == "later":
        assert first["sha256"] == hashlib.sha256(photographs[0].read_bytes()).hexdigest()
    else:
        assert first["sha256"] is None
        assert any("astronaut.png went away" in note for note in found.notes)


def test_the_first_look_is_told(photographs):
    said = []
    search(photographs, {}, Query("relu1_1", (0,)), told=lambda *words: said.append(words))
    assert (0, 3, "first look at astronaut.png") in said
    assert said[-1] == (3, 3, "")


def test_a_turned_photo_says_so(photographs, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photographs[0]) as image:
        image.save(tmp_path / "turned.jpg", exif=exif)
    found = search([photographs[1], tmp_path / "turned.jpg"], {}, Query("relu1_1", (0,), per_file=1))
    files = record_of(found, 0.0)["files"]
    assert [file.get("orientation") for file in files] == [None, 6]
    assert next(p for p in found.patches[0] if p.input == 1).file_size == (190, 160)


def test_files_that_cannot_be_used_are_named(photographs, tmp_path):
    (tmp_path / "broken.png").write_bytes(photographs[0].read_bytes()[:500])
    Image.fromarray(np.full((50, 50), 7, np.uint8)).save(tmp_path / "flat.png")
    Image.fromarray(np.arange(9, dtype=np.uint8).reshape(3, 3)).save(tmp_path / "small.png")
    bad = [tmp_path / name for name in ("broken.png", "flat.png", "small.png")]
    files = [bad[0], photographs[0], *bad[1:], photographs[1]]
    found = search(files, {}, Query("relu3_1", (0,)))
    assert [path.name for path, _ in found.skipped] == ["broken.png", "flat.png", "small.png"]
    reasons = [reason for _, reason in found.skipped]
    assert "broken or truncated" in reasons[0] or "truncated" in reasons[0]
    assert "is constant" in reasons[1]
    assert "needs at least" in reasons[2]
    assert {p.input for p in found.patches[0]} <= {1, 4}
    alone_found = search([photographs[0], photographs[1]], {}, Query("relu3_1", (0,)))
    assert [p.position for p in found.patches[0]] == [p.position for p in alone_found.patches[0]]
    with pytest.raises(DecodeError, match=r"^broken\.png"):
        search(files, {}, Query("relu3_1", (0,), strict=True))
    with pytest.raises(InputError, match=r"no input can be used: broken\.png: .*\(and 2 more\)"):
        search(bad, {}, Query("relu3_1", (0,)))
