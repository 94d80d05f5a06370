"""The kinds of object that a connection follows: one row each, from which listing, registration and parsing
follow.

A row says how libvirt lists, announces and describes a kind; the code that does it is the same for all of
them. Tables and pure functions. Source: libvirt's virConnectListAll*() flags and event ids.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import libvirt

from virtbridge.model.domain_xml import parse_domain
from virtbridge.model.keys import Kind
from virtbridge.model.names import name_of
from virtbridge.model.network_xml import parse_network
from virtbridge.model.nodedev_xml import parse_node_device
from virtbridge.model.pool_xml import parse_pool
from virtbridge.model.records import (
    DomainRecord,
    NetworkRecord,
    NodeDeviceRecord,
    PoolRecord,
    SecretRecord,
)
from virtbridge.model.secret import parse_secret
from virtbridge.source.kinds import enums
from virtbridge.source.kinds.events import (
    EventSpec,
    domain_events,
    network_events,
    node_device_events,
    pool_events,
    secret_events,
)
from virtbridge.source.kinds.lifecycle import (
    NETWORK_EFFECTS,
    NODE_DEVICE_EFFECTS,
    POOL_EFFECTS,
    Effects,
    Outcome,
    defined_outcome,
    domain_outcome,
    secret_outcome,
)


class Handle(NamedTuple):
    """A libvirt object's handle and what it tells without a call.

    id: the UUID, or the name of what has none. name: of a secret, its usage id. number: a domain's id, else
    -1.
    """

    id: str
    name: str
    number: int
    raw: Any


@dataclass(frozen=True, slots=True)
class KindSpec:
    """flags: record field to the listing flag that selects the objects where it is true. lacking: the fields
    whose flag selects the objects where it is false instead, as on most hosts that is the shorter listing.

    number_field: the record field that the handle's number goes to, empty for none. bulk_states: whether
    state and reason come from virConnectGetAllDomainStats(). gone: the code of a call on an object that is no
    more. newborn: the fields of an object first heard of by an event, before that event is applied. id_field:
    the record field that holds the handle's id. asks: what neither listing nor XML tells of an object with
    this definition: record field to the handle's yes-or-no method, one call each beside the XML.
    """

    kind: Kind
    list_all: str
    flags: Mapping[str, int]
    number_field: str
    bulk_states: bool
    gone: int
    register: str
    deregister: str
    lifecycle_id: int
    events: tuple[EventSpec, ...]
    lifecycle_words: Callable[[int, int], tuple[str, str]]
    outcome: Callable[[Any, str, str, Handle], Outcome]
    newborn: Callable[[Handle], dict[str, Any]]
    record: Callable[..., Any]
    parse: Callable[[str], Any]
    lacking: frozenset[str] = frozenset()
    id_field: str = "uuid"
    asks: Callable[[Any], Mapping[str, str]] = lambda _definition: {}


def _no_number(_raw: Any) -> int:
    return -1


# What gives a handle's id, name and number; none of them is a call to the host.
_GETTERS: Mapping[type, tuple[Callable[[Any], str], Callable[[Any], str], Callable[[Any], int]]] = {
    libvirt.virDomain: (libvirt.virDomain.UUIDString, libvirt.virDomain.name, libvirt.virDomain.ID),
    libvirt.virNetwork: (libvirt.virNetwork.UUIDString, libvirt.virNetwork.name, _no_number),
    libvirt.virStoragePool: (libvirt.virStoragePool.UUIDString, libvirt.virStoragePool.name, _no_number),
    libvirt.virNodeDevice: (libvirt.virNodeDevice.name, libvirt.virNodeDevice.name, _no_number),
    libvirt.virSecret: (libvirt.virSecret.UUIDString, libvirt.virSecret.usageID, _no_number),
}


def handle_of(raw: Any) -> Handle:
    """Any thread."""
    id_getter, name_getter, number_getter = _GETTERS[type(raw)]
    key_id = id_getter(raw)
    try:
        name = name_getter(raw)
    except UnicodeDecodeError:  # libvirt-python gives no way to its bytes
        name = key_id
    return Handle(key_id, name, number_getter(raw), raw)


def id_of(raw: Any) -> str:
    """Any thread."""
    key_id: str = raw.UUIDString() if hasattr(raw, "UUIDString") else raw.name()
    return key_id


# What an Outcome asks for: the handle's method, and the record's fields by its answer.
FIELDS_BY_METHOD: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "autostart": lambda answer: {"autostart": bool(answer)},
    "hasManagedSaveImage": lambda answer: {"has_managed_save": bool(answer)},
    "state": lambda answer: dict(zip(("state", "state_reason"), enums.state_words(*answer), strict=True)),
}


@lru_cache(maxsize=256)
def _domain_words(event: int, detail: int) -> tuple[str, str]:
    word = name_of(enums.DOMAIN_EVENT, event)
    return word, name_of(enums.DOMAIN_EVENT_DETAIL.get(word, {}), detail)


def _words(prefix: str, events: enums.Table) -> Callable[[int, int], tuple[str, str]]:
    """Words of an event and its detail; libvirt 9 has no details of these kinds, but a newer one may."""
    details = {word: enums.table(f"{prefix}{word.upper()}_") for word in events.values()}

    @lru_cache(maxsize=64)
    def words(event: int, detail: int) -> tuple[str, str]:
        word = name_of(events, event)
        return word, name_of(details.get(word, {}), detail)

    return words


def _domain_outcome(known: Any, event: str, detail: str, handle: Handle) -> Outcome:
    return domain_outcome(known, event, detail, handle.name, handle.number)


def _newborn_domain(handle: Handle) -> dict[str, Any]:
    state = "shutoff" if handle.number < 0 else "running"
    return {"id": handle.number, "state": state, "state_reason": "unknown"}


def _defined_outcome(effects: Effects) -> Callable[[Any, str, str, Handle], Outcome]:
    return lambda known, event, _detail, handle: defined_outcome(effects, known, event, handle.name)


def _secret_outcome(_known: Any, event: str, _detail: str, handle: Handle) -> Outcome:
    return secret_outcome(event, handle.name)


def _asks_mediated(definition: Any) -> Mapping[str, str]:
    """Only mediated devices can be defined."""
    mediated = "mdev" in definition.capabilities
    return {"persistent": "isPersistent", "autostart": "autostart"} if mediated else {}


KINDS: Mapping[Kind, KindSpec] = {
    Kind.DOMAIN: KindSpec(
        Kind.DOMAIN,
        list_all="listAllDomains",
        flags={
            "persistent": libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT,
            "autostart": libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART,
            "has_managed_save": libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE,
            "has_snapshots": libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT,
        },
        lacking=frozenset({"persistent"}),
        number_field="id",
        bulk_states=True,
        gone=libvirt.VIR_ERR_NO_DOMAIN,
        register="domainEventRegisterAny",
        deregister="domainEventDeregisterAny",
        lifecycle_id=libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
        events=domain_events(),
        lifecycle_words=_domain_words,
        outcome=_domain_outcome,
        newborn=_newborn_domain,
        record=DomainRecord,
        parse=parse_domain,
    ),
    Kind.NETWORK: KindSpec(
        Kind.NETWORK,
        list_all="listAllNetworks",
        flags={
            "active": libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE,
            "persistent": libvirt.VIR_CONNECT_LIST_NETWORKS_PERSISTENT,
            "autostart": libvirt.VIR_CONNECT_LIST_NETWORKS_AUTOSTART,
        },
        number_field="",
        bulk_states=False,
        gone=libvirt.VIR_ERR_NO_NETWORK,
        register="networkEventRegisterAny",
        deregister="networkEventDeregisterAny",
        lifecycle_id=libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE,
        events=network_events(),
        lifecycle_words=_words("VIR_NETWORK_EVENT_", enums.NETWORK_EVENT),
        outcome=_defined_outcome(NETWORK_EFFECTS),
        newborn=lambda _handle: {},
        record=NetworkRecord,
        parse=parse_network,
    ),
    Kind.POOL: KindSpec(
        Kind.POOL,
        list_all="listAllStoragePools",
        flags={
            "active": libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE,
            "persistent": libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_PERSISTENT,
            "autostart": libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART,
        },
        number_field="",
        bulk_states=False,
        gone=libvirt.VIR_ERR_NO_STORAGE_POOL,
        register="storagePoolEventRegisterAny",
        deregister="storagePoolEventDeregisterAny",
        lifecycle_id=libvirt.VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE,
        events=pool_events(),
        lifecycle_words=_words("VIR_STORAGE_POOL_EVENT_", enums.POOL_EVENT),
        outcome=_defined_outcome(POOL_EFFECTS),
        newborn=lambda _handle: {},
        record=PoolRecord,
        parse=parse_pool,
    ),
    Kind.NODEDEV: KindSpec(
        Kind.NODEDEV,
        list_all="listAllDevices",
        # Those that are not there, since a driver that refuses the flag has none of them.
        flags={"inactive": libvirt.VIR_CONNECT_LIST_NODE_DEVICES_INACTIVE},
        number_field="",
        bulk_states=False,
        gone=libvirt.VIR_ERR_NO_NODE_DEVICE,
        register="nodeDeviceEventRegisterAny",
        deregister="nodeDeviceEventDeregisterAny",
        lifecycle_id=libvirt.VIR_NODE_DEVICE_EVENT_ID_LIFECYCLE,
        events=node_device_events(),
        lifecycle_words=_words("VIR_NODE_DEVICE_EVENT_", enums.NODE_DEVICE_EVENT),
        outcome=_defined_outcome(NODE_DEVICE_EFFECTS),
        newborn=lambda _handle: {"inactive": True},
        record=NodeDeviceRecord,
        parse=parse_node_device,
        id_field="name",
        asks=_asks_mediated,
    ),
    Kind.SECRET: KindSpec(
        Kind.SECRET,
        list_all="listAllSecrets",
        flags={},
        number_field="",
        bulk_states=False,
        gone=libvirt.VIR_ERR_NO_SECRET,
        register="secretEventRegisterAny",
        deregister="secretEventDeregisterAny",
        lifecycle_id=libvirt.VIR_SECRET_EVENT_ID_LIFECYCLE,
        events=secret_events(),
        lifecycle_words=_words("VIR_SECRET_EVENT_", enums.SECRET_EVENT),
        outcome=_secret_outcome,
        newborn=lambda _handle: {},
        record=SecretRecord,
        parse=parse_secret,
    ),
}
