"""What a sound engineer would do in an afternoon, and the first paper's method: rivals of the audio preset.

All take [C, time] arrays of content and style at one rate, and give one of the content's shape.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

Wave = NDArray[np.float64]
WINDOW, HOP = 2048, 512
# of the band filters of the vocoder, in bins that grow with frequency
BANDS = 32
# Ulyanov & Lebedev 2016
FILTERS, WIDTH = 4096, 11


def transform(window: int = WINDOW, hop: int = HOP) -> ShortTimeFFT:
    """A Hann-windowed STFT with an exact inverse; scaled so that a sine of amplitude a gives a / 2."""
    return ShortTimeFFT(hann(window, sym=False), hop, 1.0, scale_to="magnitude")


def equalised(content: Wave, style: Wave) -> Wave:
    """Spectral matching: the style's mean spectrum, smoothed over a sixth of an octave, by a linear-phase filter."""
    sft = transform()

    def mean_power(wave: Wave) -> Wave:
        power = np.mean(np.abs(sft.stft(wave)) ** 2, axis=(0, -1))
        octaves = np.log2(np.arange(1, power.size + 1))
        grid = np.linspace(0.0, octaves[-1], 4 * power.size)
        smooth = gaussian_filter1d(np.interp(grid, octaves, power), 4 * power.size / octaves[-1] / 12.0)
        return np.asarray(np.interp(octaves, grid, smooth))

    gain = np.sqrt(mean_power(style) / np.maximum(mean_power(content), 1e-14))
    return _back(sft, sft.stft(content) * np.clip(gain, 0.01, 100.0)[:, None], content)


def vocoded(content: Wave, style: Wave, depth: float = 1.0) -> Wave:
    """Channel vocoder: the style, looped, in bands, each with the content's envelope to the power depth."""
    sft = transform(1024, 256)
    times = -(-content.shape[1] // style.shape[1])
    carrier = sft.stft(np.tile(style, times)[:, : content.shape[1]])
    voice = sft.stft(content)
    edges = np.unique(np.geomspace(2, carrier.shape[1], BANDS).astype(int))
    out = carrier.copy()
    for low, high in zip(np.r_[0, edges[:-1]], edges, strict=True):
        ours, theirs = (np.sqrt(np.mean(np.abs(x[:, low:high]) ** 2, axis=1)) for x in (voice, carrier))
        # the style's level in the band, the content's rise and fall
        shape = ours / np.maximum(np.sqrt(np.mean(ours**2)), 1e-9)
        level = np.sqrt(np.mean(theirs**2))
        gain = shape**depth * level / np.maximum(theirs, 0.05 * level + 1e-9) ** depth / level ** (1 - depth)
        out[:, low:high] *= gain[:, None]
    return _back(sft, out, content)


def ulyanov(content: Wave, style: Wave, seconds: float, content_weight: float = 0.02, seed: int = 0) -> Wave:
    """One random convolution of 4096 filters over the log spectrogram's bins, Gram of the style; then Griffin-Lim.

    seconds: of optimisation, Adam on the log magnitudes from the content's.
    """
    generator = torch.Generator().manual_seed(seed)
    window = torch.hann_window(WINDOW)

    def spectrogram(wave: Wave) -> torch.Tensor:
        x = torch.from_numpy(wave.mean(axis=0)).float()
        return torch.log1p(torch.stft(x, WINDOW, HOP, window=window, return_complex=True).abs())

    ours, theirs = spectrogram(content), spectrogram(style)
    bins = ours.shape[0]
    kernel = torch.randn(FILTERS, bins, WIDTH, generator=generator) * (2.0 / (bins + FILTERS)) ** 0.5 / WIDTH**0.5

    def features(x: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.nn.functional.conv1d(x[None], kernel)[0])

    with torch.no_grad():
        kept, style_features = features(ours), features(theirs)
        wanted = style_features @ style_features.T / style_features.shape[1]
    x = ours.clone(memory_format=torch.contiguous_format).requires_grad_()
    # torch's first step is 1 / sum |g|, which the line search would have to enlarge a thousandfold: Adam gets going
    optimiser = torch.optim.Adam([x], lr=0.2)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        f = features(x)
        gram = f @ f.T / f.shape[1]
        value = content_weight * (f - kept).square().sum() / kept.square().sum()
        value = value + (gram - wanted).square().sum() / wanted.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        optimiser.step(loss)  # type: ignore[no-untyped-call]
    magnitude = torch.expm1(x.detach().clamp_min(0.0))
    found = griffin_lim(magnitude, content.shape[1], window, generator).numpy().astype(np.float64)
    return np.repeat(found[None], len(content), axis=0)


def griffin_lim(
    magnitude: torch.Tensor, length: int, window: torch.Tensor, generator: torch.Generator, rounds: int = 60
) -> torch.Tensor:
    """A wave [length] with about these magnitudes [bin, frame] (Griffin & Lim 1984), from random phases."""
    phase = torch.polar(torch.ones_like(magnitude), 6.2832 * torch.rand(magnitude.shape, generator=generator))
    for _ in range(rounds):
        wave = torch.istft(magnitude * phase, WINDOW, HOP, window=window, length=length)
        there = torch.stft(wave, WINDOW, HOP, window=window, return_complex=True)
        phase = there / there.abs().clamp_min(1e-8)
    return torch.istft(magnitude * phase, WINDOW, HOP, window=window, length=length)


def _back(sft: ShortTimeFFT, spectrum: NDArray[Any], like: Wave) -> Wave:
    return np.asarray(sft.istft(spectrum, k1=like.shape[1]), np.float64)
