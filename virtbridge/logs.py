"""Where log lines go and how they are written: a fixed message, then key=value.

Under systemd's journal a line starts with its priority, as in `<4>`, and the journal adds the time; otherwise
it is for a person at a terminal, with time and level. One record is one line, whatever a host or client put
into it; tracebacks are shown at level debug only. Source: sd-daemon(3) on `<N>`.
"""

import logging
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import TextIO

# The names of --log-level.
LEVELS: Mapping[str, int] = MappingProxyType(
    {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
)
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG_PRIORITY = 7


def set_up_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """Set up logging once, when the process starts. level: one of LEVELS; other packages' loggers never go
    below info.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JournalFormatter() if _is_journal(stream) else _TerminalFormatter())
    handler.addFilter(_TracebackFilter(show=LEVELS[level] <= logging.DEBUG))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(LEVELS[level], logging.INFO))
    logging.getLogger("virtbridge").setLevel(LEVELS[level])


def report_failure(error: Exception, stream: TextIO | None = None) -> None:
    """Print what ends us before there is anything to log: its lines as they are, as errors in the journal."""
    stream = stream or sys.stderr
    start = "<3>" if _is_journal(stream) else ""
    print(*(f"{start}{line}" for line in str(error).split("\n")), sep="\n", file=stream)


def _is_journal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether this stream is the journal's. JOURNAL_STREAM is inherited by whatever we are started
    from, so it must be this very stream.
    """
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _OneLineFormatter(logging.Formatter):
    """Control characters are escaped: names in messages come from clients, hosts and guests.

    Only the message: a traceback, when it is shown at all, keeps its lines.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        return "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode()
            for character in super().formatMessage(record)
        )


class _TerminalFormatter(_OneLineFormatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")


class _JournalFormatter(_OneLineFormatter):
    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        found = (number for level, number in _PRIORITIES if record.levelno >= level)
        return f"<{next(found, _DEBUG_PRIORITY)}>{super().format(record)}"


class _TracebackFilter(logging.Filter):
    """Without debug an exception is its type and text, in the message's own line."""

    def __init__(self, *, show: bool) -> None:
        super().__init__()
        self._show = show

    def filter(self, record: logging.LogRecord) -> bool:
        if self._show or not record.exc_info:
            return True
        error = record.exc_info[1]
        record.msg = f"{record.getMessage()} error={type(error).__name__}: {error}"
        record.args = None
        record.exc_info = record.exc_text = None
        return True
