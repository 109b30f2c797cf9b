"""What changed: a few numbers for every transfer, measured with nothing that the transfer optimised."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nst_nd.domains.domain import refuse_constant
from nst_nd.domains.metrics.common import content_change, gradient_correlation
from nst_nd.domains.metrics.ecg import ECG_METRICS, ecg_metrics
from nst_nd.domains.metrics.signals import AUDIO_METRICS, audio_metrics, texture_metrics
from nst_nd.domains.metrics.texture import style_distance
from nst_nd.domains.metrics.volume import CT_METRICS, ct_metrics
from nst_nd.sample import Sample

OWN: dict[str, Callable[[Sample, Sample, Sample], dict[str, float]]] = {
    "audio": audio_metrics,
    "ecg": ecg_metrics,
    "ct": ct_metrics,
}

COMMON = ("style_distance_before", "style_distance_after", "gradient_correlation", "change_rms", "change_max")
NAMES = {"audio": AUDIO_METRICS, "ecg": ECG_METRICS, "ct": CT_METRICS}


def names(preset: str) -> tuple[str, ...]:
    """Every metric that `measure` knows for this preset."""
    return (*COMMON, *NAMES.get(preset, ()))


def measure(
    content: Sample | None, styles: Sequence[Sample], result: Sample, preset: str | None = None
) -> dict[str, float]:
    """Metrics by name; those that exist before and after the transfer end in _before and _after.

    preset: the domain, the kind of the result by default. What cannot be measured on these samples is NaN. The result
    lies on the content's grid, whatever its own says.

    style_distance: relative Gram distance to the first style on a held-out random network (0: the same texture).
    gradient_correlation: of the gradient magnitudes of content and result (1: every edge where it was).
    change_rms: root mean square of result less content, in the sample's unit.
    Domains add their own: see audio_metrics, ecg_metrics, ct_metrics.

    Raises InputError for a constant style.
    """
    style = styles[0]
    refuse_constant(style)
    found: dict[str, float] = {}
    if content is not None:
        found["style_distance_before"] = style_distance(content, style, like=content)
    found["style_distance_after"] = style_distance(result, style, like=content or result)
    if content is None:
        return found | (texture_metrics(style, result) if result.kind == "audio" else {})
    result = result.replace(grid=content.grid)
    found["gradient_correlation"] = gradient_correlation(content, result)
    found |= content_change(content, result)
    own = OWN.get(preset or result.kind)
    return found if own is None else found | own(content, style, result)
