"""Publishes the differences between a listing and what is known, in slices between which the bus has its
turns.

For kinds without events it also publishes the signals that follow from two listings. Runs on the main thread
and does not call libvirt.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from virtbridge.model.changes import LIFECYCLE, Change, Listing, Patch, Put, Signal
from virtbridge.model.keys import PARENT_KIND, Key, Kind
from virtbridge.model.records import Record
from virtbridge.source.callbacks import Lookup, Publish
from virtbridge.source.calls.session import Session
from virtbridge.source.definitions import Fields
from virtbridge.source.kind_states import KindStates
from virtbridge.source.kinds.derived_events import derived_events, xml_may_differ
from virtbridge.source.kinds.table import KINDS
from virtbridge.source.listing import Listed
from virtbridge.source.newer_keys import NewerKeys

SLICE = 128  # so many objects of a listing are published in one step, which takes a few milliseconds

Pair = tuple[Any, Any]  # the record before and after; None when the object did not exist


class Differences:
    """skipped: the kinds whose last listing left out some objects, since an event was newer."""

    def __init__(
        self, session: Session, publish: Publish, lookup: Lookup, states: KindStates, newer: NewerKeys
    ) -> None:
        self._session = session
        self._publish = publish
        self._lookup = lookup
        self._states = states
        self._newer = newer
        self.skipped: set[Kind] = set()

    def publish_states(self, changed: Mapping[Key, Pair]) -> None:
        """Publish what a poll has found when only states differ."""
        patches: list[Change] = [
            Patch(key, {"state": new.state, "state_reason": new.state_reason})
            for key, (_, new) in changed.items()
        ]
        if patches:
            self._publish([*patches, *_signals(changed)])

    async def publish_listing(
        self, listed: Listed, newer: Collection[Key], appeared: Mapping[str, Fields | None]
    ) -> list[Key]:
        """Publish the objects of a kind that is followed or polled. Returns those whose XML has to be read.

        newer: the objects that are left out, since an event was newer; the set may grow until the last slice.
        appeared: the fields of new objects whose XML was read already; None for an object that does not exist
        any more.
        """
        name, kind = self._session.name, listed.row.kind
        handles = self._session.handles
        self.skipped.discard(kind)
        found = [each for each in listed.handles if appeared.get(each, {}) is not None]
        stay = {*found, *(key.id for key in newer if key.kind is kind)}
        removed = {key: self._lookup(key) for key in handles if key.kind is kind and key.id not in stay}
        self._publish([Listing(name, kind, stay)])
        self._signal(removed)
        for key in removed:
            del handles[key]
        unread: list[Key] = []
        left = iter(found)
        while some := list(islice(left, SLICE)):
            changes: list[Change] = []
            before: dict[Key, Record | None] = {}
            for key_id in some:
                key = Key(name, kind, key_id)
                if key in newer:
                    self.skipped.add(kind)
                    continue
                handles[key] = listed.handles[key_id]
                before[key] = known = self._lookup(key)
                changes.append(listed.change(key, known))
                if fields := appeared.get(key_id):
                    changes.append(Patch(key, fields))
                elif known is None:
                    unread.append(key)
            self._publish(changes)
            unread += self._signal(before)
            await asyncio.sleep(0)
        return unread

    async def publish_records(
        self, scope: Key, records: Mapping[str, Any], exist: bool, check: Callable[[], None]
    ) -> None:
        """Publish the objects of a kind that is read on demand, of a connection or in one parent.

        scope: a key without id. exist: whether libvirt has listed any object. check: is called after each
        slice, and raises when nothing more may be published.
        """
        changes = self._record_changes(scope, records, exist)
        while some := list(islice(changes, SLICE)):
            self._publish(some)
            await asyncio.sleep(0)  # the bus has its turns, in which anything may change
            check()

    def publish_none(self, scopes: Iterable[Key]) -> None:
        """Publish that there are no objects in these parents."""
        self._publish([change for scope in scopes for change in self._record_changes(scope, {}, exist=False)])

    def _record_changes(self, scope: Key, records: Mapping[str, Any], exist: bool) -> Iterator[Change]:
        row = KINDS[scope.kind]
        name, kind, _, parent = scope
        yield Listing(name, kind, records.keys(), parent)
        if row.parent and (field := row.parent.holder_field):
            holder = Key(name, PARENT_KIND[kind], parent)
            if getattr(self._lookup(holder), field, exist) != exist:
                self._newer.note(holder)
                yield Patch(holder, {field: exist})
        for key_id, record in records.items():
            key = Key(name, kind, key_id, parent)
            if record is not self._lookup(key):
                yield Put(key, record)

    def _signal(self, before: Mapping[Key, Record | None]) -> list[Key]:
        """Publish the signals for polled kinds that follow from these records and the ones after them.
        Returns the keys whose XML may have changed.
        """
        polled = {key: old for key, old in before.items() if self._states.is_polled(key.kind)}
        pairs = {key: (old, self._lookup(key)) for key, old in polled.items()}
        changed = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
        if signals := _signals(changed):
            self._publish(signals)
        return [key for key, pair in changed.items() if None not in pair and xml_may_differ(*pair)]


def _signals(changed: Mapping[Key, Pair]) -> list[Change]:
    return [Signal(key, LIFECYCLE, words) for key, pair in changed.items() for words in derived_events(*pair)]
