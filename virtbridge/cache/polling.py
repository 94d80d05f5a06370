"""Polls list the kinds again that no event announces, at the shortest interval of all clients' watches. A
kind without a watch is not polled.

A watch outlives a session of the connection; polls run while the connection is ready. A failure is shown
once, and the recovery is shown when a poll succeeds again; the known records stay. Kinds that are listed in
bulk are polled one after the other. A kind that is read on demand may take long, so each of these has a task
of its own, and its readings are shared with clients' reads. Main thread.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

from virtbridge.cache.cache import Cache
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.metrics import Metrics
from virtbridge.model.keys import ON_DEMAND, Key, Kind, connection_key
from virtbridge.model.records import ConnectionRecord
from virtbridge.tasks import end_all

log = logging.getLogger(__name__)

Intervals = Mapping[Kind, float]  # seconds


class Times(NamedTuple):
    """When a poll began and when it ended, in the loop's time."""

    began_s: float
    ended_s: float


class Polled(Protocol):
    """The source that is polled. poll raises BridgeError."""

    async def poll(self, connection: str, kind: Kind) -> None: ...

    def show_poll_failure(self, connection: str, failure: BridgeError | None) -> None: ...


# Loads an on-demand kind of a connection, no older than so many seconds. Raises BridgeError.
Load = Callable[[str, Kind, float], Awaitable[tuple[float, float]]]


class Polling:
    """Polls the kinds that are watched and have no events. source: does one poll."""

    def __init__(self, source: Polled, cache: Cache, metrics: Metrics, load: Load) -> None:
        self._source = source
        self._cache = cache
        self._metrics = metrics
        self._load = load
        self._connections: dict[str, _ConnectionPolls] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        cache.listen([Kind.CONNECTION], changed=self._changed, dropped=self._dropped)

    def watch(self, connection: str, intervals: Intervals) -> None:
        """Poll these kinds from now on, each at the given interval, and no other kinds. Ignored when the
        connection was removed.
        """
        polls = self._connections.get(connection)
        if polls is None and self._cache.get(connection_key(connection)) is not None:
            polls = _ConnectionPolls(
                connection, self._source, self._cache, self._metrics, self._load, self._start
            )
            self._connections[connection] = polls
            polls.follow_state()
        if polls is not None:
            polls.watch(intervals)

    async def stop(self) -> None:
        await end_all(self._tasks)

    def _changed(self, key: Key) -> None:
        if (polls := self._connections.get(key.connection)) is not None:
            polls.follow_state()

    def _dropped(self, key: Key) -> None:
        if (polls := self._connections.pop(key.connection, None)) is not None:
            polls.end()

    def _start(self, job: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("polling ended unexpectedly", exc_info=error)


class _ConnectionPolls:
    """The polls of one connection. start: makes a task of a coroutine."""

    def __init__(
        self,
        name: str,
        source: Polled,
        cache: Cache,
        metrics: Metrics,
        load: Load,
        start: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"],
    ) -> None:
        self._name = name
        self._source = source
        self._cache = cache
        self._metrics = metrics
        self._load = load
        self._start = start
        self._intervals: Intervals = {}
        self._intervals_changed = asyncio.Event()
        self._last: dict[Kind, Times] = {}
        self._failures: dict[Kind, BridgeError] = {}
        # The tasks while the connection is ready: one for all bulk kinds, and one for each on-demand kind.
        self._round: asyncio.Task[None] | None = None
        self._on_demand: dict[Kind, asyncio.Task[None]] = {}

    def watch(self, intervals: Intervals) -> None:
        self._intervals = dict(intervals)
        self._intervals_changed.set()
        self._begin_and_end()
        if ended := self._failures.keys() - intervals.keys():
            for kind in ended:
                del self._failures[kind]
            self._show_failure()

    def follow_state(self) -> None:
        """Begin or end polling when the connection's record has changed."""
        if not self._is_ready():
            self.end()
        elif self._round is None:
            self._failures.clear()
            now_s = asyncio.get_running_loop().time()
            self._last = {kind: Times(now_s, now_s) for kind in self._kinds() - ON_DEMAND}
            self._round = self._start(self._poll_in_bulk())
            self._begin_and_end()

    def end(self) -> None:
        for task in self._on_demand.values():
            task.cancel()
        self._on_demand.clear()
        if self._round is not None:
            self._round.cancel()
            self._round = None

    def _is_ready(self) -> bool:
        record = self._cache.get(connection_key(self._name))
        return isinstance(record, ConnectionRecord) and record.state == "ready"

    def _kinds(self) -> frozenset[Kind]:
        """Return the kinds that no event announces on this connection."""
        record = self._cache.get(connection_key(self._name))
        words = record.demand_kinds if isinstance(record, ConnectionRecord) else ()
        return frozenset(map(Kind, words))

    def _begin_and_end(self) -> None:
        """Start and cancel the tasks of the kinds that are read on demand."""
        for kind in self._on_demand.keys() - self._intervals.keys():
            self._on_demand.pop(kind).cancel()
        if self._round is not None:
            for kind in (ON_DEMAND & self._intervals.keys()) - self._on_demand.keys():
                self._on_demand[kind] = self._start(self._poll_on_demand(kind))

    async def _poll_in_bulk(self) -> None:
        """Poll the kinds that are listed in bulk, one after the other."""
        while True:
            due = {kind: self._due_s(kind) for kind in (self._kinds() - ON_DEMAND) & self._intervals.keys()}
            await self._sleep_until(min(due.values(), default=None))
            for kind in sorted(due):
                if kind in self._intervals and self._due_s(kind) <= asyncio.get_running_loop().time():
                    await self._poll(kind, partial(self._list_again, kind))

    async def _poll_on_demand(self, kind: Kind) -> None:
        """Poll one kind that is read on demand. The task is cancelled when
        nobody watches the kind any more.
        """
        while kind in self._kinds():
            due_s = self._due_s(kind)
            await self._sleep_until(due_s)
            if due_s <= asyncio.get_running_loop().time():
                await self._poll(kind, partial(self._load, self._name, kind, self._intervals[kind]))

    def _due_s(self, kind: Kind) -> float:
        """Return when the next poll is due. A poll that took longer than the interval is followed by a pause
        of equal length, so that a slow host gets time for other calls.
        """
        last = self._last.get(kind)
        if last is None:
            return 0.0
        return max(last.began_s + self._intervals[kind], last.ended_s + (last.ended_s - last.began_s))

    async def _sleep_until(self, due_s: float | None) -> None:
        """Sleep until due_s, or without end when it is None. The sleep ends
        early when the intervals change.
        """
        self._intervals_changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(due_s):
                await self._intervals_changed.wait()

    async def _list_again(self, kind: Kind) -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await self._source.poll(self._name, kind)
        return began_s, loop.time()

    async def _poll(self, kind: Kind, poll: Callable[[], Awaitable[tuple[float, float]]]) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        self._metrics.add("source.polls")
        try:
            self._last[kind] = Times(*await poll())
        except BridgeError as error:
            self._last[kind] = Times(began_s, loop.time())
            # A lost connection is shown by its state. A driver without this kind is not polled again.
            if error.kind is not ErrorKind.NOT_CONNECTED and not self._is_missing(kind):
                self._failed(kind, error)
        else:
            self._succeeded(kind)

    def _is_missing(self, kind: Kind) -> bool:
        return kind in ON_DEMAND - self._kinds()

    def _failed(self, kind: Kind, error: BridgeError) -> None:
        if kind not in self._failures:
            log.warning("poll failed conn=%s kind=%s error=%s", self._name, kind, error.message)
        if kind in self._intervals:
            self._failures[kind] = error
            self._show_failure()

    def _succeeded(self, kind: Kind) -> None:
        if self._failures.pop(kind, None) is not None:
            log.info("poll succeeds again conn=%s kind=%s", self._name, kind)
            self._show_failure()

    def _show_failure(self) -> None:
        self._source.show_poll_failure(self._name, next(iter(self._failures.values()), None))
