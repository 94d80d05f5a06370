"""The row of domain snapshots. libvirt has no events for them."""

import libvirt

from virtbridge.model.keys import Kind
from virtbridge.model.records import SnapshotRecord
from virtbridge.model.snapshots import parse_snapshot
from virtbridge.source.kinds.row import KindRow, Parent
from virtbridge.source.kinds.snapshot_trees import is_orphan, with_children

ROW = KindRow(
    Kind.SNAPSHOT,
    list_all="listAllSnapshots",
    id_of=libvirt.virDomainSnapshot.getName,
    look_up="snapshotLookupByName",
    read_xml="getXMLDesc",
    not_found_code=libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT,
    parse=parse_snapshot,
    record=SnapshotRecord,
    parent=Parent(
        holders=libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT,
        holder_field="has_snapshots",
        current="snapshotCurrent",
        finish=with_children,
        may_be_outdated=is_orphan,
    ),
)
