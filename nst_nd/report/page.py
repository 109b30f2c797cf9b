"""A page out of a template: everything escaped, everything seen, a policy that lets nothing in or out."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from nst_nd import __version__
from nst_nd.io.atomic import publishing
from nst_nd.report.text import visible, visible_lines

# of what this package makes itself and puts into attributes: data URIs, base64, coordinates
_OURS = re.compile(r"[-0-9A-Za-z.,;:/+= ]*")
# what ends a script block or confuses a parser of scripts
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render(template: str, scripts: Sequence[str], more_scripts: Sequence[str] = (), **values: Any) -> str:
    """The HTML. scripts: names of files beside the template. more_scripts: text that these may run besides."""
    style = _asset("page.css")
    texts = [_asset(name) for name in scripts]
    environment = Environment(
        loader=PackageLoader("nst_nd.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.filters |= {
        "ours": _ours,
        "data": _data,
        "lines": lambda text: escape(visible_lines(text)),
        "figure": figure,
        "first_upper": lambda text: text[:1].upper() + text[1:],
    }
    return environment.get_template(template).render(
        policy=Markup(policy([style], [*texts, *more_scripts])),
        style=Markup(style),
        scripts=[Markup(text) for text in texts],
        version=__version__,
        **values,
    )


def write(html: str, path: Path, *, overwrite: bool) -> int:
    """Atomically; its size in bytes. Raises OutputError and ComputationError as `publishing` does."""
    data = html.encode("utf-8")
    with publishing(path, overwrite=overwrite) as private:
        private.write_bytes(data)
    return len(data)


def policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Content Security Policy: these styles and scripts by their sha256, pictures and sounds inside of the page, and
    nothing else: no request can leave it.
    """
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {' '.join(map(_hash, styles))}",
            "img-src data: blob:",
            "media-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def niivue() -> tuple[str, str]:
    """NiiVue's script as text, for the policy, and packed (gzip, base64) for the page."""
    packed = resources.files("nst_nd.report").joinpath("vendor", "niivue.umd.js.gz").read_bytes()
    return gzip.decompress(packed).decode("utf-8"), base64.b64encode(packed).decode("ascii")


def figure(value: float | None) -> str:
    """A number to four digits; nothing where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.4g}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _asset(name: str) -> str:
    text = resources.files("nst_nd.report").joinpath("templates", name).read_text(encoding="utf-8")
    assert "</" not in text, f"{name}: would end its block"
    return text


def _ours(text: str) -> Markup:
    if not _OURS.fullmatch(text):
        raise ValueError("not one of our own strings: it would have to be escaped")
    return Markup(text)


def _data(value: Mapping[str, Any]) -> Markup:
    """JSON inside of a script block, which it cannot end."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter, escaped in _ESCAPED.items():
        text = text.replace(letter, escaped)
    return Markup(text)
