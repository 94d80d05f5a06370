"""The cache: every record by its key, and who is told when one changes.

It applies a source's changes in their order, keeps the indexes right, and tells its listeners which keys to
look at again, each of the kinds that it asked for. It never asks libvirt, and nothing here waits. Where
thousands of objects go in one change (a pool of 10,000 volumes stops), their records go at once, but the
indexes and the listeners follow in steps: they would hold the main loop for 0.15 s. Main thread only.
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

Touched = Callable[[Key], None]
Happened = Callable[[Signal], None]

REMOVED_AT_ONCE = 256  # objects: three milliseconds


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
        self._removed: dict[Key, Record] = {}  # whose listeners have not been told, in their order
        self._telling = False
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

    @property
    def removed(self) -> Collection[Key]:
        """The keys of which nobody has been told yet that they are gone."""
        return self._removed.keys()

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
        self._remove([change.key])

    def _remove(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._take_out(key)
        if len(self._removed) <= REMOVED_AT_ONCE:
            self._tell_removed()
        elif not self._telling:
            self._telling = True
            asyncio.get_running_loop().call_soon(self._go_on_telling)

    def _take_out(self, key: Key) -> None:
        """The record, after those of what is in it."""
        for child in list(self._children.get(key, ())):
            self._take_out(child)
        known = self._records.pop(key, None)
        if known is None:
            return
        if (parent := parent_key(key)) is not None:
            self._leave(parent, key)
        group = self._groups[key[:2]]
        del group[key]
        if not group:
            del self._groups[key[:2]]
        self._removed[key] = known

    def _go_on_telling(self) -> None:
        self._telling = False
        self._tell_removed()
        if self._removed:
            self._telling = True
            asyncio.get_running_loop().call_soon(self._go_on_telling)

    def _tell_removed(self) -> None:
        for key, known in list(islice(self._removed.items(), REMOVED_AT_ONCE)):
            self._tell_of_removal(key, known)

    def _tell_of_removal(self, key: Key, known: Record) -> None:
        if self._removed.pop(key, None) is None:
            return  # it is back, and was told of for that
        self._indexes.update(key, known, None)
        self._touch(key)
        for tell in self._dropped[key.kind]:
            tell(key)

    def _apply_listing(self, change: Listing) -> None:
        self._remove([key for key in self._listed(change) if key.id not in change.ids])

    def _listed(self, change: Listing) -> Iterator[Key]:
        """The known keys that a listing should have: of the connection's kind, or of that in one parent."""
        if not change.parent:
            return self.keys(change.kind, change.connection)
        parent = parent_key(Key(change.connection, change.kind, "", change.parent))
        assert parent is not None
        return self.children(parent, change.kind)

    def _apply_forget(self, change: Forget) -> None:
        keys = [key for kind in OBJECT_KINDS for key in self.keys(Kind(kind), change.connection)]
        self._remove([*keys, connection_key(change.connection)])

    def _apply_signal(self, change: Signal) -> None:
        for tell in self._happened[change.key.kind]:
            tell(change)

    def _add(self, key: Key, record: Record) -> None:
        if (parent := parent_key(key)) is not None:
            if parent not in self._records:
                return  # its parent went while it was being read
            self._children.setdefault(parent, {})[key] = None
        if (known := self._removed.get(key)) is not None:
            self._tell_of_removal(key, known)  # first: what its listeners kept of it is of the old one
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
        children = self._children.get(parent, ())
        self._remove([key for key in children if key.kind in ONLY_WHILE_PARENT_ACTIVE])

    def _leave(self, parent: Key, child: Key) -> None:
        siblings = self._children[parent]
        del siblings[child]
        if not siblings:
            del self._children[parent]

    def _touch(self, key: Key) -> None:
        for tell in self._touched[key.kind]:
            tell(key)
