"""Sample: a signal in physical units, with its unit and its sampling grid beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.errors import InputError

if TYPE_CHECKING:
    from nst_nd.drawing.picture import Picture

Kind = Literal["image", "audio", "ecg", "volume"]
KINDS: tuple[Kind, ...] = ("image", "audio", "ecg", "volume")

Data = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Grid:
    """Where the samples lie.

    rate: samples per second in Hz (signals), else None.
    spacing: distance between neighbours along each spatial axis, in `unit`.
    unit: "s", "mm" or "px".
    affine: 4x4 voxel-to-world matrix in mm (volumes), else None.
    """

    spacing: tuple[float, ...]
    unit: Literal["s", "mm", "px"]
    rate: float | None = None
    affine: NDArray[np.float64] | None = None

    def at_plane(self, place: int) -> Grid:
        """Of the plane at this position of the last of three axes, alone."""
        if self.affine is None:
            return self
        origin = np.array([0.0, 0.0, place, 1.0])
        return replace(self, affine=np.column_stack([self.affine[:, :3], self.affine @ origin]))


@dataclass(frozen=True)
class Sample:
    """A signal as it was read: data [channel, *space] in physical units, on its grid.

    data: float32, or float64 where float32 could not hold the stored values exactly. Images are
        [C, height, width] in 0..1 of full scale; audio [C, time] in -1..1 of full scale; ECG [lead, time] in mV;
        volumes [C, i, j, k] in the axis order of the file, in the file's unit (HU for CT).
    channels: a name per channel ("R", "left", "V1"); empty where the file has none.
    gaps: [channel, *space], True where nothing was recorded and data holds a bridge; None without any. Codecs mark
        them again on writing.
    source: whatever the codec that read the file needs to write it back losslessly. Only that codec looks inside.
    notes: what was converted on the way in, in words; it goes to the log and into the sidecar.

    Raises InputError for data that is empty, not finite, or not [channel, *space] with one to three spatial axes.
    """

    data: Data
    kind: Kind
    units: str
    grid: Grid
    channels: tuple[str, ...] = ()
    source: Any = field(default=None, repr=False, compare=False)
    notes: tuple[str, ...] = ()
    gaps: NDArray[np.bool_] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.data.dtype not in (np.float32, np.float64):
            raise InputError(f"sample data is {self.data.dtype}; allowed: float32 or float64")
        if not 2 <= self.data.ndim <= 4:
            raise InputError(f"sample data has shape {self.data.shape}; allowed: [channel, *space] with 1 to 3 axes")
        if self.data.size == 0:
            raise InputError(f"sample data is empty: shape {self.data.shape}")
        # min and max carry NaN and Inf along, and need no array of flags beside the data
        if not np.isfinite(scratch.extremes(self.data)).all():
            parts = (self.data[:, piece] for piece in scratch.chunks(self.data, 1))
            bad = self.data.size - sum(int(np.count_nonzero(np.isfinite(part))) for part in parts)
            raise InputError(f"{bad} of {self.data.size} samples are NaN or infinite; all must be finite")
        if self.gaps is not None and self.gaps.shape != self.data.shape:
            raise InputError(f"gaps have shape {self.gaps.shape}, data has {self.data.shape}; they must agree")
        if len(self.grid.spacing) != self.data.ndim - 1:
            raise InputError(f"grid has {len(self.grid.spacing)} axes, data has {self.data.ndim - 1}")

    @property
    def nc(self) -> int:
        """Number of channels."""
        return int(self.data.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the spatial axes."""
        return tuple(int(n) for n in self.data.shape[1:])

    def replace(self, **changes: Any) -> Sample:
        """A copy with these fields changed; grid, units and source travel along."""
        return replace(self, **changes)

    def plot(
        self,
        *,
        window: Sequence[float] | str | None = None,
        at: Sequence[int] | None = None,
        start: float = 0.0,
        seconds: float | None = None,
    ) -> Picture:
        """A matplotlib figure of it that no pyplot knows of: notebooks show it, `savefig` writes it.

        An image or three orthogonal planes of a volume with a scale bar, a wave over its spectrogram, or ECG on paper.
        window: of images and volumes: the values from black to white, or "soft tissue", "lung", "bone", "brain" (HU);
        soft tissue by default where the unit is HU, else nearly the range of what is shown. at: of volumes: the voxel
        (i, j, k) where the planes meet; the middle by default. start, seconds: the part of a recording that is shown.
        Raises ConfigError for an option that is not for this kind, or out of range, InputError for a shape that its
        kind does not have.
        """
        from nst_nd import drawing

        return drawing.drawn([(self.kind, self)], drawing.View(window, at, start, seconds))

    def _repr_png_(self) -> bytes:
        return self.plot().png()

    def _repr_html_(self) -> str:
        from nst_nd.drawing import notebook

        return notebook.page(notebook.facts_of(self), {self.kind: notebook.tried(self.plot)}, self.notes)
