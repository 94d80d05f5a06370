"""The row of domains. domain_lifecycle.py says what their lifecycle events change, and domain_events.py has
their other events.
"""

from typing import Any

import libvirt

from virtbridge.model.domain_xml import parse_domain
from virtbridge.model.keys import Kind
from virtbridge.model.records import DomainRecord
from virtbridge.source.kinds.domain_events import domain_events
from virtbridge.source.kinds.domain_lifecycle import domain_outcome
from virtbridge.source.kinds.enums import DOMAIN_EVENT, DOMAIN_EVENT_DETAIL
from virtbridge.source.kinds.lifecycle_words import lifecycle_words
from virtbridge.source.kinds.outcomes import Outcome
from virtbridge.source.kinds.row import Events, Handle, KindRow


def _outcome(known: Any, event: str, detail: str, handle: Handle) -> Outcome:
    return domain_outcome(known, event, detail, handle.name, handle.number)


def _first_fields(handle: Handle) -> dict[str, Any]:
    state = "shutoff" if handle.number < 0 else "running"
    return {"id": handle.number, "state": state, "state_reason": "unknown"}


ROW = KindRow(
    Kind.DOMAIN,
    list_all="listAllDomains",
    flags={
        "persistent": libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT,
        "autostart": libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART,
        "has_managed_save": libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE,
        "has_snapshots": libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT,
    },
    negated=frozenset({"persistent"}),
    id_of=libvirt.virDomain.UUIDString,
    name_of=libvirt.virDomain.name,
    number_of=libvirt.virDomain.ID,
    number_field="id",
    bulk_states=True,
    look_up="lookupByUUIDString",
    read_xml="XMLDesc",
    not_found_code=libvirt.VIR_ERR_NO_DOMAIN,
    parse=parse_domain,
    record=DomainRecord,
    id_field="uuid",
    events=Events(
        register="domainEventRegisterAny",
        deregister="domainEventDeregisterAny",
        lifecycle_id=libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
        others=domain_events(),
        words=lifecycle_words(DOMAIN_EVENT, DOMAIN_EVENT_DETAIL),
        outcome=_outcome,
        first_fields=_first_fields,
    ),
)
