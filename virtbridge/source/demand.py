"""Reading the kinds that no event tells of, when somebody asks: a listing, and the XML of each, in parallel.

One object that cannot be read is left out, or stays as it was known, marked stale; it is logged once and
spoils nothing. A listing that failed raises and publishes nothing. Who asks, how often, and who shares an
answer is the cache's business. Main thread; no libvirt here.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from time import time_ns
from typing import Any

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.changes import Change, Listing, Patch, Put
from virtbridge.model.keys import IN_ACTIVE, PARENT_KIND, Key, Kind, parent_key
from virtbridge.model.records import OnDemand
from virtbridge.model.xml import BadXml
from virtbridge.source.demand_kinds import DEMAND, DemandSpec, Records
from virtbridge.source.errors import is_unsupported
from virtbridge.source.follow import Lookup
from virtbridge.source.kinds import KINDS, id_of
from virtbridge.source.live import Live
from virtbridge.source.reread import IN_TURN, Publish
from virtbridge.source.session import Session, all_of

log = logging.getLogger(__name__)


class Loader:
    """complained: objects that could not be read, logged once; kept by the connection."""

    def __init__(
        self,
        session: Session,
        live: Live,
        publish: Publish,
        lookup: Lookup,
        complained: set[Key],
    ) -> None:
        self._session = session
        self._live = live
        self._publish = publish
        self._lookup = lookup
        self._complained = complained
        self._turns = count(1)
        self._published: dict[tuple[Kind, str], int] = {}

    async def load(self, about: Key, kind: Kind) -> None:
        """about: the connection, or the object whose children of this kind are meant. Raises BridgeError."""
        spec = DEMAND[kind]
        try:
            if about.kind is not Kind.CONNECTION:
                await self._load(spec, self._live.handle(about), about.id)
            elif kind in PARENT_KIND:
                await self._load_all_children(spec)
            else:
                await self._load(spec, None, "")
        except BridgeError as error:
            if is_unsupported(error) and about.kind is Kind.CONNECTION:
                self._live.lacks(kind)
            raise

    async def find(self, key: Key) -> Any:
        """The handle of one object, by its id: none is kept. Raises BridgeError."""
        method = DEMAND[key.kind].find
        parent = parent_key(key)
        if parent is None:
            return await self._session.call(method, key.id, short=True)
        return await self._session.on(self._live.handle(parent), method, key.id, short=True)

    async def _load_all_children(self, spec: DemandSpec) -> None:
        """Of the objects that may have any; those of all others are gone."""
        turn = next(self._turns)
        kind = PARENT_KIND[spec.kind]
        known = {key.id: handle.raw for key, handle in self._session.handles.items() if key.kind is kind}
        holders: dict[str, Any] = await self._holders(spec, known)
        without = known.keys() - holders.keys()
        self._publish([change for key_id in without for change in self._listing(spec, key_id, {}, turn)])
        await _in_turn([(self._load_if_there, (spec, raw, key_id)) for key_id, raw in holders.items()])

    async def _holders(self, spec: DemandSpec, known: dict[str, Any]) -> dict[str, Any]:
        """The objects that may have any; all that are known where the driver cannot tell."""
        outer = PARENT_KIND[spec.kind]
        try:
            found: dict[str, Any] = await self._session.call(
                KINDS[outer].list_all,
                spec.holders,
                short=True,
                then=lambda raws: {id_of(raw): raw for raw in raws},
            )
        except BridgeError as error:
            has_none = outer not in self._live.event_kinds | self._live.demand_kinds
            if has_none or not (is_unsupported(error) or error.kind is ErrorKind.INVALID_ARGUMENT):
                raise
            return known
        return found

    async def _load_if_there(self, spec: DemandSpec, raw: Any, parent: str) -> None:
        try:
            await self._load(spec, raw, parent)
        except BridgeError as error:
            if not _is_homeless(spec, error):
                raise

    async def _load(self, spec: DemandSpec, raw: Any, parent: str) -> None:
        """raw: the parent's handle, None for the connection."""
        turn = next(self._turns)
        scope = Key(self._session.name, spec.kind, "", parent)
        with self._while_active(scope):
            whole, holds = await self._read_all(spec, raw, scope)
        self._publish(self._listing(spec, parent, whole, turn, holds=holds))

    @contextmanager
    def _while_active(self, scope: Key) -> Iterator[None]:
        """Raises OperationInvalid at the end when what the objects live in was stopped meanwhile: they went
        with it, and what was read of them must not be published after that. A start that was not heard of
        yet is none of our business.
        """
        holder = parent_key(scope)
        if holder is None or scope.kind not in IN_ACTIVE:
            yield
            return
        was_active = getattr(self._lookup(holder), "active", True)
        touched = self._live.follower.watch_touched()
        try:
            yield
        finally:
            self._live.follower.forget_touched(touched)
        is_active = getattr(self._lookup(holder), "active", True)
        if not is_active and (was_active or holder in touched):
            raise BridgeError(ErrorKind.OPERATION_INVALID, f"the {holder.kind} is not active")

    async def _read_all(self, spec: DemandSpec, raw: Any, scope: Key) -> tuple[Records, bool]:
        """The records by id, and whether libvirt has listed any, readable or not."""
        handles: dict[str, Any]
        handles, *flags = await all_of(
            [
                self._list(raw, spec, 0, scope),
                *(self._list(raw, spec, mask, scope) for mask in spec.flags.values()),
            ]
        )
        now_us = time_ns() // 1000
        records: dict[str, OnDemand] = {}
        readings = _in_turn(
            [
                (self._read, (spec, each, scope._replace(id=key_id), now_us, records))
                for key_id, each in handles.items()
            ]
        )
        marked: dict[str, Collection[str]] = dict(zip(spec.flags, flags, strict=True))
        if spec.current and handles:
            answers: list[Any] = await all_of([self._current(spec, raw), readings])
            marked["current"] = answers[0]
        else:
            await readings
        whole: dict[str, OnDemand] = {}
        for key_id, record in sorted(records.items()):
            fields: dict[str, Any] = {field: key_id in ids for field, ids in marked.items()}
            whole[key_id] = replace(record, **fields)
        return spec.finish(whole), bool(handles)

    async def _list(self, raw: Any, spec: DemandSpec, mask: int, scope: Key) -> dict[str, Any]:
        found, unreadable = await self._on(
            raw, spec.list_all, mask, then=lambda raws: _identified(raws, spec.identify)
        )
        if unreadable:
            self._complain(scope, f"{unreadable} of them have a name that is not UTF-8")
        return dict(found)

    async def _current(self, spec: DemandSpec, raw: Any) -> Any:
        """The ids of those that are current: one or none."""
        try:
            return {await self._on(raw, spec.current, 0, then=spec.identify)}
        except BridgeError as error:
            if error.code != spec.gone:
                raise
        except UnicodeError:
            pass
        return frozenset()

    async def _read(
        self, spec: DemandSpec, raw: Any, key: Key, now_us: int, records: dict[str, OnDemand]
    ) -> None:
        try:
            definition, xml = await self._session.on(
                raw, spec.xml, 0, short=True, then=lambda text: (spec.parse(text), text)
            )
        except BridgeError as error:
            if error.code == spec.gone:
                return
            if self._session.lost.done() or error.kind in (ErrorKind.NOT_CONNECTED, ErrorKind.TIMEOUT):
                raise
            if _is_homeless(spec, error):
                raise
            problem = error.message
        except (BadXml, UnicodeError) as error:
            problem = str(error)
        else:
            self._complained.discard(key)
            records[key.id] = spec.record(definition=definition, xml=xml, last_refresh_us=now_us)
            return
        self._complain(key, problem)
        if isinstance(known := self._lookup(key), OnDemand):
            records[key.id] = replace(known, stale=True)

    def _complain(self, key: Key, problem: str) -> None:
        if key not in self._complained:
            self._complained.add(key)
            log.warning("unreadable conn=%s kind=%s id=%s parent=%s error=%s", *key, problem)

    def _listing(
        self, spec: DemandSpec, parent: str, records: Any, turn: int, *, holds: bool = False
    ) -> list[Change]:
        """What to publish: nothing when a reading that began later has been published meanwhile."""
        if self._published.get((spec.kind, parent), 0) > turn:
            return []
        self._published[spec.kind, parent] = turn
        name, kind = self._session.name, spec.kind
        changes: list[Change] = [Listing(name, kind, records.keys(), parent)]
        changes += [Put(Key(name, kind, key_id, parent), record) for key_id, record in records.items()]
        if spec.holder_field:
            holder = Key(name, PARENT_KIND[kind], parent)
            if getattr(self._lookup(holder), spec.holder_field, holds) != holds:
                self._live.follower.touch(holder)
                changes.append(Patch(holder, {spec.holder_field: holds}))
        return changes

    async def _on(self, raw: Any, method: str, *args: Any, then: Callable[[Any], Any]) -> Any:
        if raw is None:
            return await self._session.call(method, *args, short=True, then=then)
        return await self._session.on(raw, method, *args, short=True, then=then)


def _is_homeless(spec: DemandSpec, error: BridgeError) -> bool:
    """Whether what the objects live in went or was stopped, and they with it."""
    if spec.kind not in PARENT_KIND:
        return False
    stopped = spec.kind in IN_ACTIVE and error.kind is ErrorKind.OPERATION_INVALID
    return stopped or error.code == KINDS[PARENT_KIND[spec.kind]].gone


async def _in_turn(jobs: Collection[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
    """All of them, so many at a time; the first error once those under way have ended."""
    left = iter(jobs)

    async def one_after_the_other() -> None:
        for job, args in left:
            await job(*args)

    await all_of(one_after_the_other() for _ in range(min(IN_TURN, len(jobs))))


# In a worker.


def _identified(raws: list[Any], identify: Callable[[Any], str]) -> tuple[dict[str, Any], int]:
    """By id, and how many have none that can be read: libvirt-python gives no way to a name's bytes."""
    found: dict[str, Any] = {}
    unreadable = 0
    for raw in raws:
        try:
            found[identify(raw)] = raw
        except UnicodeError:
            unreadable += 1
    return found, unreadable
