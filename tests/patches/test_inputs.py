"""Which files are found, in which order, and what is passed over."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nst_nd.errors import InputError
from nst_nd.patches.inputs import Inputs, MixedError, check_kind, collect, kind_of, kind_of_all

SAMPLES = Path(__file__).parents[2] / "data_samples"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("set/b.png", "set/deep/a.PNG", "set/.hidden.png", "set/.git/x.png", "other.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(name)
    Path("set/notes.txt").write_text("no signal")
    Path("empty").mkdir()
    shutil.copy(SAMPLES / "ecg_rest.hea", "set/deep/e.hea")
    shutil.copy(SAMPLES / "ecg_rest.dat", "set/deep/e.dat")
    Path("series").mkdir()
    for n in range(3):
        Path(f"series/{n}.dcm").write_bytes(bytes(128) + b"DICM")
    Path("unnamed").mkdir()
    Path("unnamed/IM0001").write_bytes(bytes(128) + b"DICM")
    return tmp_path


def test_folders_patterns_and_names(folder):
    inputs = collect(["other.png", "set", "set/*.png", "./other.png"])
    found = [str(path) for path in inputs.files]
    assert inputs.loose == set(inputs.files[1:])
    assert found == ["other.png", "set/b.png", "set/deep/a.PNG", "set/deep/e.hea"]
    assert [str(p) for p in collect(["set/**/*.PNG"]).files] == ["set/deep/a.PNG"]
    assert [str(p) for p in collect(["."]).files] == [
        *("other.png", "series", "set/b.png", "set/deep/a.PNG", "set/deep/e.hea", "unnamed"),
    ]
    # a name is taken as it is, whatever its suffix
    assert collect(["set/notes.txt"]) == Inputs([Path("set/notes.txt")], frozenset())
    assert collect(["set"], exclude=[Path("set/b.png")]).files[0] == Path("set/deep/a.PNG")
    # what is named as well as found is named, and a folder of slices is
    assert not collect(["series"]).loose
    assert collect(["."]).loose >= {Path("series"), Path("other.png")}
    assert Path("set/b.png") not in collect(["set", "set/../set/b.png"]).loose


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone.png", "no such file or folder"),
        ("empty", "no file in it"),
        ("*.wav", "no file in it"),
        ("gone/", "no such"),
    ],
)
def test_nothing_there(folder, name, said):
    with pytest.raises(InputError, match=said) as caught:
        collect(["set", name])
    assert name in str(caught.value)


def test_kinds(folder):
    assert kind_of(Path("other.png"), None) == "image"
    assert kind_of(Path("set/deep/e.hea"), None) == "ecg"
    assert kind_of(Path("series"), None) is None
    check_kind("image", "image", Path("other.png"))
    with pytest.raises(MixedError, match=r"e\.hea is of kind ecg, those before it of kind image"):
        check_kind("image", "ecg", Path("set/deep/e.hea"))


@pytest.mark.parametrize(
    ("named", "loose", "given", "kind"),
    [
        ("", "eiii", None, "image"),  # the commonest
        ("", "ei", None, "ecg"),  # the first of as many
        ("", "eiii", "ecg", "ecg"),  # the given one, if there are any
        ("", "ei", "volume", "ecg"),
        ("", "e?", "volume", "volume"),
        ("", "e???", None, "volume"),  # what has to be read counts as its first does
        ("e", "iii", "image", "ecg"),  # what is named
        ("?", "iii", "image", "volume"),
        ("", "", None, None),
    ],
)
def test_the_kind_of_all(named, loose, given, kind):
    kinds = {"e": "ecg", "i": "image", "?": None}
    files = [(Path(f"{n}"), kinds[letter]) for n, letter in enumerate(named + loose)]
    found = {file for file, _ in files[len(named) :]}
    assert kind_of_all(files, found, given, lambda unknown: "volume" if unknown else None) == kind


def test_what_is_named_is_of_one_kind():
    with pytest.raises(MixedError, match="b is of kind ecg, those before it of kind image"):
        kind_of_all([(Path("a"), "image"), (Path("c"), None), (Path("b"), "ecg")], (), None, lambda _: None)
