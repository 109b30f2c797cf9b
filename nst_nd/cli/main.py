"""nst-nd: the commands, and what every one of them does about errors and exit codes.

Nothing heavy is imported here, so that `nst-nd --help` answers at once: each command imports what it needs.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from nst_nd import __version__
from nst_nd.cli.app import app_page
from nst_nd.cli.doctor import doctor
from nst_nd.cli.info import info
from nst_nd.cli.metrics import metrics
from nst_nd.cli.patches import patches
from nst_nd.cli.report import report
from nst_nd.cli.status import status
from nst_nd.cli.transfer import run, stylize, texture
from nst_nd.cli.verify import verify
from nst_nd.errors import ExitStatus, Interrupted, NstError

MOST_LINES = 3

app = typer.Typer(
    name="nst-nd",
    help="Neural style transfer for images, audio, ECG and volumes.",
    epilog="\b\nnst-nd stylize cat.png tissue.png -o out.png\nnst-nd texture fire.wav --duration 5 -o fire5.wav\n"
    "nst-nd run configs/image.yaml\nnst-nd COMMAND --help",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> bool:
    if asked:
        print(f"nst-nd {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    del version


def schema(
    batch: Annotated[bool, typer.Option("--batch", help="Of a file with many jobs.")] = False,
) -> None:
    """Print the JSON schema of a job file, for editors.

    \b
    nst-nd schema > job.schema.json
    nst-nd schema --batch > batch.schema.json
    """
    from nst_nd.config import batch_schema, job_schema

    print(json.dumps(batch_schema() if batch else job_schema(), indent=2))


for command in (stylize, texture, run, status, report, metrics, patches, verify, info, doctor, schema):
    app.command()(command)
app.command("app")(app_page)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command line (sys.argv by default) and leave with its exit code."""
    sys.exit(_status(list(sys.argv[1:] if argv is None else argv) or ["--help"]))


def _status(args: list[str]) -> int:
    try:
        status = app(args=args, prog_name="nst-nd", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # e.g. `| head`: nobody reads on, and the last flush at exit must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.BUG
    except KeyboardInterrupt:
        stopped = Interrupted("interrupted; nothing is written")
        return _report(stopped, as_json="--json" in args, debug="--debug" in args)
    except Exception as error:
        return _report(error, as_json="--json" in args, debug="--debug" in args)
    return int(status or 0)


def _report(error: Exception, *, as_json: bool, debug: bool) -> int:
    """Say what went wrong, on stderr and with --json on stdout too; the exit code that stands for it."""
    message, status = _explained(error)
    if debug:
        traceback.print_exception(error)
    if as_json:
        print(json.dumps({"error": message, "exit_status": status}))
    print("\n".join(f"error: {message}".splitlines()[:MOST_LINES]), file=sys.stderr)
    return status


def _explained(error: Exception) -> tuple[str, int]:
    if isinstance(error, NstError):
        return str(error), int(error.exit_status)
    usage = getattr(error, "format_message", None)  # what typer raises, whose class has moved between its versions
    if usage is not None:
        context = getattr(error, "ctx", None)
        hint = f"\nsee {context.command_path} --help" if context else ""
        return f"{usage()}{hint}", int(ExitStatus.CONFIG)
    if _out_of_memory(error):
        return "out of memory\nuse a smaller input, layers that are less deep, or a machine with more", int(
            ExitStatus.COMPUTATION
        )
    first = (str(error).strip().splitlines() or [""])[0]
    return f"unexpected {type(error).__name__}: {first[:200]}\nrun again with --debug and report it", int(
        ExitStatus.BUG
    )


def _out_of_memory(error: Exception) -> bool:
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


if __name__ == "__main__":
    main()
