"""The kinds of object that a connection follows: one row each, from which listing, registration and parsing
follow.

A row says how libvirt lists, announces and describes a kind; the code that does it is the same for all of
them. Tables and pure functions. Source: libvirt's virConnectListAll*() flags and event ids.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import libvirt

from virtbridge.model.domain_xml import parse_domain
from virtbridge.model.keys import Kind
from virtbridge.model.names import name_of
from virtbridge.model.network_xml import parse_network
from virtbridge.model.records import DomainRecord, NetworkRecord
from virtbridge.source import enums
from virtbridge.source.events import (
    DOMAIN_LIFECYCLE_ID,
    NETWORK_LIFECYCLE_ID,
    EventSpec,
    domain_events,
    network_events,
)
from virtbridge.source.lifecycle import Outcome, domain_outcome, network_outcome


@dataclass(frozen=True, slots=True)
class Handle:
    """A libvirt object's handle and what it tells without a call. number: a domain's id, else -1."""

    id: str
    name: str
    number: int
    raw: Any


@dataclass(frozen=True, slots=True)
class KindSpec:
    """flags: record field to the listing flag that selects the objects where it is true.

    number_field: the record field that the handle's number goes to, empty for none. bulk_states: whether
    state and reason come from virConnectGetAllDomainStats(). gone: the code of a call on an object that is no
    more. newborn: the fields of an object first heard of by an event, before that event is applied.
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


def handle_of(raw: Any) -> Handle:
    """Any thread: none of these is a call to the host."""
    uuid: str = raw.UUIDString()
    try:
        name: str = raw.name()
    except UnicodeDecodeError:  # libvirt-python gives no way to its bytes
        name = uuid
    number: int = raw.ID() if isinstance(raw, libvirt.virDomain) else -1
    return Handle(uuid, name, number, raw)


def _domain_words(event: int, detail: int) -> tuple[str, str]:
    word = name_of(enums.DOMAIN_EVENT, event)
    return word, name_of(enums.DOMAIN_EVENT_DETAIL.get(word, {}), detail)


def _network_words(event: int, detail: int) -> tuple[str, str]:
    word = name_of(enums.NETWORK_EVENT, event)
    return word, name_of(enums.table(f"VIR_NETWORK_EVENT_{word.upper()}_"), detail)


def _domain_outcome(known: Any, event: str, detail: str, handle: Handle) -> Outcome:
    return domain_outcome(known, event, detail, handle.name, handle.number)


def _newborn_domain(handle: Handle) -> dict[str, Any]:
    state = "shutoff" if handle.number < 0 else "running"
    return {"id": handle.number, "state": state, "state_reason": "unknown"}


def _network_outcome(known: Any, event: str, _detail: str, handle: Handle) -> Outcome:
    return network_outcome(known, event, handle.name)


KINDS: Mapping[Kind, KindSpec] = {
    Kind.DOMAIN: KindSpec(
        Kind.DOMAIN,
        list_all="listAllDomains",
        flags={
            "persistent": libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT,
            "autostart": libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART,
            "has_managed_save": libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE,
            "has_snapshots": libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT,
        },
        number_field="id",
        bulk_states=True,
        gone=libvirt.VIR_ERR_NO_DOMAIN,
        register="domainEventRegisterAny",
        deregister="domainEventDeregisterAny",
        lifecycle_id=DOMAIN_LIFECYCLE_ID,
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
        lifecycle_id=NETWORK_LIFECYCLE_ID,
        events=network_events(),
        lifecycle_words=_network_words,
        outcome=_network_outcome,
        newborn=lambda _handle: {},
        record=NetworkRecord,
        parse=parse_network,
    ),
}
