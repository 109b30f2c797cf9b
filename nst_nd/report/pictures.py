"""Arrays as pictures that a page can hold: bounded, without metadata, as data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nst_nd.drawing.signal import colours_of
from nst_nd.sample import Sample

# longer side of what is shown of an image, and when it is stored with losses
MOST_SIDE, MOST_PIXELS = 1600, 700_000
THUMBNAIL = 96
# of a difference: what is beyond is shown as this, and so many steps of colour on each side
LARGEST_SHARE, STEPS = 0.995, 31
# of a difference, from below through no change to above
_BELOW, _NONE, _ABOVE = (33, 102, 172), (247, 247, 247), (178, 24, 43)
Role = Literal["content", "style", "result", "difference"]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Panel:
    """One signal of the page.

    pictures: data URIs, one for each position of the slider. size: width and height in pixels as shown. words: what can
    be said of it in a line. alt: what a picture shows, for those who do not see it.
    """

    role: Role
    pictures: tuple[str, ...]
    size: tuple[int, int]
    alt: str
    words: str = ""
    sound: str = ""
    frame: dict[str, Any] = field(default_factory=dict)


def data_uri(data: bytes, mime: str) -> str:
    """For src attributes."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def png(picture: Image.Image) -> str:
    """Lossless, as a data URI."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=6)
    return data_uri(buffer.getvalue(), "image/png")


def webp(picture: Image.Image, quality: int) -> str:
    """With losses, as a data URI."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality, method=2)
    return data_uri(buffer.getvalue(), "image/webp")


def stored(picture: Image.Image) -> tuple[str, str]:
    """A picture of any size as a data URI, and what had to be done to it, in words."""
    said = ""
    largest = max(picture.size)
    if largest > MOST_SIDE:
        share = MOST_SIDE / largest
        size = (max(1, round(picture.width * share)), max(1, round(picture.height * share)))
        said = f"shown at {size[0]} × {size[1]} of {picture.width} × {picture.height} pixels"
        picture = picture.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    if picture.width * picture.height <= MOST_PIXELS:
        return png(picture), said
    return webp(picture, 92), f"{said}, compressed with small losses".removeprefix(", ")


def image_of(sample: Sample) -> Image.Image:
    """Of an image [C, height, width] in 0..1: gray or RGB, of the channels that `colours_of` keeps."""
    kept, _ = colours_of(sample.nc)
    values = np.clip(np.rint(sample.data[:kept] * 255.0), 0, 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)))


def gray(values: NDArray[Any], window: tuple[float, float]) -> Image.Image:
    """A plane [rows, columns] with window[0] black and window[1] white."""
    low, high = window
    scaled = (values.astype(np.float32) - low) * (255.0 / (high - low))
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def largest_change(difference: NDArray[Any]) -> float:
    """What the colours of a difference reach to: most of it lies within; 0 where nothing changed."""
    size = np.abs(difference).ravel()
    changed = size[size > 0]
    return float(np.quantile(changed, LARGEST_SHARE)) if changed.size else 0.0


def diverging(difference: NDArray[Any], largest: float) -> Image.Image:
    """A plane [rows, columns]: blue below, white where nothing changed, red above; full colour at `largest`."""
    scaled = np.zeros(difference.shape) if largest == 0 else np.clip(difference / largest, -1.0, 1.0)
    picture = Image.fromarray((np.rint(scaled * STEPS) + STEPS).astype(np.uint8), "P")
    picture.putpalette(_palette().tobytes())
    return picture


def _palette() -> Bytes:
    share = np.linspace(-1.0, 1.0, 2 * STEPS + 1)[:, None]
    ends = np.where(share < 0, np.array(_BELOW), np.array(_ABOVE))
    colours = np.array(_NONE) + np.abs(share) * (ends - np.array(_NONE))
    palette: Bytes = np.rint(colours).astype(np.uint8)
    return palette


def thumbnail(picture: Image.Image) -> str:
    """A small one, with losses, as a data URI."""
    small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return webp(small, 70)
