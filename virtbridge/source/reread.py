"""Reading definitions: one XML read in flight per object, and one more if something happened meanwhile.

The XML is read in a worker, parsed and published as a patch. What cannot be parsed keeps its last good
definition; what is gone is left to the event or the look that will say so, and dropped when no event does.
Main thread.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.changes import Drop, Patch
from virtbridge.model.keys import Key, Kind
from virtbridge.model.xml import BadXml
from virtbridge.source.callbacks import Problems, Publish
from virtbridge.source.calls.batch import Read
from virtbridge.source.calls.errors import is_unsupported, problem_of
from virtbridge.source.calls.opening import HUNG_LIMIT
from virtbridge.source.calls.session import Session
from virtbridge.source.kinds.row import Handle, KindRow
from virtbridge.source.kinds.table import KINDS
from virtbridge.tasks import end_all

log = logging.getLogger(__name__)

# What could not be read is tried again after this, and twice that, and so on, each at random up to twice as
# long: a host that stalls refuses a thousand at a time. Then the audit's round robin has to find it.
AGAIN_S, AGAIN_TIMES = 5.0, 5
# When a read finds the object gone, the event that says so is on its way, or none is: of a domain that was
# undefined by its migration libvirt only tells that it stopped.
GONE_S = 1.0
_FOR_GOOD = (ErrorKind.NOT_AUTHORIZED, ErrorKind.NOT_SUPPORTED)

_NOT_READ = "XML not read conn=%s kind=%s id=%s error=%s"


@dataclass(slots=True, eq=False)
class _Reading:
    """over: resolved at its end. handle: what is read. task: None while its read is one of many. again:
    something happened since the read began. stale: what it brings is known to be out of date.
    """

    over: "asyncio.Future[None]"
    handle: Handle | None = None
    task: "asyncio.Task[None] | None" = None
    again: bool = False
    stale: bool = False


class Rereader:
    """problems: of objects whose XML could not be read, logged once; kept by the connection. by_looking:
    whether no events tell of a kind here, so that only looking at it finds what changed.
    """

    def __init__(
        self, session: Session, publish: Publish, problems: Problems, by_looking: Callable[[Kind], bool]
    ) -> None:
        self._session = session
        self._by_looking = by_looking
        self._publish = publish
        self._problems = problems
        self._failing = False
        self._failures: dict[Key, int] = {}
        self._running: dict[Key, _Reading] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def want(self, key: Key, *, stale: bool = False) -> "asyncio.Future[None]":
        """Have the XML read; a read that has begun is followed by another. stale: do not publish that first
        one. Resolved at the end.
        """
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        reading = self._running.get(key)
        if reading is None:
            reading = self._begin(key)
            self._go_on(key, reading)
        else:
            reading.again = True
            reading.stale = reading.stale or stale
        return reading.over

    def want_later(self, key: Key, delay_s: float) -> None:
        """The same after a while, once, however often it is asked for; what is being read now is stale."""
        if key in self._running:
            self.want(key, stale=True)
        elif key not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(delay_s, self._due, key)

    def is_reading(self, key: Key) -> bool:
        return key in self._running

    async def read_all(self, keys: Iterable[Key], wanted: Callable[[], bool] = lambda: True) -> None:
        """wanted: asked before each, which is left out when it says no."""
        begun: list[Key] = []
        followed: list[asyncio.Future[None]] = []

        def reads() -> Iterator[Read]:
            for key in keys:
                if not wanted():
                    continue
                if key in self._running:
                    followed.append(self.want(key))
                elif (handle := self._session.handles.get(key)) is not None:
                    self._begin(key).handle = handle
                    begun.append(key)
                    yield Read(key, partial(handle.raw.XMLDesc, 0), partial(_fields, KINDS[key.kind]))

        def settle(key: Key, fields: Any, error: Exception | None) -> None:
            reading = self._running[key]
            if reading.again:
                self._go_on(key, reading)
            elif error is not None:
                self._failed(key, error)
            elif KINDS[key.kind].asks(fields["definition"]):
                self._go_on(key, reading, fields)
            else:
                self._succeeded(key, fields)
            if reading.task is None:
                self._end(key, reading)
            else:
                followed.append(reading.over)

        try:
            await self._session.workers.read_many("XMLDesc", reads(), settle)
        except BridgeError as error:
            for key in self._left_of(begun):
                self._failed(key, error)
        finally:
            for key in self._left_of(begun):
                self._end(key, self._running[key])
        await asyncio.gather(*followed)

    def _left_of(self, begun: Iterable[Key]) -> list[Key]:
        """What read_all() began and has not settled."""
        return [key for key in begun if (reading := self._running.get(key)) and reading.task is None]

    async def fetch(self, handle: Handle, key: Key) -> dict[str, Any]:
        """The record's fields that the XML tells; of one that cannot be read, why. Raises BridgeError."""
        try:
            fields = await self._session.on(
                handle.raw, "XMLDesc", 0, short=True, then=partial(_fields, KINDS[key.kind])
            )
        except (BadXml, UnicodeError) as error:
            return self._problem(key, error)
        return await self._completed(key, handle, fields)

    async def _completed(self, key: Key, handle: Handle, fields: dict[str, Any]) -> dict[str, Any]:
        self._problems.pop(key, None)
        if asks := KINDS[key.kind].asks(fields["definition"]):
            fields |= await self._ask(handle, asks)
        return fields

    async def _ask(self, handle: Handle, asks: Mapping[str, str]) -> dict[str, Any]:
        """The answers by field; those that the host does not have, or does not give us, are left out:
        virNodeDeviceGetAutostart() is refused on a read-only connection, and the definition is good without.
        """
        fields: dict[str, Any] = {}
        for field, method in asks.items():
            try:
                fields[field] = await self._session.on(handle.raw, method, short=True, then=bool)
            except BridgeError as error:
                if not (is_unsupported(error) or error.kind is ErrorKind.NOT_AUTHORIZED):
                    raise
        return fields

    async def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        await end_all(reading.task for reading in self._running.values() if reading.task is not None)

    def _due(self, key: Key) -> None:
        del self._timers[key]
        if key in self._failures and self._session.workers.hung() >= HUNG_LIMIT:
            self._try_later(key)  # one more try would only be one more call that hangs
        else:
            self.want(key)

    def _try_later(self, key: Key) -> None:
        failures = self._failures.get(key, 0)
        if failures >= AGAIN_TIMES:
            del self._failures[key]
        elif key not in self._timers:
            self._failures[key] = failures + 1
            pause_s = AGAIN_S * 2**failures * random.uniform(1.0, 2.0)
            self._timers[key] = asyncio.get_running_loop().call_later(pause_s, self._due, key)

    def _begin(self, key: Key) -> _Reading:
        reading = self._running[key] = _Reading(asyncio.get_running_loop().create_future())
        return reading

    def _end(self, key: Key, reading: _Reading) -> None:
        del self._running[key]
        if not reading.over.done():  # whoever waited may have been cancelled
            reading.over.set_result(None)

    def _go_on(self, key: Key, reading: _Reading, fields: dict[str, Any] | None = None) -> None:
        reading.task = asyncio.create_task(self._run(key, reading, fields))

    async def _run(self, key: Key, reading: _Reading, fields: dict[str, Any] | None) -> None:
        """fields: what has been read already."""
        try:
            while True:
                reading.again = reading.stale = False
                await self._read(key, reading, fields)
                if not reading.again:
                    return
                fields = None
        finally:
            self._end(key, reading)
            # A cancelled task keeps its traceback, that this frame, and with it a handle: no circle of them.
            reading.task = None

    async def _read(self, key: Key, reading: _Reading, fields: dict[str, Any] | None) -> None:
        handle = reading.handle = self._session.handles.get(key)
        if handle is None:
            return
        try:
            if fields is None:
                fields = await self.fetch(handle, key)
            else:
                fields = await self._completed(key, handle, fields)
        except BridgeError as error:
            self._failed(key, error)
        else:
            self._succeeded(key, {} if reading.stale else fields)

    def _succeeded(self, key: Key, fields: dict[str, Any]) -> None:
        """fields: to be published; none of what is out of date."""
        self._failing = False
        if self._failures.pop(key, None) is not None and (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        if fields:
            if "definition" in fields:
                self._problems.pop(key, None)
            self._show(key, fields)

    def _failed(self, key: Key, error: Exception) -> None:
        if not isinstance(error, BridgeError):
            self._show(key, self._problem(key, error))
        elif self._session.lost.done():
            return
        elif error.code == KINDS[key.kind].gone:
            self._found_gone(key, self._running[key].handle)
        else:
            # A host that refuses one usually refuses a thousand: told once.
            log.log(logging.DEBUG if self._failing else logging.WARNING, _NOT_READ, *key[:3], str(error))
            self._failing = True
            self._show(key, {"problem": problem_of(error)})
            if error.kind not in _FOR_GOOD:
                self._try_later(key)

    def _found_gone(self, key: Key, handle: Handle | None) -> None:
        if key not in self._timers and not self._by_looking(key.kind):
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(GONE_S, self._drop, key, handle)

    def _drop(self, key: Key, handle: Handle | None) -> None:
        """Unless something was heard of it since the read began, which came with another handle."""
        del self._timers[key]
        if handle is not None and self._session.handles.get(key) is handle:
            del self._session.handles[key]
            self._publish([Drop(key)])

    def _show(self, key: Key, fields: Mapping[str, Any]) -> None:
        if key in self._session.handles:
            self._publish([Patch(key, fields)])

    def _problem(self, key: Key, error: Exception) -> dict[str, Any]:
        """The record's fields, where the XML cannot be read: the last good definition stays."""
        problem = problem_of(error)
        if key not in self._problems:
            log.warning("unreadable XML conn=%s kind=%s id=%s error=%s", *key[:3], problem)
        self._problems[key] = problem
        return {"problem": problem}


def _fields(row: KindRow, xml: str) -> dict[str, Any]:
    return {"definition": row.parse(xml), "xml": xml, "problem": ""}
