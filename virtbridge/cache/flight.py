"""Single flight: callers that ask for the same thing at the same time share one piece of work.

The work goes on for the remaining waiters when one of them leaves, even when that is the one who started it.
Main thread only.
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
What = tuple[Key, Hashable]  # an object, and the question about it


@dataclass(slots=True, eq=False)
class _Flight:
    """stays: the flight runs to its end even when nobody waits for it any more."""

    work: Work[Any]
    task: asyncio.Task[Any]
    waiters: int = 0
    stays: bool = False


class SingleFlight:
    """Starts a reading once for all who ask while it is in flight."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._flights: dict[What, _Flight] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """How many flights are under way, also those that nobody waits for any more."""
        return len(self._tasks)

    def under_way(self, what: What) -> Work[Any] | None:
        """Return the work of the flight for `what`; None when there is no such flight."""
        flight = self._flights.get(what)
        return None if flight is None else flight.work

    async def run(self, what: What, work: Work[T], *, stays: bool = True) -> T:
        """Return the result, or raise the exception, of the flight for `what`; start one when none is under
        way.

        stays: the flight runs to its end even when nobody waits for it any more. When all waiters pass False,
        it is cancelled with the last of them.
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
                self._remove(what, flight)  # at once: nobody may join a flight that is ending
                flight.task.cancel()
            # An error's traceback refers to this frame, and the flight to the error. That cycle would keep
            # the work's objects, such as a libvirt handle, alive until the garbage collector runs.
            del flight

    async def run_anew(self, what: What, work: Work[T]) -> T:
        """Do as run(), with a flight that begins after this call. One that is under way may have read its
        data before the change that the caller wants to see.

        All callers that come while a flight is under way share the next one.
        """
        await self.wait_for_end(what)
        return await self.run(what, work)

    async def wait_for_end(self, what: What) -> None:
        """Wait until the flight for `what` has ended; return at once when there is none."""
        if (flight := self._flights.get(what)) is not None:
            await asyncio.wait([flight.task])

    def disown(self, connection: str) -> None:
        """Let nobody join the connection's flights any more, since the next connection of this name is
        another one. Callers that already wait still get the results.
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
            task.exception()  # marks it as retrieved, since every waiter may have left

    async def stop(self) -> None:
        await end_all(self._tasks)
