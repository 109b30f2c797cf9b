"""In what numbers a network is computed: float32 by default, others by name alone.

What lies between signal and moments changes: weights, activations and their gradients. Moments are summed in float32
and float64, costs are float64, signal and optimiser float32 in any case; `benchmarks/precision.py` measures what is
lost. tf32 keeps float32 numbers, of which convolutions drop 13 bits (NVIDIA GPUs of compute capability 8.0).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from nst_nd import nd
from nst_nd.borders import window, window_adjoint
from nst_nd.errors import ConfigError
from nst_nd.features.extractor import ChainStage, Extractor
from nst_nd.features.layer import PointwiseLayer
from nst_nd.features.window import Cut

Precision = Literal["float32", "tf32", "bfloat16", "float16"]
DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# of GPUs whose tensor cores have these numbers
LEAST_CAPABILITY: dict[Precision, tuple[int, int]] = {"tf32": (8, 0), "bfloat16": (8, 0), "float16": (7, 0)}
# the largest gradient at a tap is brought near this: 2^16 is what float16 cannot hold, 2^-24 the least that it can
SCALED_TO = 2.0**8


@dataclass(frozen=True)
class Cast(PointwiseLayer):
    """The signal in another dtype; its gradient is float32 again."""

    dtype: torch.dtype

    def kept(self, *, lean: bool) -> float:  # noqa: ARG002
        """See Layer.kept: nothing."""
        return 0.0

    def __call__(self, x: Tensor, cut: Cut | None = None) -> Tensor:
        """[B, C, *space], the same numbers, rounded."""
        return (x if cut is None else window(x, cut.have, cut.want, cut.size, "zeros")).to(self.dtype)

    def run(self, x: Tensor, cut: Cut | None = None, *, lean: bool = False) -> tuple[Tensor, Any]:  # noqa: ARG002
        """See Layer.run."""
        return nd.channels_last(self(x, cut)), cut

    def vjp(self, saved: Any, grad: Tensor) -> Tensor:
        """See Layer.vjp."""
        grad = grad.float()
        return grad if saved is None else window_adjoint(grad, saved.have, saved.want, saved.size, "zeros")


def in_precision(extractor: Extractor, device: torch.device, precision: Precision) -> Extractor:
    """The network on a device with its weights in these numbers; 16 bits get a first layer that rounds the signal."""
    dtype = DTYPES[precision]
    placed = extractor.to(device, dtype)
    if dtype == torch.float32:
        return placed
    cast, first = Cast("input", extractor.ndim, dtype), placed.stages[0]
    if isinstance(first, ChainStage):
        return replace(placed, stages=(ChainStage((cast, *first.layers)), *placed.stages[1:]))
    return replace(placed, stages=(ChainStage((cast,)), *placed.stages))


def dtype_of(extractor: Extractor) -> torch.dtype:
    """What its activations are."""
    first = extractor.stages[0]
    layer = first.layers[0] if isinstance(first, ChainStage) else None
    return layer.dtype if isinstance(layer, Cast) else torch.float32


def allow(precision: Precision, device: torch.device) -> list[str]:
    """Have this process compute in these numbers on a device, TF32 only where it is the name; notes for people.

    torch lets cuDNN use TF32 unless it is told not to. Raises ConfigError where the device has no such numbers.
    """
    if device.type == "cuda":
        has, needs = torch.cuda.get_device_capability(device), LEAST_CAPABILITY.get(precision, (0, 0))
        if has < needs:
            raise ConfigError(
                f"precision {precision} needs a GPU of compute capability {needs[0]}.{needs[1]}, this one has "
                f"{has[0]}.{has[1]}\nchoose float32"
            )
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = False
        return []
    if precision == "tf32":
        raise ConfigError(f"precision tf32 is of NVIDIA GPUs, the device is {device.type}\nchoose float32 or bfloat16")
    if device.type == "cpu" and precision != "float32" and not _fast_on_cpu(precision):
        return [f"this processor has no instructions for {precision}: it takes longer than float32 would"]
    return []


def _fast_on_cpu(precision: Precision) -> bool:
    known = {"bfloat16": "avx512_bf16", "float16": "avx512_fp16"}
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:  # noqa: PTH123
            flags = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        return True  # not known; nothing is claimed
    words = flags.split()
    return known[precision] in words or f"amx_{'bf16' if precision == 'bfloat16' else 'fp16'}" in words


def scale_of(largest: Tensor) -> Tensor:
    """The power of two, [], that brings gradients of at most `largest` near SCALED_TO; 1 where there are none."""
    safe = torch.where((largest > 0) & torch.isfinite(largest), largest, torch.full_like(largest, SCALED_TO))
    return torch.exp2(torch.floor(torch.log2(SCALED_TO / safe)))
