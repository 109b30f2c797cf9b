"""Results with sidecars, as a run leaves them, made in milliseconds; and batches of as many as one likes."""

import json
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

import nst_nd
from nst_nd.batch.manifest import opened
from nst_nd.batch.records import Record
from nst_nd.domains.resolve import resolve
from nst_nd.sample import Grid, Sample
from nst_nd.sidecar import described, plain, sidecar_of, steps_table, to_text, versions

# somebody's idea of a joke, as far as the file system lets it be a name
HOSTILE = "a\"b'<img src=x onerror=hacked()>\u202egnp\n&amp;.png"
# and without that bound
TEXTS = (
    "</script><script>hacked()</script>",
    "<!--<script>",
    "{{ 7 * 7 }}",
    "]]>&lt;b&gt;",
    "\u202eright to left\u202c\u2028\x00\x1b[31m",
    '" onmouseover="hacked()',
    "javascript:hacked()",
    "x" * 100_000,
)


def image_sample(seed, size=(24, 32)):
    data = np.random.default_rng(seed).random((3, *size)).astype(np.float32)
    return Sample(data, "image", "full scale", Grid((1.0, 1.0), "px"))


def sound(seed, seconds=1.5, rate=8000):
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.4 * np.sin(2 * np.pi * 440 * (1 + seed) * time) + 0.02 * rng.standard_normal(time.size)
    return Sample(wave[None].astype(np.float32), "audio", "full scale", Grid((1 / rate,), "s", rate))


def recording(seed, seconds=3, rate=250):
    rng = np.random.default_rng(seed)
    beats = np.exp(-(((np.arange(seconds * rate) % rate) - 60.0) ** 2) / 20.0)
    data = np.stack([beats, 0.5 * beats]) + 0.02 * rng.standard_normal((2, seconds * rate))
    return Sample(data.astype(np.float32), "ecg", "mV", Grid((1 / rate,), "s", rate), ("I", "II"))


def scan(seed, shape=(40, 36, 7), spacing=(0.8, 0.8, 2.5), sd=20.0):
    """A ball in the air, in HU, brighter towards the far slices."""
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, n) for n in shape]
    inside = sum(a**2 for a in np.meshgrid(*axes, indexing="ij")) < 0.8
    data = np.where(inside, 40.0, -1000.0) + sd * rng.standard_normal(shape) + 10.0 * np.arange(shape[2])
    grid = Grid(spacing, "mm", affine=np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]))
    return Sample(np.rint(data)[None].astype(np.float32), "volume", "HU", grid)


MAKERS = {"image": image_sample, "audio": sound, "ecg": recording, "volume": scan}
SUFFIXES = {"image": ".png", "audio": ".wav", "ecg": ".csv", "volume": ".nii.gz"}


def finished(folder, kind, preset=None, name=None, **changes):
    """A result of this kind with content, style and sidecar beside it; changes: keys of the sidecar."""
    folder.mkdir(parents=True, exist_ok=True)
    make, suffix = MAKERS[kind], SUFFIXES[kind]
    files = [folder / f"{role}{suffix}" for role in ("content", "style")]
    output = folder / (name or f"out{suffix}")
    for seed, path in enumerate([*files, output]):
        nst_nd.save(make(seed), path, overwrite=True)
    write_record(output, files, kind, preset or kind, make(0).shape, **changes)
    return output


def write_record(output, files, kind, preset, shape, **changes):
    """A sidecar of the keys that job.py writes, with the files as they are."""
    roles = ("content", "style")
    record = {
        "status": "done",
        "versions": versions(),
        "kind": kind,
        "inputs": [described(path, role=role) for role, path in zip(roles, files, strict=True)],
        "request": "0" * 64,
        "asked": {"style": [{"weight": 1.0, "labels": [], "mask": False}], "size": None, "rate": None},
        "output": described(output),
        "shape": shape,
        "settings": resolve({"preset": preset}, kind).model_dump(),
        "seed": 0,
        "networks": ["random"],
        "device": "cpu",
        "device_name": None,
        "threads": 1,
        "seconds": 12.5,
        "peak_memory_bytes": 1 << 30,
        "memory": {},
        "metrics": {"style_distance_before": 1.0, "style_distance_after": 0.2, "change_rms": 0.1},
        "warnings": [],
        "notes": ["a note"],
        **changes,
        "steps": steps_table([]) | {"columns": ["iteration", "scale", "content/a", "style/a"], "rows": rows()},
    }
    sidecar_of(output).write_text(to_text(plain(record)), encoding="utf-8")


def rows(steps=12):
    """Two scales; the style's term falls, the content's rises from nothing."""
    return [[i, int(i > steps // 2), 0.01 * (i - 1), 10.0 / i] for i in range(1, steps + 1)]


def large_scan(folder):
    """The result of a CT job of 512 x 512 x 300 voxels: noise throughout, in slabs, which are made in no time."""
    shape, depth = (512, 512, 300), 6
    slab = scan(0, (*shape[:2], depth), (0.7, 0.7, 1.0)).data[0].astype(np.int16)
    files = [folder / f"{name}.nii" for name in ("content", "style", "out")]
    for place, path in enumerate(files):
        slabs = 1 if path.stem == "style" else shape[2] // depth
        volume = np.tile(np.roll(slab, place, axis=0), (1, 1, slabs))
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([-0.7, -0.7, 1.0, 1.0])), path)
    write_record(files[2], files[:2], "volume", "ct", shape)
    return files[2]


def batch_of(folder, count, *, failed=(), odd=(), pictures=True, noisy=False):
    """The folder of a batch with so many image jobs. failed: names and their errors; odd: indices unlike the others.

    noisy: results of noise, whose thumbnails are as large as they get.
    """
    home = folder / ".nst-nd"
    home.mkdir(parents=True, exist_ok=True)
    record = json.loads(sidecar_of(finished(folder / "one", "image")).read_text())
    found = [
        Record(name, "failed", "", 2, "here", 1e9, 1e9 + 1, None, error=error, exit_status=3) for name, error in failed
    ]
    rng = np.random.default_rng(0)
    for i in range(count):
        name = f"job{i:04}.png"
        spread = float(rng.uniform(0.95, 1.05)) * (5.0 if i in odd else 1.0)
        metrics = {**record["metrics"], "change_rms": 0.1 * spread}
        found.append(Record(name, "done", "", 1, "here", 1e9, 1e9 + 10 * spread, 1 << 30, metrics))
        if pictures:
            flat = np.full((16, 16, 3), (i % 256, 255 - i % 256, 128), np.uint8)
            noise = rng.integers(0, 256, (120, 120, 3), dtype=np.uint8) if noisy else None
            Image.fromarray(flat if noise is None else noise).save(folder / name)
            record["steps"]["rows"][-1][2] = float(rng.uniform(0.95, 1.05))
            (folder / f"{name}.json").write_text(json.dumps(record))
    with opened(home) as manifest:
        manifest.put(found)
    return Path(folder)
