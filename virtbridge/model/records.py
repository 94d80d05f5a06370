"""Records: what virtbridge knows about one libvirt object, immutable.

A record has two halves: what events and bulk calls tell (state, flags), and the definition that only
the XML shows. Enumerations are libvirt's names already; sizes are bytes. Pure.
Source: libvirt's getters, and libvirt XML through domain_xml and network_xml.
"""

from dataclasses import dataclass, field

from virtbridge.model.domain import NO_DOMAIN_DEFINITION, DomainDefinition
from virtbridge.model.network import NO_NETWORK_DEFINITION, NetworkDefinition


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """One libvirt connection, as Connection's properties show it.

    state: connecting, syncing, ready, disconnected, closed. last_error: D-Bus error name and text, two
    empty strings when there is none. Versions: libvirt's numbers (major * 1000000 + minor * 1000 + release).
    last_sync_us: wall clock, microseconds since the epoch, 0 before the first one.
    """

    name: str
    uri: str
    state: str = "connecting"
    last_error: tuple[str, str] = ("", "")
    driver: str = ""
    libvirt_version: int = 0
    hypervisor_version: int = 0
    daemon_version: int = 0
    hostname: str = ""
    read_only: bool = False
    encrypted: bool = False
    secure: bool = False
    event_kinds: tuple[str, ...] = ()
    demand_kinds: tuple[str, ...] = ()
    last_sync_us: int = 0
    reconnect_attempts: int = 0


@dataclass(frozen=True, slots=True)
class DomainRecord:
    """id: libvirt's number of the running domain, -1 when it is off.

    xml: what virDomainGetXMLDesc(0) last returned, empty until it was first read.
    """

    uuid: str
    name: str
    id: int = -1
    state: str = "nostate"
    state_reason: str = "unknown"
    persistent: bool = False
    autostart: bool = False
    has_managed_save: bool = False
    has_snapshots: bool = False
    definition: DomainDefinition = NO_DOMAIN_DEFINITION
    xml: str = field(default="", repr=False)

    @property
    def active(self) -> bool:
        return self.id >= 0


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """xml: what virNetworkGetXMLDesc(0) last returned, empty until it was first read."""

    uuid: str
    name: str
    active: bool = False
    persistent: bool = False
    autostart: bool = False
    definition: NetworkDefinition = NO_NETWORK_DEFINITION
    xml: str = field(default="", repr=False)


Record = ConnectionRecord | DomainRecord | NetworkRecord
