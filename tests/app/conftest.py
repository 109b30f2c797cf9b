"""A process that does jobs in no time, in place of the one that computes."""

from pathlib import Path

import pytest

from nst_nd.app import jobs


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(jobs, "WORKER", "stub_worker")
