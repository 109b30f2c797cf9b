"""app: a page on this machine."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from nst_nd.cli import options as o
from nst_nd.errors import ConfigError, ExitStatus, OutputError

NEEDED = ("starlette", "uvicorn")


def app_page(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; any that is free if 0.")] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address only, and open no browser.")
    ] = False,
    kept: Annotated[
        Path, typer.Option("--kept", metavar="DIR", help="Folder of the jobs that are kept; made when it is needed.")
    ] = Path("nst-nd-kept"),
    max_upload: Annotated[str, typer.Option("--max-upload", metavar="2GiB", help="Largest file taken.")] = "2GiB",
    at_once: Annotated[int, typer.Option("--at-once", min=1, help="Jobs at work at a time; others wait.")] = 1,
    debug: o.Debug = False,
) -> int:
    """Restyle files on a page in your browser, on this machine alone.

    Drop a content and a style, move the sliders, watch the result appear,
    fetch it with its sidecar and the YAML that `nst-nd run` repeats it with.
    It listens on 127.0.0.1 only, and only who has the address that is printed
    gets in; nothing leaves the machine. Ctrl-C ends it and the job at work;
    all files go then, but those of jobs that were kept.
    DICOM is not taken here: `nst-nd stylize` does it.

    \b
    nst-nd app
    nst-nd app --port 8123 --no-browser
    nst-nd app --kept results --max-upload 8GiB
    """
    del debug
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"the app needs {' and '.join(missing)}; install the extra: pip install 'nst_nd[app]'")
    from nst_nd.engine.memory import bytes_of

    try:
        most = bytes_of(max_upload)
    except ValueError as error:
        raise ConfigError(f"--max-upload: {error}") from error
    from nst_nd.app.serve import serve

    def say(address: str) -> None:
        print(f"nst-nd app is at {address}\nCtrl-C ends it; nothing leaves this machine", flush=True)

    folders, lost = serve(port=port, browser=not no_browser, kept=kept.absolute(), most=most, at_once=at_once, say=say)
    for folder in folders:
        print(f"kept: {folder}")
    if lost:
        raise OutputError("\n".join(["not kept where they should be:", *lost]))
    return ExitStatus.DONE
