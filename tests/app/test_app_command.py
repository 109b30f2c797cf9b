"""nst-nd app: what it says where it cannot start."""

import importlib.util
import socket

import pytest

from nst_nd.cli.main import main


def said(capsys, *words):
    with pytest.raises(SystemExit) as left:
        main(["app", "--no-browser", *words])
    return left.value.code, capsys.readouterr().err


def test_without_the_extra(capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else found(name))
    status, err = said(capsys)
    assert status == 2
    assert err == "error: the app needs uvicorn; install the extra: pip install 'nst_nd[app]'\n"


def test_a_port_that_is_taken(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, err = said(capsys, "--port", str(port))
    assert status == 2
    assert err.startswith(f"error: --port {port}: ")


@pytest.mark.parametrize("words", [("--max-upload", "much"), ("--port", "70000"), ("--at-once", "0")])
def test_wrong_options(capsys, words):
    status, err = said(capsys, *words)
    assert status == 2
    assert words[0] in err
