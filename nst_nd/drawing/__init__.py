"""Signals as matplotlib figures, with units and scales; see `drawn`.

Lies below Sample, which is drawn by what fields it has (`signal.Signal`), so that its own `plot` looks downward. Only
what is needed is imported, when it is needed: matplotlib takes a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nst_nd.drawing.signal import Column, Signal, View, check_shape
from nst_nd.errors import InputError

if TYPE_CHECKING:
    from nst_nd.drawing.picture import Picture

__all__ = ["Column", "Signal", "View", "comparison", "drawn"]

# pictures beside each other, more than which nobody can compare
MOST_COLUMNS = 6


def drawn(
    shown: Sequence[tuple[str, Signal]],
    view: View | None = None,
    *,
    difference: bool = False,
    hounsfield: bool = False,
) -> Picture:
    """Signals of one kind beside each other, each under its name, on the same scales.

    difference: of images and volumes, the last one less the first one too, where they have one shape. hounsfield: the
    volumes are in HU though their unit does not say so.
    Raises InputError (a kind or shape that cannot be drawn, kinds that differ, more than MOST_COLUMNS), ConfigError
    (view).
    """
    if not shown:
        raise InputError("nothing to draw; give at least one signal")
    columns = [Column(name, signal) for name, signal in shown]
    for column in columns:
        check_shape(column.signal)
    kinds = {column.signal.kind for column in columns}
    if len(kinds) > 1:
        raise InputError(f"signals of kind {', '.join(sorted(kinds))} are not drawn together; allowed: one kind")
    kind, view = kinds.pop(), view or View()
    view.check(kind)
    first, last = columns[0], columns[-1]
    if difference and kind in ("image", "volume") and first.signal.data.shape == last.signal.data.shape:
        columns.append(Column(f"{last.name} less {first.name}", last.signal, first.signal))
    if len(columns) > MOST_COLUMNS:
        raise InputError(f"{len(columns)} pictures side by side; allowed: up to {MOST_COLUMNS}")
    return _of_kind(kind, columns, view, hounsfield)


def comparison(
    content: Signal | None,
    styles: Sequence[Signal],
    result: Signal,
    view: View | None = None,
    *,
    hounsfield: bool = False,
) -> Picture:
    """Content, styles, result, and of images and volumes the result less the content. See `drawn`.

    Of many styles the first ones are shown, and the last one's name says how many there are.
    """
    most = MOST_COLUMNS - 3
    names = ["style"] if len(styles) == 1 else [f"style {n}" for n in range(1, len(styles) + 1)]
    if len(styles) > most:
        names[most - 1] += f" of {len(styles)}"
    shown = [*([] if content is None else [("content", content)])]
    shown += [*zip(names[:most], styles[:most], strict=True), ("result", result)]
    return drawn(shown, view, difference=content is not None, hounsfield=hounsfield)


def _of_kind(kind: str, columns: Sequence[Column], view: View, hounsfield: bool) -> Picture:
    if kind == "image":
        from nst_nd.drawing.image import image_figure

        return image_figure(columns, view)
    if kind == "volume":
        from nst_nd.drawing.volume import volume_figure

        return volume_figure(columns, view, hounsfield)
    if kind == "ecg":
        from nst_nd.drawing.paper import ecg_figure

        return ecg_figure(columns, view)
    from nst_nd.drawing.sound import audio_figure

    return audio_figure(columns, view)
