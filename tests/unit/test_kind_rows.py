"""The table of kinds: a row for every kind, and every method that a row names exists in libvirt-python."""

import libvirt
import pytest

from virtbridge.model.keys import OBJECT_KINDS, ON_DEMAND, PARENT_KIND, Kind
from virtbridge.source.kinds.row import KindRow
from virtbridge.source.kinds.table import FOLLOWED, KINDS

CLASSES = {
    Kind.DOMAIN: libvirt.virDomain,
    Kind.NETWORK: libvirt.virNetwork,
    Kind.POOL: libvirt.virStoragePool,
    Kind.VOLUME: libvirt.virStorageVol,
    Kind.NODEDEV: libvirt.virNodeDevice,
    Kind.SECRET: libvirt.virSecret,
    Kind.INTERFACE: libvirt.virInterface,
    Kind.NWFILTER: libvirt.virNWFilter,
    Kind.NWFILTERBINDING: libvirt.virNWFilterBinding,
    Kind.SNAPSHOT: libvirt.virDomainSnapshot,
    Kind.CHECKPOINT: libvirt.virDomainCheckpoint,
}


def test_each_kind_of_object_has_one_row() -> None:
    assert KINDS.keys() == set(OBJECT_KINDS)
    assert all(row.kind is kind for kind, row in KINDS.items())
    assert FOLLOWED.keys() == KINDS.keys() - ON_DEMAND
    assert {kind for kind, row in KINDS.items() if row.parent} == PARENT_KIND.keys()


@pytest.mark.parametrize("row", KINDS.values(), ids=list(KINDS))
def test_the_methods_that_a_row_names_exist(row: KindRow) -> None:
    holder = CLASSES[PARENT_KIND[row.kind]] if row.parent else libvirt.virConnect
    methods = [(holder, row.list_all), (holder, row.look_up), (CLASSES[row.kind], row.read_xml)]
    if row.events:
        methods += [(holder, row.events.register), (holder, row.events.deregister)]
    if row.parent and row.parent.current:
        methods.append((holder, row.parent.current))
    for owner, name in methods:
        assert callable(getattr(owner, name)), name
