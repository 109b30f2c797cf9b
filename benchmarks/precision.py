"""What each precision loses: terms and gradients against float64, for signals, images and volumes.

    python benchmarks/precision.py [--size 96] [--devices cpu]

Per network, number of axes and precision: the largest relative error of a term, and of the gradient the relative error
of its norm and the angle to it, in degrees. The reference is plain autograd of the same networks in float64. On a CPU
tf32 is made by rounding what convolutions get to 10 bits of mantissa, which is what tensor cores do; on a GPU it is
the real one. Gate: float32 is within 1e-4 of the reference. Seconds are medians of one evaluation on this device; on a
CPU without such instructions 16 bits are slow.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from common import machine, save, seconds
from torch import Tensor

from nst_nd import (
    STATISTICS,
    Branch,
    ContentTerm,
    Objective,
    StyleTerm,
    content_cost,
    random_network,
    style_cost,
    value_and_grad,
    vgg19,
)
from nst_nd.engine.objective import activations_of, style_moments
from nst_nd.errors import ConfigError
from nst_nd.features import convolution
from nst_nd.features.extractor import Extractor
from nst_nd.features.precision import Precision, allow, in_precision
from nst_nd.features.statistics import Moments
from nst_nd.nd import channels_last

GATE = 1e-4
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16", "float16")
# (network, axes): how it is made, its style layers, its content layer
CASES: dict[tuple[str, int], tuple[Callable[[], Extractor], tuple[str, ...], str]] = {
    ("vgg19", 2): (
        lambda: vgg19(3, 2),
        ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        "relu4_2",
    ),
    ("random", 1): (lambda: random_network(1, 1), ("relu1", "relu2", "relu3"), "relu3"),
    ("random", 2): (lambda: random_network(3, 2), ("relu1", "relu2", "relu3"), "relu3"),
    ("random", 3): (lambda: random_network(1, 3), ("relu1", "relu2", "relu3"), "relu3"),
}


def signals(network: Extractor, edge: int) -> list[Tensor]:
    """Content, style and iterate: noise in model units, as many positions for all numbers of axes."""
    positions = edge**2
    size = [round(positions ** (1.0 / network.ndim))] * network.ndim
    draw = torch.Generator().manual_seed(0)
    return [channels_last(40.0 * torch.randn(1, network.nc, *size, generator=draw)) for _ in range(3)]


def exact(network: Extractor, taps: tuple[str, ...], at: str, given: list[Tensor]) -> tuple[np.ndarray, Tensor]:
    """Terms and gradient in float64 by autograd of the definition."""
    content, style, x = (s.double() for s in given)
    double = network.to(x.device, torch.float64)
    gram = STATISTICS["gram"].read
    leaf = x.requires_grad_()
    found, wanted, theirs = double(leaf), double(content), double(style)
    terms = [content_cost(found[at], wanted[at])]
    for tap in taps:
        target = gram(Moments.of(theirs[tap], with_sum=False))
        terms.append(100.0 * style_cost(gram(Moments.of(found[tap], with_sum=False)), target, target.shape[0]))
    (grad,) = torch.autograd.grad(torch.stack(terms).sum(), leaf)
    return np.array([float(t.detach()) for t in terms]), grad


def objective(network: Extractor, taps: tuple[str, ...], at: str, given: list[Tensor]) -> Objective:
    content, style, _ = given
    gram = STATISTICS["gram"]
    moments = style_moments(network, style, [gram])
    terms = tuple(StyleTerm(tap, tap, 100.0, gram, gram.read(moments[tap]), "relative") for tap in taps)
    target = activations_of(network, content)[at].float()
    return Objective((Branch(network, (ContentTerm.of(at, 1.0, target, "relative", ""),), terms),))


@contextmanager
def rounded_to_tf32() -> Iterator[None]:
    """Convolutions get numbers of 10 bits of mantissa, rounded to nearest."""
    original = convolution._correlated

    def short(x: Tensor) -> Tensor:
        bits = x.contiguous().view(torch.int32)
        return ((bits + 0x1000) & ~0x1FFF).view(torch.float32).contiguous(memory_format=torch.preserve_format)

    convolution._correlated = lambda x, weight, *rest: original(channels_last(short(x)), short(weight), *rest)
    try:
        yield
    finally:
        convolution._correlated = original


def row(
    network: Extractor, taps: tuple[str, ...], at: str, given: list[Tensor], how: Precision, device: torch.device
) -> tuple[float, float, float, float]:
    """Errors of terms and gradient against float64, its angle, and seconds."""
    terms, reference = exact(network, taps, at, given)
    here = [channels_last(s.to(device)) for s in given]
    made = objective(in_precision(network, device, how), taps, at, here)
    found, grad = value_and_grad(made, here[2])
    grad = grad.cpu().double()
    error = float((grad - reference).norm() / reference.norm())
    cosine = float((grad * reference).sum() / grad.norm() / reference.norm())
    loss = float(np.max(np.abs(found.cpu().numpy() / terms - 1.0)))

    def once() -> None:
        value_and_grad(made, here[2])
        if device.type == "cuda":
            torch.cuda.synchronize()

    angle = float(np.degrees(np.arccos(min(1.0, cosine))))
    return loss, error, angle, float(np.median([seconds(once) for _ in range(3)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96, help="of the image; others get as many positions")
    parser.add_argument("--devices", nargs="+", default=["cuda" if torch.cuda.is_available() else "cpu"])
    parser.add_argument("--out", type=Path, default=Path("results/bench/precision.csv"))
    arguments = parser.parse_args()
    rows: list[list[object]] = []
    print(f"{'network':10}{'axes':>5} {'device':8}{'precision':16}{'term':>10}{'gradient':>10}{'degrees':>9}{'s':>9}")
    for device in map(torch.device, arguments.devices):
        for (name, ndim), (make, taps, at) in CASES.items():
            network = make().until([*taps, at])
            given = signals(network, arguments.size)
            for how in PRECISIONS:
                emulated = how == "tf32" and device.type == "cpu"
                try:
                    if emulated:
                        with rounded_to_tf32():
                            found = row(network, taps, at, given, how, device)
                    else:
                        allow(how, device)
                        found = row(network, taps, at, given, how, device)
                except ConfigError as error:
                    print(f"{name:10}{ndim:5} {device.type:8}{how:16}{str(error).splitlines()[0]}")
                    continue
                if how == "float32" and not max(found[:2]) < GATE:
                    raise SystemExit(f"{name}, {ndim} axes: float32 is off by {max(found[:2]):.1e}, allowed {GATE:.0e}")
                said = f"{how}{' (rounded)' if emulated else ''}"
                print(
                    f"{name:10}{ndim:5} {device.type:8}{said:16}{found[0]:10.1e}{found[1]:10.1e}{found[2]:9.3f}"
                    f"{found[3]:9.3f}"
                )
                rows.append([name, ndim, device.type, said, *(f"{v:.2e}" for v in found), machine()])
    columns = [
        "network",
        "axes",
        "device",
        "precision",
        "term_error",
        "gradient_error",
        "degrees",
        "seconds",
        "machine",
    ]
    save(arguments.out, columns, rows)


if __name__ == "__main__":
    main()
