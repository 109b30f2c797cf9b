"""Neural style transfer in any number of dimensions: signals, images and volumes.

>>> import nst_nd
>>> content, style = nst_nd.load("photo.png"), nst_nd.load("texture.png")
>>> result = nst_nd.stylize(content, style)
>>> nst_nd.save(result.sample, "restyled.png")

The parts: `vgg19`, `random_network`, `module_extractor` make extractors; `Moments`, `gram` and STATISTICS read
statistics off activations; `Objective` and `value_and_grad` are the engine; `errors` holds the exceptions.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# name -> where it lives; imported on first use, so that `nst-nd --help` does not wait for torch
_PARTS = {
    "load": "nst_nd.io",
    "save": "nst_nd.io",
    "Sample": "nst_nd.sample",
    "Grid": "nst_nd.sample",
    "stylize": "nst_nd.domains.stylize",
    "Style": "nst_nd.domains.masks",
    "Result": "nst_nd.domains.stylize",
    "Settings": "nst_nd.domains.settings",
    "gram": "nst_nd.features.statistics",
    "Moments": "nst_nd.features.statistics",
    "STATISTICS": "nst_nd.features.statistics",
    "vgg19": "nst_nd.features.vgg",
    "random_network": "nst_nd.features.random_conv",
    "module_extractor": "nst_nd.features.module",
    "content_cost": "nst_nd.features.costs",
    "style_cost": "nst_nd.features.costs",
    "out_of_range": "nst_nd.features.costs",
    "total_variation": "nst_nd.features.costs",
    "Objective": "nst_nd.engine.objective",
    "Branch": "nst_nd.engine.objective",
    "ContentTerm": "nst_nd.engine.objective",
    "StyleTerm": "nst_nd.engine.objective",
    "SignalTerm": "nst_nd.engine.objective",
    "value_and_grad": "nst_nd.engine.stream",
    "NstError": "nst_nd.errors",
}

__all__ = ["__version__", *sorted(_PARTS)]

if TYPE_CHECKING:
    from nst_nd.domains.domain import Style
    from nst_nd.domains.settings import Settings
    from nst_nd.domains.stylize import Result, stylize
    from nst_nd.engine.objective import Branch, ContentTerm, Objective, SignalTerm, StyleTerm
    from nst_nd.engine.stream import value_and_grad
    from nst_nd.errors import NstError
    from nst_nd.features.costs import content_cost, out_of_range, style_cost, total_variation
    from nst_nd.features.module import module_extractor
    from nst_nd.features.random_conv import random_network
    from nst_nd.features.statistics import STATISTICS, Moments, gram
    from nst_nd.features.vgg import vgg19
    from nst_nd.io import load, save
    from nst_nd.sample import Grid, Sample


def __getattr__(name: str) -> Any:
    if name not in _PARTS:
        raise AttributeError(f"module 'nst_nd' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PARTS[name]), name)
    globals()[name] = value
    return value
