"""The row of secrets, with what their events change. The value of a secret is never read."""

from typing import Any

import libvirt

from virtbridge.model.keys import Kind
from virtbridge.model.records import SecretRecord
from virtbridge.model.secret import parse_secret
from virtbridge.source.kinds.enums import SECRET_EVENT, SECRET_EVENT_DETAIL
from virtbridge.source.kinds.events import EventRow, event_specs
from virtbridge.source.kinds.lifecycle_words import lifecycle_words
from virtbridge.source.kinds.outcomes import Outcome
from virtbridge.source.kinds.row import Events, Handle, KindRow

EVENTS = event_specs("VIR_SECRET_EVENT_ID_", {"VALUE_CHANGED": EventRow("value-changed", ())})


def secret_outcome(event: str, usage_id: str) -> Outcome:
    """Return the outcome for a secret, which exists while it is defined."""
    removed = event == "undefined"
    return Outcome({} if removed else {"name": usage_id}, removed, rereads=not removed)


def _outcome(_known: Any, event: str, _detail: str, handle: Handle) -> Outcome:
    return secret_outcome(event, handle.name)


ROW = KindRow(
    Kind.SECRET,
    list_all="listAllSecrets",
    id_of=libvirt.virSecret.UUIDString,
    name_of=libvirt.virSecret.usageID,
    look_up="secretLookupByUUIDString",
    read_xml="XMLDesc",
    not_found_code=libvirt.VIR_ERR_NO_SECRET,
    parse=parse_secret,
    record=SecretRecord,
    id_field="uuid",
    events=Events(
        register="secretEventRegisterAny",
        deregister="secretEventDeregisterAny",
        lifecycle_id=libvirt.VIR_SECRET_EVENT_ID_LIFECYCLE,
        others=EVENTS,
        words=lifecycle_words(SECRET_EVENT, SECRET_EVENT_DETAIL),
        outcome=_outcome,
    ),
)
