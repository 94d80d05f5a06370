"""The D-Bus error name of each kind of error. Clients match these names; the text is for people."""

from collections.abc import Mapping

from virtbridge.bus.names import NAME
from virtbridge.errors import ErrorKind
from virtbridge.wire.link import ErrorNames

NAME_OF_KIND: Mapping[ErrorKind, str] = {
    ErrorKind.NO_SUCH_OBJECT: f"{NAME}.Error.NoSuchObject",
    ErrorKind.INVALID_ARGUMENT: f"{NAME}.Error.InvalidArgument",
    ErrorKind.INVALID_XML: f"{NAME}.Error.InvalidXml",
    ErrorKind.ALREADY_EXISTS: f"{NAME}.Error.AlreadyExists",
    ErrorKind.NOT_SUPPORTED: f"{NAME}.Error.NotSupported",
    ErrorKind.OPERATION_INVALID: f"{NAME}.Error.OperationInvalid",
    ErrorKind.OPERATION_FAILED: f"{NAME}.Error.OperationFailed",
    ErrorKind.BUSY: f"{NAME}.Error.Busy",
    ErrorKind.TIMEOUT: f"{NAME}.Error.Timeout",
    ErrorKind.NOT_CONNECTED: f"{NAME}.Error.NotConnected",
    ErrorKind.NOT_AUTHORIZED: f"{NAME}.Error.NotAuthorized",
    ErrorKind.AUTHORIZATION_FAILED: f"{NAME}.Error.AuthorizationFailed",
    ErrorKind.CANCELLED: f"{NAME}.Error.Cancelled",
    ErrorKind.LIMIT_EXCEEDED: f"{NAME}.Error.LimitExceeded",
    ErrorKind.LIBVIRT: f"{NAME}.Error.Libvirt",
}


def link_errors(names: Mapping[ErrorKind, str]) -> ErrorNames:
    """Return the names for what the D-Bus connection refuses by itself."""
    return ErrorNames(
        failed=names[ErrorKind.OPERATION_FAILED],
        limit_exceeded=names[ErrorKind.LIMIT_EXCEEDED],
        not_supported=names[ErrorKind.NOT_SUPPORTED],
    )
