"""What a notebook shows of a signal or a result: facts in a table, pictures below. Texts are shown as text."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from nst_nd import scratch
from nst_nd.drawing.signal import Signal
from nst_nd.errors import NstError

if TYPE_CHECKING:
    from nst_nd.drawing.picture import Picture

# CSS pixels in an inch
CSS_INCH = 96.0
# of notes; the others are counted
MOST_NOTES = 8
LONGEST_TEXT = 400


def page(facts: Mapping[str, str], pictures: Mapping[str, Picture | str], notes: Sequence[str] = ()) -> str:
    """HTML of facts, pictures (or why there is none, in words) by what they show and notes; nothing is fetched."""
    rows = "".join(f"<tr><th style='text-align:left'>{text(k)}</th><td>{text(v)}</td></tr>" for k, v in facts.items())
    shown = "".join(_picture(name, picture) for name, picture in pictures.items())
    kept = [*notes[:MOST_NOTES], *([f"and {len(notes) - MOST_NOTES} notes more"] if len(notes) > MOST_NOTES else [])]
    items = "".join(f"<li>{text(note)}</li>" for note in kept)
    return f"<div><table>{rows}</table>{shown}{f'<ul>{items}</ul>' if items else ''}</div>"


def tried(plot: Callable[[], Picture]) -> Picture | str:
    """The picture, or why there is none: a notebook shows the facts all the same."""
    try:
        return plot()
    except NstError as error:
        return str(error)


def text(words: str) -> str:
    """Any text as HTML that shows it, on one line, in its own direction; characters that do not show are left out."""
    line = " ".join(words.split())[:LONGEST_TEXT]
    return f"<bdi>{html.escape(''.join(c for c in line if c.isprintable()))}</bdi>"


def _picture(name: str, picture: Picture | str) -> str:
    if isinstance(picture, str):
        return f"<p>{text(f'{name}: {picture}')}</p>"
    data = base64.b64encode(picture.png()).decode("ascii")
    width = round(picture.get_size_inches()[0] * CSS_INCH)
    alt = html.escape(name, quote=True)
    return f'<p><img alt="{alt}" width="{width}" style="max-width:100%" src="data:image/png;base64,{data}"></p>'


def facts_of(signal: Signal) -> dict[str, str]:
    """Kind, size, sampling, channels and range, in words."""
    grid = signal.grid
    low, high = (values for values in scratch.extremes(signal.data))
    size = signal.shape[::-1] if signal.kind == "image" else signal.shape
    facts = {"kind": signal.kind, "size": " x ".join(str(n) for n in size)}
    if grid.rate:
        facts["rate"] = f"{grid.rate:g} Hz, {signal.shape[0] / grid.rate:.4g} s"
    elif grid.unit != "px":
        facts["spacing"] = " x ".join(f"{step:.4g}" for step in grid.spacing) + f" {grid.unit}"
    names = f" ({', '.join(signal.channels)})" if signal.channels else ""
    facts["channels"] = f"{len(signal.data)}{names}"
    facts["range"] = f"{float(low.min()):.6g} to {float(high.max()):.6g} {signal.units}"
    return facts
