"""One evaluation of the classic objective against its bare convolutions and a plain program, in one run.

    python benchmarks/evaluation.py [--size 512] [--repeats 7] [--compiled]

The objective: VGG-19, style on relu1_1 .. relu5_1, content on relu4_2, value and gradient. The bare convolutions: the
same thirteen layers up to relu5_1, forward and gradient at the input, channels innermost, nothing else; once as direct
convolutions, and once by the methods that ours are planned with (deep layers by Winograd's). Plain: what most programs
do, autograd through torch's own layers with channels outermost and ReLU in place (as neural-style-pt has it). Ours is
what a run takes. All reuse the allocator's pages (see keep_pages). The gate comes
first: ours and the plain gradient have to agree with float64 autograd. Printed: medians, 20 and 80 % quantiles, and the
ratios of every round, with what is asked of them; a CSV keeps them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import bare_convolutions, machine, save, seconds
from torch import Tensor

from nst_nd import (
    STATISTICS,
    Branch,
    ContentTerm,
    Objective,
    StyleTerm,
    content_cost,
    style_cost,
    value_and_grad,
    vgg19,
)
from nst_nd.cli.process import keep_pages
from nst_nd.engine.objective import style_moments
from nst_nd.features.convolution import by_winograd
from nst_nd.features.extractor import Extractor
from nst_nd.features.statistics import Moments
from nst_nd.features.weights import vgg19_weights
from nst_nd.nd import channels_last

STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT = "relu4_2"
LAST = "5_1"
ASKED = {"over bare": 1.1, "over plain": 0.85}
# where rounding turns the sign of what a ReLU gets, a whole path of the gradient comes or goes: 3e-4 in float32 here
GATE = 1e-3


def signals(size: int) -> list[Tensor]:
    """Content, style and iterate: smoothed noise in model units."""
    generator = torch.Generator().manual_seed(0)
    coarse = [torch.randn(1, 3, size // 8 + 1, size // 8 + 1, generator=generator) * 60 for _ in range(3)]
    fine = [torch.randn(1, 3, size, size, generator=generator) * 10 for _ in range(3)]
    return [
        channels_last(F.interpolate(c, size=(size, size), mode="bilinear") + f)
        for c, f in zip(coarse, fine, strict=True)
    ]


def objective_for(extractor: Extractor, content: Tensor, style: Tensor) -> Objective:
    """Content 1, style 1000 in all, relative costs."""
    gram = STATISTICS["gram"]
    with torch.no_grad():
        target = extractor(content, [CONTENT])[CONTENT]
    moments = style_moments(extractor, style, [gram])
    terms = tuple(StyleTerm(tap, tap, 200.0, gram, gram.read(moments[tap]), "relative") for tap in STYLE)
    return Objective((Branch(extractor, (ContentTerm.of(CONTENT, 1.0, target, "relative", ""),), terms),))


def check(pooling: str, size: int = 160) -> tuple[float, ...]:
    """Relative difference from autograd in float64, at a small size: ours directly, by Winograd, and the plain one."""
    content, style, x = signals(size)
    network = vgg19(3, 2, pooling=pooling).until([*STYLE, CONTENT])  # type: ignore[arg-type]
    single = network.to(x.device, torch.float32)
    ours = [value_and_grad(objective_for(n, content, style), x)[1] for n in (single, by_winograd(single))]
    exact = network.to(x.device, torch.float64)
    leaf = x.double().requires_grad_()
    taps, wanted = exact(leaf), exact(content.double())
    styles = exact(style.double())
    gram = STATISTICS["gram"].read
    loss = content_cost(taps[CONTENT], wanted[CONTENT])
    for tap in STYLE:
        target = gram(Moments.of(styles[tap], with_sum=False))
        loss = loss + 200.0 * style_cost(gram(Moments.of(taps[tap], with_sum=False)), target, target.shape[0])
    (reference,) = torch.autograd.grad(loss, leaf)
    grads = *ours, plain(pooling, content, style)(x)
    return tuple(float((grad - reference).norm() / reference.norm()) for grad in grads)


def plain(pooling: str, content: Tensor, style: Tensor, *, compiled: bool = False) -> Callable[[Tensor], Tensor]:
    """The same objective as most programs have it: its gradient. compiled: through torch.compile."""
    layers = [(name, weight.contiguous(), bias) for name, (weight, bias) in vgg19_weights().items()]
    pool = F.avg_pool2d if pooling == "average" else F.max_pool2d

    def taps(x: Tensor) -> dict[str, Tensor]:
        found = {}
        for name, weight, bias in layers:
            if name.endswith("_1") and name != "1_1":
                x = pool(x, 2)
            x = found[name] = F.relu(F.conv2d(x, weight, bias, padding=1), inplace=True)
            if name == LAST:
                break
        return found

    def gram(x: Tensor) -> Tensor:
        flat = x[0].flatten(1)
        return flat @ flat.T / flat.shape[1]

    names = [tap.removeprefix("relu") for tap in STYLE]
    with torch.no_grad():
        grams = {name: gram(x) for name, x in taps(style.contiguous()).items() if name in names}
        wanted = taps(content.contiguous())[CONTENT.removeprefix("relu")]

    def loss(x: Tensor) -> Tensor:
        found = taps(x)
        total = (found[CONTENT.removeprefix("relu")] - wanted).square().sum() / wanted.square().sum()
        for name, target in grams.items():
            total = total + 200.0 * (gram(found[name]) - target).square().sum() / target.square().sum()
        return total

    cost: Callable[[Tensor], Tensor] = torch.compile(loss) if compiled else loss

    def run(x: Tensor) -> Tensor:
        leaf = x.contiguous().requires_grad_()
        return torch.autograd.grad(cost(leaf), leaf)[0]

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--compiled", action="store_true", help="the plain program through torch.compile, too")
    parser.add_argument("--out", type=Path, default=Path("results/bench/evaluation.csv"))
    arguments = parser.parse_args()
    keep_pages()
    here = machine()
    rows = []
    for pooling in ("average", "max"):
        errors = check(pooling)
        words = ", ".join(f"{error:.1e}" for error in errors)
        if not max(errors) < GATE:
            raise SystemExit(f"{pooling}: gradients are off by {words}; nothing is timed")
        content, style, x = signals(arguments.size)
        network = vgg19(3, 2, pooling=pooling).until([*STYLE, CONTENT]).to(x.device, torch.float32)  # type: ignore[arg-type]
        planned = by_winograd(network)
        objective, theirs = objective_for(planned, content, style), plain(pooling, content, style)
        bare, same = (bare_convolutions(planned, x.shape[2:], chosen=chosen) for chosen in (False, True))
        ways: list[Callable[[], object]] = [bare, same, lambda: theirs(x), lambda: value_and_grad(objective, x)]  # noqa: B023
        if arguments.compiled:
            faster = plain(pooling, content, style, compiled=True)
            ways.append(lambda: faster(x))  # noqa: B023
        for warm_up in (*ways, *ways):
            warm_up()
        rounds = np.array([[seconds(way) for way in ways] for _ in range(arguments.repeats)])
        rows_of = {
            "bare s": rounds[:, 0],
            "bare by the same methods s": rounds[:, 1],
            "plain s": rounds[:, 2],
            "evaluation s": rounds[:, 3],
            "over bare": rounds[:, 3] / rounds[:, 0],
            "over bare by the same methods": rounds[:, 3] / rounds[:, 1],
            "over plain": rounds[:, 3] / rounds[:, 2],
        }
        if arguments.compiled:
            rows_of["plain, compiled s"] = rounds[:, 4]
            rows_of["compiled over plain"] = rounds[:, 4] / rounds[:, 2]
        for label, values in rows_of.items():
            low, median, high = np.quantile(values, (0.2, 0.5, 0.8))
            asked = ASKED.get(label)
            figures = [f"{value:.4f}" for value in (low, median, high)]
            rows.append([arguments.size, pooling, label, *figures, asked or "", f"{max(errors):.1e}", here])
            print(
                f"{arguments.size}^2 {pooling:8s} {label:30s} median {median:.3f} (20-80 %: {low:.3f}-{high:.3f})"
                + ("" if asked is None else f", at most {asked} asked" + (": MISSED" if median > asked else ""))
            )
        print(f"{arguments.size}^2 {pooling:8s} gradients against float64, direct, Winograd, plain: {words}")
    save(
        arguments.out,
        ["size", "pooling", "figure", "q20", "median", "q80", "at_most", "gradient_error", "machine"],
        rows,
    )
    print(f"{here}; rows in {arguments.out}")


if __name__ == "__main__":
    main()
