"""The checkpoint of a running job: one safetensors file with tensors, numbers and a digest; complete or not there.

The file is the safetensors format, which other programs read, with "__metadata__": {"about": JSON, "sha256": hex}. The
digest is of the whole file as it would be with zeros in the place of the digest. safetensors' own save_file is not
used, since it makes one bytes object of every tensor, and so a second copy of all of them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nst_nd import __version__
from nst_nd.errors import DecodeError, InputError, OutputError
from nst_nd.io.atomic import private_prefix, publishing
from nst_nd.sidecar import digest_of

FORMAT_VERSION = 2
# bytes at a time, written and read
CHUNK = 8 << 20
# what a killed process left behind is removed when nothing has been written to it for this many seconds
STALE = 3600.0
# seconds from one to the next, and the variable that says otherwise
SECONDS = 300.0
EVERY = "NST_ND_CHECKPOINT_SECONDS"
_NO_DIGEST = "0" * 64
# the header of a file with more tensors than anyone has
_LONGEST_HEADER = 100 << 20
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

# shape, dtype, and tensors whose elements follow each other: made one by one, such as the slabs of several processes
Parts: TypeAlias = tuple[tuple[int, ...], torch.dtype, Iterable[Tensor]]


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor | Parts], about: Mapping[str, Any]) -> None:
    """Write the file atomically in place of an older one; no tensor is copied as a whole.

    tensors: of any shape, strides, device and dtype that safetensors has, complex and 8-bit floats left out; they come
    back contiguous. about: what JSON can hold, and floats that are not finite; tuples come back as lists.
    Raises ComputationError where the disk is full and OutputError where nothing can be written; the older file stands.
    ValueError: parts that do not make up their shape and dtype, or a dtype that the file cannot hold.
    """
    _sweep(path)
    entries = {name: _parts(name, value) for name, value in tensors.items()}
    # the widest first, as safetensors has it: then every tensor lies where its dtype can be mapped
    names = sorted(entries, key=lambda name: -entries[name][1].itemsize)
    header, place = _header([(name, *entries[name][:2]) for name in names], {**about, "format_version": FORMAT_VERSION})
    with publishing(path, overwrite=True) as private, private.open("wb") as file:
        digest = hashlib.sha256(header)
        file.write(header)
        for name in names:
            _write(file, digest.update, name, entries[name])
        file.seek(place)
        file.write(digest.hexdigest().encode())


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, mapped from the file so that only what is used is read, and `about`, with its "format_version".

    The digest is checked, for which the file is read once. Nothing done to the tensors gets into the file, and a newer
    checkpoint may take its place while they are in use; its space on disk is free once they are gone.
    Raises InputError where there is no file, DecodeError where it is damaged or of another kind or version.
    """
    try:
        with path.open("rb") as file:
            about = _verified(path, file)
        with safe_open(path, framework="pt") as mapped:
            return {name: mapped.get_tensor(name) for name in mapped.keys()}, about  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such checkpoint; run without --resume") from error
    except OSError as error:
        raise InputError(_message(path, f"cannot be read: {error.strerror or error}")) from error
    except SafetensorError as error:
        raise DecodeError(_message(path, f"not a checkpoint: {error}")) from error


def checkpoint_of(output: Path) -> Path:
    """out.nii.gz -> out.nii.gz.ckpt."""
    return output.with_name(f"{output.name}.ckpt")


class Checkpoints:
    """The checkpoints of one job beside its output, `OUT.ckpt`: written every so often, removed at a good end.

    identity: what has to be the same for a run to go on from one, by name. lenient: one that does not fit or is broken
    is set aside with a note, instead of an error.
    Raises OutputError where there is one and neither resume nor overwrite is asked for.
    """

    def __init__(
        self, output: Path, identity: Mapping[str, Any], *, resume: bool, overwrite: bool, lenient: bool = False
    ) -> None:
        self.path, self.lenient = checkpoint_of(output), lenient
        self.identity, self.resume = json.loads(json.dumps(identity)), resume
        self.every = float(os.environ.get(EVERY, SECONDS))
        self.last = time.monotonic()
        self.notes: list[str] = []
        if self.path.exists() and not resume and not overwrite:
            raise OutputError(
                f"{self.path}: a checkpoint of an unfinished run is there\n"
                "go on from it with --resume, or start anew with --overwrite"
            )

    @property
    def started(self) -> bool:
        """Whether there is one, or has been time for one."""
        return self.path.exists() or self.due()

    def due(self) -> bool:
        """Whether the last one is old enough."""
        return time.monotonic() - self.last >= self.every

    def save(self, tensors: Mapping[str, Tensor | Parts], about: Mapping[str, Any]) -> None:
        """See write_checkpoint."""
        write_checkpoint(self.path, tensors, {**about, "identity": self.identity})
        self.last = time.monotonic()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The checkpoint, where one is there and asked for. Raises InputError where it is of another job."""
        if not self.resume or not self.path.exists():
            return None
        try:
            return self._fitting()
        except InputError:
            if not self.lenient:
                raise
            self.notes.append("a checkpoint of an earlier run does not fit and was set aside")
            return None

    def _fitting(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, about = read_checkpoint(self.path)
        found = about.get("identity", {})
        other = sorted(k for k in {*found, *self.identity} if found.get(k) != self.identity.get(k))
        if other:
            raise InputError(
                f"{self.path}: is of another run: {', '.join(other)} differ\n"
                "start as that run was started, or anew with --overwrite and without --resume"
            )
        self.notes.append(f"went on from a checkpoint at iteration {about['iteration']}")
        return tensors, about

    def remove(self) -> None:
        """At a good end; with it goes what a killed process left of one."""
        self.path.unlink(missing_ok=True)
        _sweep(self.path, stale=0.0)


def identity_of(job: Any, files: list[dict[str, Any]], processes: int) -> dict[str, Any]:
    """What determines the bytes of a result, by name: settings, inputs, libraries, threads and processes.

    How much memory there is does not belong to it: the checkpoint has the plan.
    """
    elsewhere = {"output", "max_memory", "processes", "content", "style", "mask", "labels"}
    settings = job.model_dump(mode="json", exclude=elsewhere)
    settings["style"] = [style.model_dump(mode="json", exclude={"path", "mask"}) for style in job.style]
    inputs = {f"{i} {file['role']}": digest_of(file) for i, file in enumerate(files)}
    return {
        "settings": settings,
        "inputs": inputs,
        "torch": torch.__version__,
        "nst_nd": __version__,
        "threads": torch.get_num_threads(),
        "processes": processes,
    }


def request_of(job: Any, files: list[dict[str, Any]]) -> str:
    """sha256 of what was asked for: settings and inputs, wherever the files lie and whatever computes it."""
    identity = identity_of(job, files, 1)
    settings = {k: v for k, v in identity["settings"].items() if k not in ("device", "threads")}
    return hashlib.sha256(json.dumps([settings, identity["inputs"]], sort_keys=True).encode()).hexdigest()


def _parts(name: str, value: Tensor | Parts) -> Parts:
    parts = (tuple(value.shape), value.dtype, (value,)) if isinstance(value, Tensor) else value
    if name == "__metadata__" or parts[1] not in _NAMES:
        raise ValueError(f"{name}: {parts[1]} cannot be written; allowed: {', '.join(map(str, _NAMES))}")
    return parts


def _header(entries: Iterable[tuple[str, tuple[int, ...], torch.dtype]], about: Mapping[str, Any]) -> tuple[bytes, int]:
    """Length and header, padded to 8 bytes, and where in it the digest belongs."""
    # first, so that nothing before it can look like it
    table: dict[str, Any] = {"__metadata__": {"sha256": _NO_DIGEST, "about": json.dumps(about)}}
    end = 0
    for name, shape, dtype in entries:
        start, end = end, end + math.prod(shape) * dtype.itemsize
        table[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    header = struct.pack("<Q", len(text)) + text
    return header, header.index(_NO_DIGEST.encode())


def _write(file: BinaryIO, update: Callable[[memoryview], object], name: str, parts: Parts) -> None:
    shape, dtype, tensors = parts
    elements = 0
    for tensor in tensors:
        if tensor.dtype != dtype:
            raise ValueError(f"{name}: a part in {tensor.dtype} of {dtype}")
        elements += tensor.numel()
        for piece in _pieces(tensor.detach()):
            data = piece.cpu().reshape(-1).view(torch.uint8).numpy().data
            update(data)
            file.write(data)
    if elements != math.prod(shape):
        raise ValueError(f"{name}: parts of {elements} elements for the shape {shape}")


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    """The elements in the order of the indices, whatever the order in memory; only pieces are ever copied."""
    if tensor.is_contiguous():
        yield from torch.split(tensor.view(-1), CHUNK // tensor.itemsize)
    elif tensor.nbytes <= CHUNK:
        yield tensor.contiguous()
    elif tensor[0].nbytes > CHUNK:
        for part in tensor:
            yield from _pieces(part)
    else:
        for part in torch.split(tensor, CHUNK // tensor[0].nbytes):
            yield part.contiguous()


def _verified(path: Path, file: BinaryIO) -> dict[str, Any]:
    """`about` of an intact file."""
    size = path.stat().st_size
    head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    if not 0 < length <= min(size - 8, _LONGEST_HEADER):
        raise DecodeError(_message(path, f"not a checkpoint, or cut short ({size} bytes)"))
    text = file.read(length)
    try:
        metadata = json.loads(text)["__metadata__"]
        expected, about = str(metadata["sha256"]), json.loads(metadata["about"])
        version = about["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DecodeError(_message(path, "not a checkpoint of nst-nd, or damaged")) from error
    digest = hashlib.sha256(head + text.replace(expected.encode(), _NO_DIGEST.encode(), 1))
    while block := file.read(CHUNK):
        digest.update(block)
    if digest.hexdigest() != expected:
        raise DecodeError(_message(path, f"damaged or cut short ({size} bytes): its digest is not that of its content"))
    if version != FORMAT_VERSION:
        raise DecodeError(_message(path, f"a checkpoint of format {version}; this nst-nd reads {FORMAT_VERSION}"))
    return dict(about)


def _message(path: Path, what: str) -> str:
    return f"{path}: {what}\nremove the file, or run without --resume"


def _sweep(path: Path, stale: float = STALE) -> None:
    """Remove private folders of earlier writes to this path whose process was killed: each is as large as the file."""
    for folder in path.parent.glob(f"{private_prefix(path)}*.part"):
        try:
            last = max(entry.stat().st_mtime for entry in (folder, *folder.iterdir()))
        except OSError:
            continue  # gone, or someone else's
        if time.time() - last > stale:
            shutil.rmtree(folder, ignore_errors=True)
