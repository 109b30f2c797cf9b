"""Any torch module with named layers as an extractor: one stage that looks at everything."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nst_nd import nd
from nst_nd.boxes import Box
from nst_nd.errors import ConfigError, InputError
from nst_nd.features.extractor import Extractor, Footprint, Keep, Seed, Trace
from nst_nd.features.window import Windows


class _Enough(Exception):  # noqa: N818
    """Raised inside a forward pass once the last wanted layer has run."""


@dataclass(frozen=True)
class ModuleStage:
    """A torch module as a single stage; its taps are its named layers' outputs.

    Nothing is known of its reach, so it always sees the whole signal: halo is None, and it cannot be tiled.
    """

    module: nn.Module
    nc: int
    layers: tuple[str, ...]
    strides: Mapping[str, tuple[int, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """See Stage.names."""
        return self.layers

    @property
    def halo(self) -> None:
        """See Stage.halo."""
        return

    def stride_at(self, tap: str | None) -> tuple[int, ...]:
        """See Stage.stride_at; measured on the probe input."""
        return self.strides[self.layers[-1] if tap is None else tap]

    def forward(self, x: Tensor, wanted: frozenset[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """See Stage.forward; the output is the deepest wanted tap."""
        taps = named_outputs(self.module, x, wanted)
        return taps[[name for name in self.layers if name in taps][-1]], taps

    def output(self, size: Sequence[int]) -> tuple[int, ...]:
        """See Stage.output; as far as the strides tell."""
        return tuple(n // s for n, s in zip(size, self.stride_at(None), strict=True))

    def output_at(self, tap: str, size: Sequence[int]) -> tuple[int, ...]:
        """See Stage.output_at, by running it once."""
        reference = next(self.module.parameters(), torch.zeros(()))
        with torch.no_grad():
            blank = reference.new_zeros(1, self.nc, *size)
            return tuple(named_outputs(self.module, blank, frozenset([tap]))[tap].shape[2:])

    def channels(self, nc: int) -> int:
        """See Stage.channels: nothing follows a module, so nobody needs to know."""
        return nc

    def widest(self, nc: int) -> int:
        """See Stage.widest: unknown."""
        return nc

    @property
    def known(self) -> bool:
        """See Stage.known."""
        return False

    def can_cut(self, axis: int, size: Sequence[int]) -> bool:  # noqa: ARG002
        """See Stage.can_cut: never."""
        return False

    def windows(self, core: Box, size: Sequence[int], wanted: frozenset[str]) -> Windows:
        """See Stage.windows: a module has no tiles."""
        raise ConfigError(f"a torch module looks at the whole signal of {tuple(size)}; it has no tile {core} {wanted}")

    def footprint(self, nc: int, tile: Windows, wanted: frozenset[str], keep: Keep) -> Footprint:
        """See Stage.footprint: unknown."""
        raise ConfigError(f"nothing is known of the memory of a torch module ({nc} channels, {tile}, {wanted}, {keep})")

    def again(self, read: Callable[[], Tensor], wanted: frozenset[str], tile: Windows | None, trace: Trace) -> Trace:
        """See Stage.again: all of it."""
        del trace
        return self.run(read(), wanted, tile)

    def run(self, x: Tensor, wanted: frozenset[str], tile: Windows | None = None, *, keep: Keep = "all") -> Trace:
        """See Stage.run: there are no tiles."""
        assert tile is None
        with torch.enable_grad():
            leaf = nd.channels_first(x.detach()).requires_grad_()
            out, taps = self.forward(leaf, wanted)
        read = {name: t.detach() for name, t in taps.items()}
        return Trace(out.detach(), read, (leaf, taps) if keep == "all" else None)

    def vjp(self, trace: Trace, seed: Seed, grad: Tensor | None) -> Tensor:
        """See Stage.vjp."""
        leaf, taps = trace.saved
        if grad is not None:
            raise ConfigError("a module is the last stage of an extractor; nothing can follow it")
        slopes = [seed(name, trace.taps[name], None) for name in taps]
        at_input: Tensor
        (at_input,) = torch.autograd.grad(list(taps.values()), leaf, slopes)
        return at_input

    def carry(self, weight: Tensor, wanted: frozenset[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """See Stage.carry: area averages on grids of the sizes that the module gives for this one."""
        reference = next(self.module.parameters(), weight)
        with torch.no_grad():
            blank = reference.new_zeros(1, self.nc, *weight.shape[2:])
            found = named_outputs(self.module, blank, frozenset(self.layers) & wanted)
        return weight, {name: self._area(weight, name, out) for name, out in found.items()}

    def _area(self, weight: Tensor, name: str, out: Tensor) -> Tensor:
        """Cells of the stride where they fit; where the module rounds up, a grid over the same extent."""
        cells = nd.pool(weight, self.strides[name], "average")
        return cells if cells.shape[2:] == out.shape[2:] else nd.area_mean(weight, out.shape[2:])

    def least(self, size: Sequence[int]) -> tuple[int, ...]:
        """See Stage.least: as far as the strides tell."""
        return tuple(n * s for n, s in zip(size, self.stride_at(None), strict=True))

    def until(self, wanted: frozenset[str]) -> ModuleStage | None:
        """See Stage.until: the forward pass ends at the last wanted layer by itself."""
        kept = tuple(name for name in self.layers if name in wanted)
        return replace(self, layers=kept) if kept else None

    def fused(self, wanted: frozenset[str]) -> ModuleStage:  # noqa: ARG002
        """See Stage.fused: a module is left as it is."""
        return self

    def to(self, device: torch.device, dtype: torch.dtype) -> ModuleStage:
        """See Stage.to."""
        return replace(self, module=copy.deepcopy(self.module).to(device, dtype))


def named_outputs(module: nn.Module, x: Tensor, wanted: frozenset[str]) -> dict[str, Tensor]:
    """Outputs of the named submodules for input x, in the order in which they ran; it stops after the last of them.

    Raises ConfigError if a layer does not run or gives something else than one tensor [1, C, *space].
    """
    found: dict[str, Tensor] = {}

    def keep(name: str):  # type: ignore[no-untyped-def]
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if not isinstance(output, Tensor) or output.dim() != x.dim():
                raise ConfigError(f"layer {name} does not give one tensor [1, C, *space]; choose another")
            found[name] = output.clone()  # a later in-place activation must not change it
            if len(found) == len(wanted):
                raise _Enough

        return hook

    named = dict(module.named_modules())
    handles = [named[name].register_forward_hook(keep(name)) for name in wanted]
    try:
        module(x)
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    missing = sorted(wanted - set(found))
    if missing:
        raise ConfigError(f"layers that did not run: {', '.join(missing)}")
    return found


def module_extractor(
    module: nn.Module,
    nc: int,
    ndim: int,
    layers: Sequence[str],
    *,
    state: Mapping[str, Tensor] | None = None,
    probe: Sequence[int] | None = None,
    name: str | None = None,
) -> Extractor:
    """An extractor from a torch module: taps are `layers`, names as in module.named_modules().

    state: weights to load first (`weights.load_state` reads them from a file); they must fit exactly.
    probe: a size that the module accepts, on which layer order and strides are measured (64 per axis by default).
    The module is put into eval mode and its weights are frozen.
    Raises ConfigError for unknown layers or a module that does not accept the probe, InputError for weights that
    do not fit.
    """
    named = dict(module.named_modules())
    unknown = [layer for layer in layers if layer not in named]
    if unknown or not layers:
        known = ", ".join(n for n in named if n)
        raise ConfigError(f"module has no layer {', '.join(unknown) or '(none given)'}\nallowed: {known}")
    if state is not None:
        try:
            module.load_state_dict(dict(state))
        except RuntimeError as error:
            raise InputError("the weights do not fit the module: " + " ".join(str(error).split())[:300]) from error
    module = module.eval().requires_grad_(False)
    size = tuple(probe or (64,) * ndim)
    reference = next(module.parameters(), torch.zeros(()))
    try:
        with torch.no_grad():
            found = named_outputs(module, torch.zeros(1, nc, *size).to(reference), frozenset(layers))
    except (RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = str(error).splitlines()[0]
        raise ConfigError(f"the module does not accept an input of shape {(1, nc, *size)}: {reason}") from error
    strides = {tap: _strides(size, tuple(out.shape[2:])) for tap, out in found.items()}
    if any(n % m for out in found.values() for n, m in zip(size, out.shape[2:], strict=True)):
        # without padding an output is smaller than its share: only what it grows by tells the stride
        larger = tuple(n + n // 2 for n in size)
        with contextlib.suppress(RuntimeError, ValueError, TypeError), torch.no_grad():
            more = named_outputs(module, torch.zeros(1, nc, *larger).to(reference), frozenset(layers))
            grown = [n // 2 for n in size]
            for tap, out in more.items():
                gained = [a - b for a, b in zip(out.shape[2:], found[tap].shape[2:], strict=True)]
                strides[tap] = _strides(grown, gained)
    label = name or f"module({type(module).__name__}, nc={nc}, ndim={ndim})"
    return Extractor(label, nc, ndim, (ModuleStage(module, nc, tuple(found), strides),))


def _strides(size: Sequence[int], output: Sequence[int]) -> tuple[int, ...]:
    """Positions of an input per position of an output, at least 1."""
    return tuple(max(1, round(n / max(1, m))) for n, m in zip(size, output, strict=True))
