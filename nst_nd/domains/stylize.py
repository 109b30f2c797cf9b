"""One transfer in memory: content, styles and settings in, a Result out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nst_nd import drawing, nd
from nst_nd.domains import PRESETS
from nst_nd.domains.device import pick_device
from nst_nd.domains.domain import Domain, Starter, Style, sound
from nst_nd.domains.filters import added
from nst_nd.domains.labels import check_labels, inside, parts_of, shares_of, with_labels
from nst_nd.domains.masks import with_masks
from nst_nd.domains.networks import build_networks
from nst_nd.domains.resolve import resolve
from nst_nd.domains.settings import INIT_WORDS, Settings
from nst_nd.domains.transfer import Outcome, Transfer
from nst_nd.domains.work import Keeper, Viewer
from nst_nd.engine.memory import check_room
from nst_nd.engine.optimise import Step
from nst_nd.engine.team import ALONE, Team
from nst_nd.errors import ConfigError, InputError
from nst_nd.features.iterate import Iterate
from nst_nd.features.power_law import PowerLaw
from nst_nd.features.precision import allow
from nst_nd.sample import Grid, Sample

if TYPE_CHECKING:
    from nst_nd.drawing.picture import Picture


@dataclass(frozen=True)
class Result:
    """What a transfer gave.

    sample: on the content's grid, in its unit. settings: resolved, with everything that determined the result.
    history: every step. notes: conversions and guards, in words. interrupted: stopped
    before the last step; the sample is then the best so far. memory: the plan and what it predicted. content, styles:
    what it was made of.
    """

    sample: Sample
    settings: Settings
    networks: tuple[str, ...]
    history: list[Step] = field(repr=False)
    notes: tuple[str, ...] = ()
    interrupted: bool = False
    memory: dict[str, Any] = field(default_factory=dict, repr=False)
    content: Sample | None = field(default=None, repr=False)
    styles: tuple[Sample, ...] = field(default=(), repr=False)

    def plot(
        self,
        *,
        window: Sequence[float] | str | None = None,
        at: Sequence[int] | None = None,
        start: float = 0.0,
        seconds: float | None = None,
    ) -> Picture:
        """Content, styles and result beside each other; of images and volumes also what was changed.

        See Sample.plot, also for what is raised. Volumes of preset ct are shown in soft tissue by default.
        """
        view = drawing.View(window, at, start, seconds)
        return drawing.comparison(self.content, self.styles, self.sample, view, hounsfield=self.settings.preset == "ct")

    def plot_convergence(self) -> Picture:
        """Every weighted term at every step, scale by scale. Raises InputError where there were no steps."""
        from nst_nd.drawing.convergence import convergence_figure

        names = self.history[0].names if self.history else ()
        steps = [step.terms for step in self.history]
        return convergence_figure(
            [step.iteration for step in self.history],
            [step.scale for step in self.history],
            {name: [terms[name] for terms in steps] for name in names},
            {step.scale: step.size for step in self.history},
        )

    def _repr_png_(self) -> bytes:
        return self.plot().png()

    def _repr_html_(self) -> str:
        from nst_nd.drawing import notebook

        facts = notebook.facts_of(self.sample) | {
            "preset": str(self.settings.preset),
            "networks": ", ".join(self.networks),
            "steps": f"{len(self.history)}{', interrupted' if self.interrupted else ''}",
        }
        pictures = {
            "content, style and result": notebook.tried(self.plot),
            "convergence": notebook.tried(self.plot_convergence),
        }
        return notebook.page(facts, pictures, self.notes)


def stylize(
    content: Sample | None,
    styles: Sample | Style | Sequence[Sample | Style],
    *,
    size: Sequence[int] | None = None,
    init: Sample | str | None = None,
    mask: Sample | None = None,
    labels: Sample | None = None,
    on_step: Callable[[Step], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    **settings: Any,
) -> Result:
    """Restyle a content by one or several styles.

    content: None for a texture, then `size` (positions per axis; the first style's by default) says how large.
    init: "content", "noise", "style", or a sample like the content to start from; the preset's own if absent.
    mask: like the content with one channel, 0..1: where it is 0 the result is the content, bit for bit, and
        statistics are taken where it is not.
    labels: like the content with one channel, whole numbers: every Style says which of them it is for; what no style is
        for stays the content, bit for bit.
    on_step: called after every optimiser step. should_stop: asked after every step; True ends the run early.
    settings: keys of Settings over the preset's defaults.

    Raises ConfigError (settings), InputError (inputs that do not go together), ComputationError (not finite).
    """
    result = transfer(
        content,
        styles,
        size=size,
        init=init,
        mask=mask,
        labels=labels,
        on_step=on_step,
        should_stop=should_stop,
        settings=settings,
    )
    assert result is not None  # there is one process
    return result


def transfer(
    content: Sample | None,
    styles: Sample | Style | Sequence[Sample | Style],
    *,
    settings: Mapping[str, Any],
    size: Sequence[int] | None = None,
    init: Sample | str | None = None,
    mask: Sample | None = None,
    labels: Sample | None = None,
    on_step: Callable[[Step], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_plan: Callable[[str], None] | None = None,
    keeper: Keeper | None = None,
    viewer: Viewer | None = None,
    team: Team = ALONE,
) -> Result | None:
    """`stylize` for a job: in several processes, with checkpoints. None at all processes but the first.

    on_plan: told the memory plan, in words, before anything is computed. keeper: where checkpoints go. viewer: who
    sees the result while it comes. team: the processes, all of which call this with the same inputs.
    """
    given = [styles] if isinstance(styles, Sample | Style) else list(styles)
    style_list = [s if isinstance(s, Style) else Style(s) for s in given]
    style_list = [s for s in style_list if s.weight > 0]
    if not style_list:
        raise InputError("no style given; at least one with a weight above 0 is needed")
    if isinstance(init, str):
        settings, init = {**settings, "init": init}, None
    kind = style_list[0].sample.kind if content is None else content.kind
    resolved = resolve(settings, kind, texture=content is None)
    if init is None and resolved.init not in INIT_WORDS:
        raise ConfigError(f"init is {resolved.init!r}; allowed: {', '.join(INIT_WORDS)}, or a Sample")
    before = torch.get_num_threads()
    torch.set_num_threads(resolved.threads or before)
    nothing: Callable[[Any], None] = lambda _: None  # noqa: E731
    try:
        run = _Run(content, style_list, resolved, size, init, mask, labels, team)
        return run.go(on_step or nothing, should_stop or (lambda: False), on_plan or nothing, keeper, viewer)
    finally:
        torch.set_num_threads(before)


def prepared_transfer(content: Sample, styles: Sequence[Style], settings: Mapping[str, Any], team: Team) -> Transfer:
    """What `transfer` would run on these inputs, for those who want to look at its parts."""
    return _Run(content, list(styles), resolve(settings, content.kind), None, None, None, None, team).work()


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
        labels: Sample | None,
        team: Team,
    ) -> None:
        self.parts = parts_of(styles, labels)
        if labels is not None:
            if content is None:
                raise InputError("a label map needs a content")
            check_labels(labels, content, self.parts)
        self.content, self.styles, self.settings, self.team = content, styles, settings, team
        self.device = pick_device(settings.device)
        assert settings.preset is not None
        self.domain: Domain = PRESETS[settings.preset]
        self.prepared = with_masks(
            sound(self.domain.prepare(content, [s.sample for s in styles], settings)), content, styles, mask
        )
        self.prepared.notes.extend(allow(settings.precision, self.device))
        self.mask, self.labels = mask, labels
        if labels is not None:
            self.prepared = with_labels(self.prepared, labels, self.parts)
        if settings.step_exponent:
            self.prepared = replace(self.prepared, shaping=PowerLaw(settings.step_exponent))
        first = self.prepared.styles[0]
        if size is not None and (len(size) != first.dim() - 2 or any(n < 1 for n in size)):
            raise ConfigError(f"size is {tuple(size)}; allowed: {first.dim() - 2} axes of at least one position")
        self.base: Tensor = (
            first.new_zeros(1, first.shape[1], *(size or first.shape[2:]))
            if self.prepared.content is None
            else self.prepared.content
        )
        nc, ndim = self.base.shape[1], nd.spatial_axes(self.base)
        heard = [*([] if content is None else [content]), *(style.sample for style in styles)]
        self.networks = build_networks(
            settings,
            nc,
            ndim,
            self.prepared.pool_kernel,
            with_content=content is not None,
            rates=[sample.grid.rate for sample in heard],
        )
        self.init = None if init is None else self._encode_init(init)

    def work(self) -> Transfer:
        """The computing part, ready to be looked at."""
        self._begin()
        self._settle()
        transfer = self._transfer()
        transfer.aim = self.aim
        return transfer

    def _transfer(self) -> Transfer:
        shares = shares_of(self.styles, self.prepared)
        return Transfer(
            self.prepared, shares, self.networks, self.settings, self.base, self._start, self.device, self.team
        )

    def go(
        self,
        on_step: Callable[[Step], None],
        should_stop: Callable[[], bool],
        on_plan: Callable[[str], None],
        keeper: Keeper | None,
        viewer: Viewer | None,
    ) -> Result | None:
        """Through the scales, and back into physical units."""
        if self.settings.method == "spectral" and self.settings.iterations > 0:
            size = "x".join(map(str, self.base.shape[2:]))
            on_plan(check_room(self.prepared.beforehand, size, self.settings.max_memory, self.team))
            self._begin()
            return None if self.team.rank else self._result(None, Outcome(None, [], False, [], {}))
        transfer = self._transfer()
        transfer.plan(on_plan, keeper)
        self._begin()
        self._settle()
        transfer.prepared, transfer.base, transfer.aim = self.prepared, self.base, self.aim
        transfer.shares = shares_of(self.styles, self.prepared)
        try:
            outcome = transfer.run(on_step, should_stop, on_plan, keeper, viewer, self._sample_of)
        finally:
            transfer.close()
        del transfer
        return None if outcome.z is None else self._result(outcome.z.cpu(), outcome)

    def _result(self, z: Tensor | None, outcome: Outcome) -> Result:
        """In physical units."""
        start = self.prepared.start
        if z is None:
            # the spectral method says so where it cannot; without a style's weight there is nothing to do
            change = torch.zeros_like(self.base) if start is None else start
        else:
            prepared = self.prepared
            change = Iterate(self.base, prepared.lock, prepared.free, shaping=prepared.shaping).change(z)
            change = change if start is None else added(change, start)
            change = change if self.prepared.closed is None else self.prepared.closed(change)
        if self.content is None:
            sample = self._texture(change)
        else:
            sample = self.content.replace(data=self.prepared.scaling.apply(self.content.data, change))
        sample, said = self.domain.finish(self.content, sample, self.settings)
        names = tuple(network.extractor.name for network in self.networks)
        notes = (*self.prepared.notes, *outcome.notes, *said)
        inputs = self.content, tuple(style.sample for style in self.styles)
        return Result(
            sample, self.settings, names, outcome.history, notes, outcome.interrupted, outcome.memory, *inputs
        )

    def _sample_of(self, z: Tensor) -> Sample:
        """What the result would be with this z."""
        return self._result(z.cpu(), Outcome(None, [], True, [], {})).sample

    def _begin(self) -> None:
        """The spectral method, where it is asked for: its change becomes part of what is started from.

        0 steps of a run, and a style without weight, change nothing.
        """
        settings = self.settings
        if settings.method == "features" or settings.iterations == 0 or settings.style_weight == 0:
            return
        if self.content is None:
            if settings.method == "spectral" or settings.resolution:
                raise ConfigError(
                    "method spectral and resolution need a content; use method features without them for a texture"
                )
            return
        parts = [
            (part.styles, self.mask if self.labels is None else inside(self.labels, part, self.mask))
            for part in self.parts
        ]
        assert isinstance(self.domain, Starter)  # see resolve
        self.prepared = self.domain.begin(self.content, self.styles, parts, self.prepared, settings)
        if self.prepared.start is not None:
            assert self.prepared.content is not None
            self.base = added(self.prepared.content, self.prepared.start, self.prepared.free)
            self.init = None if self.init is None else self.init - (self.base - self.prepared.content)

    def _settle(self) -> None:
        """Where steps are shaped, what is started from is a change that stays, as the spectral method's is.

        Through the shaping it could only be had nearly. What content terms want is what it would be without.
        """
        self.aim = self.base
        if self.prepared.shaping is None:
            return
        first = self._change(self.base)
        if first.any():
            start, free = self.prepared.start, self.prepared.free
            first = first if free is None else first * free
            self.prepared = replace(self.prepared, start=first if start is None else added(start, first))
            self.base = added(self.base, first)

    def _start(self, base: Tensor) -> Tensor:
        """z of the first scale, for the content (or 0) at its size [1, C, *size]."""
        return torch.zeros_like(base) if self.prepared.shaping is not None else self._change(base)

    def _change(self, base: Tensor) -> Tensor:
        """What the first iterate differs from the base by."""
        settings, size = self.settings, base.shape[2:]
        if self.init is not None:
            return nd.resize(self.init, size)
        generator = torch.Generator().manual_seed(settings.seed)
        if settings.init == "content" and self.content is not None:
            return torch.zeros_like(base)
        if settings.init == "noise":
            noise = torch.rand(base.shape, generator=generator) * 2.0 - 1.0
            ratio = settings.noise_ratio if self.content is not None else 1.0
            return ratio * (noise * settings.noise_range - base)
        # style, and "content" where there is none
        noise = _noise_like(self.prepared.styles[0], size, generator)
        return (noise if self.prepared.colour is None else self.prepared.colour(noise)) - base

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
