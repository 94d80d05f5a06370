"""The kinds that no event tells of: one row each, from which listing, reading and finding follow.

Tables and pure functions; demand.py is the code that is the same for all of them. Source: libvirt's
virConnectListAll*() and virDomainListAll*() families, virStoragePoolListAllVolumes().
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import libvirt

from virtbridge.model.host_interface import parse_interface
from virtbridge.model.keys import Kind
from virtbridge.model.nwfilters import parse_binding, parse_filter
from virtbridge.model.records import (
    BindingRecord,
    CheckpointRecord,
    FilterRecord,
    InterfaceRecord,
    OnDemand,
    SnapshotRecord,
    VolumeRecord,
)
from virtbridge.model.snapshots import (
    CheckpointDefinition,
    SnapshotDefinition,
    children_of,
    parse_checkpoint,
    parse_snapshot,
)
from virtbridge.model.volumes import parse_volume

Records = dict[str, Any]


def _trees(records: Records) -> Records:
    """Each with its children's names: whoever was not read has no place in the tree."""
    found = children_of({name: record.definition.parent for name, record in records.items()})
    return {
        name: record if record.children == found[name] else replace(record, children=found[name])
        for name, record in records.items()
    }


def _is_orphan(definition: SnapshotDefinition | CheckpointDefinition, names: Collection[str]) -> bool:
    """Those of one that was deleted are its parent's now."""
    return bool(definition.parent) and definition.parent not in names


@dataclass(frozen=True, slots=True)
class DemandSpec:
    """identify: the key's id of a handle, without a call. flags: record field to the listing flag that
    selects the objects where it is true. gone: the code of a call on an object that is no more. find: the
    method that gives a handle by its id. finish: makes the records whole once all of a listing are known.
    holders: for a kind that lives in others, the flag of their own listing that selects those that may have
    any. holder_field: their record field that says whether they have. current: the method that gives the
    current one. doubtful: whether a definition can no longer be as it was read, now that these are the ids
    there are.
    """

    kind: Kind
    list_all: str
    identify: Callable[[Any], str]
    xml: str
    find: str
    gone: int
    parse: Callable[[str], Any]
    record: Callable[..., OnDemand]
    flags: Mapping[str, int]
    finish: Callable[[Records], Records] = lambda records: records
    holders: int = 0
    holder_field: str = ""
    current: str = ""
    doubtful: Callable[[Any, Collection[str]], bool] = lambda _definition, _ids: False


_SPECS = (
    DemandSpec(
        Kind.INTERFACE,
        list_all="listAllInterfaces",
        identify=lambda raw: str(raw.name()),
        xml="XMLDesc",
        find="interfaceLookupByName",
        gone=libvirt.VIR_ERR_NO_INTERFACE,
        parse=parse_interface,
        record=InterfaceRecord,
        flags={"active": libvirt.VIR_CONNECT_LIST_INTERFACES_ACTIVE},
    ),
    DemandSpec(
        Kind.NWFILTER,
        list_all="listAllNWFilters",
        identify=lambda raw: str(raw.UUIDString()),
        xml="XMLDesc",
        find="nwfilterLookupByUUIDString",
        gone=libvirt.VIR_ERR_NO_NWFILTER,
        parse=parse_filter,
        record=FilterRecord,
        flags={},
    ),
    DemandSpec(
        Kind.NWFILTERBINDING,
        list_all="listAllNWFilterBindings",
        identify=lambda raw: str(raw.portDev()),
        xml="XMLDesc",
        find="nwfilterBindingLookupByPortDev",
        gone=libvirt.VIR_ERR_NO_NWFILTER_BINDING,
        parse=parse_binding,
        record=BindingRecord,
        flags={},
    ),
    DemandSpec(
        Kind.VOLUME,
        list_all="listAllVolumes",
        identify=lambda raw: str(raw.name()),
        xml="XMLDesc",
        find="storageVolLookupByName",
        gone=libvirt.VIR_ERR_NO_STORAGE_VOL,
        parse=parse_volume,
        record=VolumeRecord,
        flags={},
        holders=libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE,
    ),
    DemandSpec(
        Kind.SNAPSHOT,
        list_all="listAllSnapshots",
        identify=lambda raw: str(raw.getName()),
        xml="getXMLDesc",
        find="snapshotLookupByName",
        gone=libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT,
        parse=parse_snapshot,
        record=SnapshotRecord,
        flags={},
        finish=_trees,
        holders=libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT,
        holder_field="has_snapshots",
        current="snapshotCurrent",
        doubtful=_is_orphan,
    ),
    DemandSpec(
        Kind.CHECKPOINT,
        list_all="listAllCheckpoints",
        identify=lambda raw: str(raw.getName()),
        xml="getXMLDesc",
        find="checkpointLookupByName",
        gone=libvirt.VIR_ERR_NO_DOMAIN_CHECKPOINT,
        parse=parse_checkpoint,
        record=CheckpointRecord,
        flags={},
        finish=_trees,
        holders=libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_CHECKPOINT,
        doubtful=_is_orphan,
    ),
)

DEMAND: Mapping[Kind, DemandSpec] = {spec.kind: spec for spec in _SPECS}
