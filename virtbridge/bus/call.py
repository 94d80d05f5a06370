"""What surrounds a handler: the call it serves, the reply it may have made already, and D-Bus's own
refusals.
"""

from dataclasses import dataclass
from enum import StrEnum

from virtbridge.bus.published_object import PublishedObject
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import Key


# Not frozen, as two of these are made for every call and a frozen one takes three times as long.
@dataclass(slots=True)
class Call:
    """target: the object at path, None where there is only a node on the way to one, or nothing. user: the
    Unix user of the sender.
    """

    path: str
    target: PublishedObject | None
    sender: str
    user: int

    @property
    def object(self) -> PublishedObject:
        if self.target is None:
            raise BridgeError(ErrorKind.NO_SUCH_OBJECT, f"there is no object at {self.path}")
        return self.target

    @property
    def key(self) -> Key:
        return self.object.key


@dataclass(slots=True)
class Marshalled:
    """A handler's result whose body is made already; a view of a file in memory where it is large."""

    body: bytes | memoryview


class Fault(StrEnum):
    """What is wrong with a call before any handler of ours: D-Bus has names for it."""

    UNKNOWN_OBJECT = "org.freedesktop.DBus.Error.UnknownObject"
    UNKNOWN_INTERFACE = "org.freedesktop.DBus.Error.UnknownInterface"
    UNKNOWN_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"
    UNKNOWN_PROPERTY = "org.freedesktop.DBus.Error.UnknownProperty"
    PROPERTY_READ_ONLY = "org.freedesktop.DBus.Error.PropertyReadOnly"
    INVALID_ARGS = "org.freedesktop.DBus.Error.InvalidArgs"
    INTERACTIVE_AUTHORIZATION_REQUIRED = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
    FAILED = "org.freedesktop.DBus.Error.Failed"


class Refused(Exception):
    """A call that no handler of ours can be blamed for."""

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(text)
        self.fault = fault
        self.text = text
