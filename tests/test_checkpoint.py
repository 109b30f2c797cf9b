"""The checkpoint file: the same bytes back, or an error that says what to do."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from nst_nd import checkpoint
from nst_nd.checkpoint import FORMAT_VERSION, read_checkpoint, write_checkpoint
from nst_nd.engine.optimisers import LBFGS
from nst_nd.errors import ComputationError, DecodeError, InputError, OutputError

DTYPES = list(checkpoint._NAMES)
ABOUT = {"iteration": 3, "best": math.inf, "first": 0.1 + 0.2, "restarts": [1, 2], "none": None, "named": {"a": True}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out [1].png.checkpoint"


def sample(dtype, shape=(2, 3, 5)):
    bits = torch.randint(0, 256, (*shape[:-1], shape[-1] * dtype.itemsize), dtype=torch.uint8)
    return bits.view(dtype) if dtype != torch.bool else bits > 127


def same(a, b):
    """Bits, so that a NaN is itself."""
    a, b = a.contiguous(), b.contiguous()
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*(x.view(-1).view(torch.uint8) for x in (a, b)))


def layouts():
    x = torch.randn(2, 3, 4, 5, 6)
    return {
        "nc=1": x[:1, :1].contiguous(memory_format=torch.channels_last_3d),
        "channels last": x.contiguous(memory_format=torch.channels_last_3d),
        "transposed": x.transpose(1, 4),
        "strided": torch.arange(400.0)[::3],
        "column": torch.randn(300, 2)[:, :1],
        "expanded": torch.randn(3, 1).expand(3, 50),
        "0-d": torch.tensor(math.pi, dtype=torch.float64),
        "empty": torch.empty(0, 4),
        "leaf": torch.randn(3, requires_grad=True),
    }


@pytest.mark.parametrize("chunk", [64, 8 << 20])
def test_what_is_written_comes_back(path, monkeypatch, chunk):
    monkeypatch.setattr(checkpoint, "CHUNK", chunk)
    tensors = {str(dtype): sample(dtype) for dtype in DTYPES} | layouts() | {"ünïcode name": torch.ones(3)}
    write_checkpoint(path, tensors, ABOUT)
    back, about = read_checkpoint(path)
    foreign = load_file(path)
    assert set(back) == set(tensors) == set(foreign)
    for name, tensor in tensors.items():
        assert same(back[name], tensor.detach()), name
        assert same(foreign[name], tensor.detach()), name
    assert about == {**ABOUT, "format_version": FORMAT_VERSION}
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_nothing_but_numbers(path):
    write_checkpoint(path, {}, ABOUT)
    assert read_checkpoint(path) == ({}, {**ABOUT, "format_version": FORMAT_VERSION})


def test_the_same_content_is_the_same_file(path):
    tensors = layouts()
    write_checkpoint(path, tensors, ABOUT)
    first = path.read_bytes()
    write_checkpoint(path, tensors, ABOUT)
    assert path.read_bytes() == first


def test_slabs_are_written_one_after_another(path):
    whole = torch.randn(9, 2, 4)
    slabs = (whole[start:end] for start, end in ((0, 4), (4, 7), (7, 9)))
    write_checkpoint(path, {"b": torch.ones(2).bool(), "z": ((9, 2, 4), torch.float32, slabs)}, {})
    assert torch.equal(read_checkpoint(path)[0]["z"], whole)


@pytest.mark.parametrize(
    "entry",
    [
        ((4,), torch.float32, [torch.ones(3)]),
        ((4,), torch.float32, [torch.ones(3), torch.ones(2)]),
        ((4,), torch.float32, [torch.ones(4).double()]),
        torch.ones(2, dtype=torch.complex64),
    ],
)
def test_what_cannot_be_written_is_refused_and_the_older_file_stands(path, entry):
    write_checkpoint(path, {"z": torch.zeros(4)}, {"iteration": 1})
    with pytest.raises(ValueError):
        write_checkpoint(path, {"z": entry}, {"iteration": 2})
    assert read_checkpoint(path)[1]["iteration"] == 1
    assert len(list(path.parent.iterdir())) == 1


def test_an_optimiser_goes_through(path):
    z, first, second = torch.zeros(1, 2, 50), LBFGS(0.3, 4, dtype=torch.bfloat16), LBFGS(0.3, 4, dtype=torch.bfloat16)
    for _ in range(6):
        first.step(z, (z - 1.0) * 0.3)
    tensors, numbers = first.state()
    write_checkpoint(path, {**tensors, "z": z}, {"optimiser": numbers})
    back, about = read_checkpoint(path)
    other = back["z"].clone()
    second.load(back, about["optimiser"], other)
    for _ in range(6):
        first.step(z, (z - 1.0) * 0.3)
        second.step(other, (other - 1.0) * 0.3)
        assert torch.equal(z, other)


def test_changing_what_was_read_leaves_the_file(path):
    write_checkpoint(path, {"z": torch.ones(5000)}, {})
    before = path.read_bytes()
    back, _ = read_checkpoint(path)
    back["z"].zero_()
    assert path.read_bytes() == before
    write_checkpoint(path, {"z": torch.full((5000,), 2.0)}, {})
    assert not back["z"].any()


def refused(path, data, error=DecodeError):
    path.write_bytes(data)
    with pytest.raises(error) as caught:
        read_checkpoint(path)
    text = str(caught.value)
    assert str(path) in text
    assert "without --resume" in text
    assert len(text.splitlines()) <= 3


def test_a_truncated_file_is_refused(path):
    write_checkpoint(path, {"z": torch.randn(300), "n": torch.arange(4)}, ABOUT)
    whole = path.read_bytes()
    cuts = {*range(12), *range(0, len(whole), 37), *range(len(whole) - 9, len(whole))}
    for cut in sorted(cuts):
        refused(path, whole[:cut])
    refused(path, whole + b"\0")


def test_a_changed_byte_is_noticed_wherever_it_is(path):
    write_checkpoint(path, {"z": torch.randn(40), "n": torch.arange(4)}, {"iteration": 12})
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in (1, 0x20):
            refused(path, whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])


def test_a_foreign_file_is_refused(path):
    save_file({"z": torch.ones(3)}, path)
    refused(path, path.read_bytes())
    save_file({"z": torch.ones(3)}, path, {"sha256": "0", "about": "[]"})
    refused(path, path.read_bytes())
    for data in (b"", b"\x89PNG\r\n\x1a\n" + bytes(500), b"\xff" * 64, b"\x02" + bytes(7) + b"{}", os.urandom(3000)):
        refused(path, data)


def test_another_version_is_told(path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", FORMAT_VERSION + 1)
    write_checkpoint(path, {"z": torch.ones(3)}, {})
    monkeypatch.undo()
    with pytest.raises(DecodeError, match=f"format {FORMAT_VERSION + 1}; this nst-nd reads {FORMAT_VERSION}"):
        read_checkpoint(path)


def test_no_file_and_no_folder(path):
    with pytest.raises(InputError, match="no such checkpoint; run without --resume"):
        read_checkpoint(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_checkpoint(path.parent)
    with pytest.raises(OutputError, match="does not exist"):
        write_checkpoint(path.parent / "nowhere" / "x", {}, {})


def failing(error):
    yield torch.ones(100)
    raise error


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ComputationError),
        (OSError(errno.EIO, "Input/output error"), OutputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (RuntimeError("a process died"), RuntimeError),
    ],
)
def test_what_fails_while_writing_leaves_the_older_file(path, error, becomes):
    write_checkpoint(path, {"z": torch.zeros(4)}, {"iteration": 1})
    with pytest.raises(becomes):
        write_checkpoint(path, {"z": ((200,), torch.float32, failing(error))}, {"iteration": 2})
    assert read_checkpoint(path)[1]["iteration"] == 1
    assert len(list(path.parent.iterdir())) == 1


def test_a_full_disk_while_bytes_are_written_leaves_the_older_file(path):
    # the limit on a file's size is the nearest to a full disk that needs no disk: EFBIG comes from write itself
    write_checkpoint(path, {"z": torch.zeros(4)}, {"iteration": 1})
    code = (
        "import resource, signal, sys, torch\nfrom pathlib import Path\n"
        "from nst_nd.checkpoint import write_checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
        "write_checkpoint(Path(sys.argv[1]), {'z': torch.ones(1 << 20)}, {'iteration': 2})\n"
    )
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert "ComputationError" in told.stderr
    assert "disk full" in told.stderr
    assert read_checkpoint(path)[1]["iteration"] == 1
    assert len(list(path.parent.iterdir())) == 1


KILLED = """
import sys, time, torch
from pathlib import Path
from nst_nd.checkpoint import write_checkpoint

def parts():
    for _ in range(4):
        yield torch.ones(1 << 20)
    print("half", flush=True)
    time.sleep(60)

write_checkpoint(Path(sys.argv[1]), {"z": ((8, 1 << 20), torch.float32, parts())}, {"iteration": 2})
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_killed_process_leaves_the_older_file_and_its_rest_goes(path):
    write_checkpoint(path, {"z": torch.zeros(4)}, {"iteration": 1})
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"half\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert read_checkpoint(path)[1]["iteration"] == 1
    (rest,) = path.parent.glob(".*")
    write_checkpoint(path, {"z": torch.zeros(4)}, {"iteration": 3})
    assert rest.exists()  # it might be that of a process that is still writing
    old = time.time() - 2 * checkpoint.STALE
    for entry in (*rest.iterdir(), rest):
        os.utime(entry, (old, old))
    write_checkpoint(path, {"z": torch.zeros(4)}, {"iteration": 4})
    assert list(path.parent.iterdir()) == [path]


MEASURE = """
import resource, sys, torch
from pathlib import Path
from nst_nd.checkpoint import read_checkpoint, write_checkpoint
path, tensor = Path(sys.argv[1]), torch.ones(1, 3, 32, 1024, 512).contiguous(memory_format=torch.channels_last_3d)
write_checkpoint(path, {"z": torch.ones(3), "w": torch.ones(3, 1 << 21)}, {})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_checkpoint(path, {"z": tensor}, {})
read = read_checkpoint(path)[0]["z"]
assert read.shape == tensor.shape
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / tensor.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts resident kilobytes")
def test_no_second_copy_is_made(path):
    told = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True).stdout
    assert float(told) < 0.25


def test_the_layout_is_that_of_safetensors(path):
    write_checkpoint(path, {"a": torch.ones(3).bool(), "b": torch.ones(2)}, {"iteration": 1})
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert (8 + length) % 8 == 0
    assert header["b"] == {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    assert header["a"] == {"dtype": "BOOL", "shape": [3], "data_offsets": [8, 11]}
    assert json.loads(header["__metadata__"]["about"]) == {"iteration": 1, "format_version": FORMAT_VERSION}
    assert path.stat().st_size == 8 + length + 11
