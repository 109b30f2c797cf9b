"""What can go wrong, as one tree; each branch carries the exit code that the command line returns.

    NstError                     1
    ├── ConfigError              2   the command line or the config is wrong
    │   └── OutputError          2   an output exists or cannot be written
    ├── InputError               3   an input cannot be used
    │   └── DecodeError          3   a file is broken, truncated or of an unknown format
    ├── ComputationError         4   the computation failed
    │   └── PeerLostError             4   another process of the same job ended
    └── Interrupted            130   the user pressed Ctrl-C

Every message is one to three lines: what was got, what is allowed, what to do.
"""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit codes of the command line."""

    DONE = 0
    BUG = 1
    CONFIG = 2
    INPUT = 3
    COMPUTATION = 4
    SOME_FAILED = 5
    INTERRUPTED = 130


class NstError(Exception):
    """Base of every error that nst_nd raises on purpose."""

    exit_status = ExitStatus.BUG


class ConfigError(NstError, ValueError):
    """The command line, the config or an argument is wrong: an unknown key, a value out of range."""

    exit_status = ExitStatus.CONFIG


class OutputError(ConfigError):
    """An output exists already, or its folder cannot be written."""


class InputError(NstError, ValueError):
    """An input cannot be used: missing, not finite, constant, or of kinds or channels that do not go together."""

    exit_status = ExitStatus.INPUT


class DecodeError(InputError):
    """A file is empty, truncated, broken, or of a format that no codec knows."""


class ComputationError(NstError, RuntimeError):
    """The computation failed: not finite, out of memory, disk full."""

    exit_status = ExitStatus.COMPUTATION


class PeerLostError(ComputationError):
    """Another process of the same job has ended, so that this one cannot go on; the reason is that one's to say."""


class Interrupted(NstError):  # noqa: N818
    """The user interrupted the run; what was best so far has been written if there was anything to keep."""

    exit_status = ExitStatus.INTERRUPTED
