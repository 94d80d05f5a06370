"""The cache: every record by its key, and who is told when one changes.

It applies a source's changes in their order, keeps the indexes right, and tells its listeners which keys to
look at again, each of the kinds that it asked for. It never asks libvirt, and nothing here waits. Main thread
only.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
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

Touched = Callable[[Key], None]
Happened = Callable[[Signal], None]


class Batch:
    """`with cache.batch:` changes that come together. Who passes them on may wait for its end instead of the
    loop's next turn.
    """

    def __init__(self) -> None:
        self.is_open = False
        self._at_end: list[Callable[[], None]] = []

    def at_end(self, tell: Callable[[], None]) -> None:
        self._at_end.append(tell)

    def __enter__(self) -> None:
        self.is_open = True

    def __exit__(self, *_: object) -> None:
        self.is_open = False
        for tell in self._at_end:
            tell()


class Cache:
    def __init__(self) -> None:
        self.batch = Batch()
        self._records: dict[Key, Record] = {}
        self._groups: dict[tuple[str, Kind], dict[Key, None]] = {}
        self._children: dict[Key, dict[Key, None]] = {}
        self._indexes = Indexes()
        self._touched: dict[Kind, list[Touched]] = {kind: [] for kind in Kind}
        self._dropped: dict[Kind, list[Touched]] = {kind: [] for kind in Kind}
        self._happened: dict[Kind, list[Happened]] = {kind: [] for kind in Kind}
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
        touched: Touched | None = None,
        dropped: Touched | None = None,
        happened: Happened | None = None,
    ) -> None:
        """Have these called for keys of these kinds, after the cache holds the new state, so that who hears
        of it finds at least that.

        touched: the record is new, differs, or is gone. dropped: it is gone. happened: something to pass on,
        after the states that were touched before it.
        """
        for kind in kinds:
            for hooks, hook in ((self._touched, touched), (self._dropped, dropped)):
                if hook is not None:
                    hooks[kind].append(hook)
            if happened is not None:
                self._happened[kind].append(happened)

    def apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._appliers[type(change)](change)

    def get(self, key: Key) -> Record | None:
        return self._records.get(key)

    def connections(self) -> list[str]:
        return [connection for connection, kind in self._groups if kind is Kind.CONNECTION]

    def keys(self, kind: Kind, connection: str | None = None) -> Iterator[Key]:
        """All keys of a kind, of one connection or of all."""
        for group, keys in self._groups.items():
            if group[1] is kind and connection in (None, group[0]):
                yield from keys

    def children(self, parent: Key, kind: Kind) -> Iterator[Key]:
        """The keys of a kind that are in this object."""
        return (key for key in self._children.get(parent, ()) if key.kind is kind)

    def records(self, kind: Kind, connection: str | None = None) -> Iterator[tuple[Key, Record]]:
        for key in self.keys(kind, connection):
            yield key, self._records[key]

    def find(self, index: str, term: object) -> Iterable[Key]:
        """Keys that an index holds under a term; the indexes are listed in indexes.py."""
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
        if news:  # of an audit's patches hardly any has
            self._replace(change.key, known, replace(known, **news))

    def _apply_drop(self, change: Drop) -> None:
        for child in list(self._children.get(change.key, ())):
            self._apply_drop(Drop(child))
        known = self._records.pop(change.key, None)
        if known is None:
            return
        if (parent := parent_key(change.key)) is not None:
            self._leave(parent, change.key)
        group = self._groups[change.key[:2]]
        del group[change.key]
        if not group:
            del self._groups[change.key[:2]]
        self._indexes.update(change.key, known, None)
        self._touch(change.key)
        for tell in self._dropped[change.key.kind]:
            tell(change.key)

    def _apply_listing(self, change: Listing) -> None:
        for key in list(self._listed(change)):
            if key.id not in change.ids:
                self._apply_drop(Drop(key))

    def _listed(self, change: Listing) -> Iterator[Key]:
        """The known keys that a listing should have: of the connection's kind, or of that in one parent."""
        if not change.parent:
            return self.keys(change.kind, change.connection)
        parent = parent_key(Key(change.connection, change.kind, "", change.parent))
        assert parent is not None
        return self.children(parent, change.kind)

    def _apply_forget(self, change: Forget) -> None:
        for kind in OBJECT_KINDS:
            self._apply_listing(Listing(change.connection, kind, frozenset()))
        self._apply_drop(Drop(connection_key(change.connection)))

    def _apply_signal(self, change: Signal) -> None:
        for tell in self._happened[change.key.kind]:
            tell(change)

    def _add(self, key: Key, record: Record) -> None:
        if (parent := parent_key(key)) is not None:
            if parent not in self._records:
                return  # its parent went while it was being read
            self._children.setdefault(parent, {})[key] = None
        self._records[key] = record
        self._groups.setdefault(key[:2], {})[key] = None
        self._indexes.update(key, None, record)
        self._touch(key)

    def _replace(self, key: Key, known: Record, record: Record) -> None:
        self._records[key] = record
        self._indexes.update(key, known, record)
        if getattr(known, "active", False) and not getattr(record, "active", False):
            self._empty(key)
        self._touch(key)

    def _empty(self, parent: Key) -> None:
        """It is not active any more, and some of what was in it is not there without that."""
        for key in list(self._children.get(parent, ())):
            if key.kind in ONLY_WHILE_PARENT_ACTIVE:
                self._apply_drop(Drop(key))

    def _leave(self, parent: Key, child: Key) -> None:
        siblings = self._children[parent]
        del siblings[child]
        if not siblings:
            del self._children[parent]

    def _touch(self, key: Key) -> None:
        for tell in self._touched[key.kind]:
            tell(key)
