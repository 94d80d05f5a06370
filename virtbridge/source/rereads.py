"""Rereads of definitions: one read in flight per object, and one more if something happened meanwhile.

A definition that was read is published as a patch. If a read fails, the object keeps its last good definition
and the read is tried again a few times. If the object does not exist any more, an event or a listing will
remove it; it is removed here when no event comes. Main thread.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.changes import Drop, Patch
from virtbridge.model.keys import Key, Kind
from virtbridge.source.callbacks import Publish
from virtbridge.source.calls.errors import problem_of
from virtbridge.source.calls.opening import HUNG_LIMIT
from virtbridge.source.calls.session import Session
from virtbridge.source.definitions import Definitions, Fields
from virtbridge.source.kinds.row import Handle
from virtbridge.source.kinds.table import KINDS
from virtbridge.tasks import end_all

log = logging.getLogger(__name__)

# A read that failed is tried again after this time, then after twice that, and so on. Each pause is longer by
# a random factor up to two, since a host that stalls refuses a thousand reads at once. After the last attempt
# the round robin of the audit reads the object some time.
RETRY_S, RETRIES = 5.0, 5
# When a read finds that the object was removed, an event usually says so as well. But when a migration
# undefines a domain, libvirt only announces that it stopped.
REMOVED_S = 1.0
_FOR_GOOD = (ErrorKind.NOT_AUTHORIZED, ErrorKind.NOT_SUPPORTED)

_METHOD = "XMLDesc"  # this is row.read_xml of all kinds that are followed


@dataclass(slots=True, eq=False)
class _Reading:
    """The reading of one object: one read, and maybe others that follow it."""

    # Is resolved at the end.
    done: "asyncio.Future[None]"
    # The object that is read.
    handle: Handle | None = None
    # None while its read is part of a batch.
    task: "asyncio.Task[None] | None" = None
    # Whether something happened since the read began, so that another one has to follow.
    again: bool = False
    # Whether the result of the read is known to be out of date.
    stale: bool = False


class Rereads:
    """is_polled: says whether the connection has no events for a kind, so that only listings find changes."""

    def __init__(
        self,
        session: Session,
        definitions: Definitions,
        publish: Publish,
        is_polled: Callable[[Kind], bool],
    ) -> None:
        self._session = session
        self._definitions = definitions
        self._publish = publish
        self._is_polled = is_polled
        self._failing = False
        self._failures: dict[Key, int] = {}
        self._running: dict[Key, _Reading] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def reread(self, key: Key, *, stale: bool = False) -> "asyncio.Future[None]":
        """Have the XML read. A read that has begun is followed by another one; stale: its result is not
        published then. The future is resolved when both have ended.
        """
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        reading = self._running.get(key)
        if reading is None:
            reading = self._begin(key)
            self._start_task(key, reading)
        else:
            reading.again = True
            reading.stale = reading.stale or stale
        return reading.done

    def reread_later(self, key: Key, delay_s: float) -> None:
        """Have the XML read after a while, once for all calls until then. A read in flight is stale."""
        if key in self._running:
            self.reread(key, stale=True)
        elif key not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(delay_s, self._due, key)

    def is_reading(self, key: Key) -> bool:
        return key in self._running

    async def read_all(self, keys: Iterable[Key], goes_on: Callable[[], bool] = lambda: True) -> None:
        """Read the XML of many objects. goes_on: is called before each object, which is left out if it
        returns False.
        """
        begun: list[Key] = []
        followed: list[asyncio.Future[None]] = []

        def handles() -> Iterator[tuple[Key, Handle]]:
            for key in keys:
                if not goes_on():
                    continue
                if key in self._running:
                    followed.append(self.reread(key))
                elif (handle := self._session.handles.get(key)) is not None:
                    self._begin(key).handle = handle
                    begun.append(key)
                    yield key, handle

        def settle(key: Key, fields: Fields, error: BridgeError | None) -> None:
            reading = self._running[key]
            if reading.again:
                self._start_task(key, reading)
            elif error is not None:
                self._failed(key, error)
            elif self._definitions.needs_completion(key, fields):
                self._start_task(key, reading, fields)
            else:
                self._succeeded(key, fields)
            if reading.task is None:
                self._end(key, reading)
            else:
                followed.append(reading.done)

        try:
            await self._definitions.read_many(_METHOD, handles(), settle)
        except BridgeError as error:
            for key in self._left_of(begun):
                self._failed(key, error)
        finally:
            for key in self._left_of(begun):
                self._end(key, self._running[key])
        await asyncio.gather(*followed)

    def _left_of(self, begun: Iterable[Key]) -> list[Key]:
        """Return the objects that read_all() began and that have not settled."""
        return [key for key in begun if (reading := self._running.get(key)) and reading.task is None]

    async def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        await end_all(reading.task for reading in self._running.values() if reading.task is not None)

    def _due(self, key: Key) -> None:
        del self._timers[key]
        if key in self._failures and self._session.workers.hung() >= HUNG_LIMIT:
            self._retry_later(key)  # another attempt would only be another call that hangs
        else:
            self.reread(key)

    def _retry_later(self, key: Key) -> None:
        failures = self._failures.get(key, 0)
        if failures >= RETRIES:
            del self._failures[key]
        elif key not in self._timers:
            self._failures[key] = failures + 1
            pause_s = RETRY_S * 2**failures * random.uniform(1.0, 2.0)
            self._timers[key] = asyncio.get_running_loop().call_later(pause_s, self._due, key)

    def _begin(self, key: Key) -> _Reading:
        reading = self._running[key] = _Reading(asyncio.get_running_loop().create_future())
        return reading

    def _end(self, key: Key, reading: _Reading) -> None:
        del self._running[key]
        if not reading.done.done():  # the task that waited may have been cancelled
            reading.done.set_result(None)

    def _start_task(self, key: Key, reading: _Reading, fields: Fields | None = None) -> None:
        reading.task = asyncio.create_task(self._run(key, reading, fields))

    async def _run(self, key: Key, reading: _Reading, fields: Fields | None) -> None:
        """Read until nothing happens meanwhile. fields: those that a batch has read already."""
        try:
            while True:
                reading.again = reading.stale = False
                await self._read(key, reading, fields)
                if not reading.again:
                    return
                fields = None
        finally:
            self._end(key, reading)
            # A cancelled task refers to its traceback, and that to this frame with a handle. This cycle is
            # broken here.
            reading.task = None

    async def _read(self, key: Key, reading: _Reading, fields: Fields | None) -> None:
        handle = reading.handle = self._session.handles.get(key)
        if handle is None:
            return
        try:
            if fields is None:
                fields = await self._definitions.read(key, handle)
            else:
                fields = await self._definitions.completed(key, handle, fields)
        except BridgeError as error:
            self._failed(key, error)
        else:
            self._succeeded(key, {} if reading.stale else fields)

    def _succeeded(self, key: Key, fields: Fields) -> None:
        """fields: what is published; empty when the result is out of date."""
        self._failing = False
        if self._failures.pop(key, None) is not None and (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        self._publish_fields(key, fields)

    def _failed(self, key: Key, error: BridgeError) -> None:
        if self._session.lost.done():
            return
        if error.code == KINDS[key.kind].not_found_code:
            self._found_removed(key, self._running[key].handle)
        else:
            # A host that refuses one read usually refuses a thousand, so only the first is a warning.
            level = logging.DEBUG if self._failing else logging.WARNING
            log.log(level, "XML not read conn=%s kind=%s id=%s error=%s", *key[:3], str(error))
            self._failing = True
            self._publish_fields(key, {"problem": problem_of(error)})
            if error.kind not in _FOR_GOOD:
                self._retry_later(key)

    def _publish_fields(self, key: Key, fields: Fields) -> None:
        if fields and key in self._session.handles:
            self._publish([Patch(key, fields)])

    def _found_removed(self, key: Key, handle: Handle | None) -> None:
        if key not in self._timers and not self._is_polled(key.kind):
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(REMOVED_S, self._drop, key, handle)

    def _drop(self, key: Key, handle: Handle | None) -> None:
        """Remove the object, unless an event has come since the read began: that has brought another
        handle.
        """
        del self._timers[key]
        if handle is not None and self._session.handles.get(key) is handle:
            del self._session.handles[key]
            self._publish([Drop(key)])
