"""The names of our API on the bus: the service and its interfaces. D-Bus's own names are in wire/names.py."""

from collections.abc import Mapping
from typing import Final

from virtbridge.model.keys import Kind

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
    Kind.JOB: f"{NAME}.Job",
}
