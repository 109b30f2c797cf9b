import pytest
from batch_files import make_inputs


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory, with inputs of each kind in in/."""
    monkeypatch.chdir(tmp_path)
    make_inputs(tmp_path)
    return tmp_path
