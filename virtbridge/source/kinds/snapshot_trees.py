"""The trees that the snapshots and the checkpoints of a domain form, as their records show them. Pure."""

from collections.abc import Collection
from dataclasses import replace

from virtbridge.model.snapshots import CheckpointDefinition, SnapshotDefinition, children_of
from virtbridge.source.kinds.row import Records


def with_children(records: Records) -> Records:
    """Add the names of the children to records. An object that could not be read is nobody's child."""
    found = children_of({name: record.definition.parent for name, record in records.items()})
    return {
        name: record if record.children == found[name] else replace(record, children=found[name])
        for name, record in records.items()
    }


def is_orphan(definition: SnapshotDefinition | CheckpointDefinition, names: Collection[str]) -> bool:
    """Return whether the parent was deleted. The object then has another parent, as only the XML shows."""
    return bool(definition.parent) and definition.parent not in names
