"""The table of operations: the rows of all kinds, by kind and name. Objects that are listed are no
operations: they are records, and freshness decides when they are read. Pure.
"""

from collections.abc import Iterable, Mapping

from virtbridge.model.keys import Kind
from virtbridge.model.operations import (
    connection,
    definitions,
    domain_devices,
    domain_guest,
    domain_reads,
    domain_state,
    domain_tuning,
    jobs,
    network,
    nodedev,
    snapshots,
    storage,
    xml,
)
from virtbridge.model.operations.row import Operation, Request

_ROWS = (
    *xml.ROWS,
    *connection.ROWS,
    *definitions.ROWS,
    *domain_state.ROWS,
    *domain_reads.ROWS,
    *domain_devices.ROWS,
    *domain_tuning.ROWS,
    *domain_guest.ROWS,
    *snapshots.ROWS,
    *network.ROWS,
    *storage.ROWS,
    *nodedev.ROWS,
    *jobs.ROWS,
)


def _by_kind(rows: Iterable[Operation]) -> Mapping[Kind, Mapping[str, Operation]]:
    table: dict[Kind, dict[str, Operation]] = {kind: {} for kind in Kind}
    for row in rows:
        for kind in row.kinds:
            if row.name in table[kind]:
                raise ValueError(f"{kind} has two rows named {row.name}")
            table[kind][row.name] = row
    return table


OPERATIONS = _by_kind(_ROWS)


def operation_of(request: Request) -> Operation:
    return OPERATIONS[request.key.kind][request.name]
