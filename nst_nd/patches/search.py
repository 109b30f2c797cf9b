"""Through many signals, one at a time, in bounded memory: the patches that maximise units of a layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from nst_nd import scratch
from nst_nd.domains import PRESETS
from nst_nd.domains.alike import alike
from nst_nd.domains.device import pick_device
from nst_nd.domains.domain import Prepared, Scaling, sound
from nst_nd.domains.resolve import resolve
from nst_nd.domains.selection import percentiles
from nst_nd.domains.settings import Settings
from nst_nd.engine.memory import return_large_blocks
from nst_nd.errors import ConfigError, InputError, Interrupted
from nst_nd.features.precision import allow
from nst_nd.io import ReadOptions, load, outline, suffix_of
from nst_nd.job import RATELESS
from nst_nd.patches.draw import check_room
from nst_nd.patches.found import Found, Patch
from nst_nd.patches.inputs import MixedError, check_kind, check_loose, kind_of, kind_of_all
from nst_nd.patches.network import UNITS, Watched
from nst_nd.patches.peaks import ActivationMap, Best, Peak
from nst_nd.patches.views import edge_for, view
from nst_nd.sample import Grid, Kind, Sample
from nst_nd.sidecar import described, shown

MOST_UNITS, MOST_TOP = 64, 100
# of a file's values, what lies between counts as its range
SHARES = (0.1, 99.9)
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Query:
    """What is looked for. layer: as in style_layers. units: of it, the first nine if absent. top: patches of each.

    per_file: patches of a unit that one file may have; None: any number. inside: whether fields that reach beyond the
    signal are left out. ranges: whether those of the inputs are measured, for `maximised`. strict: the first file that
    cannot be used ends the search. edge: of the tiles of a volume, other signals get as many positions; None: as memory
    allows. Raises ConfigError for numbers out of range.
    """

    layer: str
    units: tuple[int, ...] | None = None
    top: int = 9
    per_file: int | None = None
    inside: bool = False
    ranges: bool = False
    strict: bool = False
    edge: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.top <= MOST_TOP:
            raise ConfigError(f"top: got {self.top}; allowed: 1 to {MOST_TOP} patches")
        if self.per_file is not None and self.per_file < 1:
            raise ConfigError(f"per_file: got {self.per_file}; allowed: 1 or more")
        if self.units is not None and not (1 <= len(self.units) <= MOST_UNITS and min(self.units) >= 0):
            raise ConfigError(f"units: got {len(self.units)} of them; allowed: 1 to {MOST_UNITS}, counted from 0")


# (files done, files in all, the name of the current one)
Told = Callable[[int, int, str], None]


def search(
    files: Sequence[Path],
    given: Mapping[str, Any],
    query: Query,
    options: ReadOptions | None = None,
    told: Told = lambda *_: None,
    should_stop: Callable[[], bool] = lambda: False,
    loose: Collection[Path] = (),
) -> Found:
    """The patches of the files that maximise each unit; beside it, memory holds one file at a time, or parts of it.

    given: keys of Settings over the preset's defaults; those of a transfer alone are not asked. options: for files that
    do not say what they hold. Every file is brought to model units by itself, on the grid of the first one. One that
    cannot be used is skipped and named, and so is one of another kind among `loose`, those that nobody named.
    Raises InputError where none is left or kinds differ, ConfigError for layers and units that are not there,
    Interrupted once `should_stop` is true.
    """
    run = _Search(files, given, query, options or ReadOptions(), told, should_stop, frozenset(loose))
    before = torch.get_num_threads()
    torch.set_num_threads(run.settings.threads or before)
    try:
        for done, (number, file) in enumerate(run.files):
            told(done, len(run.files), shown(file))
            run.look_at(number, file)
        told(len(run.files), len(run.files), "")
        return run.found()
    finally:
        torch.set_num_threads(before)


class _Search:
    """The state of a search while it runs. files: those still to be used, with their number among all."""

    def __init__(
        self,
        files: Sequence[Path],
        given: Mapping[str, Any],
        query: Query,
        options: ReadOptions,
        told: Told,
        should_stop: Callable[[], bool],
        loose: frozenset[Path],
    ) -> None:
        self.query, self.options, self.told, self.should_stop, self.loose = query, options, told, should_stop, loose
        self.inputs = len(files)
        self.files = list(enumerate(files))
        self.skipped: list[tuple[Path, str]] = []
        self.notes: Counter[str] = Counter()
        self.kind, self.nc = self._first_look(given)
        check_room(self.kind, len(query.units or range(UNITS)), query.top, query.ranges)
        self.settings = self._settled(given)
        assert self.settings.preset is not None
        self.domain = PRESETS[self.settings.preset]
        if self.domain.kind != self.kind:
            raise ConfigError(f"preset {self.domain.name} is for {self.domain.kind}; these are of kind {self.kind}")
        self.notes.update(allow(self.settings.precision, pick_device(self.settings.device)))
        if self.settings.max_memory is not None:
            return_large_blocks()
        self.grid: Grid | None = None
        self.first: tuple[Sample, Scaling] | None = None
        self.watched: Watched | None = None
        self.best: dict[int, Best[Patch]] = {}
        self.described: dict[int, dict[str, Any]] = {}
        self.low = self.high = np.zeros(0)

    def _settled(self, given: Mapping[str, Any]) -> Settings:
        """With the layer as the only one that counts."""
        of_layers = ("content_layers", "content_layer_weights", "style_layers", "style_layer_weights", "statistics")
        kept = {key: value for key, value in given.items() if key not in of_layers}
        asked = {"content_layers": (), "style_layers": (self.query.layer,), "style_weight": 1.0}
        return resolve({**kept, **asked}, self.kind)

    def _first_look(self, given: Mapping[str, Any]) -> tuple[Kind, int | None]:
        """The kind of all files that are kept, by their first bytes; of images whether one is in colour."""
        kinds = list(self._usable(lambda file: kind_of(file, self.options.kind)))
        preset = given.get("preset")
        asked = self.options.kind or (PRESETS[preset].kind if preset in PRESETS else None)
        kind = kind_of_all([(f, here) for _, f, here in kinds], self.loose, asked, self._kind_in)
        gone = {file for file, _ in self.skipped}
        self.files = [(number, file) for number, file, _ in kinds if file not in gone]
        if kind is None:
            raise InputError(self._none_left())
        known = {file: here for _, file, here in kinds}
        self.files = [(n, file) for n, file, _ in self._usable(lambda file: self._check_kind(kind, known[file], file))]
        colours = []
        if kind == "image":
            heads = list(self._usable(lambda file: outline(file, kind=self.options.kind).nc))
            self.files, colours = [(number, file) for number, file, _ in heads], [nc for *_, nc in heads]
        if not self.files:
            raise InputError(self._none_left())
        return kind, max(colours, default=None)

    def _usable(self, look: Callable[[Path], Seen]) -> Iterator[tuple[int, Path, Seen]]:
        """Every file with its number and what a look at it gives; where that is an InputError, it is skipped."""
        for done, (number, file) in enumerate(self.files):
            self._check()
            self.told(done, len(self.files), f"first look at {shown(file)}")
            try:
                yield number, file, look(file)
            except MixedError:
                raise
            except InputError as error:
                self._skip(file, error)

    def _kind_in(self, files: Sequence[Path]) -> Kind | None:
        """Of the first that can be read; those before it are skipped."""
        for file in files:
            self._check()
            try:
                return self._read(file).kind
            except InputError as error:
                self._skip(file, error)
        return None

    def _check_kind(self, kind: Kind, here: Kind | None, file: Path) -> None:
        """MixedError for a file of another kind that was named, InputError for others."""
        if file in self.loose:
            check_loose(kind, here or kind)
        else:
            check_kind(kind, here or kind, file)

    def _read(self, file: Path) -> Sample:
        rate = self.options.rate if suffix_of(file) in RATELESS else None
        return load(file, kind=self.options.kind, rate=rate, channels=self.options.channels)

    def _skip(self, file: Path, error: InputError) -> None:
        """Name it and go on, or end where that is asked for."""
        reason = str(error).removeprefix(f"{file}: ")
        reason = _of_it(reason)
        if self.query.strict:
            raise type(error)(f"{shown(file)}: {reason}") from error
        self.skipped.append((file, reason.splitlines()[0]))

    def _none_left(self) -> str:
        file, reason = self.skipped[0]
        more = f" (and {len(self.skipped) - 1} more)" if len(self.skipped) > 1 else ""
        return f"no input can be used: {shown(file)}: {reason}{more}"

    def look_at(self, number: int, file: Path) -> None:
        """One file: its activations, and what of them is among the best so far."""
        self._check()
        try:
            sample = self._read(file)
            self._check_kind(self.kind, sample.kind, file)
            seen, prepared, lost = self._prepared(sample)
            watched = self.watched or Watched(self.settings, prepared, seen.grid.rate, self.query.units)
            watched.extractor.check_input(prepared.styles[0], "it")
        except MixedError:
            raise
        except InputError as error:
            self._skip(file, error)
            return
        try:
            values = watched.activations(prepared, self._check, self.query.edge)
        except ConfigError as error:
            raise ConfigError(f"{shown(file)}: {error}") from error
        except InputError as error:  # a module may be particular about sizes
            self._skip(file, error)
            return
        self._settle(watched, sample, seen, prepared, lost)
        if self.query.ranges:
            self._widen(prepared.styles[0])
        if self.query.inside:
            values.keep(watched.receptive.inside(values.size, seen.shape))
        reach = watched.receptive.reach(values.size)
        origin = _Origin(number, file, sample, seen, prepared)
        if sum([self._take(values, row, reach, origin) for row in range(len(watched.units))]):
            self._describe(origin)

    def _describe(self, origin: _Origin) -> None:
        """What the file was when it was read; it may be gone when the search ends."""
        turn = getattr(origin.sample.source, "orientation", 1)
        more: dict[str, Any] = {"input": origin.number, **({} if turn == 1 else {"orientation": turn})}
        try:
            self.described[origin.number] = described(origin.file, **more)
        except (InputError, OSError):
            self.notes[f"{shown(origin.file)} went away while it was read: it has no checksum"] += 1
            unknown: dict[str, Any] = {"name": shown(origin.file), "sha256": None, "bytes": None, "companions": []}
            self.described[origin.number] = {**more, **unknown}

    def _check(self) -> None:
        if self.should_stop():
            raise Interrupted("interrupted; nothing is written")

    def _prepared(self, sample: Sample) -> tuple[Sample, Prepared, list[str]]:
        """As the network sees it, in its own unit and in the model's, and what is to be said of that."""
        low, high = scratch.extremes(sample.data)
        if np.all(high == low):
            raise InputError(f"is constant (every sample is {low[0]:g}): there is nothing in it to respond to")
        grid = self.grid or sample.grid
        seen = alike(sample, self.nc or sample.nc, grid, self.settings)
        prepared = sound(self.domain.prepare(None, [seen], self.settings))
        other = seen.kind == "volume" and not np.allclose(seen.grid.spacing, grid.spacing, rtol=1e-3)
        lost = (
            ["seen on its own grid, with another spacing than the first input's: fields differ in mm"] if other else []
        )
        return seen, prepared, lost

    def _settle(
        self, watched: Watched, sample: Sample, seen: Sample, prepared: Prepared, lost: Sequence[str] = ()
    ) -> None:
        """What follows from the first file that can be used, and what is said of every one."""
        if self.first is None:
            self.watched, self.first = watched, (_headless(seen), prepared.scaling)
            self.nc, self.grid = seen.nc, seen.grid
            self.best = {unit: Best(self.query.top) for unit in watched.units}
        if seen.shape != sample.shape:
            self.notes["resampled to the grid of the first input"] += 1
        if seen.nc != sample.nc:
            self.notes[f"brought from {sample.nc} to {seen.nc} channels"] += 1
        self.notes.update([*sample.notes, *map(_of_it, prepared.notes), *lost])

    def _widen(self, x: Tensor) -> None:
        """What range the inputs have in model units, per channel, but for a few values."""
        low, high = np.transpose([percentiles(x[0, c : c + 1].numpy(), SHARES) for c in range(x.shape[1])])
        # nearly all of a signal may be one value, and what is not still is its range
        least, most = (x[0].flatten(1).amin(1).numpy(), x[0].flatten(1).amax(1).numpy())
        low, high = np.where(high > low, low, least), np.where(high > low, high, most)
        self.low = np.minimum(self.low, low) if self.low.size else low
        self.high = np.maximum(self.high, high) if self.high.size else high

    def _take(self, values: ActivationMap, row: int, reach: Sequence[int], origin: _Origin) -> int:
        """How many patches of it are among the best so far, of the unit in this row."""
        best, count = self.best[values.units[row]], 0
        for peak in values.peaks(row, reach):
            if count == (self.query.per_file or self.query.top) or not best.wants(peak.activation):
                break
            best.add(peak.activation, self._patch(peak, origin))
            count += 1
        return count

    def _patch(self, peak: Peak, origin: _Origin) -> Patch:
        assert self.watched is not None
        seen = origin.seen
        field = self.watched.receptive.box(peak.position, seen.shape)
        edge = edge_for(self.kind, field, seen.nc, len(self.best) * self.query.top)
        return Patch(
            peak.activation,
            origin.number,
            origin.file,
            peak.position,
            field,
            seen.shape,
            seen.grid,
            origin.sample.shape,
            origin.sample.grid,
            origin.sample.units,
            view(seen, field, edge),
            origin.prepared.scaling,
        )

    def found(self) -> Found:
        """What came of it. Raises InputError where no file could be used."""
        if self.watched is None or self.first is None:
            raise InputError(self._none_left())
        patches = {unit: best.items for unit, best in self.best.items()}
        used = {patch.input for several in patches.values() for patch in several}
        silent = [unit for unit, several in patches.items() if not several]
        if silent:
            self.notes[f"units without a response to any input: {', '.join(map(str, silent))}"] += 1
        notes = [note if count <= 1 else f"{note} ({count} files)" for note, count in self.notes.items()]
        low, high = (torch.from_numpy(np.asarray(values, np.float32)) for values in (self.low, self.high))
        return Found(
            self.kind,
            self.settings,
            self.watched,
            patches,
            self.inputs,
            {number: file for number, file in self.described.items() if number in used},
            self.skipped,
            notes,
            low,
            high,
            *self.first,
        )


def _of_it(words: str) -> str:
    """What a domain says of a style, of an input."""
    return words.replace("the style's", "its").replace("the style", "it")


@dataclass(frozen=True)
class _Origin:
    """Where a peak was found. sample: of the file; seen: as the network sees it; prepared: that in model units."""

    number: int
    file: Path
    sample: Sample
    seen: Sample
    prepared: Prepared


def _headless(sample: Sample) -> Sample:
    """What kind of signal it is, without its values."""
    nothing = np.zeros((sample.nc, *(1,) * len(sample.shape)), np.float32)
    return sample.replace(data=nothing, source=None, gaps=None, notes=())
