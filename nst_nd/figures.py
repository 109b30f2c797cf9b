"""Pictures written to files: what `drawing` makes of a signal, or of content, style and result side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nst_nd import drawing
from nst_nd.errors import ConfigError, OutputError
from nst_nd.io.atomic import publishing, refuse_existing
from nst_nd.sample import Sample

if TYPE_CHECKING:
    from nst_nd.drawing.picture import Picture

SUFFIXES = (".png", ".pdf", ".svg")
# dates and random names that would make the same picture other bytes
_UNDATED = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
_SALT: Any = {"svg.hashsalt": "nst_nd"}


def check_figure(path: Path, *, overwrite: bool = False, others: Sequence[Path] = ()) -> None:
    """ConfigError for a suffix that no picture has; OutputError where it cannot be put there.

    others: files that the picture must not replace, such as the inputs and the output.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: not a kind of picture that is drawn; allowed: {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: {path.parent} is not a folder that exists; make it first")
    for other in others:
        if other.resolve() == path.resolve():
            raise OutputError(f"{path}: the picture would replace {other}; choose another name")
    refuse_existing(path, overwrite)


def draw(
    content: Sample | None,
    style: Sample | Sequence[Sample],
    result: Sample,
    path: Path,
    *,
    overwrite: bool = False,
    hounsfield: bool = False,
) -> None:
    """A picture of content, style or styles and result, written to a .png, .pdf or .svg.

    hounsfield: volumes are in HU, and shown in soft tissue.
    Raises ConfigError for other suffixes, InputError for what cannot be drawn, OutputError where it cannot be written
    or there is a file that `overwrite` does not give up.
    """
    check_figure(path, overwrite=overwrite)
    styles = [style] if isinstance(style, Sample) else list(style)
    write(drawing.comparison(content, styles, result, hounsfield=hounsfield), path, overwrite=overwrite)


def write(picture: Picture, path: Path, *, overwrite: bool = False) -> None:
    """Written whole or not at all, the same bytes each time. Raises as `check_figure` does."""
    import matplotlib

    from nst_nd.drawing.picture import DPI

    check_figure(path, overwrite=overwrite)
    with publishing(path, overwrite=overwrite) as part, matplotlib.rc_context(_SALT):
        picture.savefig(part, dpi=DPI, metadata=_UNDATED[path.suffix.lower()])
