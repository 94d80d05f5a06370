"""The row of network filter bindings. libvirt has no events for them."""

import libvirt

from virtbridge.model.keys import Kind
from virtbridge.model.nwfilters import parse_binding
from virtbridge.model.records import BindingRecord
from virtbridge.source.kinds.row import KindRow

ROW = KindRow(
    Kind.NWFILTERBINDING,
    list_all="listAllNWFilterBindings",
    id_of=libvirt.virNWFilterBinding.portDev,
    look_up="nwfilterBindingLookupByPortDev",
    read_xml="XMLDesc",
    not_found_code=libvirt.VIR_ERR_NO_NWFILTER_BINDING,
    parse=parse_binding,
    record=BindingRecord,
)
