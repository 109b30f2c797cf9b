"""From settings to extractors: which network, adapted to the signal's channels and axes."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from nst_nd.domains.settings import ExtractorSettings, Settings
from nst_nd.domains.shared import shared
from nst_nd.errors import ConfigError
from nst_nd.features.cochlea import cochlea
from nst_nd.features.extractor import ChainStage, Extractor
from nst_nd.features.module import module_extractor
from nst_nd.features.random_conv import CHANNELS, WIDTHS, multi_width_layer, random_network
from nst_nd.features.spectral import Spectrogram
from nst_nd.features.vgg import vgg19
from nst_nd.features.weights import load_state

# a waveform has time alone
TIME_AXES = 1
# Fourier transforms and logarithms lose too much in 16 bits
FLOAT32_ALONE = ("spectrogram", "cochlea")
# a config names a class; only these libraries of networks are looked into
MODULE_SOURCES = ("monai.networks.nets.", "torchvision.models.")


@dataclass(frozen=True)
class Network:
    """An extractor with the layers that content and style read, and their weights (summing to 1 unless given).

    key: everything that the extractor was made of, in words; None where a file has a part in it.
    """

    label: str
    extractor: Extractor
    content: dict[str, float]
    style: dict[str, float]
    key: str | None = None


def build_networks(
    settings: Settings,
    nc: int,
    ndim: int,
    pool_kernel: tuple[int, ...] | None,
    *,
    with_content: bool,
    rates: Sequence[float | None] = (),
) -> list[Network]:
    """The networks of the settings, each cut after its deepest layer in use; unused ones are left out.

    rates: of a signal and of its styles, in Hz, for networks that know what they hear.
    """
    content = _weights(settings.content_layers, settings.content_layer_weights)
    style = _weights(settings.style_layers, settings.style_layer_weights)
    if not with_content or settings.content_weight == 0:
        content = {}
    if settings.style_weight == 0:
        style = {}
    several = len(settings.extractor) > 1
    networks = []
    check_precision(settings)
    for spec in settings.extractor:
        own = [_own_layers(layers, spec.prefix, several) for layers in (content, style)]
        if own[0] or own[1]:
            label = f"{spec.prefix}." if several else ""
            wanted = [*own[0], *own[1]]
            asked = (spec, settings, nc, ndim, pool_kernel, rates, wanted)
            key = _key(*asked)
            networks.append(Network(label, _made(key, *asked), own[0], own[1], key))
    known = {spec.prefix for spec in settings.extractor}
    lost = [layer for layer in (*content, *style) if several and layer.split(".", 1)[0] not in known]
    if lost:
        raise ConfigError(
            f"layers of no network: {', '.join(lost)}\nwrite network.layer with one of: {', '.join(known)}"
        )
    return networks


def layer_names(
    settings: Settings, nc: int, ndim: int, pool_kernel: tuple[int, ...] | None, rates: Sequence[float | None] = ()
) -> list[str]:
    """Every layer of the networks of the settings as settings name them; a module's are its own to tell."""
    several = len(settings.extractor) > 1
    found = []
    for spec in settings.extractor:
        if spec.name != "module":
            made = _build(spec, settings, nc, ndim, pool_kernel, rates, ())
            found += [f"{spec.prefix}.{name}" if several else name for name in made.names]
    return found


def check_precision(settings: Settings) -> None:
    """ConfigError for a precision that these networks, or the device that is named, do not have."""
    hearing = [spec.name for spec in settings.extractor if spec.name in FLOAT32_ALONE]
    if hearing and settings.precision not in ("float32", "tf32"):
        raise ConfigError(
            f"precision {settings.precision}: {' and '.join(hearing)} is computed in float32 alone\n"
            "choose float32, or other networks"
        )
    if settings.precision == "tf32" and settings.device in ("cpu", "mps"):
        raise ConfigError(
            f"precision tf32 is of NVIDIA GPUs, the device is {settings.device}\nchoose float32 or bfloat16"
        )


def _weights(layers: Sequence[str], weights: Sequence[float] | None) -> dict[str, float]:
    return dict(zip(layers, weights or [1.0 / len(layers)] * len(layers), strict=True)) if layers else {}


def _own_layers(layers: dict[str, float], prefix: str, several: bool) -> dict[str, float]:
    if not several:
        return layers
    return {name.split(".", 1)[1]: w for name, w in layers.items() if name.startswith(f"{prefix}.")}


def _key(spec: ExtractorSettings, settings: Settings, *rest: Any) -> str | None:
    """See Network: the file of a module's weights may change."""
    if spec.name == "module":
        return None
    return repr((spec, settings.pooling, settings.padding, settings.pool_kernel, rest))


def _made(key: str | None, spec: ExtractorSettings, settings: Settings, *rest: Any) -> Extractor:
    """What _build makes of these, cut after its deepest layer in use; that of an earlier job where nothing differs."""
    layers = rest[-1]

    def make() -> Extractor:
        return _build(spec, settings, *rest).until(layers)

    keeper = shared()
    return make() if keeper is None or key is None else keeper.network(key, make)


def _build(
    spec: ExtractorSettings,
    settings: Settings,
    nc: int,
    ndim: int,
    pool_kernel: tuple[int, ...] | None,
    rates: Sequence[float | None],
    layers: Sequence[str],
) -> Extractor:
    kernel = settings.pool_kernel or pool_kernel
    if spec.name == "vgg19":
        return vgg19(
            nc,
            ndim,
            pooling=settings.pooling,
            padding=settings.padding or "zeros",
            pool_kernel=kernel,
            blocks=_deepest_block(layers),
            plane=spec.plane,
        )
    if spec.name == "random":
        return random_network(
            nc,
            ndim,
            seed=spec.seed,
            widths=spec.widths or WIDTHS,
            channels=spec.channels or CHANNELS,
            pooling=settings.pooling,
            padding=settings.padding or "replicate",
            pool_kernel=kernel,
            octave=spec.octave,
            zero_mean=spec.zero_mean,
            plane=spec.plane,
        )
    if spec.name == "spectrogram":
        return spectrogram_network(nc, ndim, spec, next((rate for rate in rates if rate), None))
    if spec.name == "cochlea":
        known = [rate for rate in rates if rate]
        if ndim != TIME_AXES or not known:
            raise ConfigError("the cochlea takes signals with one axis and a sampling rate; choose vgg19 or random")
        return cochlea(nc, known[0], spec.bands, min(known))
    return _module(spec, nc, ndim, layers)


def _deepest_block(layers: Sequence[str]) -> int:
    """The last block of VGG-19 that these layers name; all five where one is not VGG's, so that the error names all."""
    found = [re.fullmatch(r"(?:conv|relu|pool)([1-5])(?:_\d)?", layer) for layer in layers]
    return max((int(m[1]) for m in found if m), default=5) if all(found) else 5


def spectrogram_network(nc: int, ndim: int, spec: ExtractorSettings, rate: float | None = None) -> Extractor:
    """Taps magnitude (the spectrogram) and filters (random kernels of several widths along time) of a waveform."""
    if ndim != TIME_AXES:
        raise ConfigError("the spectrogram network takes signals with one axis; choose vgg19 or random")
    widths = spec.widths or WIDTHS
    front = Spectrogram.hann(
        "magnitude", spec.window, spec.hop, scale=spec.scale, floor=spec.floor, mels=spec.mels, rate=rate
    )
    layer = multi_width_layer("filters", front.channels(nc), ndim, widths, spec.filters, spec.seed)
    name = (
        f"spectrogram(nc={nc}, window={spec.window}, hop={spec.hop}, widths={widths}, filters={spec.filters}, "
        f"seed={spec.seed}, floor={spec.floor:g}, {spec.scale})"
    )
    return Extractor(name, nc, ndim, (ChainStage((front,)), ChainStage((layer,))))


def _module(spec: ExtractorSettings, nc: int, ndim: int, layers: Sequence[str]) -> Extractor:
    source = spec.module or ""
    if not source.startswith(MODULE_SOURCES):
        raise ConfigError(
            f"extractor module is {source!r}; allowed in a config: names in {' and '.join(MODULE_SOURCES)}\n"
            "for a network of your own use nst_nd.module_extractor in Python"
        )
    package, _, name = source.rpartition(".")
    try:
        factory = getattr(importlib.import_module(package), name)
        module = factory(**spec.arguments)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"cannot make {source}: {str(error).splitlines()[0]}") from error
    if not isinstance(module, nn.Module):
        raise ConfigError(f"{source} does not make a torch module")
    if spec.weights is None:
        raise ConfigError(f"extractor {source} has no weights; give a .safetensors file or a checkpoint of tensors")
    if spec.probe is not None and len(spec.probe) != ndim:
        raise ConfigError(f"probe {spec.probe} has {len(spec.probe)} axes; the signal has {ndim}")
    name, state = f"{source}({spec.weights})", load_state(spec.weights)
    return module_extractor(module, nc, ndim, layers, state=state, probe=spec.probe, name=name)
