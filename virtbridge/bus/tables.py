"""The property tables of org.virtbridge1, one per interface: which value of a record each property shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from virtbridge.bus.errors import NAME_OF_KIND
from virtbridge.bus.names import INTERFACE_OF, MANAGER, METRICS
from virtbridge.bus.paths import connection_path, path_of
from virtbridge.bus.properties import NO_PATH, Field, ObjectPath, Table
from virtbridge.errors import ErrorKind
from virtbridge.model.keys import Key, Kind, parent_key

NO_OBJECT = "/"  # a path property where there is none


def _connection(key: Key, _record: Any) -> str:
    return connection_path(key.connection)


def _connections(_key: Key, root: Any) -> tuple[str, ...]:
    return tuple(sorted(map(path_of, root.connections)))


def _id(key: Key, _record: Any) -> str:
    return key.id


def _holder(key: Key, _record: Any) -> str:
    holder = parent_key(key)
    return NO_OBJECT if holder is None else path_of(holder)


def _parent(key: Key, record: Any) -> str:
    """Return the member of a tree that is above this one."""
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


def _object(_key: Key, record: Any) -> str:
    return path_of(record.object)


def _result(_key: Key, record: Any) -> str:
    return NO_OBJECT if record.result is None else path_of(record.result)


def _error(_key: Key, record: Any) -> tuple[str, str]:
    kind, text = record.error
    return NAME_OF_KIND[ErrorKind(kind)] if kind else "", text


# The properties of every kind that is read on demand.
_READ_ON_DEMAND: Table = {
    "LastRefresh": Field("last_refresh_us"),
    "Stale": Field("stale"),
    "Problem": Field("problem"),
    "Connection": _connection,
}

TABLES: Mapping[str, Table] = {
    MANAGER: {"Version": Field("version"), "Connections": _connections},
    METRICS: {},
    INTERFACE_OF[Kind.CONNECTION]: {
        "Name": Field("name"),
        "Uri": Field("uri"),
        "State": Field("state"),
        "LastError": _last_error,
        "Driver": Field("driver"),
        "LibvirtVersion": Field("libvirt_version"),
        "HypervisorVersion": Field("hypervisor_version"),
        "DaemonVersion": Field("daemon_version"),
        "Hostname": Field("hostname"),
        "ReadOnly": Field("read_only"),
        "Encrypted": Field("encrypted"),
        "Secure": Field("secure"),
        "EventKinds": Field("event_kinds"),
        "DemandKinds": Field("demand_kinds"),
        "LastSync": Field("last_sync_us"),
        "ReconnectAttempts": Field("reconnect_attempts"),
        "Unreadable": Field("unreadable"),
    },
    INTERFACE_OF[Kind.DOMAIN]: {
        "Name": Field("name"),
        "Uuid": Field("uuid"),
        "Id": Field("id"),
        "State": Field("state"),
        "StateReason": Field("state_reason"),
        "Active": Field("active"),
        "Persistent": Field("persistent"),
        "Autostart": Field("autostart"),
        "HasManagedSave": Field("has_managed_save"),
        "HasSnapshots": Field("has_snapshots"),
        "Title": Field("definition.title"),
        "Description": Field("definition.description"),
        "Type": Field("definition.type"),
        "OsType": Field("definition.os_type"),
        "Arch": Field("definition.arch"),
        "Machine": Field("definition.machine"),
        "Firmware": Field("definition.firmware"),
        "MemoryMaximum": Field("definition.memory_maximum_bytes"),
        "MemoryCurrent": Field("definition.memory_current_bytes"),
        "VcpusMaximum": Field("definition.vcpus_maximum"),
        "VcpusCurrent": Field("definition.vcpus_current"),
        "Disks": Field("definition.disks"),
        "Interfaces": Field("definition.interfaces"),
        "Graphics": Field("definition.graphics"),
        "HostDevices": Field("definition.host_devices"),
        "Filesystems": Field("definition.filesystems"),
        "AgentConnected": Field("definition.agent_connected"),
        "Problem": Field("problem"),
        "Unreadable": Field("unreadable"),
        "Connection": _connection,
    },
    INTERFACE_OF[Kind.NETWORK]: {
        "Name": Field("name"),
        "Uuid": Field("uuid"),
        "Active": Field("active"),
        "Persistent": Field("persistent"),
        "Autostart": Field("autostart"),
        "Title": Field("definition.title"),
        "Description": Field("definition.description"),
        "Bridge": Field("definition.bridge"),
        "Mac": Field("definition.mac"),
        "ForwardMode": Field("definition.forward_mode"),
        "ForwardDevices": Field("definition.forward_devices"),
        "DnsDomain": Field("definition.dns_domain"),
        "Mtu": Field("definition.mtu"),
        "Addresses": Field("definition.addresses"),
        "PortGroups": Field("definition.port_groups"),
        "Problem": Field("problem"),
        "Connection": _connection,
    },
    INTERFACE_OF[Kind.POOL]: {
        "Name": Field("name"),
        "Uuid": Field("uuid"),
        "State": Field("state"),
        "Active": Field("active"),
        "Persistent": Field("persistent"),
        "Autostart": Field("autostart"),
        "Type": Field("definition.type"),
        "Capacity": Field("definition.capacity_bytes"),
        "Allocation": Field("definition.allocation_bytes"),
        "Available": Field("definition.available_bytes"),
        "SourceName": Field("definition.source_name"),
        "SourceHosts": Field("definition.source_hosts"),
        "SourceDevices": Field("definition.source_devices"),
        "SourceDirectory": Field("definition.source_directory"),
        "SourceAdapter": Field("definition.source_adapter"),
        "SourceFormat": Field("definition.source_format"),
        "SourceInitiator": Field("definition.source_initiator"),
        "SourceVendor": Field("definition.source_vendor"),
        "SourceProduct": Field("definition.source_product"),
        "AuthType": Field("definition.auth_type"),
        "AuthUsername": Field("definition.auth_username"),
        "AuthSecret": Field("definition.auth_secret"),
        "TargetPath": Field("definition.target_path"),
        "TargetMode": Field("definition.target_mode"),
        "TargetOwner": Field("definition.target_owner"),
        "TargetGroup": Field("definition.target_group"),
        "TargetLabel": Field("definition.target_label"),
        "Problem": Field("problem"),
        "Unreadable": Field("unreadable"),
        "Connection": _connection,
    },
    INTERFACE_OF[Kind.VOLUME]: {
        "Name": _id,
        "Key": Field("definition.key"),
        "Path": Field("definition.path"),
        "Type": Field("definition.type"),
        "Capacity": Field("definition.capacity_bytes"),
        "Allocation": Field("definition.allocation_bytes"),
        "Physical": Field("definition.physical_bytes"),
        "Format": Field("definition.format"),
        "Compat": Field("definition.compat"),
        "ClusterSize": Field("definition.cluster_size_bytes"),
        "Features": Field("definition.features"),
        "BackingChain": _backing_chain,
        "Encryption": Field("definition.encryption"),
        "EncryptionSecret": Field("definition.encryption_secret"),
        "Mode": Field("definition.permissions.mode"),
        "Owner": Field("definition.permissions.owner"),
        "Group": Field("definition.permissions.group"),
        "Label": Field("definition.permissions.label"),
        "AccessTime": Field("definition.access_time_us"),
        "ModificationTime": Field("definition.modification_time_us"),
        "ChangeTime": Field("definition.change_time_us"),
        "CreationTime": Field("definition.creation_time_us"),
        "SourceDevices": Field("definition.source_devices"),
        "Pool": _holder,
        **_READ_ON_DEMAND,
    },
    INTERFACE_OF[Kind.NODEDEV]: {
        "Name": Field("name"),
        "Active": Field("active"),
        "Persistent": Field("persistent"),
        "Autostart": Field("autostart"),
        "Parent": Field("definition.parent"),
        "Path": Field("definition.path"),
        "Driver": Field("definition.driver"),
        "DeviceNode": Field("definition.device_node"),
        "DeviceLinks": Field("definition.device_links"),
        "Capabilities": Field("definition.capabilities"),
        "Details": Field("definition.details"),
        "Problem": Field("problem"),
        "Connection": _connection,
    },
    INTERFACE_OF[Kind.SECRET]: {
        "Uuid": Field("uuid"),
        "UsageType": Field("definition.usage_type"),
        "UsageId": Field("definition.usage_id"),
        "Description": Field("definition.description"),
        "Ephemeral": Field("definition.ephemeral"),
        "Private": Field("definition.private"),
        "Problem": Field("problem"),
        "Connection": _connection,
    },
    INTERFACE_OF[Kind.INTERFACE]: {
        "Name": _id,
        "Active": Field("active"),
        "Type": Field("definition.type"),
        "Mac": Field("definition.mac"),
        "StartMode": Field("definition.start_mode"),
        "Mtu": Field("definition.mtu"),
        "LinkState": Field("definition.link_state"),
        "LinkSpeed": Field("definition.link_speed"),
        "Addresses": Field("definition.addresses"),
        "Ports": Field("definition.ports"),
        "BondMode": Field("definition.bond_mode"),
        "VlanTag": Field("definition.vlan_tag"),
        "VlanDevice": Field("definition.vlan_device"),
        **_READ_ON_DEMAND,
    },
    INTERFACE_OF[Kind.NWFILTER]: {
        "Name": Field("definition.name"),
        "Uuid": _id,
        "Chain": Field("definition.chain"),
        "Priority": Field("definition.priority"),
        "Filters": Field("definition.filters"),
        "Rules": Field("definition.rules"),
        **_READ_ON_DEMAND,
    },
    INTERFACE_OF[Kind.NWFILTERBINDING]: {
        "Port": _id,
        "Filter": Field("definition.filter"),
        "Mac": Field("definition.mac"),
        "LinkDevice": Field("definition.link_device"),
        "Parameters": Field("definition.parameters"),
        "OwnerName": Field("definition.owner"),
        "OwnerUuid": Field("definition.owner_uuid"),
        **_READ_ON_DEMAND,
    },
    INTERFACE_OF[Kind.SNAPSHOT]: {
        "Name": _id,
        "Description": Field("definition.description"),
        "State": Field("definition.state"),
        "CreationTime": Field("definition.created_us"),
        "Current": Field("current"),
        "Parent": _parent,
        "Children": _children,
        "Memory": Field("definition.memory"),
        "MemoryFile": Field("definition.memory_file"),
        "Disks": Field("definition.disks"),
        "Domain": _holder,
        **_READ_ON_DEMAND,
    },
    INTERFACE_OF[Kind.CHECKPOINT]: {
        "Name": _id,
        "Description": Field("definition.description"),
        "CreationTime": Field("definition.created_us"),
        "Parent": _parent,
        "Children": _children,
        "Disks": Field("definition.disks"),
        "Domain": _holder,
        **_READ_ON_DEMAND,
    },
    INTERFACE_OF[Kind.JOB]: {
        "Kind": Field("kind"),
        "Object": _object,
        "Disk": Field("disk"),
        "State": Field("state"),
        "Cancellable": Field("cancellable"),
        "Ready": Field("ready"),
        "Progress": Field("progress"),
        "BytesDone": Field("bytes_done"),
        "BytesTotal": Field("bytes_total"),
        "Rate": Field("rate_bytes_per_s"),
        "StartTime": Field("started_us"),
        "EndTime": Field("ended_us"),
        "ExpectedEndTime": Field("expected_end_us"),
        "StartedByUid": Field("started_by"),
        "Error": _error,
        "Result": _result,
        "Connection": _connection,
    },
}
