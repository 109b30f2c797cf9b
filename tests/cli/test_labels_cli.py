"""Label maps through the command line and job files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

QUICK = ["--iterations", "2", "--set", "extractor=[{name: random, channels: [4]}]", "--set", "style_layers=[relu1]"]
QUICK += ["--set", "content_layers=[relu1]", "--set", "scales=[1]", "--device", "cpu"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("c", 1), ("a", 2), ("b", 3)):
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32), dtype=np.uint8)).save(f"{name}.png")
    labels = np.zeros((24, 32), np.uint8)
    labels[:, 10:20], labels[:, 20:] = 7, 255
    Image.fromarray(labels).save("map.png")
    return labels


def test_parts_by_options_and_by_yaml(cli, files):
    options = ["--labels", "map.png", "--style-label", "7", "--style-label", "255"]
    assert cli("stylize", "c.png", "a.png", "b.png", "-o", "o.png", *options, *QUICK).status == 0
    before, after = (np.asarray(Image.open(f"{name}.png")) for name in "co")
    assert np.array_equal(before[files == 0], after[files == 0])
    assert all((before != after)[files == label].mean() > 0.5 for label in (7, 255))
    record = json.loads(Path("o.png.json").read_text())
    assert [file["role"] for file in record["inputs"]] == ["content", "style", "style", "labels"]
    lines = ["content: c.png", "labels: map.png", "output: o.png", "iterations: 2", "scales: [1]", "device: cpu"]
    lines += ["extractor: [{name: random, channels: [4]}]", "style_layers: [relu1]", "content_layers: [relu1]"]
    lines += ["style:", "  - {path: a.png, labels: 7}", "  - {path: b.png, labels: [255]}"]
    Path("job.yaml").write_text("\n".join(lines))
    assert cli("run", "job.yaml").status == 0
    assert Path("job/o.png").read_bytes() == Path("o.png").read_bytes()


@pytest.mark.parametrize(
    ("given", "status", "word"),
    [
        (["--labels", "map.png"], 2, "style 1 has no labels"),
        (["--style-label", "7", "--style-label", "8"], 2, "style 1 has labels, and there is no label map"),
        (["--labels", "map.png", "--style-label", "7"], 2, "--style-label: got 1 for 2 styles"),
        (["--labels", "map.png", "--style-label", "7", "--style-label", "3"], 3, "label 3 is nowhere in the label map"),
        (["--labels", "map.png", "--style-label", "7", "--style-label", "x"], 2, "style.1.labels.0"),
        (["--labels", "none.png", "--style-label", "7", "--style-label", "255"], 3, "none.png"),
    ],
)
def test_mistakes_are_said_and_nothing_is_written(cli, files, given, status, word):
    ran = cli("stylize", "c.png", "a.png", "b.png", "-o", "o.png", *given, *QUICK)
    assert ran.status == status, ran.err
    assert word in ran.err
    assert not list(Path().glob("o.png*"))
