"""Some events of an object change its children: the children are then reread once.

They are reread only if a client has asked for them before, so that the refresh of a pool costs nothing while
nobody reads its volumes. Any number of events during a reread leads to one more reread. Main thread only.
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

# (kind, signal, its first word) -> the kind of children that may have changed. The refresh of a pool reads
# its volumes from storage, and so does its start.
_RELATED: Mapping[tuple[Kind, str, str], Kind] = {
    (Kind.POOL, EVENT, "refresh"): Kind.VOLUME,
    (Kind.POOL, LIFECYCLE, "started"): Kind.VOLUME,
}

Load = Callable[[Key, Kind, float], Awaitable[None]]


class Related:
    """load: reads the children of a kind of one object, no older than max_age_s."""

    def __init__(self, cache: Cache, demand: Demand, load: Load) -> None:
        self._demand = demand
        self._load = load
        self._again: dict[tuple[Key, Kind], bool] = {}  # in flight; True: reread once more after it
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
        except BridgeError as error:  # the objects are marked stale, and the next read tries again
            log.debug("reread failed conn=%s kind=%s parent=%s error=%s", about[0], kind, about.id, error)
        finally:
            del self._again[about, kind]
