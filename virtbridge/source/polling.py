"""When the kinds without events are looked at: at the shortest interval that anyone asked for, never while
nobody does.

It outlives sessions, as what clients want does. A failed look is told once, and again when one succeeds; what
was known stays. The kinds that no event tells of anywhere are looked at through the cache, so that those who
ask for them share the readings; each by itself, since one may take long. Main thread; no libvirt here.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from virtbridge.errors import BridgeError
from virtbridge.metrics import Metrics
from virtbridge.model.keys import ON_DEMAND, Kind
from virtbridge.source.callbacks import Look
from virtbridge.source.session_work import SessionWork

log = logging.getLogger(__name__)


_Poll = Callable[[], Awaitable[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class _Look:
    """The last one, in the loop's time."""

    began: float
    ended: float


class Polling:
    """tell: the error that polling has met, None once it is over. look: at a kind that is read on demand."""

    def __init__(
        self, name: str, metrics: Metrics, tell: Callable[[BridgeError | None], None], look: Look
    ) -> None:
        self._name = name
        self._metrics = metrics
        self._tell = tell
        self._look = look
        self._intervals: Mapping[Kind, float] = {}
        self._changed = asyncio.Event()
        self._looked: dict[Kind, _Look] = {}
        self._failing: dict[Kind, BridgeError] = {}
        self._start: Callable[[Kind], asyncio.Task[None]] | None = None  # while there is a session
        self._tasks: dict[Kind, asyncio.Task[None]] = {}

    @property
    def kinds(self) -> frozenset[Kind]:
        """What anybody watches, with events or without."""
        return frozenset(self._intervals)

    def want(self, intervals: Mapping[Kind, float]) -> None:
        """In seconds, by kind; kinds that are not in it are polled no more from this moment on."""
        self._intervals = dict(intervals)
        self._changed.set()
        self._start_and_end()
        if ended := self._failing.keys() - intervals.keys():
            for kind in ended:
                del self._failing[kind]
            self._tell(self._trouble())

    async def run(self, work: SessionWork) -> None:
        """As long as the session lasts, from its first sync on."""
        self._failing.clear()
        now = asyncio.get_running_loop().time()
        self._looked = {kind: _Look(now, now) for kind in work.kinds.polled_kinds}
        try:
            async with asyncio.TaskGroup() as group:
                self._start = lambda kind: group.create_task(self._keep_fresh(work, kind))
                self._start_and_end()
                await self._go_round(work)
        finally:
            self._start = None
            self._tasks.clear()

    async def _go_round(self, work: SessionWork) -> None:
        """Of the kinds that are listed in bulk, one after the other."""
        while True:
            due = {kind: self._due(kind) for kind in work.kinds.polled_kinds & self._intervals.keys()}
            await self._sleep_until(min(due.values(), default=None))
            for kind in sorted(due):
                if kind in self._intervals and self._due(kind) <= asyncio.get_running_loop().time():
                    await self._poll(work, kind, partial(self._look_in_bulk, work, kind))

    async def _keep_fresh(self, work: SessionWork, kind: Kind) -> None:
        """Of a kind that is read on demand: cancelled when nobody watches it any more."""
        while kind in work.kinds.on_demand:
            due = self._due(kind)
            await self._sleep_until(due)
            if due <= asyncio.get_running_loop().time():
                await self._poll(work, kind, partial(self._look, kind, self._intervals[kind]))

    def _start_and_end(self) -> None:
        for kind in self._tasks.keys() - self._intervals.keys():
            self._tasks.pop(kind).cancel()
        if self._start is not None:
            for kind in (ON_DEMAND & self._intervals.keys()) - self._tasks.keys():
                self._tasks[kind] = self._start(kind)

    def _due(self, kind: Kind) -> float:
        """A host that takes longer than the interval gets as long a pause."""
        look = self._looked.get(kind)
        if look is None:
            return 0.0
        return max(look.began + self._intervals[kind], look.ended + (look.ended - look.began))

    async def _sleep_until(self, due: float | None) -> None:
        """None: until something is wanted. Ends early when something else is."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self._changed.wait()

    async def _look_in_bulk(self, work: SessionWork, kind: Kind) -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await work.poll(kind, lambda: kind in self._intervals)
        return began, loop.time()

    async def _poll(self, work: SessionWork, kind: Kind, look: _Poll) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._metrics.add("source.polls")
        try:
            self._looked[kind] = _Look(*await look())
        except BridgeError as error:
            self._looked[kind] = _Look(began, loop.time())
            if not (work.lost or self._is_lacking(work, kind)):  # else the connection itself says so
                self._failed(kind, error)
        else:
            self._succeeded(kind)

    def _is_lacking(self, work: SessionWork, kind: Kind) -> bool:
        return kind in ON_DEMAND - work.kinds.on_demand

    def _failed(self, kind: Kind, error: BridgeError) -> None:
        if kind not in self._failing:
            log.warning("poll failed conn=%s kind=%s error=%s", self._name, kind, error.message)
        if kind in self._intervals:
            self._failing[kind] = error
            self._tell(self._trouble())

    def _succeeded(self, kind: Kind) -> None:
        if self._failing.pop(kind, None) is not None:
            log.info("poll succeeds again conn=%s kind=%s", self._name, kind)
            self._tell(self._trouble())

    def _trouble(self) -> BridgeError | None:
        return next(iter(self._failing.values()), None)
