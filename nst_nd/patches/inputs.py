"""Which files are looked at: those that are named, those in folders, those that fit a pattern."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nst_nd.errors import InputError
from nst_nd.io import codec_for, suffix_of
from nst_nd.io.codec import FOLDER_SUFFIX, registry
from nst_nd.sample import Kind
from nst_nd.sidecar import shown

_MAGIC = re.compile(r"[*?[]")
# slices of a series are read together, through their folder
_DICOM = ".dcm"
# read through the header beside them
_DATA_OF = {".dat": ".hea", ".img": ".hdr"}


@dataclass(frozen=True)
class Inputs:
    """files: in a fixed order, each once. loose: those of them that a folder or a pattern brought, not their names."""

    files: list[Path]
    loose: frozenset[Path]


def collect(names: Sequence[str], exclude: Sequence[Path] = ()) -> Inputs:
    """The files of these names, folders and patterns in a fixed order, each once.

    Folders are searched all the way down; one that holds slices of DICOM is one input. In folders and patterns, files
    whose suffix no format has, hidden ones and `exclude` are passed over. Raises InputError for what is not there, and
    a folder or pattern without a file.
    """
    left_out = {path.resolve() for path in exclude}
    found: dict[Path, Path] = {}
    named = set()
    for name in names:
        path = Path(name)
        if path.exists() or not _MAGIC.search(name):
            here = [path] if path.is_file() else list(_inside(path)) if path.is_dir() else []
            if not path.exists():
                raise InputError(f"{name}: no such file or folder")
        else:
            fitting = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  # absolute ones too
            here = [file for each in fitting for file in _of_pattern(Path(each))]
        here = [file for file in here if file.resolve() not in left_out]
        if not here:
            known = ", ".join(sorted(_suffixes()))
            raise InputError(f"{name}: no file in it that can be read; known: {known}, and folders of DICOM slices")
        for file in here:
            found.setdefault(file.resolve(), file)
        if here == [path]:  # a file, or a folder that is one series of slices and nothing else
            named.add(path.resolve())
    return Inputs(list(found.values()), frozenset(file for whole, file in found.items() if whole not in named))


def _of_pattern(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from _inside(path)
    elif _wanted(path):
        yield path


def _inside(folder: Path) -> Iterator[Path]:
    """Every file below a folder that may be a signal, and every folder of slices."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = sorted(Path(root) / name for name in files if not name.startswith("."))
        if any(suffix_of(file) == _DICOM or _is_dicom(file) for file in here):
            yield Path(root)
        yield from (file for file in here if _wanted(file))


def _wanted(file: Path) -> bool:
    suffix = suffix_of(file)
    if suffix in _DATA_OF and file.with_suffix(_DATA_OF[suffix]).is_file():
        return False
    return file.is_file() and suffix in _suffixes()


def _suffixes() -> set[str]:
    known = {suffix for codec in registry() for suffix in (*codec.suffixes, *codec.plain)}
    return known - {_DICOM, FOLDER_SUFFIX}


def _is_dicom(file: Path) -> bool:
    """Slices often have no suffix."""
    if suffix_of(file) or not file.is_file():
        return False
    try:
        with file.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def kind_of(path: Path, given: Kind | None) -> Kind | None:
    """What kind of signal a file holds, by its first bytes; None where they do not say. Raises InputError."""
    codec = codec_for(path, reading=True)
    if len(codec.kinds) > 1 or FOLDER_SUFFIX in codec.suffixes:  # DICOM holds slices, and waveforms too
        return given
    return codec.kinds[0]


class MixedError(InputError):
    """Files of different kinds, which have no network in common."""


def check_kind(kind: Kind, other: Kind, file: Path) -> None:
    """MixedError unless a file is of the kind of those before it."""
    if other != kind:
        raise MixedError(
            f"{shown(file)} is of kind {other}, those before it of kind {kind}: no network is for both\n"
            "give inputs of one kind"
        )


def check_loose(kind: Kind, other: Kind) -> None:
    """InputError unless a file that nobody named is of the kind of the others."""
    if other != kind:
        raise InputError(f"is of kind {other}, the others of kind {kind}")


def kind_of_all(
    kinds: Sequence[tuple[Path, Kind | None]],
    loose: Collection[Path],
    given: Kind | None,
    kind_in: Callable[[Sequence[Path]], Kind | None],
) -> Kind | None:
    """What kind of files is looked at: that of those named; else the given one, if there are any; else the commonest.

    kinds: by their first bytes, None where they do not say. loose: see Inputs. given: with the preset or outright.
    kind_in: the kind of the first of these files that can be read. Raises MixedError where those named differ.
    """
    named = [(file, kind) for file, kind in kinds if file not in loose]
    known = [(file, kind) for file, kind in named if kind is not None]
    for file, kind in known:
        check_kind(known[0][1], kind, file)
    here = known[0][1] if known else kind_in([file for file, _ in named])
    if here is not None:
        return here
    counts = Counter(kind for file, kind in kinds if file in loose and kind is not None)
    unknown = [file for file, kind in kinds if file in loose and kind is None]
    if given is not None and (given in counts or unknown):
        return given
    other = kind_in(unknown)  # one for all: series of slices, mostly, which would take long to read
    if other is not None:
        counts[other] += len(unknown)
    return max(counts, key=lambda kind: counts[kind], default=None)
