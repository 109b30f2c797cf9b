"""The package is quick to import, and pulls in neither torch nor a decoder before it is needed."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, time, numpy
import nst_nd
before = set(sys.modules)
start = time.perf_counter()
import nst_nd.io
print(time.perf_counter() - start)
print(*sorted(name.split(".")[0] for name in set(sys.modules) - before))
"""


def test_import_is_quick_and_lazy():
    seconds, loaded = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    heavy = {"torch", "nibabel", "wfdb", "pandas", "PIL", "tifffile", "soundfile", "png", "pydicom"}
    assert not heavy & set(loaded.split())
    assert float(seconds) < 0.5  # 0.01 on an idle machine


def test_no_codec_imports_torch():
    program = "import sys, nst_nd.io.codec as c; c.registry(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
