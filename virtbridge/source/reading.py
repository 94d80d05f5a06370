"""One listing of a kind that no event tells of, and the definitions of what is in it.

One object that cannot be read is left out, or stays as it was known, marked stale; it is logged once and
spoils nothing. What becomes of the answer is demand.py's business. Main thread.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from virtbridge.clock import moment_us, wall_us
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import ONLY_WHILE_PARENT_ACTIVE, PARENT_KIND, Key
from virtbridge.model.records import OnDemand
from virtbridge.source.callbacks import Lookup, Problems
from virtbridge.source.calls.batch import Read
from virtbridge.source.calls.errors import problem_of
from virtbridge.source.calls.session import Session
from virtbridge.source.kinds.row import KindRow
from virtbridge.source.kinds.table import KINDS
from virtbridge.tasks import all_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """handles: all there are, by id, readable or not. flags: the ids where each of the record's fields is
    true.
    """

    handles: Mapping[str, Any]
    flags: Mapping[str, Collection[str]]


class Reader:
    """scope: a key without id, of the kind and the object that is listed. raw: that object's handle, None for
    the connection. problems: of objects that could not be read; kept by the connection.
    """

    def __init__(self, session: Session, lookup: Lookup, problems: Problems) -> None:
        self._session = session
        self._lookup = lookup
        self._problems = problems

    async def list(self, scope: Key, raw: Any) -> Listed:
        """Raises BridgeError."""
        row = KINDS[scope.kind]
        masks = [0, *row.flags.values()]
        handles, *flags = await all_of(self._list(scope, raw, mask) for mask in masks)
        return Listed(handles, dict(zip(row.flags, flags, strict=True)))

    async def current(self, scope: Key, raw: Any) -> Collection[str]:
        """The ids of those that are current: one or none."""
        row = KINDS[scope.kind]
        assert row.parent is not None
        try:
            return {await self._on(raw, row.parent.current, 0, then=row.id_of)}
        except BridgeError as error:
            if error.code != row.gone:
                raise
        except UnicodeError:
            pass
        return frozenset()

    async def read(self, handles: Mapping[Key, Any]) -> dict[str, OnDemand]:
        """The records by id, of those that can be read or were known; all are of one kind. Raises BridgeError
        when something is wrong with more than one of them.
        """
        if not handles:
            return {}
        row = KINDS[next(iter(handles)).kind]
        now = wall_us(), moment_us()
        records: dict[str, OnDemand] = {}
        failures: list[BridgeError] = []

        def reads() -> Iterator[Read]:
            for key, raw in handles.items():
                if failures:
                    return
                yield Read(key, partial(getattr(raw, row.read_xml), 0), partial(_record, row, now))

        def settle(key: Key, record: Any, error: Exception | None) -> None:
            if error is None:
                self._problems.pop(key, None)
                records[key.id] = record
            elif isinstance(error, BridgeError) and self._concerns_all(row, error):
                failures.append(error)
            elif not isinstance(error, BridgeError) or error.code != row.gone:
                problem = self._note(key, problem_of(error))
                if isinstance(known := self._lookup(key), OnDemand):
                    records[key.id] = replace(known, stale=True, problem=problem)

        await self._session.workers.read_many(row.read_xml, reads(), settle)
        if failures:
            raise failures[0]
        return records

    def _concerns_all(self, row: KindRow, error: BridgeError) -> bool:
        if self._session.lost.done() or error.kind in (ErrorKind.NOT_CONNECTED, ErrorKind.TIMEOUT):
            return True
        return is_parent_gone(row, error)

    async def _list(self, scope: Key, raw: Any, mask: int) -> dict[str, Any]:
        row = KINDS[scope.kind]
        found, unreadable = await self._on(
            raw, row.list_all, mask, then=lambda raws: _identified(raws, row.id_of)
        )
        if unreadable:
            self._note(scope, f"{unreadable} of them have a name that is not UTF-8")
        elif not mask:
            self._problems.pop(scope, None)
        return dict(found)

    def _note(self, key: Key, problem: str) -> str:
        if key not in self._problems:
            log.warning("unreadable conn=%s kind=%s id=%s parent=%s error=%s", *key, problem)
        self._problems[key] = problem
        return problem

    async def _on(self, raw: Any, method: str, *args: Any, then: Callable[[Any], Any]) -> Any:
        if raw is None:
            return await self._session.call(method, *args, short=True, then=then)
        return await self._session.on(raw, method, *args, short=True, then=then)


def is_parent_gone(row: KindRow, error: BridgeError) -> bool:
    """Whether what the objects live in went or was stopped, and they with it."""
    if row.kind not in PARENT_KIND:
        return False
    stopped = row.kind in ONLY_WHILE_PARENT_ACTIVE and error.kind is ErrorKind.OPERATION_INVALID
    return stopped or error.code == KINDS[PARENT_KIND[row.kind]].gone


def _record(row: KindRow, now: tuple[int, int], xml: str) -> OnDemand:
    """now: the wall clock, and the moment."""
    record: OnDemand = row.record(definition=row.parse(xml), xml=xml, last_refresh_us=now[0], read_us=now[1])
    return record


def _identified(raws: list[Any], identify: Callable[[Any], str]) -> tuple[dict[str, Any], int]:
    """In a worker: by id, and how many have none that can be read: libvirt-python gives no way to a name's
    bytes.
    """
    found: dict[str, Any] = {}
    unreadable = 0
    for raw in raws:
        try:
            found[identify(raw)] = raw
        except UnicodeError:
            unreadable += 1
    return found, unreadable
