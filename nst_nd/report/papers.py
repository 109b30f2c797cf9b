"""ECG as on paper: one picture for each recording, all with the same scale, and one of what changed."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from nst_nd.drawing.paper import ECG_SECONDS, MARGIN_MM, MM_PER_S, ecg_figure, scales
from nst_nd.drawing.picture import MM_PER_INCH
from nst_nd.drawing.signal import Column, View
from nst_nd.report.pictures import Panel, Role, png
from nst_nd.sample import Sample

DPI = 110
# colours of a picture of paper
COLOURS = 32


def paper_panels(shown: Sequence[tuple[Role, Sample]]) -> list[Panel]:
    """The first seconds of each, cut out of one figure so that all strips are alike."""
    samples = dict(shown)
    drawn = list(shown)
    if "content" in samples:
        change = samples["result"].data - samples["content"].data
        drawn.append(("difference", samples["result"].replace(data=change)))
    figure = ecg_figure([Column(role, sample) for role, sample in drawn], View())
    whole = Image.open(io.BytesIO(figure.png(DPI))).convert("RGB")
    across = ECG_SECONDS * MM_PER_S
    panels = []
    for column, (role, sample) in enumerate(drawn):
        left = column * (across + MARGIN_MM)
        # half of a margin on each side; one that is alone may have leads in two columns
        box = (_pixels(left + 0.5 * MARGIN_MM), 0, _pixels(left + across + 1.5 * MARGIN_MM), whole.height)
        picture = (whole.crop(box) if len(drawn) > 1 else whole).quantize(COLOURS, dither=Image.Dither.NONE)
        rate = sample.grid.rate or 1.0
        seconds = sample.shape[0] / rate
        cut = f"the first {ECG_SECONDS:g} s of {seconds:.4g} s" if seconds > ECG_SECONDS else f"{seconds:.3g} s"
        alt = f"{role}: {sample.nc} leads on ECG paper, {scales([sample])}"
        panels.append(Panel(role, (png(picture),), picture.size, alt, f"{cut}; {rate:g} Hz"))
    return panels


def _pixels(mm: float) -> int:
    return round(mm / MM_PER_INCH * DPI)
