"""The names of D-Bus itself: the bus as a service, the standard interfaces, and the standard errors."""

from typing import Final

BUS_NAME: Final = "org.freedesktop.DBus"
BUS_PATH: Final = "/org/freedesktop/DBus"
PEER: Final = f"{BUS_NAME}.Peer"
INTROSPECTABLE: Final = f"{BUS_NAME}.Introspectable"
PROPERTIES: Final = f"{BUS_NAME}.Properties"
OBJECT_MANAGER: Final = f"{BUS_NAME}.ObjectManager"

FAILED: Final = f"{BUS_NAME}.Error.Failed"
NO_REPLY: Final = f"{BUS_NAME}.Error.NoReply"
DISCONNECTED: Final = f"{BUS_NAME}.Error.Disconnected"
LIMITS_EXCEEDED: Final = f"{BUS_NAME}.Error.LimitsExceeded"
NOT_SUPPORTED: Final = f"{BUS_NAME}.Error.NotSupported"
NAME_HAS_NO_OWNER: Final = f"{BUS_NAME}.Error.NameHasNoOwner"
