"""Refreshes a kind: lists it, compares with what is known, publishes the differences, and reads definitions.

The steps are the same for all kinds, but not the order of the last two. Objects of a kind that is followed
appear at once and their definitions follow. Objects of other kinds appear complete, so their definitions are
read first. A definition is read when it is new, may be outdated or is in turn, or when the caller asks for
every definition.

When a listing fails, it raises and nothing is published. The cache decides when to refresh and who shares an
answer. Runs on the main thread and does not call libvirt itself.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import count

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.changes import Patch
from virtbridge.model.keys import ONLY_WHILE_PARENT_ACTIVE, PARENT_KIND, Key, Kind, connection_key, parent_key
from virtbridge.source.callbacks import Lookup, Publish
from virtbridge.source.calls.batch import READS_AHEAD
from virtbridge.source.calls.errors import is_unsupported
from virtbridge.source.calls.session import Session
from virtbridge.source.definitions import Definitions, Fields
from virtbridge.source.differences import Differences
from virtbridge.source.kind_states import KindStates
from virtbridge.source.kinds.derived_events import xml_may_differ
from virtbridge.source.kinds.row import Handle, KindRow
from virtbridge.source.kinds.table import KINDS
from virtbridge.source.listing import (
    Listed,
    fetch_holders,
    fetch_listing,
    fetch_other_flags,
    fetch_poll_listing,
)
from virtbridge.source.newer_keys import NewerKeys
from virtbridge.source.on_demand_records import OnDemandRecords, Selection, is_parent_removed
from virtbridge.source.reread_turns import RereadTurns
from virtbridge.tasks import all_in_turn


class Refresher:
    """Refreshes the kinds of one session. states: which kinds it has, and how each is kept fresh."""

    def __init__(
        self,
        session: Session,
        publish: Publish,
        lookup: Lookup,
        states: KindStates,
        newer: NewerKeys,
        definitions: Definitions,
    ) -> None:
        self._session = session
        self._publish = publish
        self._lookup = lookup
        self._states = states
        self._newer = newer
        self._definitions = definitions
        self._records = OnDemandRecords(session, lookup, definitions)
        self._differences = Differences(session, publish, lookup, states, newer)
        self._reread_turns = RereadTurns()
        # For kinds that are read on demand, by scope (a key without id): the ids of the last listing, and the
        # number of the reading that published it.
        self._listed: dict[Key, Collection[str]] = {}
        self._published: dict[Key, int] = {}
        self._readings = count(1)
        self._publishing = asyncio.Lock()  # the changes of two readings of the same scope must not mix

    @property
    def skipped(self) -> Collection[Kind]:
        """The kinds whose last listing left out some objects, since an event was newer."""
        return self._differences.skipped

    def keys(self, kind: Kind) -> list[Key]:
        """Return the objects of a kind that is followed or polled."""
        return [key for key in self._session.handles if key.kind is kind]

    def in_turn(self, kind: Kind) -> list[Key]:
        """Return the next few objects of the round robin, which finds changes that only the XML shows."""
        return self._reread_turns.take(kind, self.keys(kind))

    # -- kinds that are followed or polled -----------------------------------------------------------------

    async def list_kind(self, row: KindRow) -> list[Key]:
        """List a kind and publish the differences. Returns the keys whose XML has to be read after it. Raises
        BridgeError.
        """
        with self._newer.since_now() as newer:
            try:
                listed = await fetch_listing(self._session, row)
            except BridgeError as error:
                if not is_unsupported(error) or self._states.was_listed(row.kind):
                    raise
                self._states.note_missing(row.kind)
                # Objects of another driver, which the connection had before, are removed.
                return await self._differences.publish_listing(Listed(row, {}), newer, {})
            self._definitions.note_unnamed(self._scope(row.kind), listed.unnamed)
            appeared = await self._read_appeared(listed)
            unread = await self._differences.publish_listing(listed, newer, appeared)
            self._states.note_listed(row.kind)
            return unread

    async def poll_kind(self, row: KindRow, goes_on: Callable[[], bool]) -> list[Key]:
        """The same from the listing of a poll, and from more only where that shows a difference. goes_on:
        asked before each step.
        """
        with self._newer.since_now() as newer:
            listed = await fetch_poll_listing(self._session, row, self._lookup)
            changed = await listed.changed(self._session.name, self._lookup)
            missing = {key.id for key in self.keys(row.kind)} - listed.handles.keys()
            if not missing and not any(xml_may_differ(*pair) for pair in changed.values()):
                states = {key: pair for key, pair in changed.items() if key not in newer}
                self._differences.publish_states(states)
                return []
            if not goes_on():
                return []
            listed, there = await fetch_other_flags(self._session, listed, bool(missing))
            if not goes_on():
                return []
            appeared = await self._read_appeared(listed)
            newer.update(self._key(row.kind, key_id) for key_id in missing.intersection(there))
            return await self._differences.publish_listing(listed, newer, appeared)

    async def _read_appeared(self, listed: Listed) -> Mapping[str, Fields | None]:
        """Read the XML of new objects of a polled kind, so that they appear complete. Returns fields by id;
        None for an object that does not exist any more.
        """
        row = listed.row
        if not self._states.is_polled(row.kind):
            return {}

        async def read(key: Key, handle: Handle) -> tuple[str, Fields | None]:
            try:
                return key.id, await self._definitions.read(key, handle)
            except BridgeError as error:  # an object that cannot be read does not make the listing fail
                return key.id, None if error.code == row.not_found_code else {}

        keys = {self._key(row.kind, key_id): handle for key_id, handle in listed.handles.items()}
        new = [each for each in keys.items() if self._lookup(each[0]) is None]
        return dict(await all_in_turn((read(*each) for each in new), READS_AHEAD))

    # -- kinds that are read on demand ---------------------------------------------------------------------

    async def load(self, about: Key, kind: Kind, *, everything: bool = True) -> bool:
        """Read and publish the objects of a kind that is read on demand. Raises BridgeError.

        about: the connection, or the object in which they are. everything: every definition is read, also
        those that are known. Returns whether every definition was read.
        """
        row = KINDS[kind]
        in_turn = None if everything else frozenset(self._reread_turns.take(kind, self._known(kind)))
        selection = Selection(in_turn)
        try:
            if about.kind is not Kind.CONNECTION:
                await self._load_scope(row, self.handle(about), selection)
            elif row.parent is not None:
                await self._load_all_children(row, selection)
            else:
                await self._load_scope(row, None, selection)
        except BridgeError as error:
            if is_unsupported(error) and about.kind is Kind.CONNECTION and kind in self._states.on_demand:
                self._states.note_missing(kind)
            raise
        self._publish([Patch(key, {"stale": False}) for key in selection.recovered])
        return not selection.left_out

    def _known(self, kind: Kind) -> Iterator[Key]:
        """Return all objects of a kind that this session has listed, in any parent."""
        name = self._session.name
        scopes = ((scope.parent, ids) for scope, ids in self._listed.items() if scope.kind is kind)
        return (Key(name, kind, key_id, parent) for parent, ids in scopes for key_id in ids)

    async def _load_all_children(self, row: KindRow, selection: Selection) -> None:
        """Load the children of all objects that may have any, and remove those of all others."""
        reading = next(self._readings)
        parents = {key.id: self._session.handles[key] for key in self.keys(PARENT_KIND[row.kind])}
        holders = await self._holders(row, parents)
        for scope in [each for each in self._listed if each.kind is row.kind and each.parent not in parents]:
            del self._listed[scope]
        empty = [self._scope(row.kind, parent) for parent in parents.keys() - holders.keys()]
        if selection.in_turn is not None:  # a poll publishes again and again only what has changed
            empty = [scope for scope in empty if self._listed.get(scope, ("unknown",))]
        async with self._publishing:
            empty = [scope for scope in empty if self._is_newest(scope, reading, ())]
            self._differences.publish_none(empty)
            for scope in empty:
                self._publish_left_out(scope, {})
        jobs = (self._load_if_there(row, handle, selection) for handle in holders.values())
        await all_in_turn(jobs, min(READS_AHEAD, len(holders)))

    async def _holders(self, row: KindRow, parents: Mapping[str, Handle]) -> Mapping[str, Handle]:
        """Return the objects that may have any: all that are known when the driver cannot select them."""
        try:
            return await fetch_holders(self._session, row)
        except BridgeError as error:
            parents_exist = PARENT_KIND[row.kind] in self._states.event_kinds | self._states.polled_kinds
            refused = is_unsupported(error) or error.kind is ErrorKind.INVALID_ARGUMENT
            if not (parents_exist and refused):
                raise
            return parents

    async def _load_if_there(self, row: KindRow, parent: Handle, selection: Selection) -> None:
        try:
            await self._load_scope(row, parent, selection)
        except BridgeError as error:
            if not is_parent_removed(row, error):
                raise

    async def _load_scope(self, row: KindRow, parent: Handle | None, selection: Selection) -> None:
        """Load the objects of a kind in one parent. parent: None for the connection."""
        reading = next(self._readings)
        scope = self._scope(row.kind, parent.id if parent else "")
        with self._while_active(scope) as check:
            listed = await fetch_listing(self._session, row, parent)
            self._definitions.note_unnamed(scope, listed.unnamed)
            records = await self._records.read(scope, parent, listed, self._listed.get(scope, ()), selection)
            async with self._publishing:
                check()
                if self._is_newest(scope, reading, frozenset(listed.handles)):  # no handle is kept
                    await self._differences.publish_records(scope, records, bool(listed.handles), check)
                    self._publish_left_out(scope, records)

    def _publish_left_out(self, scope: Key, records: Collection[str]) -> None:
        """Show in the parent's record which of its objects cannot be read."""
        holder = parent_key(scope) or connection_key(scope.connection)
        texts = tuple(self._definitions.left_out(scope, records, self._listed[scope], self._lookup))
        if getattr(self._lookup(holder), "unreadable", texts) != texts:
            self._publish([Patch(holder, {"unreadable": texts})])

    def _is_newest(self, scope: Key, reading: int, ids: Collection[str]) -> bool:
        """Return whether no reading that began later was published. If so, this one counts as published."""
        if self._published.get(scope, 0) > reading:
            return False
        self._published[scope] = reading
        self._listed[scope] = ids
        return True

    @contextmanager
    def _while_active(self, scope: Key) -> Iterator[Callable[[], None]]:
        """Give a function that raises OperationInvalid when the parent was stopped meanwhile. Its objects
        were removed then, and must not be published again. It does not matter whether the event of a start
        has arrived yet.
        """
        holder = parent_key(scope)
        if holder is None or scope.kind not in ONLY_WHILE_PARENT_ACTIVE:
            yield lambda: None
            return
        was_active = getattr(self._lookup(holder), "active", True)
        with self._newer.since_now() as newer:

            def check() -> None:
                is_active = getattr(self._lookup(holder), "active", True)
                if not is_active and (was_active or holder in newer):
                    raise BridgeError(ErrorKind.OPERATION_INVALID, f"the {holder.kind} is not active")

            yield check

    # -- for all kinds -------------------------------------------------------------------------------------

    def handle(self, key: Key) -> Handle:
        """Return the handle of an object that is followed or polled. Raises BridgeError."""
        handle = self._session.handles.get(key)
        if handle is None:
            if (failure := self._states.failure([key.kind])) is not None:
                raise failure
            raise BridgeError(ErrorKind.NO_SUCH_OBJECT, f"{key.connection} has no {key.kind} {key.id}")
        return handle

    async def find(self, key: Key) -> object:
        """Return libvirt's object. Kinds that are read on demand keep no handles, so their objects are looked
        up by id. Raises BridgeError.
        """
        row = KINDS[key.kind]
        if row.events is not None:
            return self.handle(key).raw
        parent = parent_key(key)
        if parent is None:
            found: object = await self._session.call(row.look_up, key.id, short=True)
        else:
            found = await self._session.on(self.handle(parent).raw, row.look_up, key.id, short=True)
        return found

    def _key(self, kind: Kind, key_id: str) -> Key:
        return Key(self._session.name, kind, key_id)

    def _scope(self, kind: Kind, parent: str = "") -> Key:
        return Key(self._session.name, kind, "", parent)
