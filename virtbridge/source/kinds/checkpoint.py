"""The row of domain checkpoints. libvirt has no events for them."""

import libvirt

from virtbridge.model.keys import Kind
from virtbridge.model.records import CheckpointRecord
from virtbridge.model.snapshots import parse_checkpoint
from virtbridge.source.kinds.row import KindRow, Parent
from virtbridge.source.kinds.snapshot_trees import is_orphan, with_children

ROW = KindRow(
    Kind.CHECKPOINT,
    list_all="listAllCheckpoints",
    id_of=libvirt.virDomainCheckpoint.getName,
    look_up="checkpointLookupByName",
    read_xml="getXMLDesc",
    not_found_code=libvirt.VIR_ERR_NO_DOMAIN_CHECKPOINT,
    parse=parse_checkpoint,
    record=CheckpointRecord,
    parent=Parent(
        holders=libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_CHECKPOINT,
        finish=with_children,
        may_be_outdated=is_orphan,
    ),
)
