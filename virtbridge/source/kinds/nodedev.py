"""The row of node devices, with what their events change."""

from collections.abc import Mapping
from typing import Any

import libvirt

from virtbridge.model.keys import Kind
from virtbridge.model.nodedev_xml import parse_node_device
from virtbridge.model.records import NodeDeviceRecord
from virtbridge.source.kinds.enums import NODE_DEVICE_EVENT, NODE_DEVICE_EVENT_DETAIL
from virtbridge.source.kinds.events import EventRow, event_specs
from virtbridge.source.kinds.lifecycle_words import lifecycle_words
from virtbridge.source.kinds.outcomes import DefinedEffects, Outcome, defined_outcome
from virtbridge.source.kinds.row import Events, Handle, KindRow

EFFECTS: DefinedEffects = {
    "defined": {"persistent": True},
    "undefined": {"persistent": False},
    "created": {"inactive": False},
    "deleted": {"inactive": True},
}
EVENTS = event_specs("VIR_NODE_DEVICE_EVENT_ID_", {"UPDATE": EventRow("update", (), rereads=True)})


def _outcome(known: Any, event: str, _detail: str, handle: Handle) -> Outcome:
    return defined_outcome(EFFECTS, known, event, handle.name)


def _getters(definition: Any) -> Mapping[str, str]:
    """Only mediated devices can be defined, so only they have these getters."""
    mediated = "mdev" in definition.capabilities
    return {"persistent": "isPersistent", "autostart": "autostart"} if mediated else {}


ROW = KindRow(
    Kind.NODEDEV,
    list_all="listAllDevices",
    # The flag selects the inactive devices: a driver that refuses it has none.
    flags={"inactive": libvirt.VIR_CONNECT_LIST_NODE_DEVICES_INACTIVE},
    id_of=libvirt.virNodeDevice.name,
    look_up="nodeDeviceLookupByName",
    read_xml="XMLDesc",
    not_found_code=libvirt.VIR_ERR_NO_NODE_DEVICE,
    parse=parse_node_device,
    record=NodeDeviceRecord,
    id_field="name",
    getters=_getters,
    events=Events(
        register="nodeDeviceEventRegisterAny",
        deregister="nodeDeviceEventDeregisterAny",
        lifecycle_id=libvirt.VIR_NODE_DEVICE_EVENT_ID_LIFECYCLE,
        others=EVENTS,
        words=lifecycle_words(NODE_DEVICE_EVENT, NODE_DEVICE_EVENT_DETAIL),
        outcome=_outcome,
        first_fields=lambda _handle: {"inactive": True},
    ),
)
