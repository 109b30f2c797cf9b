"""One detector with a known kernel, and files in which its pattern is planted at known places."""

import numpy as np
import soundfile
import torch
from PIL import Image

from nst_nd import nd
from nst_nd.features.convolution import Convolution
from nst_nd.features.extractor import ChainStage, Extractor
from nst_nd.features.layer import Pool


def pattern(ndim, n=5, seed=0):
    """[n, ...] of -1 and 1, without a mean: what the detector answers to most among all of that size."""
    signs = np.ones(n**ndim)
    signs[: n**ndim // 2] = -1
    return np.random.default_rng(seed).permutation(signs).reshape((n,) * ndim)


def detector(nc, ndim, cells=1):
    """Units 0 and 1 answer to the pattern and to its negative; then the mean of so many answers along each axis."""
    kernel = torch.from_numpy(pattern(ndim)).float()
    weight = torch.stack([kernel, -kernel])[:, None].expand(2, nc, *kernel.shape).contiguous()
    ones = (1,) * ndim
    layers = (Convolution("answer", nd.channels_last(weight), torch.zeros(2), ones, ones, "zeros", rectify=True),)
    stages = (ChainStage(layers), ChainStage((Pool("mean", (cells,) * ndim, "average"),)))
    return Extractor("detector", nc, ndim, stages)


def planted(path, places, heights, size=(60, 70), seed=0):
    """A gray image with weak noise and the pattern around these places, at these heights, in 0..1."""
    data = 0.5 + 0.01 * np.random.default_rng(seed).standard_normal(size)
    for place, height in zip(places, heights, strict=True):
        there = tuple(slice(max(0, p - 2), p + 3) for p in place)
        seen = tuple(slice(max(0, 2 - p), 5 - max(0, p + 3 - n)) for p, n in zip(place, size, strict=True))
        data[there] = 0.5 + height * pattern(2)[seen]
    Image.fromarray(np.round(255 * data).astype(np.uint8)).save(path)


def clicks(path, rate, seconds, at, seed=0):
    """A sound of weak noise with the pattern at these times in s."""
    data = 0.001 * np.random.default_rng(seed).standard_normal(round(rate * seconds))
    for time, height in at:
        place = round(time * rate)
        data[place - 2 : place + 3] += height * pattern(1)
    soundfile.write(path, data, rate, subtype="FLOAT")
