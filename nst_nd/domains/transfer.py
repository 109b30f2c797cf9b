"""The computing part of one transfer: plans, targets and steps, scale by scale, in one process or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nst_nd import nd, scratch
from nst_nd.domains.domain import Prepared
from nst_nd.domains.networks import Network
from nst_nd.domains.settings import Settings
from nst_nd.domains.shared import on_device
from nst_nd.domains.targets import Frame, StyleSignal, branch_of, signal_terms, split_for, style_names
from nst_nd.domains.work import Keeper, Scale, Viewer, Work
from nst_nd.engine.field import Field
from nst_nd.engine.lowpass import SlabLowPass, SlabShaping
from nst_nd.engine.memory import in_words, return_large_blocks, room, trim
from nst_nd.engine.objective import Objective
from nst_nd.engine.optimise import Progress, Step
from nst_nd.engine.optimisers import LBFGS, Adam, Optimiser
from nst_nd.engine.plan import FRAGMENTED, Demand, Plan, history_dtype, make_plan, tiled_plan, untiled_plan
from nst_nd.engine.pyramid import scale_sizes, share_iterations
from nst_nd.engine.state import step_of
from nst_nd.engine.stream import Engine
from nst_nd.engine.team import Split, Team
from nst_nd.features.convolution import forget_winograd
from nst_nd.features.iterate import Iterate
from nst_nd.sample import Sample


@dataclass(frozen=True)
class Outcome:
    """What the steps led to. z: [1, C, *full size] at process 0, None at the others. plan: of the full size."""

    z: Tensor | None
    history: list[Step]
    interrupted: bool
    notes: list[str]
    memory: dict[str, Any]


class Transfer:
    """One transfer of prepared inputs. base: [1, C, *full size], whole. start: z [1, C, *size] of the first scale."""

    def __init__(
        self,
        prepared: Prepared,
        shares: Sequence[float],
        networks: Sequence[Network],
        settings: Settings,
        base: Tensor,
        start: Callable[[Tensor], Tensor],
        device: torch.device,
        team: Team,
    ) -> None:
        self.prepared, self.shares, self.settings = prepared, shares, settings
        self.base, self.start, self.device, self.team = base, start, device, team
        self.aim = base  # what content terms want
        self.given = networks
        self.networks = self._networks(fast=False)
        self.notes: list[str] = []

    def plan(self, on_plan: Callable[[str], None], keeper: Keeper | None) -> None:
        """What `run` will do, before anything is computed. Raises ConfigError where the memory is too little."""
        self.saved = None if keeper is None else keeper.load()
        recorded = self.saved[1]["plans"] if self.saved else None
        self.scales = [] if recorded and not recorded[-1]["fast"] else self._fast_scales(recorded)
        if not self.scales:
            self.networks = self._networks(fast=False)
            self.scales = self._scales(recorded)
        self._say(self.scales[-1], on_plan)
        # where there is room for a heap that holds twice what is in use, it may keep its pages, which is faster
        if self.settings.max_memory is not None and not all(
            scale.plan.untiled and FRAGMENTED * scale.plan.predicted <= self.available for scale in self.scales
        ):
            return_large_blocks()

    def run(
        self,
        on_step: Callable[[Step], None],
        should_stop: Callable[[], bool],
        on_plan: Callable[[str], None],
        keeper: Keeper | None,
        viewer: Viewer | None = None,
        sample_of: Callable[[Tensor], Sample] | None = None,
    ) -> Outcome:
        """Through the scales that were planned; `close` follows. Raises ComputationError (not finite).

        sample_of: from z [1, C, *full size] to what `viewer` sees, which is the best so far.
        """
        saved, scales = self.saved, self.scales
        history = [] if saved is None else [step_of(row) for row in saved[1]["history"]]
        progress = Progress(self.settings.iterations, len(scales))
        z: Tensor | None = None
        interrupted = False
        for index, scale in enumerate(scales):
            if saved and index < saved[1]["scale"]:
                continue
            progress.scale = index
            z = self._at(scale, z, scales[index - 1] if index else None)
            resumed = saved if saved and index == saved[1]["scale"] else None
            work = Work(self, scale, z, resumed, progress, on_plan)
            for step in work.steps(scale.steps):
                on_step(step)
                history.append(step)
                interrupted = self.team.any(should_stop())
                if keeper is not None and self.team.any(keeper.started if interrupted else keeper.due()):
                    work.save(keeper, index, scales, history)
                if viewer is not None and sample_of is not None and self.team.any(viewer.due()):
                    at = self._full(work.loop.best, scale)
                    if at is not None:
                        viewer.show(partial(sample_of, at))
                if interrupted:
                    break
            z = work.loop.best if interrupted else z
            del work
            trim()
            if interrupted:
                break
        if progress.restarts:
            self.notes.append(
                f"the optimiser went astray {progress.restarts} times and was sent back to the best so far"
            )
        assert z is not None
        return Outcome(self._full(z, scale), history, interrupted, self.notes, self._memory(scales[-1]))

    def close(self) -> None:
        """Give back what networks made for themselves: other jobs of this process may keep the networks."""
        for network in self.networks:
            forget_winograd(network.extractor)

    def gradient(self, edge: int | None, seed: int = 0) -> tuple[Tensor, Tensor, Plan]:
        """Terms, gradient of this process's slab and the plan at the full size, at a start with seeded noise on it.

        edge: of the tiles of a volume, other signals get as many positions; None: everything at once.
        """
        demand = self.demand()
        size, split = demand.size, demand.split
        plan = tiled_plan(demand, edge)
        scale = Scale(size, 1.0, 0, split, demand, plan)
        noise = torch.randn(self.base.shape, generator=torch.Generator().manual_seed(seed))
        x = self.own(self.base + noise, split)
        objective = self.objective(scale, self.own(self.base, split))
        terms, grad = Engine(objective, size, plan.tiling, self.team, split).value_and_grad(x)
        return terms, self.whole(grad, scale), plan

    def _networks(self, *, fast: bool) -> list[Network]:
        how = self.device, self.settings.precision
        return [replace(n, extractor=on_device(n.extractor, *how, fast=fast)) for n in self.given]

    def _fast_scales(self, recorded: list[Any] | None) -> list[Scale]:
        """With Winograd's convolutions; none where they do not belong, or where their memory is wanted elsewhere."""
        if self.device.type != "cpu" or self.settings.precision != "float32" or self.team.count > 1:
            return []
        self.networks = self._networks(fast=True)
        return self._scales(recorded, untiled_plan)

    def _scales(
        self, recorded: list[Any] | None, choose: Callable[[Demand, int], Plan | None] = make_plan
    ) -> list[Scale]:
        """None where no plan is chosen."""
        settings, networks = self.settings, self.networks
        extractors = [n.extractor for n in networks]
        least = [max(axis) for axis in zip(*(e.least_size for e in extractors), strict=True)]
        full = tuple(self.base.shape[2:])
        sizes = scale_sizes(full, settings.scales, least)
        for style in self.prepared.styles:  # a scale has to be large enough for every style as well
            shares = {share for _, share in scale_sizes(style.shape[2:], settings.scales, least, "the style")}
            sizes = [scale for scale in sizes if scale[1] in shares]
        if settings.iterations == 0:
            sizes = sizes[-1:]
        elif left := len(settings.scales) - len(sizes):
            self.notes = [f"{left} coarse scale(s) left out: smaller than the network's stride"]
        steps = share_iterations(settings.iterations, [share for _, share in sizes], len(full))
        self.available, self.had = room(settings.max_memory, self.device, self.team)
        found = []
        for i, ((size, share), count) in enumerate(zip(sizes, steps, strict=True)):
            split = split_for(extractors, size, self.team.count)
            demand = self._demand(size, share, split)
            plan = Plan.of_record(recorded[i]) if recorded else choose(demand, self.available)
            if plan is None:
                return []
            found.append(Scale(size, share, count, split, demand, plan))
        return found

    def demand(self) -> Demand:
        """What the full size needs."""
        size = tuple(self.base.shape[2:])
        return self._demand(size, 1.0, split_for([n.extractor for n in self.networks], size, self.team.count))

    def _demand(self, size: tuple[int, ...], share: float, split: Split | None) -> Demand:
        branches = tuple((n.extractor, frozenset([*n.content, *n.style]), frozenset(n.content)) for n in self.networks)
        p, s = self.prepared, self.settings
        masks = sum(m is not None for m in (p.free, p.weight, *p.regions)) + (p.free is not None and p.lock is not None)
        # the change by the spectral method stays beside the signal, and each tissue may become a region
        masks += (s.method == "both") * (1 + len(s.tissues))
        smoothed, accelerator = p.lock is not None or p.shaping is not None, self.device.type == "cuda"
        return Demand(
            branches,
            size,
            nc=self.base.shape[1],
            optimizer=s.optimizer,
            history=s.history,
            masks=masks,
            smoothed=smoothed,
            split=split,
            rank=self.team.rank,
            accelerator=accelerator,
            keeps_pages=not accelerator and s.max_memory is None,  # see return_large_blocks
            styles=tuple(_scaled(x, share) for x in p.styles),
            beforehand=p.beforehand if s.method == "both" else 0,
        )

    def _say(self, scale: Scale, on_plan: Callable[[str], None]) -> None:
        here = f"memory plan for {'x'.join(map(str, scale.size))}"
        if scale.split is not None:
            here += f" in {self.team.count} slabs along axis {scale.split.axis}"
        on_plan(f"{here}: {scale.plan.words()}; the program itself has {in_words(self.had)}")

    def _memory(self, scale: Scale) -> dict[str, Any]:
        return {
            "max_memory": self.settings.max_memory,
            "plan": scale.plan.record(),
            "predicted_peak_bytes": self.had + scale.plan.predicted,
            "processes": self.team.count,
        }

    def own(self, x: Tensor, split: Split | None) -> Tensor:
        """This process's slab of a whole array, on the device."""
        if split is None:
            return nd.channels_last(x.to(self.device))
        slab = Field.of(x).read(split.owned(self.team.rank, x.shape[2:]), copy=True)
        return nd.channels_last(slab.to(self.device))

    def whole(self, z: Tensor, scale: Scale) -> Tensor:
        """The whole array from everybody's slab, at every process."""
        if scale.split is None:
            return z
        field = Field.of(torch.zeros((*z.shape[:2], *scale.size), dtype=z.dtype, device=z.device))
        field.write(scale.split.owned(self.team.rank, scale.size), z)
        return self.team.total(field.data)

    def _at(self, scale: Scale, z: Tensor | None, before: Scale | None) -> Tensor:
        """z of a scale, from that of the one before it, or a start."""
        if z is None or before is None:
            return self.own(self.start(nd.resize(self.base, scale.size)), scale.split)
        return self.own(nd.resize(self.whole(z, before), scale.size), scale.split)

    def _full(self, z: Tensor, scale: Scale) -> Tensor | None:
        whole = self.whole(z, scale)
        return None if self.team.rank else nd.resize(whole, tuple(self.base.shape[2:]))

    def iterate(self, scale: Scale) -> Iterate:
        """How the signal of a scale is made of z, on this process's slab."""
        lock = self.prepared.lock
        if lock is not None:
            lock = tuple(s * new / old for s, new, old in zip(lock, scale.size, self.base.shape[2:], strict=True))
        free = self.prepared.free
        base = self.own(nd.resize(self.base, scale.size), scale.split)
        mask = None if free is None else self.own(nd.resize(free, scale.size), scale.split)
        shaping = self.prepared.shaping
        shaping = None if shaping is None else shaping.at(scale.share).to(self.device)
        if scale.split is None:
            return Iterate(base, lock, mask, shaping=shaping)
        low = None if lock is None else SlabLowPass(self.team, scale.split, scale.size)
        part = None if shaping is None else SlabShaping(shaping, self.team, scale.split, scale.size)
        return Iterate(base, lock, mask, low, part)

    def objective(self, scale: Scale, base: Tensor) -> Objective:
        """Targets of a scale, in the memory of its plan."""
        prepared, share = self.prepared, scale.share
        masks = prepared.style_weights or (None,) * len(prepared.styles)
        regions = prepared.region_of or (0,) * len(prepared.styles)
        styles = [
            StyleSignal(
                nd.channels_last(nd.resize(x, _scaled(x, share)).to(self.device)),
                None if m is None else nd.resize(m, _scaled(m, share)).to(self.device),
                part,
                region,
                name,
            )
            for x, m, part, region, name in zip(
                prepared.styles, masks, self.shares, regions, style_names(prepared), strict=True
            )
        ]
        weights = [
            None if w is None else nd.resize(w, scale.size).to(self.device)
            for w in prepared.regions or (prepared.weight,)
        ]
        frame = Frame(scale.plan, self.team, self.team.count)
        branches = tuple(
            branch_of(i, network, self.settings, base, styles, weights, frame, scale.split, scale.size)
            for i, network in enumerate(self.networks)
        )
        return Objective(branches, signal_terms(self.settings, prepared, self.device))

    def optimiser(self, plan: Plan) -> Optimiser:
        """As the settings say, with its history where the plan says."""
        if self.settings.optimizer == "adam":
            return Adam(self.settings.learning_rate)
        empty = scratch.mapped_tensor if plan.history == "file" else None
        return LBFGS(
            self.settings.learning_rate,
            self.settings.history,
            dtype=history_dtype(plan),
            empty=empty,
            total=self.team.total,
            release=scratch.release,
        )


def _scaled(x: Tensor, share: float) -> tuple[int, ...]:
    return tuple(max(1, round(n * share)) for n in x.shape[2:])
