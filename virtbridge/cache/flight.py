"""Single flight: those who ask for the same thing at the same time share one asking.

The work goes on for those who still wait when one of them leaves, the first one included. Main thread only.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from virtbridge.metrics import Metrics
from virtbridge.model.keys import Key
from virtbridge.tasks import end_all

T = TypeVar("T")

Work = Callable[[], Coroutine[Any, Any, T]]
What = tuple[Key, Hashable]  # an object, and what is asked of it


@dataclass(slots=True, eq=False)
class _Flight:
    """stays: it goes to its end though nobody waits any more."""

    work: Work[Any]
    task: asyncio.Task[Any]
    waiters: int = 0
    stays: bool = False


class SingleFlight:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._flights: dict[What, _Flight] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def under_way(self, what: What) -> Work[Any] | None:
        """The work of the flight for `what`."""
        flight = self._flights.get(what)
        return None if flight is None else flight.work

    async def run(self, what: What, work: Work[T], *, stays: bool = True) -> T:
        """The result, or the exception, of the flight for `what` that is under way, else of a new one.

        stays: it goes to its end though nobody waits any more; False, of all who wait, ends it with them.
        """
        flight = self._flights.get(what)
        if flight is None:
            self._metrics.add("cache.refreshes")
            flight = self._flights[what] = _Flight(work, asyncio.create_task(work()))
            self._tasks.add(flight.task)
            flight.task.add_done_callback(partial(self._landed, what, flight))
        else:
            self._metrics.add("cache.refreshes-joined")
        flight.waiters += 1
        flight.stays = flight.stays or stays
        # A waiter's end must not end the work that others wait for.
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.stays:
                self._remove(what, flight)  # at once: nobody may join what is ending
                flight.task.cancel()
            # An error's traceback holds this frame, and the flight the error: that circle would keep whatever
            # the work held, a libvirt handle for one, until the garbage collector comes.
            del flight

    async def run_anew(self, what: What, work: Work[T]) -> T:
        """As run(), of a flight that begins after this call: one under way may have seen too little already.

        All who come while one is under way share the next.
        """
        await self.landing(what)
        return await self.run(what, work)

    async def landing(self, what: What) -> None:
        """Until the flight for `what` is over, if there is one."""
        if (flight := self._flights.get(what)) is not None:
            await asyncio.wait([flight.task])

    def disown(self, connection: str) -> None:
        """Nobody joins its flights any more: the next one of this name has nothing to do with them. Who waits
        already gets what they bring.
        """
        self._flights = {
            what: flight for what, flight in self._flights.items() if what[0].connection != connection
        }

    def _remove(self, what: What, flight: _Flight) -> None:
        if self._flights.get(what) is flight:
            del self._flights[what]

    def _landed(self, what: What, flight: _Flight, task: asyncio.Task[Any]) -> None:
        self._remove(what, flight)
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: every waiter may have left

    async def stop(self) -> None:
        await end_all(self._tasks)
