"""The row of the host's network interfaces. libvirt has no events for them."""

import libvirt

from virtbridge.model.host_interface import parse_interface
from virtbridge.model.keys import Kind
from virtbridge.model.records import InterfaceRecord
from virtbridge.source.kinds.row import KindRow

ROW = KindRow(
    Kind.INTERFACE,
    list_all="listAllInterfaces",
    flags={"active": libvirt.VIR_CONNECT_LIST_INTERFACES_ACTIVE},
    id_of=libvirt.virInterface.name,
    look_up="interfaceLookupByName",
    read_xml="XMLDesc",
    not_found_code=libvirt.VIR_ERR_NO_INTERFACE,
    parse=parse_interface,
    record=InterfaceRecord,
)
