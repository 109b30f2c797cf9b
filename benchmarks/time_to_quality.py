"""Seconds until a result is as good as what plain full-resolution L-BFGS has after 250 evaluations.

    python benchmarks/time_to_quality.py [--size 512] [--evaluations 250] [--pairs astronaut chelsea china]
                                         [--exponents 0 0.5] [--iterations 250]

The objective of both: 5 times the mean squared error at relu4_2, and 100 times that of Gram / (C H W) at each of
relu1_1, relu2_1, ..., relu5_1, of VGG-19 with max pooling, from the content.

plain: what most programs do. Autograd through torch's own layers, channels outermost, colours in 0..255 less the mean,
`torch.optim.LBFGS` with steps of 1, a history of 20 and no line search. (Colours are in the order R, G, B here, and the
first kernels with them, which is the same network as the usual one in B, G, R.)
ours: `stylize` with the preset `image` and that objective; everything else is the preset's.

Gates: both have the same loss at the content, to 1e-5; and the loss that is claimed is that of the image which comes
out, by the plain program. Both clocks start with images in memory, so that targets count. Pairs: two of scikit-image's
photographs, in the style of a micrograph and of bricks, and a photograph of scikit-learn's in the style of another.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from common import machine, save
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

from nst_nd import Grid, Sample, stylize
from nst_nd.cli.process import keep_pages
from nst_nd.features.vgg import MEAN_RGB
from nst_nd.features.weights import vgg19_weights

STYLE = ("1_1", "2_1", "3_1", "4_1", "5_1")
CONTENT = "4_2"
PAIRS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "astronaut": (skimage.data.astronaut, skimage.data.immunohistochemistry),
    "chelsea": (skimage.data.chelsea, skimage.data.brick),
    "china": (lambda: load_sample_image("china.jpg"), lambda: load_sample_image("flower.jpg")),
}
SETTINGS: dict[str, Any] = {
    "preset": "image",
    "pooling": "max",
    "content_weight": 5.0,
    "style_weight": 500.0,  # shared by five layers
    "content_normalisation": "mse",
    "style_normalisation": "mse",
    "range_weight": 0.0,  # not part of this objective
    "style_scale": None,
    "device": "cpu",
}
GATE, AT_MOST = 1e-5, 0.5
# of the loss: what is lost where the image is kept as float32 in 0..1
STORED = 1e-3


class Plain:
    """The objective as most programs have it. images: [3, H, W] in 0..1."""

    def __init__(self, content: np.ndarray, style: np.ndarray) -> None:
        self.layers = [(name, weight.contiguous(), bias) for name, (weight, bias) in vgg19_weights().items()]
        self.start = self.encode(content)
        with torch.no_grad():
            self.wanted = self.taps(self.start)[CONTENT]
            there = self.taps(self.encode(style))
            self.grams = {name: self.gram(there[name]) for name in STYLE}

    @staticmethod
    def encode(image: np.ndarray) -> Tensor:
        return (torch.from_numpy(image).float() * 255.0 - torch.tensor(MEAN_RGB).float().view(3, 1, 1))[None]

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        found = {}
        for name, weight, bias in self.layers:
            if name.endswith("_1") and name != "1_1":
                x = F.max_pool2d(x, 2)
            x = F.relu(F.conv2d(x, weight, bias, padding=1))
            found[name] = x
            if name == STYLE[-1]:
                break
        return found

    @staticmethod
    def gram(x: Tensor) -> Tensor:
        flat = x[0].flatten(1)
        return flat @ flat.T / flat.numel()

    def loss(self, x: Tensor) -> Tensor:
        taps = self.taps(x)
        style = sum(F.mse_loss(self.gram(taps[name]), self.grams[name]) for name in STYLE)
        return 5.0 * F.mse_loss(taps[CONTENT], self.wanted) + 100.0 * style


def run_plain(content: np.ndarray, style: np.ndarray, evaluations: int) -> tuple[list[float], list[float]]:
    """Losses, and seconds until each was known."""
    started = time.perf_counter()
    plain = Plain(content, style)
    x = plain.start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [x], lr=1.0, max_iter=evaluations, max_eval=evaluations, history_size=20, tolerance_grad=0, tolerance_change=0
    )
    losses: list[float] = []
    seconds: list[float] = []

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = plain.loss(x)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
        seconds.append(time.perf_counter() - started)
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    return losses, seconds


def run_ours(
    content: np.ndarray, style: np.ndarray, target: float, iterations: int, changes: dict[str, Any]
) -> tuple[list[float], list[float], np.ndarray]:
    """Losses at the full size, seconds until each was known, and the image; ends where the loss is below the target."""
    samples = [Sample(x, "image", "full scale", Grid((1.0, 1.0), "px"), ("R", "G", "B")) for x in (content, style)]
    started = time.perf_counter()
    losses: list[float] = []
    seconds: list[float] = []

    def on_step(step: Any) -> None:
        if step.scale == step.scales - 1:
            losses.append(step.loss)
            seconds.append(time.perf_counter() - started)

    below = lambda: bool(losses) and losses[-1] <= target  # noqa: E731
    settings = SETTINGS | changes | {"iterations": iterations}
    result = stylize(*samples, on_step=on_step, should_stop=below, **settings)
    return losses, seconds, result.sample.data


def image(read: Callable[[], Any], size: int) -> np.ndarray:
    """[3, size, size] in 0..1."""
    picture = Image.fromarray(read()).convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1), np.float32) / np.float32(255.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--evaluations", type=int, default=250, help="of the plain run")
    parser.add_argument("--iterations", type=int, default=250, help="of ours, at most")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument(
        "--exponents", type=float, nargs="+", default=[None], help="step_exponent; the preset's if absent"
    )
    parser.add_argument("--scales", type=float, nargs="+", help="the preset's if absent")
    parser.add_argument("--out", type=Path, default=Path("results/bench/time_to_quality.csv"))
    arguments = parser.parse_args()
    keep_pages()
    here = machine()
    header = ["pair", "size", "exponent", "target", "plain_n", "plain_s", "loss", "image", "n", "s", "ratio", "machine"]
    rows: list[list[object]] = []
    for name in arguments.pairs:
        content, style = (image(read, arguments.size) for read in PAIRS[name])
        losses, seconds = run_plain(content, style, arguments.evaluations)
        target, plain_s = min(losses), seconds[int(np.argmin(losses))]
        print(
            f"{name}: plain {losses[0]:.4g} -> {target:.4g} in {len(losses)} evaluations, {plain_s:.1f} s", flush=True
        )
        for exponent in arguments.exponents:
            changes = {} if exponent is None else {"step_exponent": exponent}
            changes |= {"scales": tuple(arguments.scales)} if arguments.scales else {}
            ours, ours_s, made = run_ours(content, style, target, arguments.iterations, changes)
            found = check(name, content, style, ours, losses[0], made, scales=arguments.scales or [1.0])
            reached = min(ours) <= target
            ratio = ours_s[-1] / plain_s if reached else float("nan")
            there = [target, len(losses), plain_s, min(ours), found, len(ours), ours_s[-1], ratio]
            rows.append([name, arguments.size, exponent, *there, here])
            save(arguments.out, header, rows)
            print(
                f"  {changes}: {min(ours):.4g} after {len(ours)} evaluations at the full size, {ours_s[-1]:.1f} s: "
                + (
                    f"{ratio:.3f} of the time (at most {AT_MOST} asked); the image: {found:.6g}"
                    if reached
                    else "not reached"
                ),
                flush=True,
            )
    print(f"{here}; rows in {arguments.out}")


def check(
    name: str,
    content: np.ndarray,
    style: np.ndarray,
    ours: list[float],
    first: float,
    made: np.ndarray,
    scales: list[float] | None,
) -> float:
    """The loss of the image, by the plain program. Ends the program where the two runs do not minimise the same."""
    if scales == [1.0] and abs(ours[0] / first - 1.0) > GATE:
        raise SystemExit(f"{name}: at the content the loss is {ours[0]:.6g}, the plain one {first:.6g}")
    with torch.no_grad():
        plain = Plain(content, style)
        found = float(plain.loss(plain.encode(np.asarray(made, np.float32))))
    if not found <= min(ours) * (1.0 + STORED):
        raise SystemExit(f"{name}: the image has a loss of {found:.6g} by the plain program, {min(ours):.6g} was said")
    return found


if __name__ == "__main__":
    main()
