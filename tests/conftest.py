"""Annotations are checked while tests run, shapes included; one thread, so that timings and sums do not wander."""

import os

import jaxtyping

# nothing is kept from test to test
os.environ["NST_ND_CACHE"] = ""

# Triton reads it when it is imported: kernels run in Python, on the CPU
os.environ["TRITON_INTERPRET"] = "1"

# before anything of nst_nd is imported: modules that were imported earlier stay unchecked
jaxtyping.install_import_hook("nst_nd", "checked.annotations")

import torch  # noqa: E402

torch.set_num_threads(1)
