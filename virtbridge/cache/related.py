"""Events of an object that change what is in it: the objects in it are then read again, once.

Only where somebody has asked for it before: a pool that is refreshed costs nothing while nobody knows its
volumes. Events that come meanwhile are worth one reading more, however many they are. Main thread only.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from virtbridge.cache.cache import Cache
from virtbridge.cache.demand import Demand
from virtbridge.errors import BridgeError
from virtbridge.model.changes import EVENT, LIFECYCLE, Signal
from virtbridge.model.keys import Key, Kind
from virtbridge.tasks import end_all

log = logging.getLogger(__name__)

# (kind, signal, its first word) -> the kind of objects in it that may be others now. A pool's refresh looks
# its volumes up, and so does its start.
_RELATED: Mapping[tuple[Kind, str, str], Kind] = {
    (Kind.POOL, EVENT, "refresh"): Kind.VOLUME,
    (Kind.POOL, LIFECYCLE, "started"): Kind.VOLUME,
}

Load = Callable[[Key, Kind, float], Awaitable[None]]


class Related:
    """load: has the objects of a kind in one object read, no older than this."""

    def __init__(self, cache: Cache, demand: Demand, load: Load) -> None:
        self._demand = demand
        self._load = load
        self._again: dict[tuple[Key, Kind], bool] = {}  # of those that are being read
        self._tasks: set[asyncio.Task[None]] = set()
        cache.listen({kind for kind, _, _ in _RELATED}, happened=self._happened)

    def _happened(self, signal: Signal) -> None:
        kind = _RELATED.get((signal.key.kind, signal.member, str(signal.args[0])))
        if kind is None or not self._demand.was_asked(signal.key, kind):
            return
        self._demand.outdate(signal.key, kind)
        about = (signal.key, kind)
        if about in self._again:
            self._again[about] = True
            return
        self._again[about] = False
        task = asyncio.create_task(self._read(*about))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        await end_all(self._tasks)

    async def _read(self, about: Key, kind: Kind) -> None:
        try:
            while True:
                self._again[about, kind] = False
                await self._load(about, kind, 0)
                if not self._again[about, kind]:
                    return
        except BridgeError as error:  # the objects say that they are stale; whoever asks next tries again
            log.debug("not read again conn=%s kind=%s parent=%s error=%s", about[0], kind, about.id, error)
        finally:
            del self._again[about, kind]
