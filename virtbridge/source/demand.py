"""Reading the kinds that no event tells of, when somebody asks: a listing, and the XML of each, in parallel;
or, while somebody watches, of what is new, what the listing shows to differ, and a share of the rest in turn.

A listing that failed raises and publishes nothing. Who asks, how often, and who shares an answer is the
cache's business. Main thread; no libvirt here.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.changes import Change, Listing, Patch, Put
from virtbridge.model.keys import ONLY_WHILE_PARENT_ACTIVE, PARENT_KIND, Key, Kind, parent_key
from virtbridge.model.records import OnDemand
from virtbridge.source.callbacks import Lookup, Problems, Publish
from virtbridge.source.calls.batch import IN_TURN
from virtbridge.source.calls.errors import is_unsupported
from virtbridge.source.calls.session import Session
from virtbridge.source.differences import SLICE
from virtbridge.source.kinds.row import KindRow, Records
from virtbridge.source.kinds.table import KINDS
from virtbridge.source.reading import Listed, Reader, is_parent_gone
from virtbridge.source.round_robin import next_in_turn
from virtbridge.source.session_work import Live
from virtbridge.tasks import all_of

log = logging.getLogger(__name__)

_STEP = 1000  # objects of a listing that are compared in one step: a few milliseconds


@dataclass(slots=True)
class _Look:
    """One reading of a kind.

    turns: the objects whose turn it is to be read again, ids by parent; None: all are read. left_out: how
    many definitions it did not read. well: of those, the objects that are marked stale only because an
    earlier listing failed; the mark goes once this one has succeeded for every parent.
    """

    turns: Mapping[str, Collection[str]] | None = None
    left_out: int = 0
    well: list[Key] = field(default_factory=list)


class Loader:
    """problems: of objects that could not be read, logged once; kept by the connection."""

    def __init__(
        self,
        session: Session,
        live: Live,
        publish: Publish,
        lookup: Lookup,
        problems: Problems,
    ) -> None:
        self._session = session
        self._live = live
        self._publish = publish
        self._lookup = lookup
        self._problems = problems
        self._reader = Reader(session, lookup, problems)
        self._turns = count(1)
        self._published: dict[tuple[Kind, str], int] = {}
        self._seen: dict[tuple[Kind, str], Collection[str]] = {}  # the ids of each last listing
        self._last_in_turn: dict[Kind, tuple[str, str]] = {}
        self._publishing = asyncio.Lock()  # two readings of the same do not mix

    async def load(self, about: Key, kind: Kind, *, whole: bool = True) -> bool:
        """about: the connection, or the object whose children of this kind are meant. whole: every
        definition, though it was read before. Returns whether all were read. Raises BridgeError.
        """
        row = KINDS[kind]
        look = _Look(None if whole else self._share(kind))
        try:
            if about.kind is not Kind.CONNECTION:
                await self._load(row, self._live.handle(about), about.id, look)
            elif kind in PARENT_KIND:
                await self._load_all_children(row, look)
            else:
                await self._load(row, None, "", look)
        except BridgeError as error:
            if is_unsupported(error) and about.kind is Kind.CONNECTION:
                self._live.lacks(kind)
            raise
        self._publish([Patch(key, {"stale": False}) for key in look.well])
        return not look.left_out

    async def find(self, key: Key) -> Any:
        """The handle of one object, by its id: none is kept. Raises BridgeError."""
        method = KINDS[key.kind].look_up
        parent = parent_key(key)
        if parent is None:
            return await self._session.call(method, key.id, short=True)
        return await self._session.on(self._live.handle(parent), method, key.id, short=True)

    def _share(self, kind: Kind) -> Mapping[str, Collection[str]]:
        """Of all there are in this session: without end, however many objects they are in."""
        known = sorted(
            (parent, key_id) for (of, parent), ids in self._seen.items() if of is kind for key_id in ids
        )
        share: dict[str, set[str]] = {}
        for parent, key_id in next_in_turn(known, self._last_in_turn.get(kind, ("", ""))):
            self._last_in_turn[kind] = parent, key_id
            share.setdefault(parent, set()).add(key_id)
        return share

    async def _load_all_children(self, row: KindRow, look: _Look) -> None:
        """Of the objects that may have any; those of all others are gone."""
        turn = next(self._turns)
        kind = PARENT_KIND[row.kind]
        known = {key.id: handle.raw for key, handle in self._session.handles.items() if key.kind is kind}
        holders: dict[str, Any] = await self._holders(row, known)
        for scope in [each for each in self._seen if each[0] is row.kind and each[1] not in known]:
            del self._seen[scope]
        without = known.keys() - holders.keys()
        if look.turns is not None:  # else there is nothing to say of them, every few seconds
            without = {each for each in without if self._seen.get((row.kind, each), (each,))}
        async with self._publishing:
            self._publish([change for key_id in without for change in self._listing(row, key_id, {}, turn)])
        await _in_turn([(self._load_if_there, (row, raw, key_id, look)) for key_id, raw in holders.items()])

    async def _holders(self, row: KindRow, known: dict[str, Any]) -> dict[str, Any]:
        """The objects that may have any; all that are known where the driver cannot tell."""
        outer = KINDS[PARENT_KIND[row.kind]]
        assert row.parent is not None
        try:
            found: dict[str, Any] = await self._session.call(
                outer.list_all,
                row.parent.holders,
                short=True,
                then=lambda raws: {outer.id_of(raw): raw for raw in raws},
            )
        except BridgeError as error:
            has_none = outer.kind not in self._live.event_kinds | self._live.demand_kinds
            if has_none or not (is_unsupported(error) or error.kind is ErrorKind.INVALID_ARGUMENT):
                raise
            return known
        return found

    async def _load_if_there(self, row: KindRow, raw: Any, parent: str, look: _Look) -> None:
        try:
            await self._load(row, raw, parent, look)
        except BridgeError as error:
            if not is_parent_gone(row, error):
                raise

    async def _load(self, row: KindRow, raw: Any, parent: str, look: _Look) -> None:
        """raw: the parent's handle, None for the connection."""
        turn = next(self._turns)
        scope = Key(self._session.name, row.kind, "", parent)
        with self._while_active(scope) as check:
            whole, seen = await self._read_all(scope, raw, look)
            async with self._publishing:
                check()
                changes = self._listing(row, parent, whole, turn, seen=seen)
                while some := list(islice(changes, SLICE)):
                    self._publish(some)
                    await asyncio.sleep(0)  # the bus has its turns, and anything may happen in them
                    check()

    @contextmanager
    def _while_active(self, scope: Key) -> Iterator[Callable[[], None]]:
        """Gives what raises OperationInvalid when what the objects live in was stopped meanwhile: they went
        with it, and what was read of them must not be published after that. A start that was not heard of
        yet is none of our business.
        """
        holder = parent_key(scope)
        if holder is None or scope.kind not in ONLY_WHILE_PARENT_ACTIVE:
            yield lambda: None
            return
        was_active = getattr(self._lookup(holder), "active", True)
        touched = self._live.follower.watch_touched()

        def check() -> None:
            is_active = getattr(self._lookup(holder), "active", True)
            if not is_active and (was_active or holder in touched):
                raise BridgeError(ErrorKind.OPERATION_INVALID, f"the {holder.kind} is not active")

        try:
            yield check
        finally:
            self._live.follower.forget_touched(touched)

    async def _read_all(self, scope: Key, raw: Any, look: _Look) -> tuple[Records, frozenset[str]]:
        """The records by id, and the ids that libvirt has listed, readable or not."""
        row = KINDS[scope.kind]
        listed = await self._reader.list(scope, raw)
        handles, flags = listed.handles, dict(listed.flags)
        turns = None if look.turns is None else look.turns.get(scope.parent, ())
        keys: dict[str, Key] = {}
        async for key_id in _in_steps(handles):
            key = scope._replace(id=key_id)
            if turns is None or key_id in turns or self._may_differ(row, key, listed):
                keys[key_id] = key
        look.left_out += len(handles) - len(keys)
        reading = self._reader.read({key: handles[key_id] for key_id, key in keys.items()})
        if row.parent and row.parent.current and handles:
            answers: list[Any] = await all_of([reading, self._reader.current(scope, raw)])
            records, flags["current"] = answers
        else:
            records = await reading
        async for key_id in _in_steps(handles.keys() - keys.keys()):
            key = scope._replace(id=key_id)
            if isinstance(kept := self._lookup(key), OnDemand):
                records[key.id] = kept
                if kept.stale and key not in self._problems:
                    look.well.append(key)
        whole: dict[str, OnDemand] = {}
        async for key_id in _in_steps(sorted(records)):
            record = records[key_id]
            fields: dict[str, Any] = {field: key_id in ids for field, ids in flags.items()}
            whole[key_id] = _with(record, fields)
        return row.parent.finish(whole) if row.parent else whole, frozenset(handles)

    def _may_differ(self, row: KindRow, key: Key, listed: Listed) -> bool:
        """What this session has not read yet, too: it may have changed while nobody was connected."""
        if key.id not in self._seen.get((row.kind, key.parent), ()):
            return True
        known: Any = self._lookup(key)
        if known is None:
            return key not in self._problems
        moved = any(getattr(known, field) != (key.id in ids) for field, ids in listed.flags.items())
        if moved or row.parent is None:
            return moved
        return row.parent.is_doubtful(known.definition, listed.handles.keys())

    def _listing(
        self, row: KindRow, parent: str, records: Any, turn: int, *, seen: Collection[str] = frozenset()
    ) -> Iterator[Change]:
        """What to publish, in this order: nothing when a reading that began later is there already."""
        if self._published.get((row.kind, parent), 0) > turn:
            return
        self._published[row.kind, parent] = turn
        self._seen[row.kind, parent] = seen
        name, kind = self._session.name, row.kind
        yield Listing(name, kind, records.keys(), parent)
        if row.parent and row.parent.holder_field:
            holder = Key(name, PARENT_KIND[kind], parent)
            holds = bool(seen)
            if getattr(self._lookup(holder), row.parent.holder_field, holds) != holds:
                self._live.follower.touch(holder)
                yield Patch(holder, {row.parent.holder_field: holds})
        for key_id, record in records.items():
            key = Key(name, kind, key_id, parent)
            if record is not self._lookup(key):
                yield Put(key, record)
        yield from self._left_out(row, parent, records, seen)

    def _left_out(
        self, row: KindRow, parent: str, records: Collection[str], seen: Collection[str]
    ) -> list[Change]:
        """What the objects are in says what of them cannot be read, of all kinds that it has of these."""
        for key in [key for key in self._problems if key.kind is row.kind and key.parent == parent]:
            if key.id and key.id not in seen:
                del self._problems[key]
        outer = PARENT_KIND.get(row.kind, Kind.CONNECTION)
        texts = [
            f"{key.kind} {key.id}: {problem}" if key.id else f"{key.kind}: {problem}"
            for key, problem in sorted(self._problems.items())
            if KINDS[key.kind].events is None
            and (PARENT_KIND.get(key.kind, Kind.CONNECTION), key.parent) == (outer, parent)
            and (key.id not in records if key.kind is row.kind else self._lookup(key) is None)
        ]
        holder = Key(self._session.name, outer, parent)
        if getattr(self._lookup(holder), "unreadable", None) in (None, tuple(texts)):
            return []
        return [Patch(holder, {"unreadable": tuple(texts)})]


async def _in_steps(ids: Iterable[str]) -> AsyncIterator[str]:
    """All of them, and a turn for everything else after each few."""
    left = iter(ids)
    while some := list(islice(left, _STEP)):
        for each in some:
            yield each
        await asyncio.sleep(0)


async def _in_turn(jobs: Collection[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
    """All of them, so many at a time; the first error once those under way have ended."""
    left = iter(jobs)

    async def one_after_the_other() -> None:
        for job, args in left:
            await job(*args)

    await all_of(one_after_the_other() for _ in range(min(IN_TURN, len(jobs))))


def _with(record: OnDemand, fields: Mapping[str, Any]) -> OnDemand:
    """The same one where nothing differs: most of a listing of thousands."""
    if all(getattr(record, field) == value for field, value in fields.items()):
        return record
    return replace(record, **fields)
