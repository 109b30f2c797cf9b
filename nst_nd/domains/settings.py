"""Settings: every knob of one transfer, validated. Files and batches are added by `config`."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from nst_nd.engine.memory import bytes_of
from nst_nd.features.costs import ContentNormalisation, StyleNormalisation
from nst_nd.features.precision import Precision
from nst_nd.features.spectral import FLOOR, Scale
from nst_nd.features.statistics import StatisticName
from nst_nd.nd import Padding, Pooling

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# far above any use, far below what brings a machine down
MOST_THREADS = 256
Size = Annotated[int, Field(ge=1, le=65536)]
# what `init` may name without a file
INIT_WORDS = ("content", "noise", "style")
Preset = Literal["image", "audio", "ecg", "volume", "ct"]
Tissue = Literal["lung", "fat"]


class Model(BaseModel):
    """Unknown keys are errors, and nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ExtractorSettings(Model):
    """One fixed network.

    name: vgg19 (embedded weights), random (seeded, several kernel widths), spectrogram (STFT, then one random layer of
    several widths along time), cochlea (envelopes of bands of a sound, and their modulations), module (a torch module
    from monai.networks or torchvision.models).
    label: prefix of its layer names ("label.layer") where several networks are used; the name by default.
    """

    name: Literal["vgg19", "random", "spectrogram", "cochlea", "module"]
    label: str | None = None
    seed: int = Field(0, ge=0, description="random, spectrogram: seed of the kernels")
    widths: Annotated[tuple[Size, ...], Field(max_length=32)] | None = Field(
        None, description="random, spectrogram: kernel widths"
    )
    channels: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(max_length=16)] | None = Field(
        None, description="random: output channels of each stage"
    )
    octave: int = Field(0, ge=0, le=16, description="random: halve the signal this many times first")
    zero_mean: bool = Field(False, description="random: kernels of the first stage that do not see the level")
    plane: tuple[int, int] | None = Field(
        None, description="vgg19, random on volumes: two axes, such as [0, 1], slice by slice; absent: all three"
    )
    window: int = Field(2048, ge=2, le=1 << 20, description="spectrogram: samples per window")
    hop: int = Field(512, ge=1, le=1 << 20, description="spectrogram: samples from frame to frame")
    scale: Scale = Field("log", description="spectrogram: log magnitudes, mel bands of them, or complex parts")
    mels: int = Field(80, ge=1, le=4096, description="spectrogram: bands of the mel scale")
    floor: Positive = Field(
        FLOOR, description="spectrogram: magnitudes (the louder sound has about 64) far below this count as silence"
    )
    filters: int = Field(128, ge=1, le=8192, description="spectrogram: kernels of each width")
    bands: int = Field(40, ge=1, le=512, description="cochlea: bands from 50 Hz to 18 kHz")
    module: str | None = Field(None, description="module: where it is, e.g. monai.networks.nets.BasicUNet")
    arguments: dict[str, Any] = Field(default_factory=dict, description="module: its constructor's arguments")
    weights: str | None = Field(None, description="module: a .safetensors file or a plain checkpoint of tensors")
    probe: tuple[Size, ...] | None = Field(
        None, description="module: a size that it accepts, on which strides are measured; absent: 64 per axis"
    )

    @property
    def prefix(self) -> str:
        """The label, or the name."""
        return self.label or self.name


class Settings(Model):
    """What determines a transfer besides its inputs. Defaults of a domain come from its preset."""

    def statistic_of(self, layer: str) -> StatisticName:
        """The statistic that a style layer is compared by."""
        return self.statistics.get(layer, self.statistic)

    preset: Preset | None = Field(
        None, description="domain: image, audio, ecg, volume or ct; by the kind of file if absent"
    )
    extractor: tuple[ExtractorSettings, ...] = Field(
        (ExtractorSettings(name="vgg19"),), description="the fixed networks; a name stands for one with its defaults"
    )
    content_layers: tuple[str, ...] = Field(("relu4_2",), description="layers whose activations stay the content's")
    content_layer_weights: tuple[Weight, ...] | None = Field(None, description="one per content layer; equal if absent")
    style_layers: tuple[str, ...] = Field(
        ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        description="layers whose statistics become the style's",
    )
    style_layer_weights: tuple[Weight, ...] | None = Field(None, description="one per style layer; equal if absent")
    statistic: StatisticName = Field(
        "gram", description="gram, covariance, correlation or mean_std; levels, log_std or log_moments of sound"
    )
    statistics: dict[str, StatisticName] = Field(
        default_factory=dict, description="style layers with a statistic other than that"
    )
    content_weight: Weight = Field(1.0, description="alpha")
    style_weight: Weight = Field(30.0, description="beta")
    tv_weight: Weight = Field(0.0, description="weight of the total variation")
    tv_exponent: float = Field(2.0, ge=1.0, le=2.0, description="exponent of the total variation")
    range_weight: Weight = Field(0.0, description="weight of what lies beyond full scale (images, audio)")
    content_normalisation: ContentNormalisation = Field("relative", description="formula of the content cost")
    style_normalisation: StyleNormalisation = Field("relative", description="formula of the style cost")
    pooling: Pooling = Field("average", description="max or average")
    padding: Padding | None = Field(None, description="borders of the convolutions; the network's own if absent")
    pool_kernel: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        None, description="positions joined per axis by each pool"
    )
    optimizer: Literal["lbfgs", "adam"] = Field("lbfgs", description="lbfgs or adam")
    learning_rate: Positive = Field(1.0, description="step size; model units for adam")
    history: int = Field(10, ge=1, le=100, description="pairs that L-BFGS remembers")
    step_exponent: float = Field(
        0.0, ge=0, le=1, description="steps go as frequency to minus this; 0: all alike; the audio preset has its own"
    )
    iterations: int = Field(150, ge=0, le=10_000_000, description="optimiser steps over all scales together")
    plateau: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="a scale ends where 20 steps lower the objective by less than this share; 0: never",
    )
    scales: tuple[Positive, ...] = Field((1.0,), description="sizes from coarse to fine, as shares; the last is 1")
    init: str = Field("content", min_length=1, description="content, noise, style (its covariance) or a file")
    noise_ratio: float = Field(0.6, ge=0, le=1, description="init noise: share of noise, the rest is content")
    noise_range: Positive = Field(20.0, description="init noise: uniform in plus or minus this, model units")
    seed: int = Field(0, ge=0, lt=2**63, description="of every random draw")
    style_scale: Positive | None = Field(
        None, description="images: longer side of the style over the content's; absent: the style's own size"
    )
    method: Literal["features", "spectral", "both"] = Field(
        "features",
        description="features: optimise; spectral (audio, ct, ecg): filters, noise, quick; both: features from there",
    )
    resolution: bool = Field(
        False, description="ct: edges get the style's resolution too, as far as noise tells it; off: edges stay"
    )
    original_colors: bool = Field(False, description="images: only the luminance is restyled")
    window: tuple[float, float] | None = Field(None, description="ct, volume: values mapped to 0..255 model units")
    intensity: Literal["auto", "shared", "own"] = Field(
        "auto", description="volumes: one mapping to model units for all, one each, or by how alike their ranges are"
    )
    compare: Literal["mm", "voxels"] = Field(
        "mm", description="volumes: a style of another voxel spacing is resampled first, or taken voxel by voxel"
    )
    lock_mm: Positive | None = Field(
        None, description="volumes: lower frequencies than this Gaussian sigma stay the content's"
    )
    protect: tuple[float, float] | None = Field(
        None, description="volumes: content values outside these two come back bit for bit"
    )
    region: tuple[float, float] | None = Field(
        None, description="volumes: statistics only where values lie within these two"
    )
    tissues: tuple[Tissue, ...] = Field(
        (),
        description="ct, method both, no label map: beside the region, tissues by HU with features of their own where "
        "there are quiet squares of them in content and style",
    )
    limits: dict[str, Annotated[float, Field(ge=0)] | None] = Field(
        default_factory=dict,
        description="metric: largest absolute value that passes without a warning; null for none",
    )
    max_memory: str | None = Field(
        None, description="of each process, like 4GiB: resident on the machine, or taken on a GPU; absent: what is free"
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:1 or mps")
    precision: Precision = Field(
        "float32",
        description="of the network: float32, tf32 (GPUs), bfloat16 or float16; all else is float32 or float64",
    )
    threads: int | None = Field(None, ge=1, le=MOST_THREADS, description="CPU threads; torch's own choice if absent")

    @field_validator("extractor", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        items = value if isinstance(value, list | tuple) else [value]
        return [{"name": item} if isinstance(item, str) else item for item in items]

    @field_validator("max_memory", mode="before")
    @classmethod
    def _memory(cls, value: Any) -> Any:
        if value is not None:
            bytes_of(str(value))
        return None if value is None else str(value)

    @field_validator("scales")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or value[-1] != 1.0 or any(a >= b for a, b in pairwise(value)):
            raise ValueError(f"scales are {list(value)}; they must rise and end with 1")
        return value

    @field_validator("tissues")
    @classmethod
    def _each_once(cls, value: tuple[Tissue, ...]) -> tuple[Tissue, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"tissues names one twice: {list(value)}")
        return value

    @field_validator("window", "protect", "region")
    @classmethod
    def _range(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not (math.isfinite(value[0]) and math.isfinite(value[1]) and value[0] < value[1]):
            raise ValueError(f"got {list(value)}; allowed: two finite numbers, the lower first")
        return value

    @model_validator(mode="after")
    def _weights_fit(self) -> Settings:
        for kind, layers, weights in (
            ("content", self.content_layers, self.content_layer_weights),
            ("style", self.style_layers, self.style_layer_weights),
        ):
            if weights is not None and len(weights) != len(layers):
                raise ValueError(f"{kind}_layer_weights has {len(weights)} values for {len(layers)} {kind}_layers")
            if len(set(layers)) != len(layers):
                raise ValueError(f"{kind}_layers names a layer twice: {list(layers)}")
        for layer in self.style_layers:
            if self.statistic_of(layer) == "log_moments" and layer.rpartition(".")[2] != "powers":
                raise ValueError(f"statistic log_moments is for the cochlea's layer powers, not for {layer}")
        labels = [e.prefix for e in self.extractor]
        if not labels or len(set(labels)) != len(labels):
            raise ValueError(f"extractor needs one network or more, each with a label of its own; got {labels}")
        if not (self.content_weight and self.content_layers) and not (self.style_weight and self.style_layers):
            raise ValueError("content_weight and style_weight are both 0: there is nothing to minimise")
        return self
