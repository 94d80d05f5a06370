"""Refreshing a kind: list it, compare with what is known, publish the differences, read definitions.

The steps are the same for all kinds; the order of the last two is not. A kind that is followed appears at
once and its definitions follow. One that no event announces appears whole: what is new is read first, and of
a kind that is read on demand everything that is to be read. A definition is read when it is new, outdated or
in turn, or when everything was asked for.

A listing that failed raises and publishes nothing. Who asks, how often, and who shares an answer is the
cache's business. Main thread; no libvirt here.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

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
    """For one session. states: which kinds it has, followed, polled or failing."""

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
        # Of what is read on demand, by scope: the ids of the last listing, and which reading brought it.
        self._listed: dict[Key, Collection[str]] = {}
        self._published: dict[Key, int] = {}
        self._readings = count(1)
        self._publishing = asyncio.Lock()  # two readings of the same do not mix

    @property
    def skipped(self) -> Collection[Kind]:
        """The kinds whose last listing left some objects as they were, since an event was newer."""
        return self._differences.skipped

    def keys(self, kind: Kind) -> list[Key]:
        """The objects of a kind that is followed or polled."""
        return [key for key in self._session.handles if key.kind is kind]

    def in_turn(self, kind: Kind) -> list[Key]:
        """The next few objects, round robin, so that what only the XML shows is found in the end."""
        return self._reread_turns.take(kind, self.keys(kind))

    # -- kinds that are followed or polled -----------------------------------------------------------------

    async def list_kind(self, row: KindRow) -> list[Key]:
        """Publish the differences of a new listing; returns the keys whose XML is to be read after it. Raises
        BridgeError.
        """
        with self._newer.since_now() as newer:
            try:
                listed = await fetch_listing(self._session, row)
            except BridgeError as error:
                if not is_unsupported(error) or self._states.was_listed(row.kind):
                    raise
                self._states.note_missing(row.kind)
                # What another driver had here is gone.
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
        """What the XML has of new objects, None of those that do not exist any more: where no event announces
        them, they appear whole.
        """
        row = listed.row
        if not self._states.is_polled(row.kind):
            return {}

        async def read(key: Key, handle: Handle) -> tuple[str, Fields | None]:
            try:
                return key.id, await self._definitions.read(key, handle)
            except BridgeError as error:  # one that cannot be read does not spoil the listing
                return key.id, None if error.code == row.not_found_code else {}

        keys = {self._key(row.kind, key_id): handle for key_id, handle in listed.handles.items()}
        new = [each for each in keys.items() if self._lookup(each[0]) is None]
        return dict(await all_in_turn((read(*each) for each in new), READS_AHEAD))

    # -- kinds that are read on demand ---------------------------------------------------------------------

    async def load(self, about: Key, kind: Kind, *, everything: bool = True) -> bool:
        """about: the connection, or the object whose children of this kind are meant. everything: every
        definition, though it was read before. Returns whether all were read. Raises BridgeError.
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
        """All there are in this session, in however many objects they are."""
        name = self._session.name
        scopes = ((scope.parent, ids) for scope, ids in self._listed.items() if scope.kind is kind)
        return (Key(name, kind, key_id, parent) for parent, ids in scopes for key_id in ids)

    async def _load_all_children(self, row: KindRow, selection: Selection) -> None:
        """Of the objects that may hold any; those of all others are gone."""
        reading = next(self._readings)
        parents = {key.id: self._session.handles[key] for key in self.keys(PARENT_KIND[row.kind])}
        holders = await self._holders(row, parents)
        for scope in [each for each in self._listed if each.kind is row.kind and each.parent not in parents]:
            del self._listed[scope]
        empty = [self._scope(row.kind, parent) for parent in parents.keys() - holders.keys()]
        if selection.in_turn is not None:  # else there is nothing to say of them, every few seconds
            empty = [scope for scope in empty if self._listed.get(scope, ("unknown",))]
        async with self._publishing:
            empty = [scope for scope in empty if self._is_newest(scope, reading, ())]
            self._differences.publish_none(empty)
            for scope in empty:
                self._publish_left_out(scope, {})
        jobs = (self._load_if_there(row, handle, selection) for handle in holders.values())
        await all_in_turn(jobs, min(READS_AHEAD, len(holders)))

    async def _holders(self, row: KindRow, parents: Mapping[str, Handle]) -> Mapping[str, Handle]:
        """The objects that may hold any; all that are known where the driver cannot select them."""
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
        """parent: None for the connection."""
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
        """The parent says what of its objects cannot be read."""
        holder = parent_key(scope) or connection_key(scope.connection)
        texts = tuple(self._definitions.left_out(scope, records, self._listed[scope], self._lookup))
        if getattr(self._lookup(holder), "unreadable", texts) != texts:
            self._publish([Patch(holder, {"unreadable": texts})])

    def _is_newest(self, scope: Key, reading: int, ids: Collection[str]) -> bool:
        """Whether no reading that began later was published already; this one is from now on."""
        if self._published.get(scope, 0) > reading:
            return False
        self._published[scope] = reading
        self._listed[scope] = ids
        return True

    @contextmanager
    def _while_active(self, scope: Key) -> Iterator[Callable[[], None]]:
        """Gives what raises OperationInvalid when the parent was stopped meanwhile: its objects went with it,
        and what was read of them must not be published after that. A start of which no event came yet does
        not matter.
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
        """The handle of an object that is followed or polled. Raises BridgeError."""
        handle = self._session.handles.get(key)
        if handle is None:
            if (failure := self._states.failure([key.kind])) is not None:
                raise failure
            raise BridgeError(ErrorKind.NO_SUCH_OBJECT, f"{key.connection} has no {key.kind} {key.id}")
        return handle

    async def find(self, key: Key) -> Any:
        """libvirt's object; of what is read on demand no handle is kept, and it is looked up by its id.
        Raises BridgeError.
        """
        row = KINDS[key.kind]
        if row.events is not None:
            return self.handle(key).raw
        parent = parent_key(key)
        if parent is None:
            return await self._session.call(row.look_up, key.id, short=True)
        return await self._session.on(self.handle(parent).raw, row.look_up, key.id, short=True)

    def _key(self, kind: Kind, key_id: str) -> Key:
        return Key(self._session.name, kind, key_id)

    def _scope(self, kind: Kind, parent: str = "") -> Key:
        return Key(self._session.name, kind, "", parent)
