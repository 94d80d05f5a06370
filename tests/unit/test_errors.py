"""What the system does not give: the caller's error names it."""

import errno

import pytest

from virtbridge.errors import ErrorKind, shortage
from virtbridge.source.calls.errors import bridge_error

SHORT = [
    (OSError(errno.EMFILE, "Too many open files"), "file descriptor"),
    (OSError(errno.ENFILE, "Too many open files in system"), "file descriptor"),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
    (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "process"),
    (MemoryError(), "memory"),
    (RuntimeError("can't start new thread"), "thread"),
]
OTHERS = [OSError(errno.ENOENT, "No such file"), OSError("no number"), RuntimeError("x"), ValueError("x")]


@pytest.mark.parametrize(("error", "word"), SHORT, ids=lambda value: type(value).__name__)
def test_a_shortage_says_of_what(error: Exception, word: str) -> None:
    for found in (shortage(error), bridge_error(error)):
        assert found is not None
        assert found.kind is ErrorKind.LIMIT_EXCEEDED
        assert word in found.message


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_other_failures_are_none(error: Exception) -> None:
    assert shortage(error) is None
    assert bridge_error(error).kind is ErrorKind.OPERATION_FAILED
