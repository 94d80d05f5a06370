"""Properties: which value of a record each property of the contract shows. One table per interface.

Values stay plain and hashable here (str, bool, int, tuples, device dataclasses), so that two can be
compared; what the D-Bus library wants is made from them by to_bus(). Signatures come from the contract,
never from here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, get_args

from virtbridge.bus.contract import BadContract, Interface
from virtbridge.bus.errors import NAME_OF_KIND
from virtbridge.bus.names import INTERFACE_OF, MANAGER, METRICS
from virtbridge.bus.paths import NO_PATH, ObjectPath, connection_path, path_of
from virtbridge.errors import ErrorKind
from virtbridge.model.keys import Key, Kind, parent_key
from virtbridge.wire.transport import Variant

Getter = Callable[[Key, Any], Any]

NO_OBJECT = "/"  # a path property where there is none


@dataclass(frozen=True, slots=True)
class ManagerRecord:
    """What the Manager's properties show. connections: object paths, sorted."""

    version: str
    connections: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Field:
    """A record's field by its dotted name: all of an interface's are read in one go."""

    name: str


def _field(name: str) -> _Field:
    return _Field(name)


def _connection(key: Key, _record: Any) -> str:
    return connection_path(key.connection)


def _id(key: Key, _record: Any) -> str:
    return key.id


def _holder(key: Key, _record: Any) -> str:
    holder = parent_key(key)
    return NO_OBJECT if holder is None else path_of(holder)


def _parent(key: Key, record: Any) -> str:
    """Of a tree's member: the one above it."""
    above = record.definition.parent
    return path_of(key._replace(id=above)) if above else NO_OBJECT


def _children(key: Key, record: Any) -> tuple[str, ...]:
    return tuple(path_of(key._replace(id=name)) for name in record.children)


@dataclass(frozen=True, slots=True)
class BackingEntry:
    """A dictionary of BackingChain: the model's BackingVolume with a path in place of the key."""

    path: str = ""
    format: str = ""
    volume: ObjectPath = NO_PATH


def _backing_chain(_key: Key, record: Any) -> tuple[BackingEntry, ...]:
    return tuple(
        BackingEntry(each.path, each.format, ObjectPath(path_of(each.volume)) if each.volume else NO_PATH)
        for each in record.chain
    )


def _last_error(_key: Key, record: Any) -> tuple[str, str]:
    kind, text = record.last_error
    return NAME_OF_KIND[ErrorKind(kind)] if kind else "", text


# What every kind has that is read on demand.
_READ_ON_DEMAND: Mapping[str, _Field | Getter] = {
    "LastRefresh": _field("last_refresh_us"),
    "Stale": _field("stale"),
    "Problem": _field("problem"),
    "Connection": _connection,
}

_GETTERS: Mapping[str, Mapping[str, _Field | Getter]] = {
    MANAGER: {"Version": _field("version"), "Connections": _field("connections")},
    METRICS: {},
    INTERFACE_OF[Kind.CONNECTION]: {
        "Name": _field("name"),
        "Uri": _field("uri"),
        "State": _field("state"),
        "LastError": _last_error,
        "Driver": _field("driver"),
        "LibvirtVersion": _field("libvirt_version"),
        "HypervisorVersion": _field("hypervisor_version"),
        "DaemonVersion": _field("daemon_version"),
        "Hostname": _field("hostname"),
        "ReadOnly": _field("read_only"),
        "Encrypted": _field("encrypted"),
        "Secure": _field("secure"),
        "EventKinds": _field("event_kinds"),
        "DemandKinds": _field("demand_kinds"),
        "LastSync": _field("last_sync_us"),
        "ReconnectAttempts": _field("reconnect_attempts"),
        "Unreadable": _field("unreadable"),
    },
    INTERFACE_OF[Kind.DOMAIN]: {
        "Name": _field("name"),
        "Uuid": _field("uuid"),
        "Id": _field("id"),
        "State": _field("state"),
        "StateReason": _field("state_reason"),
        "Active": _field("active"),
        "Persistent": _field("persistent"),
        "Autostart": _field("autostart"),
        "HasManagedSave": _field("has_managed_save"),
        "HasSnapshots": _field("has_snapshots"),
        "Title": _field("definition.title"),
        "Description": _field("definition.description"),
        "Type": _field("definition.type"),
        "OsType": _field("definition.os_type"),
        "Arch": _field("definition.arch"),
        "Machine": _field("definition.machine"),
        "Firmware": _field("definition.firmware"),
        "MemoryMaximum": _field("definition.memory_maximum_bytes"),
        "MemoryCurrent": _field("definition.memory_current_bytes"),
        "VcpusMaximum": _field("definition.vcpus_maximum"),
        "VcpusCurrent": _field("definition.vcpus_current"),
        "Disks": _field("definition.disks"),
        "Interfaces": _field("definition.interfaces"),
        "Graphics": _field("definition.graphics"),
        "HostDevices": _field("definition.host_devices"),
        "Filesystems": _field("definition.filesystems"),
        "AgentConnected": _field("definition.agent_connected"),
        "Problem": _field("problem"),
        "Unreadable": _field("unreadable"),
        "Connection": _connection,
    },
    INTERFACE_OF[Kind.NETWORK]: {
        "Name": _field("name"),
        "Uuid": _field("uuid"),
        "Active": _field("active"),
        "Persistent": _field("persistent"),
        "Autostart": _field("autostart"),
        "Title": _field("definition.title"),
        "Description": _field("definition.description"),
        "Bridge": _field("definition.bridge"),
        "Mac": _field("definition.mac"),
        "ForwardMode": _field("definition.forward_mode"),
        "ForwardDevices": _field("definition.forward_devices"),
        "DnsDomain": _field("definition.dns_domain"),
        "Mtu": _field("definition.mtu"),
        "Addresses": _field("definition.addresses"),
        "PortGroups": _field("definition.port_groups"),
        "Problem": _field("problem"),
        "Connection": _connection,
    },
    INTERFACE_OF[Kind.POOL]: {
        "Name": _field("name"),
        "Uuid": _field("uuid"),
        "State": _field("state"),
        "Active": _field("active"),
        "Persistent": _field("persistent"),
        "Autostart": _field("autostart"),
        "Type": _field("definition.type"),
        "Capacity": _field("definition.capacity_bytes"),
        "Allocation": _field("definition.allocation_bytes"),
        "Available": _field("definition.available_bytes"),
        "SourceName": _field("definition.source_name"),
        "SourceHosts": _field("definition.source_hosts"),
        "SourceDevices": _field("definition.source_devices"),
        "SourceDirectory": _field("definition.source_directory"),
        "SourceAdapter": _field("definition.source_adapter"),
        "SourceFormat": _field("definition.source_format"),
        "SourceInitiator": _field("definition.source_initiator"),
        "SourceVendor": _field("definition.source_vendor"),
        "SourceProduct": _field("definition.source_product"),
        "AuthType": _field("definition.auth_type"),
        "AuthUsername": _field("definition.auth_username"),
        "AuthSecret": _field("definition.auth_secret"),
        "TargetPath": _field("definition.target_path"),
        "TargetMode": _field("definition.target_mode"),
        "TargetOwner": _field("definition.target_owner"),
        "TargetGroup": _field("definition.target_group"),
        "TargetLabel": _field("definition.target_label"),
        "Problem": _field("problem"),
        "Unreadable": _field("unreadable"),
        "Connection": _connection,
    },
    INTERFACE_OF[Kind.VOLUME]: {
        "Name": _id,
        "Key": _field("definition.key"),
        "Path": _field("definition.path"),
        "Type": _field("definition.type"),
        "Capacity": _field("definition.capacity_bytes"),
        "Allocation": _field("definition.allocation_bytes"),
        "Physical": _field("definition.physical_bytes"),
        "Format": _field("definition.format"),
        "Compat": _field("definition.compat"),
        "ClusterSize": _field("definition.cluster_size_bytes"),
        "Features": _field("definition.features"),
        "BackingChain": _backing_chain,
        "Encryption": _field("definition.encryption"),
        "EncryptionSecret": _field("definition.encryption_secret"),
        "Mode": _field("definition.permissions.mode"),
        "Owner": _field("definition.permissions.owner"),
        "Group": _field("definition.permissions.group"),
        "Label": _field("definition.permissions.label"),
        "AccessTime": _field("definition.access_time_us"),
        "ModificationTime": _field("definition.modification_time_us"),
        "ChangeTime": _field("definition.change_time_us"),
        "CreationTime": _field("definition.creation_time_us"),
        "SourceDevices": _field("definition.source_devices"),
        "Pool": _holder,
        **_READ_ON_DEMAND,
    },
    INTERFACE_OF[Kind.NODEDEV]: {
        "Name": _field("name"),
        "Active": _field("active"),
        "Persistent": _field("persistent"),
        "Autostart": _field("autostart"),
        "Parent": _field("definition.parent"),
        "Path": _field("definition.path"),
        "Driver": _field("definition.driver"),
        "DeviceNode": _field("definition.device_node"),
        "DeviceLinks": _field("definition.device_links"),
        "Capabilities": _field("definition.capabilities"),
        "Details": _field("definition.details"),
        "Problem": _field("problem"),
        "Connection": _connection,
    },
    INTERFACE_OF[Kind.SECRET]: {
        "Uuid": _field("uuid"),
        "UsageType": _field("definition.usage_type"),
        "UsageId": _field("definition.usage_id"),
        "Description": _field("definition.description"),
        "Ephemeral": _field("definition.ephemeral"),
        "Private": _field("definition.private"),
        "Problem": _field("problem"),
        "Connection": _connection,
    },
    INTERFACE_OF[Kind.INTERFACE]: {
        "Name": _id,
        "Active": _field("active"),
        "Type": _field("definition.type"),
        "Mac": _field("definition.mac"),
        "StartMode": _field("definition.start_mode"),
        "Mtu": _field("definition.mtu"),
        "LinkState": _field("definition.link_state"),
        "LinkSpeed": _field("definition.link_speed"),
        "Addresses": _field("definition.addresses"),
        "Ports": _field("definition.ports"),
        "BondMode": _field("definition.bond_mode"),
        "VlanTag": _field("definition.vlan_tag"),
        "VlanDevice": _field("definition.vlan_device"),
        **_READ_ON_DEMAND,
    },
    INTERFACE_OF[Kind.NWFILTER]: {
        "Name": _field("definition.name"),
        "Uuid": _id,
        "Chain": _field("definition.chain"),
        "Priority": _field("definition.priority"),
        "Filters": _field("definition.filters"),
        "Rules": _field("definition.rules"),
        **_READ_ON_DEMAND,
    },
    INTERFACE_OF[Kind.NWFILTERBINDING]: {
        "Port": _id,
        "Filter": _field("definition.filter"),
        "Mac": _field("definition.mac"),
        "LinkDevice": _field("definition.link_device"),
        "Parameters": _field("definition.parameters"),
        "OwnerName": _field("definition.owner"),
        "OwnerUuid": _field("definition.owner_uuid"),
        **_READ_ON_DEMAND,
    },
    INTERFACE_OF[Kind.SNAPSHOT]: {
        "Name": _id,
        "Description": _field("definition.description"),
        "State": _field("definition.state"),
        "CreationTime": _field("definition.created_us"),
        "Current": _field("current"),
        "Parent": _parent,
        "Children": _children,
        "Memory": _field("definition.memory"),
        "MemoryFile": _field("definition.memory_file"),
        "Disks": _field("definition.disks"),
        "Domain": _holder,
        **_READ_ON_DEMAND,
    },
    INTERFACE_OF[Kind.CHECKPOINT]: {
        "Name": _id,
        "Description": _field("definition.description"),
        "CreationTime": _field("definition.created_us"),
        "Parent": _parent,
        "Children": _children,
        "Disks": _field("definition.disks"),
        "Domain": _holder,
        **_READ_ON_DEMAND,
    },
}


@dataclass(frozen=True, slots=True)
class Shape:
    """One interface's properties, in the contract's order: names, signatures and where the values come from.

    fields: what gives all that are a record's fields, in order. others: the places of the rest, ascending,
    and what gives each. places: each name's index in the tuples. silent: the places of those whose changes
    are not announced.
    """

    interface: str
    names: tuple[str, ...]
    signatures: tuple[str, ...]
    fields: Callable[[Any], tuple[Any, ...]]
    others: tuple[tuple[int, Getter], ...]
    places: Mapping[str, int]
    silent: frozenset[int] = frozenset()

    def values(self, key: Key, record: Any) -> tuple[Any, ...]:
        values = list(self.fields(record))
        for place, get in self.others:
            values.insert(place, get(key, record))
        return tuple(values)


def shapes(contract: Mapping[str, Interface]) -> dict[str, Shape]:
    """By interface name. Raises BadContract when a property has no value here, or a value no property."""
    if contract.keys() != _GETTERS.keys():
        raise BadContract(
            f"interfaces without properties or contract: {sorted(contract.keys() ^ _GETTERS.keys())}"
        )
    return {name: _shape(interface, _GETTERS[name]) for name, interface in contract.items()}


def _shape(interface: Interface, getters: Mapping[str, _Field | Getter]) -> Shape:
    if interface.properties.keys() != getters.keys():
        odd = sorted(interface.properties.keys() ^ getters.keys())
        raise BadContract(f"{interface.name}: in the contract or in the table, but not in both: {odd}")
    sources = [getters[name] for name in interface.properties]
    return Shape(
        interface=interface.name,
        names=tuple(interface.properties),
        signatures=tuple(each.signature for each in interface.properties.values()),
        fields=_getter([each.name for each in sources if isinstance(each, _Field)]),
        others=tuple((place, each) for place, each in enumerate(sources) if not isinstance(each, _Field)),
        places={name: place for place, name in enumerate(interface.properties)},
        silent=frozenset(
            place for place, each in enumerate(interface.properties.values()) if each.emits == "false"
        ),
    )


def _getter(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What gives these fields; an attrgetter() of less than two gives no tuple."""
    return (
        attrgetter(*names)
        if len(names) > 1
        else lambda record: tuple(getattr(record, name) for name in names)
    )


def device_fields(device: Any) -> tuple[tuple[str, str, str], ...]:
    """A device dataclass as a{sv}: each field's name in Python, its key on the bus (`-` for `_`) and its
    signature.

    str is s, bool is b, int is t, an object path o, a tuple of str as, a tuple of dataclasses aa{sv}.
    """
    known = _DEVICE_FIELDS.get(type(device))
    if known is None:
        known = tuple(
            (each.name, each.name.replace("_", "-"), _device_signature(each.type)) for each in fields(device)
        )
        _DEVICE_FIELDS[type(device)] = known
    return known


_DEVICE_FIELDS: dict[
    type, tuple[tuple[str, str, str], ...]
] = {}  # fields() is too slow to be asked each time


def described(device: Any) -> Iterator[tuple[str, str, Any]]:
    """What a device dataclass is on the bus, wherever it is shown: key, signature and value of each field
    that is not empty, 0 or false.

    The contract's one rule for all dictionaries that have listed keys. Of a disk's three dozen keys that are
    all but five, and a bus daemon looks at each key of each message.
    """
    for name, key, signature in device_fields(device):
        if value := getattr(device, name):
            yield key, signature, value


def details_to_bus(details: Mapping[str, Any]) -> dict[str, Variant]:
    """A report (an event's details, a job's figures) as a{sv}, whatever the values: str is s, bool b, int x,
    float d, list as, mapping a{sv}.

    libvirt has unsigned numbers, too: what is over x's largest is that.
    """
    return {name: _variant(value) for name, value in details.items()}


_SCALARS: Mapping[Any, str] = {str: "s", bool: "b", int: "t", ObjectPath: "o"}
_INT64_MAX = 2**63 - 1
_DETAILS = {str: "s", bool: "b", float: "d", list: "as", tuple: "as"}


def _variant(value: Any) -> Variant:
    if isinstance(value, Mapping):
        return Variant("a{sv}", details_to_bus(value))
    if type(value) is int:
        return Variant("x", min(value, _INT64_MAX))
    return Variant(_DETAILS[type(value)], list(value) if isinstance(value, tuple) else value)


def _device_signature(annotation: Any) -> str:
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    return "as" if get_args(annotation)[0] is str else "aa{sv}"
