from pathlib import Path

import pytest
from batch_files import make_inputs


@pytest.hookimpl(tryfirst=True)  # before xdist looks at groups
def pytest_collection_modifyitems(items):
    """One process does all of these, one after the other: they start workers, and wait for them with a limit."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("batch"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory, with inputs of each kind in in/."""
    monkeypatch.chdir(tmp_path)
    make_inputs(tmp_path)
    return tmp_path
