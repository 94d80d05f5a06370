"""Every error a client can receive, and the one exception that carries it.

The kind's value is the D-Bus error name: clients match names, the text is for people.
The table from libvirt's error codes to kinds is in source/, the only place that knows libvirt.
"""

from enum import StrEnum


class ErrorKind(StrEnum):
    NO_SUCH_OBJECT = "org.virtbridge1.Error.NoSuchObject"
    INVALID_ARGUMENT = "org.virtbridge1.Error.InvalidArgument"
    INVALID_XML = "org.virtbridge1.Error.InvalidXml"
    ALREADY_EXISTS = "org.virtbridge1.Error.AlreadyExists"
    NOT_SUPPORTED = "org.virtbridge1.Error.NotSupported"
    OPERATION_INVALID = "org.virtbridge1.Error.OperationInvalid"
    OPERATION_FAILED = "org.virtbridge1.Error.OperationFailed"
    BUSY = "org.virtbridge1.Error.Busy"
    TIMEOUT = "org.virtbridge1.Error.Timeout"
    NOT_CONNECTED = "org.virtbridge1.Error.NotConnected"
    NOT_AUTHORIZED = "org.virtbridge1.Error.NotAuthorized"
    CANCELLED = "org.virtbridge1.Error.Cancelled"
    LIMIT_EXCEEDED = "org.virtbridge1.Error.LimitExceeded"
    LIBVIRT = "org.virtbridge1.Error.Libvirt"  # whatever the table of codes does not name


class BridgeError(Exception):
    """A failure with a name that clients can match.

    code: libvirt's own error number, 0 where the failure is not libvirt's.
    """

    def __init__(self, kind: ErrorKind, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.code = code
