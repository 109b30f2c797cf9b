"""What the compiler makes of the Triton kernels for A100 and H100, which need not be here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("core_cubins.py")
# bytes that a program may have there (CUDA C++ Programming Guide, compute capabilities)
SHARED = {80: 163 * 1024, 90: 227 * 1024}
PRODUCTS = {"fp32": ".TF32", "bf16": ".BF16", "fp16": ".F32"}


@pytest.mark.parametrize("capability", SHARED)
def test_no_spills_and_tensor_cores(capability, tmp_path):
    pytest.importorskip("triton.backends.nvidia", reason="this torch comes without Triton")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, PROGRAM, str(capability)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 24
    for row in rows:
        assert row["spills"] == row["stack"] == 0, row
        assert 0 < row["shared"] <= SHARED[capability], row
        assert row["tensor_core"], row
        assert all(name.endswith(PRODUCTS[row["dtype"]]) for name in row["tensor_core"]), row
        # the wide products that Hopper has
        if capability == 90 and row["channels"] == 64:
            assert all(name.startswith("HGMMA") for name in row["tensor_core"]), row
