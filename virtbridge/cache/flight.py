"""Single flight: those who ask for the same thing at the same time share one asking.

The work goes on for those who still wait when one of them leaves, the first one included. Main thread only.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

from virtbridge.metrics import Metrics

T = TypeVar("T")


class SingleFlight:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._flights: dict[Hashable, asyncio.Task[Any]] = {}

    async def run(self, what: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result, or the exception, of the flight for `what` that is under way, else of a new one."""
        flight = self._flights.get(what)
        if flight is None:
            self._metrics.add("cache.refreshes")
            flight = asyncio.create_task(work())
            self._flights[what] = flight
            flight.add_done_callback(lambda done: self._landed(what, done))
        else:
            self._metrics.add("cache.refreshes-joined")
        # A waiter's end must not end the work that others wait for.
        try:
            return await asyncio.shield(flight)
        finally:
            # An error's traceback holds this frame, and the flight the error: that circle would keep whatever
            # the work held, a libvirt handle for one, until the garbage collector comes.
            del flight

    async def run_anew(self, what: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """As run(), of a flight that begins after this call: one under way may have seen too little already.

        All who come while one is under way share the next.
        """
        if (flight := self._flights.get(what)) is not None:
            await asyncio.wait([flight])
        return await self.run(what, work)

    def _landed(self, what: Hashable, flight: asyncio.Task[Any]) -> None:
        del self._flights[what]
        if not flight.cancelled():
            flight.exception()  # seen: every waiter may have left

    async def stop(self) -> None:
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
