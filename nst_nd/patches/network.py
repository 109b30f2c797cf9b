"""The network that is watched: some units of one layer, run over one signal after the other in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nst_nd import nd
from nst_nd.boxes import Box
from nst_nd.domains.device import pick_device
from nst_nd.domains.domain import Prepared
from nst_nd.domains.networks import build_networks, layer_names
from nst_nd.domains.settings import Settings
from nst_nd.domains.shared import on_device
from nst_nd.engine.field import Field
from nst_nd.engine.forward import ForwardPlan, forward_plan
from nst_nd.engine.memory import is_out_of_memory, room
from nst_nd.engine.sweep import StagePlan, Sweep
from nst_nd.engine.team import ALONE
from nst_nd.errors import ConfigError, InputError, NstError
from nst_nd.features.extractor import Extractor
from nst_nd.features.receptive import receptive_field
from nst_nd.patches.peaks import ActivationMap

# of a layer, unless they are named
UNITS = 9


class Watched:
    """Units of a layer. tap: its name in the network; receptive: its field; channels: of it.

    probe: the size on which the field of a torch module was measured. plain: the network, cut after the layer, in
    float32 on the CPU; extractor: the same as it runs.

    units: None: the first UNITS. rate: of the signals, for networks that know what they hear.
    Raises ConfigError for a layer or a unit that is not there.
    """

    def __init__(self, settings: Settings, prepared: Prepared, rate: float | None, units: Sequence[int] | None) -> None:
        self.settings, self.device = settings, pick_device(settings.device)
        x = prepared.styles[0]
        ndim = nd.spatial_axes(x)
        asked = settings, x.shape[1], ndim, prepared.pool_kernel
        (layer,) = settings.style_layers
        prefixes = [spec.prefix for spec in settings.extractor]
        if len(prefixes) > 1 and layer.partition(".")[0] not in prefixes:
            raise ConfigError(f"no layer {layer}\nallowed: {', '.join(layer_names(*asked, rates=[rate]))}")
        (made,) = build_networks(*asked, with_content=False, rates=[rate])
        (self.tap,) = made.style
        named = next((e for e in settings.extractor if f"{e.prefix}." == made.label), settings.extractor[0])
        probe = self.probe = named.probe or (64,) * ndim
        self.layer = f"{made.label}{self.tap}"
        self.receptive = receptive_field(made.extractor, self.tap, probe)
        self.channels = channels_of(made.extractor, self.tap, probe)
        self.units = self._checked(units)
        self.plain = made.extractor
        self.extractor = on_device(made.extractor, self.device, settings.precision)
        self._sweep: tuple[tuple[tuple[int, ...], tuple[StagePlan, ...]], Sweep] | None = None

    def _checked(self, units: Sequence[int] | None) -> tuple[int, ...]:
        wanted = tuple(dict.fromkeys(range(min(UNITS, self.channels)) if units is None else units))
        beyond = [unit for unit in wanted if not 0 <= unit < self.channels]
        if beyond:
            raise ConfigError(
                f"units: got {beyond[0]}; layer {self.layer} has {self.channels}: allowed are 0 to {self.channels - 1}"
            )
        return wanted

    @property
    def known(self) -> bool:
        """Whether its layers are; a torch module's are not."""
        return all(stage.known for stage in self.extractor.stages)

    def activations(self, prepared: Prepared, check: Callable[[], None], edge: int | None = None) -> ActivationMap:
        """Of a prepared signal. check: called for every tile, and may raise. edge: see forward_plan.

        Raises ConfigError where the memory is too little, InputError where a module does not take this size.
        """
        x = prepared.styles[0]
        size = tuple(x.shape[2:])
        if self._sweep is not None and self._sweep[0][0] != size:
            self.forget()  # or its buffers would count against this plan
        plan = self._plan(size, edge)
        found: list[ActivationMap] = []

        def read(tap: str, box: Box, activations: Tensor) -> None:
            check()
            if tap == self.tap:
                if not torch.isfinite(activations[:, list(self.units)]).all():
                    raise InputError("activations of it are not finite; float32 reaches further than 16 bits")
                if not found:
                    found.append(ActivationMap(self.units, self.output(size) if self.known else activations.shape[2:]))
                found[0].take(box, activations)

        field = Field.of(nd.channels_last(x.to(self.device)) if plan.untiled else x)
        field.device = self.device
        try:
            self._sweeping(size, plan).forward(field, read, back=False)
        except (RuntimeError, ValueError) as error:
            if self.known or isinstance(error, NstError) or is_out_of_memory(error):
                raise
            sides, reason = "x".join(map(str, size)), str(error).splitlines()[0][:160]
            raise InputError(f"the network does not take a size of {sides}: {reason}") from error
        for weight in prepared.style_weights:
            if weight is not None:  # where the domain measures nothing, nothing is looked for
                found[0].leave_out(self.extractor.carry(weight, frozenset([self.tap]))[self.tap])
        return found[0]

    def forget(self) -> None:
        """Give the memory of the last signal's buffers back."""
        self._sweep = None

    def output(self, size: Sequence[int]) -> tuple[int, ...]:
        """Size of the layer for a signal of `size`."""
        here = tuple(size)
        for stage in self.extractor.stages[:-1]:
            here = stage.output(here)
        return self.extractor.stages[-1].output_at(self.tap, here)

    def _plan(self, size: tuple[int, ...], edge: int | None) -> ForwardPlan:
        limit = self.settings.max_memory
        keeps = limit is None and self.device.type == "cpu"
        available, _ = room(limit, self.device, ALONE)
        return forward_plan(self.extractor, frozenset([self.tap]), size, available, keeps_pages=keeps, edge=edge)

    def _sweeping(self, size: tuple[int, ...], plan: ForwardPlan) -> Sweep:
        """With the buffers of the signal before, where it was as large."""
        if self._sweep is None or self._sweep[0] != (size, plan.stages):
            self._sweep = None  # its buffers go before there are others
            self._sweep = ((size, plan.stages), Sweep(self.extractor, frozenset([self.tap]), size, plan.stages))
        return self._sweep[1]


def channels_of(extractor: Extractor, tap: str, probe: Sequence[int]) -> int:
    """Channels of a tap of an extractor that is cut after it; of a torch module by running it on a probe."""
    nc = extractor.nc
    for stage in extractor.stages:
        nc = stage.channels(nc)
    if all(stage.known for stage in extractor.stages):
        return nc
    with torch.no_grad():
        return int(extractor(torch.zeros(1, extractor.nc, *probe), [tap])[tap].shape[1])
