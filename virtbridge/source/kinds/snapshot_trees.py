"""Snapshots and checkpoints form trees within their domain: what that means for their records. Pure."""

from collections.abc import Collection
from dataclasses import replace

from virtbridge.model.snapshots import CheckpointDefinition, SnapshotDefinition, children_of
from virtbridge.source.kinds.row import Records


def with_children(records: Records) -> Records:
    """The records with their children's names; what was not read has no place in the tree."""
    found = children_of({name: record.definition.parent for name, record in records.items()})
    return {
        name: record if record.children == found[name] else replace(record, children=found[name])
        for name, record in records.items()
    }


def is_orphan(definition: SnapshotDefinition | CheckpointDefinition, names: Collection[str]) -> bool:
    """Whether the parent was deleted: then its own parent has this one now, as only the XML shows."""
    return bool(definition.parent) and definition.parent not in names
