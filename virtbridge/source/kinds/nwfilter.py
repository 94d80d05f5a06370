"""The row of network filters. libvirt has no events for them."""

import libvirt

from virtbridge.model.keys import Kind
from virtbridge.model.nwfilters import parse_filter
from virtbridge.model.records import FilterRecord
from virtbridge.source.kinds.row import KindRow

ROW = KindRow(
    Kind.NWFILTER,
    list_all="listAllNWFilters",
    id_of=libvirt.virNWFilter.UUIDString,
    look_up="nwfilterLookupByUUIDString",
    read_xml="XMLDesc",
    not_found_code=libvirt.VIR_ERR_NO_NWFILTER,
    parse=parse_filter,
    record=FilterRecord,
)
