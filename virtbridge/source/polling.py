"""When the kinds without events are looked at: at the shortest interval that anyone asked for, never while
nobody does.

It outlives sessions, as what clients want does. A failed look is told once, and again when one succeeds; what
was known stays. Main thread; no libvirt here.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from virtbridge.errors import BridgeError
from virtbridge.metrics import Metrics
from virtbridge.model.keys import Kind
from virtbridge.source.live import Live

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Look:
    """The last one, in the loop's time."""

    began: float
    ended: float


class Polling:
    """tell: the error that polling has met, None once it is over."""

    def __init__(self, name: str, metrics: Metrics, tell: Callable[[BridgeError | None], None]) -> None:
        self._name = name
        self._metrics = metrics
        self._tell = tell
        self._intervals: Mapping[Kind, float] = {}
        self._changed = asyncio.Event()
        self._looked: dict[Kind, _Look] = {}
        self._failing: dict[Kind, BridgeError] = {}

    @property
    def kinds(self) -> frozenset[Kind]:
        """What anybody watches, with events or without."""
        return frozenset(self._intervals)

    def want(self, intervals: Mapping[Kind, float]) -> None:
        """In seconds, by kind; kinds that are not in it are polled no more from this moment on."""
        self._intervals = dict(intervals)
        self._changed.set()
        if ended := self._failing.keys() - intervals.keys():
            for kind in ended:
                del self._failing[kind]
            self._tell(self._trouble())

    async def run(self, live: Live) -> None:
        """As long as the session lasts, from its first sync on."""
        self._failing.clear()
        now = asyncio.get_running_loop().time()
        self._looked = {kind: _Look(now, now) for kind in live.demand_kinds}
        while True:
            due = {kind: self._due(kind) for kind in live.demand_kinds & self._intervals.keys()}
            await self._sleep_until(min(due.values(), default=None))
            for kind in sorted(due):
                if kind in self._intervals and self._due(kind) <= asyncio.get_running_loop().time():
                    await self._poll(live, kind)

    def _due(self, kind: Kind) -> float:
        """A host that takes longer than the interval gets as long a pause."""
        look = self._looked[kind]
        return max(look.began + self._intervals[kind], look.ended + (look.ended - look.began))

    async def _sleep_until(self, due: float | None) -> None:
        """None: until something is wanted. Ends early when something else is."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self._changed.wait()

    async def _poll(self, live: Live, kind: Kind) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._metrics.add("source.polls")
        try:
            await live.poll(kind, lambda: kind in self._intervals)
        except BridgeError as error:
            if not live.lost:  # else the connection itself says so
                self._failed(kind, error)
        else:
            self._succeeded(kind)
        self._looked[kind] = _Look(began, loop.time())

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
