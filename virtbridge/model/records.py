"""Records: what virtbridge knows about one libvirt object, immutable.

A record has two halves: what events and bulk calls report (state, flags), and the definition that only
the XML shows. Enumerations are libvirt's names already; sizes are bytes. Pure.
problem, of every kind: why the last reading of the definition failed, in words; empty when it did not. What
the definition says is then as of the last one that could be read. unreadable, of what others are in: what is
left out of them since it cannot be read.
Source: libvirt's getters, and libvirt XML through each definition's own module.
"""

from dataclasses import dataclass, field

from virtbridge.model.domain import NO_DOMAIN_DEFINITION, DomainDefinition
from virtbridge.model.host_interface import HostInterfaceDefinition
from virtbridge.model.jobs import JobRecord
from virtbridge.model.network import NO_NETWORK_DEFINITION, NetworkDefinition
from virtbridge.model.nodedev import NO_NODE_DEVICE_DEFINITION, NodeDeviceDefinition
from virtbridge.model.nwfilters import BindingDefinition, FilterDefinition
from virtbridge.model.pool import NO_POOL_DEFINITION, PoolDefinition
from virtbridge.model.secret import NO_SECRET_DEFINITION, SecretDefinition
from virtbridge.model.snapshots import CheckpointDefinition, SnapshotDefinition
from virtbridge.model.volumes import BackingVolume, VolumeDefinition


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """One libvirt connection, as Connection's properties show it.

    state: connecting, syncing, ready, disconnected, closed. last_error: kind of error and text, two
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
    unreadable: tuple[str, ...] = ()


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
    problem: str = ""
    unreadable: tuple[str, ...] = ()

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
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PoolRecord:
    """xml: what virStoragePoolGetXMLDesc(0) last returned, empty until it was first read."""

    uuid: str
    name: str
    active: bool = False
    persistent: bool = False
    autostart: bool = False
    definition: PoolDefinition = NO_POOL_DEFINITION
    xml: str = field(default="", repr=False)
    problem: str = ""
    unreadable: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """Return the state, as one of the words of virStoragePoolState that libvirt's storage driver uses.
        The others need a call for each pool, which no driver with pool events answers differently.
        """
        return "running" if self.active else "inactive"


@dataclass(frozen=True, slots=True)
class NodeDeviceRecord:
    """persistent, autostart: of mediated devices; no other has a definition of its own.

    inactive: defined, but not there. xml: what virNodeDeviceGetXMLDesc(0) last returned, empty until it was
    first read.
    """

    name: str
    inactive: bool = False
    persistent: bool = False
    autostart: bool = False
    definition: NodeDeviceDefinition = NO_NODE_DEVICE_DEFINITION
    xml: str = field(default="", repr=False)
    problem: str = ""

    @property
    def active(self) -> bool:
        return not self.inactive


@dataclass(frozen=True, slots=True)
class SecretRecord:
    """Never the value. name: the usage id, which is all that libvirt has for a name; may be empty.

    xml: what virSecretGetXMLDesc(0) last returned, empty until it was first read.
    """

    uuid: str
    name: str
    definition: SecretDefinition = NO_SECRET_DEFINITION
    xml: str = field(default="", repr=False)
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDemand:
    """What every record has that is read on demand.

    last_refresh_us: wall clock, microseconds since the epoch. read_us: the same moment on a clock that nobody
    sets (virtbridge.clock), for whoever compares. stale: the last attempt to read it again failed, and this
    is what was known before.
    """

    last_refresh_us: int = 0
    read_us: int = field(default=0, repr=False)
    stale: bool = False
    xml: str = field(default="", repr=False)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class VolumeRecord(OnDemand):
    """chain: what it is built on, as far as the cache knows it; kept right by the cache."""

    definition: VolumeDefinition
    chain: tuple[BackingVolume, ...] = ()


@dataclass(frozen=True, slots=True)
class SnapshotRecord(OnDemand):
    """children: names, sorted. current: the one that the domain's state goes back to."""

    definition: SnapshotDefinition
    children: tuple[str, ...] = ()
    current: bool = False


@dataclass(frozen=True, slots=True)
class CheckpointRecord(OnDemand):
    """children: names, sorted."""

    definition: CheckpointDefinition
    children: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InterfaceRecord(OnDemand):
    """An interface of the host, which is read on demand."""

    definition: HostInterfaceDefinition
    active: bool = False


@dataclass(frozen=True, slots=True)
class FilterRecord(OnDemand):
    """A network filter, which is read on demand."""

    definition: FilterDefinition


@dataclass(frozen=True, slots=True)
class BindingRecord(OnDemand):
    """A binding of a network filter to a port, which is read on demand."""

    definition: BindingDefinition


Record = (
    ConnectionRecord
    | DomainRecord
    | NetworkRecord
    | PoolRecord
    | NodeDeviceRecord
    | SecretRecord
    | VolumeRecord
    | SnapshotRecord
    | CheckpointRecord
    | InterfaceRecord
    | FilterRecord
    | BindingRecord
    | JobRecord
)
