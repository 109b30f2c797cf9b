"""One transfer in memory: content, styles and settings in, a Result out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from nst_nd import nd
from nst_nd.domains import PRESETS
from nst_nd.domains.device import pick_device
from nst_nd.domains.domain import Domain
from nst_nd.domains.masks import Style, with_masks
from nst_nd.domains.networks import Network, build_networks
from nst_nd.domains.settings import INIT_WORDS, Settings
from nst_nd.engine.objective import Branch, ContentTerm, Objective, SignalTerm, StyleTerm, activations_of, style_moments
from nst_nd.engine.optimise import Progress, Step, optimise
from nst_nd.engine.optimisers import LBFGS, Adam, Optimiser
from nst_nd.engine.pyramid import scale_sizes, share_iterations
from nst_nd.errors import ConfigError, InputError
from nst_nd.features.costs import out_of_range, total_variation
from nst_nd.features.iterate import Iterate
from nst_nd.features.statistics import STATISTICS
from nst_nd.sample import Grid, Sample

# settings that only some kinds of signal know: given for another they are an error, not a wish that is lost
ONLY = {
    "original_colors": ("image",),
    "style_scale": ("image",),
    "range_weight": ("image", "audio"),
    "window": ("volume",),
    "lock_mm": ("volume",),
    "protect": ("volume",),
    "region": ("volume",),
}


@dataclass(frozen=True)
class Result:
    """What a transfer gave.

    sample: on the content's grid, in its unit. settings: resolved, with everything that determined the result.
    history: every step. notes: conversions and guards, in words. interrupted: stopped
    before the last step; the sample is then the best so far.
    """

    sample: Sample
    settings: Settings
    networks: tuple[str, ...]
    history: list[Step] = field(repr=False)
    notes: tuple[str, ...] = ()
    interrupted: bool = False


def resolve(settings: Mapping[str, Any], kind: str) -> Settings:
    """Settings with the preset's defaults under what was given; the preset is the kind's own unless named.

    Raises ConfigError for unknown keys and values out of range.
    """
    preset = settings.get("preset") or kind
    if preset not in PRESETS:
        raise ConfigError(f"preset is {preset!r}; allowed: {', '.join(PRESETS)}")
    defaults = dict(PRESETS[preset].defaults)
    for layers in ("content_layers", "style_layers"):
        if layers in settings:  # the preset's weights belong to the preset's layers
            defaults.pop(f"{layers.removesuffix('s')}_weights", None)
    try:
        resolved = Settings.model_validate({**defaults, **settings, "preset": preset})
    except ValidationError as error:
        raise ConfigError(explain(error)) from error
    idle = [key for key, kinds in ONLY.items() if settings.get(key) and PRESETS[preset].kind not in kinds]
    if idle:
        kinds = " and ".join(ONLY[idle[0]])
        raise ConfigError(f"{', '.join(idle)}: works on {kinds} only; the preset is {preset}\nleave it out")
    return resolved


def explain(error: ValidationError) -> str:
    """The first of pydantic's complaints, in one line, with the number of the others."""
    first, *others = error.errors()
    where = ".".join(str(part) for part in first["loc"]) or "settings"
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {len(others)} more)" if others else ""
    return f"{where}: {message}; got {first['input']!r}{more}" if first["loc"] else f"{message}{more}"


def stylize(
    content: Sample | None,
    styles: Sample | Style | Sequence[Sample | Style],
    *,
    size: Sequence[int] | None = None,
    init: Sample | str | None = None,
    mask: Sample | None = None,
    on_step: Callable[[Step], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    **settings: Any,
) -> Result:
    """Restyle a content by one or several styles.

    content: None for a texture, then `size` (positions per axis; the first style's by default) says how large.
    init: "content", "noise", "style", or a sample like the content to start from; the preset's own if absent.
    mask: like the content with one channel, 0..1: where it is 0 the result is the content, bit for bit, and
        statistics are taken where it is not.
    on_step: called after every optimiser step. should_stop: asked after every step; True ends the run early.
    settings: keys of Settings over the preset's defaults.

    Raises ConfigError (settings), InputError (inputs that do not go together), ComputationError (not finite).
    """
    given = [styles] if isinstance(styles, Sample | Style) else list(styles)
    style_list = [s if isinstance(s, Style) else Style(s) for s in given]
    style_list = [s for s in style_list if s.weight > 0]
    if not style_list:
        raise InputError("no style given; at least one with a weight above 0 is needed")
    if isinstance(init, str):
        settings, init = {**settings, "init": init}, None
    kind = style_list[0].sample.kind if content is None else content.kind
    resolved = resolve(settings, kind)
    if init is None and resolved.init not in INIT_WORDS:
        raise ConfigError(f"init is {resolved.init!r}; allowed: {', '.join(INIT_WORDS)}, or a Sample")
    before = torch.get_num_threads()
    torch.set_num_threads(resolved.threads or before)
    try:
        run = _Run(content, style_list, resolved, size, init, mask)
        return run.go(on_step or (lambda _: None), should_stop or (lambda: False))
    finally:
        torch.set_num_threads(before)


class _Run:
    """The state of one transfer while it runs."""

    def __init__(
        self,
        content: Sample | None,
        styles: Sequence[Style],
        settings: Settings,
        size: Sequence[int] | None,
        init: Sample | None,
        mask: Sample | None,
    ) -> None:
        self.content, self.styles, self.settings = content, styles, settings
        self.device = pick_device(settings.device)
        assert settings.preset is not None
        self.domain: Domain = PRESETS[settings.preset]
        self.prepared = with_masks(
            self.domain.prepare(content, [s.sample for s in styles], settings), content, styles, mask
        )
        first = self.prepared.styles[0]
        if size is not None and (len(size) != first.dim() - 2 or any(n < 1 for n in size)):
            raise ConfigError(f"size is {tuple(size)}; allowed: {first.dim() - 2} axes of at least one position")
        self.base: Tensor = (
            first.new_zeros(1, first.shape[1], *(size or first.shape[2:]))
            if self.prepared.content is None
            else self.prepared.content
        )
        nc, ndim = self.base.shape[1], nd.spatial_axes(self.base)
        self.networks = build_networks(settings, nc, ndim, self.prepared.pool_kernel, with_content=content is not None)
        self.init = None if init is None else self._encode_init(init)
        self.notes = [*self.prepared.notes]

    def go(self, on_step: Callable[[Step], None], should_stop: Callable[[], bool]) -> Result:
        """Through the scales, and back into physical units."""
        z, history, interrupted = self._optimise(on_step, should_stop)
        change = self._iterate(z.shape[2:], z.device).change(z)
        if self.content is None:
            sample = self._texture(change)
        else:
            sample = self.content.replace(data=self.prepared.scaling.apply(self.content.data, change))
        sample, said = self.domain.finish(self.content, sample, self.settings)
        names = tuple(network.extractor.name for network in self.networks)
        return Result(sample, self.settings, names, history, (*self.notes, *said), interrupted)

    def _optimise(
        self, on_step: Callable[[Step], None], should_stop: Callable[[], bool]
    ) -> tuple[Tensor, list[Step], bool]:
        networks = [replace(n, extractor=n.extractor.to(self.device, torch.float32)) for n in self.networks]
        least = [max(axis) for axis in zip(*(n.extractor.least_size for n in networks), strict=True)]
        full = tuple(self.base.shape[2:])
        scales = scale_sizes(full, self.settings.scales, least)
        for style in self.prepared.styles:  # a scale has to be large enough for every style as well
            shares = {share for _, share in scale_sizes(style.shape[2:], self.settings.scales, least, "the style")}
            scales = [scale for scale in scales if scale[1] in shares]
        if self.settings.iterations == 0:
            scales = scales[-1:]
        if len(scales) < len(self.settings.scales) and self.settings.iterations:
            left = len(self.settings.scales) - len(scales)
            self.notes.append(f"{left} coarse scale(s) left out: smaller than the network's stride")
        progress = Progress(self.settings.iterations, len(scales))
        history: list[Step] = []
        z: Tensor | None = None
        for index, steps in enumerate(
            share_iterations(self.settings.iterations, [share for _, share in scales], len(full))
        ):
            size, share = scales[index]
            progress.scale = index
            iterate = self._iterate(size, self.device)
            z = self._start(iterate) if z is None else nd.resize(z, size)
            z = nd.channels_last(z)
            objective = self._objective(networks, iterate, share)
            for step, best in optimise(objective, iterate, z, self._optimiser(), steps, progress):
                on_step(step)
                history.append(step)
                if should_stop():
                    return nd.resize(best, full), history, True
        if progress.restarts:
            self.notes.append(
                f"the optimiser went astray {progress.restarts} times and was sent back to the best so far"
            )
        assert z is not None
        return z, history, False

    def _optimiser(self) -> Optimiser:
        if self.settings.optimizer == "adam":
            return Adam(self.settings.learning_rate)
        return LBFGS(self.settings.learning_rate, self.settings.history)

    def _iterate(self, size: Sequence[int], device: torch.device) -> Iterate:
        full = self.base.shape[2:]
        lock = self.prepared.lock
        if lock is not None:
            lock = tuple(s * new / old for s, new, old in zip(lock, size, full, strict=True))
        free = self.prepared.free
        return Iterate(
            nd.channels_last(nd.resize(self.base, size).to(device)),
            lock,
            None if free is None else nd.resize(free, size).to(device),
        )

    def _start(self, iterate: Iterate) -> Tensor:
        """z of the first scale."""
        base, settings = iterate.base, self.settings
        size = base.shape[2:]
        if self.init is not None:
            return nd.resize(self.init, size).to(base.device)
        generator = torch.Generator().manual_seed(settings.seed)
        if settings.init == "content" and self.content is not None:
            return torch.zeros_like(base)
        if settings.init == "noise":
            noise = torch.rand(base.shape, generator=generator) * 2.0 - 1.0
            ratio = settings.noise_ratio if self.content is not None else 1.0
            return ratio * (noise.to(base) * settings.noise_range - base)
        # style, and "content" where there is none
        return _noise_like(self.prepared.styles[0], size, generator).to(base) - base

    def _objective(self, networks: Sequence[Network], iterate: Iterate, share: float) -> Objective:
        settings = self.settings
        styles = [nd.channels_last(nd.resize(s, _scaled(s, share)).to(self.device)) for s in self.prepared.styles]
        masks = [
            None if m is None else nd.resize(m, _scaled(m, share)).to(self.device)
            for m in self.prepared.style_weights or (None,) * len(styles)
        ]
        weight = self.prepared.weight
        here = None if weight is None else nd.resize(weight, iterate.base.shape[2:]).to(self.device)
        total = sum(s.weight for s in self.styles)
        shares = [s.weight / total for s in self.styles]
        branches = tuple(
            _branch(network, settings, iterate.base, list(zip(styles, masks, shares, strict=True)), here)
            for network in networks
        )
        return Objective(branches, self._signal_terms())

    def _signal_terms(self) -> tuple[SignalTerm, ...]:
        settings, limits, scaling = self.settings, self.prepared.limits, self.prepared.scaling
        terms = []
        if settings.tv_weight:
            tv = partial(total_variation, exponent=settings.tv_exponent)
            terms.append(SignalTerm("tv", settings.tv_weight, tv))
        if settings.range_weight and limits is not None:
            low, high = (torch.from_numpy((v - scaling.offset) * scaling.gain).float().to(self.device) for v in limits)
            terms.append(SignalTerm("range", settings.range_weight, partial(out_of_range, low=low, high=high)))
        return tuple(terms)

    def _encode_init(self, init: Sample) -> Tensor:
        if self.base.shape[1:] != init.data.shape:
            raise InputError(
                f"the init has shape {init.data.shape}, the content {tuple(self.base.shape[1:])}; must agree"
            )
        scaling = self.prepared.scaling
        start = scaling.encode(init.data)
        return start if self.content is None else start - scaling.encode(self.content.data)

    def _texture(self, change: Tensor) -> Sample:
        style = self.styles[0].sample
        grid = Grid(style.grid.spacing, style.grid.unit, style.grid.rate, style.grid.affine)
        return Sample(
            self.prepared.scaling.decode(change), style.kind, style.units, grid, style.channels, source=style.source
        )


def _branch(
    network: Network,
    settings: Settings,
    content: Tensor,
    styles: Sequence[tuple[Tensor, Tensor | None, float]],
    weight: Tensor | None,
) -> Branch:
    """Targets are computed here, once per scale."""
    extractor = network.extractor
    statistic = STATISTICS[settings.statistic]
    terms: list[ContentTerm] = []
    if network.content:
        targets = activations_of(extractor, content)
        terms = [
            ContentTerm.of(
                tap, settings.content_weight * w, targets[tap], settings.content_normalisation, network.label
            )
            for tap, w in network.content.items()
        ]
    style_terms: list[StyleTerm] = []
    pivots: dict[str, Tensor] = {}
    for number, (style, mask, share) in enumerate(styles, start=1):
        prefix = "style" if len(styles) == 1 else f"style{number}"
        for tap, m in (style_moments(extractor, style, [statistic], mask) if network.style else {}).items():
            if tap not in network.style:
                continue
            if not m.count > 0:
                raise InputError(f"the style mask leaves no position of {network.label}{tap} to take statistics from")
            if m.pivot is not None:
                pivots.setdefault(tap, m.pivot)
            name = f"{prefix}/{network.label}{tap}"
            beta = settings.style_weight * share * network.style[tap]
            style_terms.append(StyleTerm(name, tap, beta, statistic, statistic.read(m), settings.style_normalisation))
    masks = {} if weight is None else extractor.carry(weight, frozenset(network.style))
    unseen = [tap for tap, mask in masks.items() if not mask.any()]
    if unseen:
        raise InputError(f"the mask leaves no position of {network.label}{unseen[0]} to take statistics from")
    return Branch(extractor, tuple(terms), tuple(style_terms), pivots, masks)


def _scaled(x: Tensor, share: float) -> tuple[int, ...]:
    return tuple(max(1, round(n * share)) for n in x.shape[2:])


def _noise_like(style: Tensor, size: Sequence[int], generator: torch.Generator) -> Tensor:
    """White noise [1, C, *size] with the style's channel means and covariance."""
    flat = style[0].flatten(1).double()
    mean = flat.mean(1)
    cov = torch.cov(flat).reshape(len(mean), len(mean))
    vectors = torch.linalg.eigh(cov)
    root = vectors.eigenvectors * vectors.eigenvalues.clamp_min(0.0).sqrt()
    white = torch.randn(len(mean), *size, generator=generator, dtype=torch.float64)
    noise = torch.tensordot(root, white, dims=1) + mean.reshape(-1, *(1,) * len(size))
    as_batch: Tensor = noise[None].float()
    return as_batch
