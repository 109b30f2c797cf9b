"""What a library says in its log becomes notes, instead of lines on stderr."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_MOST = 5


class _Collector(logging.Handler):
    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.notes) < _MOST:
            self.notes.append(record.getMessage().splitlines()[0][:200])


@contextmanager
def captured(logger_name: str) -> Iterator[list[str]]:
    """The list that receives what this logger, and warnings, say while the block runs (at most five lines)."""
    notes: list[str] = []
    logger = logging.getLogger(logger_name)
    collector, handlers, propagate = _Collector(notes), logger.handlers[:], logger.propagate
    logger.handlers, logger.propagate = [collector], False
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            yield notes
        notes += [str(w.message).splitlines()[0][:200] for w in said[: _MOST - len(notes)] if str(w.message)]
    finally:
        logger.handlers, logger.propagate = handlers, propagate
