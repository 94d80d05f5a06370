"""The records of a kind that is read on demand: a listing joined with definitions.

A Selection says which definitions are read. An object that cannot be read is left out of the result; if it
was known before, its old record stays and is marked stale. Such an object is logged once and does not make
the others fail. Runs on the main thread and does not call libvirt itself.
"""

from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

from virtbridge.clock import moment_us, wall_us
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import ONLY_WHILE_PARENT_ACTIVE, PARENT_KIND, Key
from virtbridge.model.records import OnDemand
from virtbridge.source.callbacks import Lookup
from virtbridge.source.calls.errors import problem_of
from virtbridge.source.calls.session import Session
from virtbridge.source.definitions import Definitions, Fields
from virtbridge.source.kinds.row import Handle, KindRow
from virtbridge.source.kinds.table import KINDS
from virtbridge.source.listing import Listed, fetch_current
from virtbridge.tasks import all_of, in_steps

PER_STEP = 1000  # so many objects are compared or completed in one turn of the loop: a few milliseconds


@dataclass(slots=True)
class Selection:
    """Which definitions of a kind one refresh reads, and which it has left out."""

    # The objects that are read again in turn. None when every definition is read.
    in_turn: Set[Key] | None = None
    # How many definitions were not read.
    left_out: int = 0
    # Those among them that are marked stale only because an earlier listing failed. The mark is removed when
    # this refresh has succeeded for every parent.
    recovered: list[Key] = field(default_factory=list)

    def includes(self, key: Key) -> bool:
        return self.in_turn is None or key in self.in_turn


class OnDemandRecords:
    """Makes the records of one session."""

    def __init__(self, session: Session, lookup: Lookup, definitions: Definitions) -> None:
        self._session = session
        self._lookup = lookup
        self._definitions = definitions

    async def read(
        self,
        scope: Key,
        parent: Handle | None,
        listed: Listed,
        before: Collection[str],
        selection: Selection,
    ) -> dict[str, OnDemand]:
        """Return the records by id, sorted, without those that cannot be read and were not known. Raises
        BridgeError.

        scope: the kind and its parent, a key without id. parent: None for the connection. before: the ids of
        the previous listing in this session.
        """
        name, kind, _, outer = scope
        to_read: dict[Key, Handle] = {}
        left_out: list[Key] = []
        async for some in in_steps(listed.handles.items(), PER_STEP):
            for key_id, handle in some:
                key = Key(name, kind, key_id, outer)
                # An object that is new to this session may have changed while there was no connection.
                if selection.includes(key) or key_id not in before or self._may_be_outdated(key, listed):
                    to_read[key] = handle
                else:
                    left_out.append(key)
        selection.left_out += len(left_out)
        reading = self._read_many(listed.row, to_read)
        current: Collection[str] | None = None
        if parent and listed.handles and listed.row.parent and listed.row.parent.current:
            answers: list[Any] = await all_of([reading, fetch_current(self._session, listed.row, parent)])
            records, current = answers
        else:
            records = await reading
        async for unread in in_steps(left_out, PER_STEP):
            for key in unread:
                if isinstance(known := self._lookup(key), OnDemand):
                    records[key.id] = known
                    if known.stale and not self._definitions.is_unreadable(key):
                        selection.recovered.append(key)
        complete: dict[str, OnDemand] = {}
        async for ids in in_steps(sorted(records), PER_STEP):
            for key_id in ids:
                fields = listed.fields(key_id)
                if current is not None:
                    fields["current"] = key_id in current
                complete[key_id] = _with(records[key_id], fields)
        return listed.row.parent.finish(complete) if listed.row.parent else complete

    def _may_be_outdated(self, key: Key, listed: Listed) -> bool:
        """Return whether the definition may have changed."""
        known: Any = self._lookup(key)
        if known is None:
            return not self._definitions.is_unreadable(key)
        if listed.differs(key.id, known):
            return True
        parent = listed.row.parent
        return parent is not None and parent.may_be_outdated(known.definition, listed.handles.keys())

    async def _read_many(self, row: KindRow, handles: Mapping[Key, Handle]) -> dict[str, OnDemand]:
        """Return the records by id of the objects that can be read or were known; those that cannot be read
        are stale. Raises BridgeError for a failure that concerns all of them.
        """
        now = {"last_refresh_us": wall_us(), "read_us": moment_us()}
        records: dict[str, OnDemand] = {}
        failures: list[BridgeError] = []

        def left() -> Iterator[tuple[Key, Handle]]:
            for each in handles.items():
                if failures:
                    return
                yield each

        def settle(key: Key, fields: Fields, error: BridgeError | None) -> None:
            if "definition" in fields:
                records[key.id] = row.record(**fields, **now)
            elif error is not None and self._concerns_all(row, error):
                failures.append(error)
            elif error is None or error.code != row.not_found_code:
                problem = (
                    fields["problem"]
                    if error is None
                    else self._definitions.note_problem(key, problem_of(error))
                )
                if isinstance(known := self._lookup(key), OnDemand):
                    records[key.id] = replace(known, stale=True, problem=problem)

        if handles:
            await self._definitions.read_many(row.read_xml, left(), settle)
        if failures:
            raise failures[0]
        return records

    def _concerns_all(self, row: KindRow, error: BridgeError) -> bool:
        if self._session.lost.done() or error.kind in (ErrorKind.NOT_CONNECTED, ErrorKind.TIMEOUT):
            return True
        return is_parent_removed(row, error)


def is_parent_removed(row: KindRow, error: BridgeError) -> bool:
    """Return whether the parent was removed or stopped, and its objects with it."""
    if row.parent is None:
        return False
    stopped = row.kind in ONLY_WHILE_PARENT_ACTIVE and error.kind is ErrorKind.OPERATION_INVALID
    return stopped or error.code == KINDS[PARENT_KIND[row.kind]].not_found_code


def _with(record: OnDemand, fields: Mapping[str, Any]) -> OnDemand:
    """Set fields of a record. If nothing differs, as in most of a large listing, this returns the same
    record.
    """
    if all(getattr(record, name) == value for name, value in fields.items()):
        return record
    return replace(record, **fields)
