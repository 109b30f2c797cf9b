"""Annotations are checked while tests run, shapes included; one thread, so that timings and sums do not wander."""

import os

import jaxtyping
import pytest

# nothing is kept from test to test
os.environ["NST_ND_CACHE"] = ""

# Triton reads it when it is imported: kernels run in Python, on the CPU
os.environ["TRITON_INTERPRET"] = "1"

# before anything of nst_nd is imported: modules that were imported earlier stay unchecked
jaxtyping.install_import_hook("nst_nd", "checked.annotations")

import torch  # noqa: E402

torch.set_num_threads(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """One process does all tests of batches, one by one: they start workers, and wait for them with a limit. One does
    those of pages, so that there is one browser.
    """
    from xdist.scheduler import LoadScopeScheduling

    class BatchesTogether(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            if nodeid.startswith("tests/browser/"):  # a browser and an app for each file
                return nodeid.partition("::")[0]
            return "batch" if nodeid.startswith("tests/batch/") else nodeid

    return BatchesTogether(config, log)
