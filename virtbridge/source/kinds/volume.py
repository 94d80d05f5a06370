"""The row of storage volumes. libvirt has no events for them; it only announces that their pool was
refreshed.
"""

import libvirt

from virtbridge.model.keys import Kind
from virtbridge.model.records import VolumeRecord
from virtbridge.model.volumes import parse_volume
from virtbridge.source.kinds.row import KindRow, Parent

ROW = KindRow(
    Kind.VOLUME,
    list_all="listAllVolumes",
    id_of=libvirt.virStorageVol.name,
    look_up="storageVolLookupByName",
    read_xml="XMLDesc",
    not_found_code=libvirt.VIR_ERR_NO_STORAGE_VOL,
    parse=parse_volume,
    record=VolumeRecord,
    parent=Parent(holders=libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE),
)
