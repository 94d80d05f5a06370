"""The row of networks, with what their events change."""

from typing import Any

import libvirt

from virtbridge.model.keys import Kind
from virtbridge.model.network_xml import parse_network
from virtbridge.model.records import NetworkRecord
from virtbridge.source.kinds.enums import NETWORK_EVENT, NETWORK_EVENT_DETAIL
from virtbridge.source.kinds.events import METADATA, EventRow, event_specs
from virtbridge.source.kinds.lifecycle_words import lifecycle_words
from virtbridge.source.kinds.outcomes import DefinedEffects, Outcome, defined_outcome
from virtbridge.source.kinds.row import Events, Handle, KindRow

EFFECTS: DefinedEffects = {
    "defined": {"persistent": True},
    "undefined": {"persistent": False},
    "started": {"active": True},
    "stopped": {"active": False},
}
EVENT_IDS = "VIR_NETWORK_EVENT_ID_"
EVENT_ROWS = {"METADATA_CHANGE": EventRow("metadata-change", METADATA, rereads=True)}


def _outcome(known: Any, event: str, _detail: str, handle: Handle) -> Outcome:
    return defined_outcome(EFFECTS, known, event, handle.name)


ROW = KindRow(
    Kind.NETWORK,
    list_all="listAllNetworks",
    flags={
        "active": libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE,
        "persistent": libvirt.VIR_CONNECT_LIST_NETWORKS_PERSISTENT,
        "autostart": libvirt.VIR_CONNECT_LIST_NETWORKS_AUTOSTART,
    },
    id_of=libvirt.virNetwork.UUIDString,
    name_of=libvirt.virNetwork.name,
    look_up="networkLookupByUUIDString",
    read_xml="XMLDesc",
    not_found_code=libvirt.VIR_ERR_NO_NETWORK,
    parse=parse_network,
    record=NetworkRecord,
    id_field="uuid",
    events=Events(
        register="networkEventRegisterAny",
        deregister="networkEventDeregisterAny",
        lifecycle_id=libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE,
        others=event_specs(EVENT_IDS, EVENT_ROWS),
        words=lifecycle_words(NETWORK_EVENT, NETWORK_EVENT_DETAIL),
        outcome=_outcome,
    ),
)
