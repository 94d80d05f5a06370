"""Every error a client can receive, and the one exception that carries it.

A kind has no D-Bus name here: each API gives its own (bus/errors.py). The table from libvirt's error codes to
kinds is in source/, the only place that knows libvirt.
"""

import errno
from enum import StrEnum


class ErrorKind(StrEnum):
    """The kinds of error. Each API gives them D-Bus names of its own."""

    NO_SUCH_OBJECT = "no-such-object"
    INVALID_ARGUMENT = "invalid-argument"
    INVALID_XML = "invalid-xml"
    ALREADY_EXISTS = "already-exists"
    NOT_SUPPORTED = "not-supported"
    OPERATION_INVALID = "operation-invalid"
    OPERATION_FAILED = "operation-failed"
    BUSY = "busy"
    TIMEOUT = "timeout"
    NOT_CONNECTED = "not-connected"
    NOT_AUTHORIZED = "not-authorized"
    AUTHORIZATION_FAILED = "authorization-failed"
    CANCELLED = "cancelled"
    LIMIT_EXCEEDED = "limit-exceeded"
    LIBVIRT = "libvirt"  # whatever the table of codes does not name


class BridgeError(Exception):
    """A failure with a name that clients can match.

    code: libvirt's own error number, 0 where the failure is not libvirt's.
    """

    def __init__(self, kind: ErrorKind, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.code = code


_SHORTAGES = {
    errno.EMFILE: "the service has no free file descriptor",
    errno.ENFILE: "the system has no free file descriptor",
    errno.ENOMEM: "the system has no free memory",
    errno.EAGAIN: "the system has no room for another process",
}
_NO_THREAD = "can't start new thread"  # CPython's only word for it, in a RuntimeError


def shortage(error: BaseException) -> BridgeError | None:
    """Return LimitExceeded, naming what there is no more of, for a failure that means that the system gives
    the service no more of something; None for any other failure.

    This is not for a socket's failures: there EAGAIN means to wait.
    """
    text = None
    if isinstance(error, OSError):
        text = _SHORTAGES.get(error.errno or 0)
    elif isinstance(error, MemoryError):
        text = _SHORTAGES[errno.ENOMEM]
    elif isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        text = "the system has no room for another thread"
    return BridgeError(ErrorKind.LIMIT_EXCEEDED, text) if text else None
