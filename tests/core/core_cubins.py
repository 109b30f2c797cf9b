"""Compiles the Triton kernels for GPUs that need not be here, and prints what became of each as a line of JSON.

    python core_cubins.py CAPABILITY

A program of its own, since the tests' process has Triton's interpreter in place of the compiler.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import torch
import triton
import triton.backends.nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nst_nd.kernels import moments_triton as kernels

OBJDUMP = Path(triton.backends.nvidia.__file__).with_name("bin") / "cuobjdump"
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
KINDS = [(torch.float32, "float32"), (torch.float32, "tf32"), (torch.bfloat16, "float32"), (torch.float16, "float32")]
POINTERS = {"weight": "*fp32", "pivot": "*fp32", "outer": "*fp32", "total": "*fp32", "both": "*fp32", "shift": "*fp32"}


def source(kernel, dtype, precision, channels, innermost):
    """The kernel with everything switched on, for channels or positions that lie side by side."""
    row_bytes = kernels.ROW_BYTES if kernel is kernels.moments_kernel else kernels.VJP_ROW_BYTES
    tile = kernels.tile(channels, dtype, row_bytes)
    warps = tile.pop("num_warps")
    wanted = dict.fromkeys(("HAS_WEIGHT", "HAS_PIVOT", "HAS_SHIFT", "WITH_SUM", "ADD"), True)
    wanted |= dict.fromkeys(("stride_c", "out_c") if innermost else ("stride_n", "out_n"), 1)
    wanted |= {**kernels._choices(dtype, precision), **tile, "BLOCK_K": min(32, tile["BLOCK_C"])}
    fixed = {name: value for name, value in wanted.items() if name in kernel.arg_names}
    signature = {}
    for name in kernel.arg_names:
        if name in fixed:
            signature[name] = "constexpr"
        elif name in ("features", "out"):
            signature[name] = f"*{NAMES[dtype]}"
        else:
            signature[name] = POINTERS.get(name, "*fp32" if name == "scale" else "i64" if "_" in name else "i32")
    return ASTSource(kernel, signature, fixed, None), warps


def facts(kernel, capability, dtype, precision, channels, innermost):
    src, warps = source(kernel, dtype, precision, channels, innermost)
    compiled = triton.compile(src, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage, code = (
            subprocess.run([OBJDUMP, option, file.name], capture_output=True, text=True, check=True).stdout
            for option in ("-res-usage", "-sass")
        )
    return {
        "kernel": kernel.fn.__name__,
        "dtype": NAMES[dtype],
        "precision": precision,
        "channels": channels,
        "innermost": innermost,
        "registers": int(re.search(r"REG:(\d+)", usage)[1]),
        "stack": int(re.search(r"STACK:(\d+)", usage)[1]),
        "spills": len(re.findall(r"\b(?:STL|LDL)\b", code)),
        "tensor_core": sorted(set(re.findall(r"\bH(?:G)?MMA[\w.]*", code))),
        "shared": compiled.metadata.shared,
    }


def main() -> None:
    cases = [*product(KINDS, (64,), (False, True)), *product(KINDS, (16,), (False,))]
    for kernel, (kind, channels, innermost) in product((kernels.moments_kernel, kernels.vjp_kernel), cases):
        print(json.dumps(facts(kernel, int(sys.argv[1]), *kind, channels, innermost)), flush=True)


if __name__ == "__main__":
    main()
