"""The cache holds every record by its key and announces each change to its listeners.

It applies a source's changes in their order, keeps the indexes right, and calls its listeners with the keys
that changed, of the kinds for which they are registered. It never calls libvirt and never blocks. One change
may remove thousands of objects (a pool of 10,000 volumes stops), and announcing all of these removals at once
would block the main loop for 0.15 s. So the records are removed at once, and the indexes and the listeners
follow in steps. Main thread only.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from virtbridge.cache.indexes import Indexes
from virtbridge.model.changes import Change, Drop, Forget, Listing, Patch, Put, Signal
from virtbridge.model.keys import (
    OBJECT_KINDS,
    ONLY_WHILE_PARENT_ACTIVE,
    Key,
    Kind,
    connection_key,
    parent_key,
)
from virtbridge.model.records import Record

KeyListener = Callable[[Key], None]
SignalListener = Callable[[Signal], None]

REMOVED_AT_ONCE = 256  # objects; announcing so many takes three milliseconds


class Batch:
    """Changes that come together are applied inside `with cache.batch:`. A listener that passes changes on
    may do so at the end of the batch instead of in the loop's next turn.
    """

    def __init__(self) -> None:
        self.is_open = False
        self._at_end: list[Callable[[], None]] = []

    def at_end(self, listener: Callable[[], None]) -> None:
        self._at_end.append(listener)

    def __enter__(self) -> None:
        self.is_open = True

    def __exit__(self, *_: object) -> None:
        self.is_open = False
        for listener in self._at_end:
            listener()


class Cache:
    """The records by key, and those who hear of their changes. Main thread only."""

    def __init__(self) -> None:
        self.batch = Batch()
        self._records: dict[Key, Record] = {}
        self._groups: dict[tuple[str, Kind], dict[Key, None]] = {}
        self._children: dict[Key, dict[Key, None]] = {}
        self._pending_removals: dict[Key, Record] = {}  # in the order in which they are announced
        self._is_announcing = False
        self._indexes = Indexes()
        self._changed: dict[Kind, list[KeyListener]] = {kind: [] for kind in Kind}
        self._dropped: dict[Kind, list[KeyListener]] = {kind: [] for kind in Kind}
        self._happened: dict[Kind, list[SignalListener]] = {kind: [] for kind in Kind}
        self._appliers: dict[type, Callable[[Any], None]] = {
            Put: self._apply_put,
            Patch: self._apply_patch,
            Drop: self._apply_drop,
            Listing: self._apply_listing,
            Signal: self._apply_signal,
            Forget: self._apply_forget,
        }

    def listen(
        self,
        kinds: Collection[Kind] = tuple(Kind),
        *,
        changed: KeyListener | None = None,
        dropped: KeyListener | None = None,
        happened: SignalListener | None = None,
    ) -> None:
        """Register listeners for keys of these kinds. They are called after the cache holds the new state, so
        that a listener that reads the cache finds at least this state.

        changed: the record is new, differs, or was removed. dropped: the record was removed. happened: a
        signal to pass on; it comes after the changes that were applied before it.
        """
        for kind in kinds:
            for listeners, listener in ((self._changed, changed), (self._dropped, dropped)):
                if listener is not None:
                    listeners[kind].append(listener)
            if happened is not None:
                self._happened[kind].append(happened)

    @property
    def pending_removals(self) -> Collection[Key]:
        """The keys whose records are removed, while their listeners have not been called yet."""
        return self._pending_removals.keys()

    def apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._appliers[type(change)](change)

    def get(self, key: Key) -> Record | None:
        return self._records.get(key)

    def connections(self) -> list[str]:
        return [connection for connection, kind in self._groups if kind is Kind.CONNECTION]

    def keys(self, kind: Kind, connection: str | None = None) -> Iterator[Key]:
        """Return all keys of a kind, of one connection or of all connections."""
        for group, keys in self._groups.items():
            if group[1] is kind and connection in (None, group[0]):
                yield from keys

    def children(self, parent: Key, kind: Kind) -> Iterator[Key]:
        """Return the keys of a kind whose parent is this object."""
        return (key for key in self._children.get(parent, ()) if key.kind is kind)

    def records(self, kind: Kind, connection: str | None = None) -> Iterator[tuple[Key, Record]]:
        for key in self.keys(kind, connection):
            yield key, self._records[key]

    def find(self, index: str, term: object) -> Iterable[Key]:
        """Return the keys that an index holds under a term. The indexes are listed in indexes.py."""
        return self._indexes.find(index, term)

    def __len__(self) -> int:
        return len(self._records)

    def _apply_put(self, change: Put) -> None:
        key, record = change
        known = self._records.get(key)
        if known is None:
            self._add(key, record)
        elif record != known:
            self._replace(key, known, record)

    def _apply_patch(self, change: Patch) -> None:
        known = self._records.get(change.key)
        if known is None:
            return
        news = {name: value for name, value in change.fields.items() if getattr(known, name) != value}
        if news:  # hardly any patch of an audit changes something
            self._replace(change.key, known, replace(known, **news))

    def _apply_drop(self, change: Drop) -> None:
        self._remove([change.key])

    def _remove(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._remove_one(key)
        if len(self._pending_removals) <= REMOVED_AT_ONCE:
            self._announce_removals()
        elif not self._is_announcing:
            self._is_announcing = True
            asyncio.get_running_loop().call_soon(self._continue_removals)

    def _remove_one(self, key: Key) -> None:
        """Remove the record after those of its children."""
        for child in list(self._children.get(key, ())):
            self._remove_one(child)
        known = self._records.pop(key, None)
        if known is None:
            return
        if (parent := parent_key(key)) is not None:
            self._leave(parent, key)
        group = self._groups[key[:2]]
        del group[key]
        if not group:
            del self._groups[key[:2]]
        self._pending_removals[key] = known

    def _continue_removals(self) -> None:
        self._is_announcing = False
        self._announce_removals()
        if self._pending_removals:
            self._is_announcing = True
            asyncio.get_running_loop().call_soon(self._continue_removals)

    def _announce_removals(self) -> None:
        for key, known in list(islice(self._pending_removals.items(), REMOVED_AT_ONCE)):
            self._announce_removal(key, known)

    def _announce_removal(self, key: Key, known: Record) -> None:
        if self._pending_removals.pop(key, None) is None:
            return  # the object appeared again, and its removal was announced then
        self._indexes.update(key, known, None)
        self._announce_change(key)
        for listener in self._dropped[key.kind]:
            listener(key)

    def _apply_listing(self, change: Listing) -> None:
        self._remove([key for key in self._listed(change) if key.id not in change.ids])

    def _listed(self, change: Listing) -> Iterator[Key]:
        """Yield the known keys that a listing covers: of the kind on the connection, or of the kind in one
        parent.
        """
        if not change.parent:
            return self.keys(change.kind, change.connection)
        parent = parent_key(Key(change.connection, change.kind, "", change.parent))
        assert parent is not None
        return self.children(parent, change.kind)

    def _apply_forget(self, change: Forget) -> None:
        keys = [key for kind in (*OBJECT_KINDS, Kind.JOB) for key in self.keys(Kind(kind), change.connection)]
        self._remove([*keys, connection_key(change.connection)])

    def _apply_signal(self, change: Signal) -> None:
        for listener in self._happened[change.key.kind]:
            listener(change)

    def _add(self, key: Key, record: Record) -> None:
        if (parent := parent_key(key)) is not None:
            if parent not in self._records:
                return  # the parent was removed while the child was being read
            self._children.setdefault(parent, {})[key] = None
        if (known := self._pending_removals.get(key)) is not None:
            self._announce_removal(key, known)  # listeners still keep the old record
        self._records[key] = record
        self._groups.setdefault(key[:2], {})[key] = None
        self._indexes.update(key, None, record)
        self._announce_change(key)

    def _replace(self, key: Key, known: Record, record: Record) -> None:
        self._records[key] = record
        self._indexes.update(key, known, record)
        if getattr(known, "active", False) and not getattr(record, "active", False):
            self._remove_inactive_children(key)
        self._announce_change(key)

    def _remove_inactive_children(self, parent: Key) -> None:
        """The parent became inactive, and children of some kinds exist only while it is active."""
        children = self._children.get(parent, ())
        self._remove([key for key in children if key.kind in ONLY_WHILE_PARENT_ACTIVE])

    def _leave(self, parent: Key, child: Key) -> None:
        siblings = self._children[parent]
        del siblings[child]
        if not siblings:
            del self._children[parent]

    def _announce_change(self, key: Key) -> None:
        for listener in self._changed[key.kind]:
            listener(key)
