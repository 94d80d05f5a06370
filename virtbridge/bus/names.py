"""The names that we have on the bus, and those of the bus itself: services, paths and interfaces."""

from collections.abc import Mapping
from typing import Final

from virtbridge.model.keys import Kind

BUS_NAME: Final = "org.freedesktop.DBus"
BUS_PATH: Final = "/org/freedesktop/DBus"
PEER: Final = "org.freedesktop.DBus.Peer"
INTROSPECTABLE: Final = "org.freedesktop.DBus.Introspectable"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER: Final = "org.freedesktop.DBus.ObjectManager"

NAME: Final = "org.virtbridge1"
MANAGER: Final = f"{NAME}.Manager"
METRICS: Final = f"{NAME}.Metrics"
INTERFACE_OF: Mapping[Kind, str] = {
    Kind.CONNECTION: f"{NAME}.Connection",
    Kind.DOMAIN: f"{NAME}.Domain",
    Kind.NETWORK: f"{NAME}.Network",
    Kind.POOL: f"{NAME}.StoragePool",
    Kind.VOLUME: f"{NAME}.StorageVolume",
    Kind.NODEDEV: f"{NAME}.NodeDevice",
    Kind.SECRET: f"{NAME}.Secret",
    Kind.INTERFACE: f"{NAME}.Interface",
    Kind.NWFILTER: f"{NAME}.NWFilter",
    Kind.NWFILTERBINDING: f"{NAME}.NWFilterBinding",
    Kind.SNAPSHOT: f"{NAME}.Snapshot",
    Kind.CHECKPOINT: f"{NAME}.Checkpoint",
}
