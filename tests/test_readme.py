"""The README's Python runs, its commands exist, and its numbers are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_python_snippets_run(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data_samples").symlink_to(ROOT / "data_samples")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    scope: dict[str, object] = {}
    exec(compile(SNIPPETS[number], f"README.md, snippet {number}", "exec"), scope)
    if number == 0:
        assert (tmp_path / "restyled.png").stat().st_size > 10_000
    elif number == 1:
        for name in ("scan.png", "music.png", "paper.pdf"):
            assert (tmp_path / name).stat().st_size > 10_000
    else:
        gradient = scope["gradient"]
        assert isinstance(gradient, torch.Tensor)
        assert gradient.abs().max() > 0


def test_there_are_snippets() -> None:
    assert len(SNIPPETS) == 3


def test_every_command_named_exists() -> None:
    from nst_nd.cli.main import app

    named = set(re.findall(r"nst-nd (\w+)", TEXT))
    registered = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    assert named <= registered
    assert {"stylize", "texture", "run", "metrics", "verify", "info", "doctor", "schema"} <= named


def test_make_targets_and_files_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", TEXT, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
    for link in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / link).exists(), link
    for path in re.findall(r"(?:configs|data_samples)/[\w.]+\w", TEXT):
        assert (ROOT / path).exists(), path
