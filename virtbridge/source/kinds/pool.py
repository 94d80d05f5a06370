"""The row of storage pools, with what their events change."""

from typing import Any

import libvirt

from virtbridge.model.keys import Kind
from virtbridge.model.pool_xml import parse_pool
from virtbridge.model.records import PoolRecord
from virtbridge.source.kinds.enums import POOL_EVENT, POOL_EVENT_DETAIL
from virtbridge.source.kinds.events import EventRow, event_specs
from virtbridge.source.kinds.lifecycle_words import lifecycle_words
from virtbridge.source.kinds.outcomes import DefinedEffects, Outcome, defined_outcome
from virtbridge.source.kinds.row import Events, Handle, KindRow

EFFECTS: DefinedEffects = {
    "defined": {"persistent": True},
    "undefined": {"persistent": False},
    "started": {"active": True},
    "stopped": {"active": False},
}
EVENTS = event_specs("VIR_STORAGE_POOL_EVENT_ID_", {"REFRESH": EventRow("refresh", (), rereads=True)})


def _outcome(known: Any, event: str, _detail: str, handle: Handle) -> Outcome:
    return defined_outcome(EFFECTS, known, event, handle.name)


ROW = KindRow(
    Kind.POOL,
    list_all="listAllStoragePools",
    flags={
        "active": libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE,
        "persistent": libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_PERSISTENT,
        "autostart": libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART,
    },
    id_of=libvirt.virStoragePool.UUIDString,
    name_of=libvirt.virStoragePool.name,
    look_up="storagePoolLookupByUUIDString",
    read_xml="XMLDesc",
    not_found_code=libvirt.VIR_ERR_NO_STORAGE_POOL,
    parse=parse_pool,
    record=PoolRecord,
    id_field="uuid",
    events=Events(
        register="storagePoolEventRegisterAny",
        deregister="storagePoolEventDeregisterAny",
        lifecycle_id=libvirt.VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE,
        others=EVENTS,
        words=lifecycle_words(POOL_EVENT, POOL_EVENT_DETAIL),
        outcome=_outcome,
    ),
)
