"""Turns: so many at a time, within the limits of a Limiter, and who comes later waits in the round robin.

Asyncio at most; knows neither the bus nor what is done in a turn.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from virtbridge.limiter import Limiter
from virtbridge.round_robin import RoundRobin

T = TypeVar("T")


class Turns(Generic[T]):
    """start: called with each item when its turn comes; ended() must follow, once for each, and resume() some
    time after it.

    ready: whether a client can have a turn now; when this changes, resume() is to be called as well.
    """

    def __init__(
        self,
        start: Callable[[T], None],
        running: Limiter,
        ready: Callable[[int, str], bool] = lambda _user, _client: True,
    ) -> None:
        self._start = start
        self._running = running
        self._ready = ready
        self._waiting: RoundRobin[tuple[int, str, T]] = RoundRobin()

    @property
    def idle(self) -> bool:
        return not (self._waiting or self._running.taken)

    def free(self, user: int, client: str) -> bool:
        """Return whether an item of this client would be started at once."""
        return client not in self._waiting and self._may(user, client)

    def add(self, user: int, client: str, item: T) -> None:
        if self.free(user, client):
            self._running.count(user, client)
            self._start(item)
        else:
            self._waiting.push(user, client, (user, client, item))

    def ended(self, user: int, client: str) -> None:
        """A started item has ended, so there is room for another one."""
        self._running.give_back(user, client)

    def resume(self, most: int | None = None) -> bool:
        """Start items that may start, so many at most; False when no other item may."""
        while most is None or most > 0:
            found = self._waiting.pop(self._may)
            if found is None:
                return False
            user, client, item = found
            self._running.count(user, client)
            self._start(item)
            most = None if most is None else most - 1
        return True

    def withdraw(self, client: str) -> list[T]:
        """Return the items of a client that have not been started; they never will be."""
        return [item for _, _, item in self._waiting.withdraw(client)]

    def remove(self, user: int, client: str, item: T) -> bool:
        """Take out an item, which will not be started; False when it has been started."""
        return self._waiting.remove(client, (user, client, item))

    def clients(self) -> list[str]:
        """Return the clients with items that wait."""
        return self._waiting.clients()

    def _may(self, user: int, client: str) -> bool:
        return self._running.free(user, client) and self._ready(user, client)


def grant(future: "asyncio.Future[None]") -> None:
    """The `start` of turns for coroutines."""
    if not future.done():  # who waited may have been cancelled, and be about to say so
        future.set_result(None)


@asynccontextmanager
async def turn(turns: "Turns[asyncio.Future[None]]", user: int, client: str) -> AsyncIterator[None]:
    """Wait for a turn. Whoever stops waiting takes none."""
    mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    turns.add(user, client, mine)
    try:
        await mine
        yield
    finally:
        if not turns.remove(user, client, mine):
            turns.ended(user, client)
            turns.resume()
