"""How much memory a job will take, from its headers: the plan that it would make on its content's size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from nst_nd.config import Job
from nst_nd.domains.device import pick_device
from nst_nd.domains.networks import Network, build_networks
from nst_nd.domains.resolve import resolve
from nst_nd.domains.targets import split_for
from nst_nd.engine.memory import room
from nst_nd.engine.plan import Demand, make_plan, untiled_plan
from nst_nd.engine.team import ALONE
from nst_nd.features.convolution import by_winograd
from nst_nd.features.extractor import Extractor
from nst_nd.sample import Sample

# a mask of what is free, one of what counts, and one of their product; few jobs have more
MASKS = 3


class Forecasts:
    """Plans in words, each made once for all jobs of the same settings and sizes. here: whether on this machine."""

    def __init__(self, *, here: bool = True) -> None:
        self.here = here
        self.known: dict[str, str] = {}

    def words(self, job: Job, first: Sample, shape: Sequence[int], styles: Sequence[Sample]) -> str:
        """Of a job whose result is like `first` and has this shape.

        Masks are assumed, since what is free is known from the values alone. Raises ConfigError where the job asks for
        what there is not, such as a layer or memory.
        """
        settings = job.settings_given()
        if not self.here and job.device != "cpu":
            return "planned where it is done"
        for key in ("seed", "content_weight", "style_weight", "iterations"):
            if settings.get(key) != 0:
                settings.pop(key, None)
        sizes = [tuple(style.shape) for style in styles]
        rates = [sample.grid.rate for sample in (first, *styles)]
        about = (first.kind, first.nc, tuple(shape), sizes, rates, bool(job.content), job.processes)
        key = repr((sorted(settings.items(), key=str), about))
        if key not in self.known:
            self.known[key] = _words(job, first, tuple(shape), sizes, rates)
        return self.known[key]


def _words(
    job: Job, first: Sample, shape: tuple[int, ...], sizes: Sequence[tuple[int, ...]], rates: Sequence[float | None]
) -> str:
    settings = resolve(job.settings_given(), first.kind, texture=job.content is None)
    if settings.method == "spectral":
        return "piece by piece"
    with_content = job.content is not None
    networks = build_networks(settings, first.nc, len(shape), None, with_content=with_content, rates=rates)
    branches = _branches(networks)
    device = torch.device("cpu") if settings.device == "cpu" else pick_device(settings.device)
    available, _ = room(settings.max_memory, device, ALONE)
    if settings.max_memory is None and device.type == "cpu":
        available //= job.processes
    masks = MASKS + (1 + len(settings.tissues) if settings.method == "both" else 0)
    demand = Demand(
        branches,
        shape,
        nc=first.nc,
        optimizer=settings.optimizer,
        history=settings.history,
        masks=masks if first.kind == "volume" else 0,
        split=split_for([network.extractor for network in networks], shape, job.processes),
        smoothed=bool(settings.lock_mm or settings.step_exponent) or first.kind == "audio",
        accelerator=device.type == "cuda",
        keeps_pages=device.type == "cpu" and settings.max_memory is None,
        styles=tuple(sizes),
    )
    if device.type == "cpu" and settings.precision == "float32" and job.processes == 1:
        fast = [replace(n, extractor=by_winograd(n.extractor)) for n in networks]
        plan = untiled_plan(replace(demand, branches=_branches(fast)), available) or make_plan(demand, available)
    else:
        plan = make_plan(demand, available)
    words = plan.words()
    return words if job.processes == 1 else f"each of {job.processes} processes: {words}"


def _branches(networks: Sequence[Network]) -> tuple[tuple[Extractor, frozenset[str], frozenset[str]], ...]:
    return tuple((n.extractor, frozenset([*n.content, *n.style]), frozenset(n.content)) for n in networks)
