"""Two small trained networks of one axis that travel in packages, as rows of the tables of extractors.

silero-vad 6.2.3 (MIT): speech or not; a spectrogram at 16 kHz and four convolutions.
openecg 0.11.0 (Apache-2.0): waves of an ECG at 500 Hz; the convolutions before its transformer (codec v6).

    pip install --no-deps silero-vad==6.2.3 openecg==0.11.0

Their weights are read as tensors, their code is not run; without the packages the rows are left out.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nst_nd.domains import networks

SPEECH_RATE, ECG_RATE = 16000, 500
SPEECH_LAYERS = tuple(f"relu{i}" for i in range(1, 5))
ECG_LAYERS = ("token", *(f"norm{i}" for i in range(1, 5)))


class Speech(nn.Module):
    """[1, nc, T] at `rate`: channels are averaged; taps relu1 .. relu4."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        channels, strides = (129, 128, 64, 64, 128), (1, 2, 2, 1)
        for i, stride in enumerate(strides, start=1):
            setattr(self, f"conv{i}", nn.Conv1d(channels[i - 1], channels[i], 3, stride, padding=1))
            setattr(self, f"relu{i}", nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        waves = self.stft_conv(nn.functional.pad(at_rate(x.mean(dim=1, keepdim=True), self.rate, SPEECH_RATE), (0, 64)))
        real, imaginary = waves.chunk(2, dim=1)
        h = (real**2 + imaginary**2 + 1e-12).sqrt()
        for i in range(1, 5):
            h = getattr(self, f"relu{i}")(getattr(self, f"conv{i}")(h))
        return h


class Ecg(nn.Module):
    """[1, nc, T] at `rate`: each lead by itself, their channels side by side; taps token, norm1 .. norm4."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.conv_tok = nn.Conv1d(1, 128, 20, stride=10, padding=5)
        self.lower_convs = nn.ModuleList(nn.Conv1d(128, 128, 7, padding=3) for _ in range(4))
        self.lower_norms = nn.ModuleList(nn.LayerNorm(128) for _ in range(4))
        for name in ECG_LAYERS:
            setattr(self, name, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_tok(at_rate(x, self.rate, ECG_RATE).transpose(0, 1))
        out: Tensor = self.token(h.flatten(0, 1)[None])
        for i, (conv, norm) in enumerate(zip(self.lower_convs, self.lower_norms, strict=True), start=1):
            h = norm((nn.functional.gelu(conv(h)) + h).transpose(1, 2)).transpose(1, 2)
            out = getattr(self, f"norm{i}")(h.flatten(0, 1)[None])
        return out


def at_rate(x: Tensor, rate: float, wanted: float) -> Tensor:
    """[..., T] at another rate, by its Fourier series."""
    length = max(1, round(x.shape[-1] * wanted / rate))
    waves = torch.fft.rfft(x)
    kept = min(waves.shape[-1], length // 2 + 1)
    return torch.fft.irfft(waves[..., :kept], n=length) * (length / x.shape[-1])


def trained(kind: str, rate: float) -> dict[str, Any] | None:
    """An extractor's settings, "speech" or "ecg", for signals at this rate; None where its package is missing."""
    package, file, factory, seconds = {
        "speech": ("silero_vad", "data/silero_vad_16k.safetensors", "Speech", 0.5),
        "ecg": ("openecg", "models/codec_v6.pt", "Ecg", 2.0),
    }[kind]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        print(f"{kind}: left out, {package} is not installed", file=sys.stderr)
        return None
    path = Path(spec.submodule_search_locations[0]) / file
    state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)["model_state"]
    wanted = {"speech": Speech, "ecg": Ecg}[kind](rate).state_dict()
    weights = Path(tempfile.mkdtemp()) / f"{kind}.safetensors"
    save_file({name: state[name].contiguous() for name in wanted}, weights)
    if "trained." not in networks.MODULE_SOURCES:  # configs may name packages only; this is a script
        networks.MODULE_SOURCES = (*networks.MODULE_SOURCES, "trained.")
    return {
        "name": "module",
        "label": kind,
        "module": f"trained.{factory}",
        "arguments": {"rate": rate},
        "weights": str(weights),
        "probe": [min(round(seconds * rate), 1 << 16)],
    }
