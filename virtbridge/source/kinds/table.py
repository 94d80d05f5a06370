"""The table of kinds: one row for each, in the order in which they are listed."""

from collections.abc import Mapping

from virtbridge.model.keys import Kind
from virtbridge.source.kinds import (
    checkpoint,
    domain,
    interface,
    network,
    nodedev,
    nwfilter,
    nwfilterbinding,
    pool,
    secret,
    snapshot,
    volume,
)
from virtbridge.source.kinds.row import KindRow

_MODULES = (
    domain, network, pool, nodedev, secret,
    interface, nwfilter, nwfilterbinding, volume, snapshot, checkpoint,
)  # fmt: skip

KINDS: Mapping[Kind, KindRow] = {module.ROW.kind: module.ROW for module in _MODULES}

# The kinds that a connection follows: libvirt has events for them, though not with every driver.
FOLLOWED: Mapping[Kind, KindRow] = {kind: row for kind, row in KINDS.items() if row.events is not None}
