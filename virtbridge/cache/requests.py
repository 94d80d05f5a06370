"""The way back: what clients ask of a source, shared where they ask the same.

The source itself is handed in where the daemon is wired together. Main thread only.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import Any, Protocol

from virtbridge.cache.cache import Cache
from virtbridge.cache.demand import Demand
from virtbridge.cache.flight import SingleFlight
from virtbridge.cache.polling import Polling
from virtbridge.cache.related import Related
from virtbridge.config import ConnectionConfig
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.metrics import Metrics
from virtbridge.model.keys import ON_DEMAND, Key, Kind, connection_key
from virtbridge.model.operations import Request, operation_of
from virtbridge.pauses import Pauses
from virtbridge.tasks import all_of

_PAUSE, _PAUSE_MAX_S = 3, 10.0


class Source(Protocol):
    """What asks libvirt. Every method raises BridgeError and never blocks the loop."""

    def open(self, config: ConnectionConfig) -> None: ...

    async def close(self, name: str) -> None: ...

    async def refresh(self, connection: str, kinds: frozenset[Kind]) -> None: ...

    def watch(self, connection: str, kinds: frozenset[Kind]) -> None: ...

    async def poll(self, connection: str, kind: Kind) -> None: ...

    def show_poll_failure(self, connection: str, failure: BridgeError | None) -> None: ...

    async def load(self, about: Key, kind: Kind, everything: bool) -> bool: ...

    async def operate(self, request: Request) -> Any: ...


class Requests:
    """The one door of the cache for requests: what it cannot answer itself is passed to source."""

    def __init__(self, source: Source, metrics: Metrics, cache: Cache) -> None:
        self._source = source
        self._flights = SingleFlight(metrics)
        metrics.gauge("queue.readings", lambda: len(self._flights))
        self._pauses = Pauses(_PAUSE, _PAUSE_MAX_S)  # between refreshes of a connection
        self._turns: dict[str, asyncio.Lock] = {}  # of those of other kinds, or one of them would not pause
        self._demand = Demand(cache, self._flights, metrics)
        self._related = Related(cache, self._demand, self.load)
        self._polling = Polling(source, cache, metrics, self._poll)
        cache.listen([Kind.CONNECTION], dropped=self._connection_dropped)

    def open(self, config: ConnectionConfig) -> None:
        self._source.open(config)

    async def close(self, name: str) -> None:
        await self._source.close(name)

    def _connection_dropped(self, key: Key) -> None:
        self._pauses.forget(key.connection)
        self._turns.pop(key.connection, None)
        self._flights.disown(key.connection)

    async def refresh(self, connection: str, kinds: frozenset[Kind]) -> None:
        """kinds: at least one. Ends when they have been read and published, all of it after this call."""
        about = connection_key(connection)
        jobs = [self.load(about, kind, 0) for kind in sorted(kinds & ON_DEMAND)]
        if kinds - ON_DEMAND:
            jobs.append(self._refresh_anew(connection, kinds - ON_DEMAND))
        await all_of(jobs)

    def loaded(self, connection: str) -> frozenset[Kind]:
        """The kinds that are read on demand, and were."""
        return self._demand.loaded(connection)

    async def load(self, about: Key, kind: Kind, max_age_s: float) -> None:
        """Have the objects of a kind, of a connection or in one object, no older than this in the cache."""
        if kind in ON_DEMAND:
            work = partial(self._source.load, about, kind)
        else:
            work = partial(self._read_whole, about.connection, kind)
        await self._demand.load(about, kind, max_age_s, work)

    async def _poll(self, connection: str, kind: Kind, max_age_s: float) -> tuple[float, float]:
        """A poll of a kind that is read on demand, shared with those who ask for it. When it was, from
        beginning to end, in the loop's time.
        """
        about = connection_key(connection)
        return await self._demand.poll(about, kind, max_age_s, partial(self._source.load, about, kind))

    async def operate(self, request: Request, max_age_s: float = 0.0) -> Any:
        """What libvirt answers. max_age_s: of an operation that is cached, so that all who ask the same share
        one call; any other is never shared, as it changes something or its answer may hold secrets.
        """
        work = partial(self._source.operate, request)
        if operation_of(request).cached_ms is None:
            return await work()
        question = (request.name, request.arguments)
        return await self._demand.answer(request.key, question, max_age_s, work)

    async def _read_whole(self, connection: str, kind: Kind, _whole: bool) -> bool:
        await self._refresh_anew(connection, frozenset({kind}))
        return True

    async def _refresh_anew(self, connection: str, kinds: frozenset[Kind]) -> None:
        about = connection_key(connection)
        await self._flights.run_anew((about, kinds), lambda: self._refresh(connection, kinds))

    async def _refresh(self, connection: str, kinds: frozenset[Kind]) -> None:
        """Anyone may ask, as often as they like, so there is a pause after each. A host that hung until the
        connection was lost needs none.
        """
        async with self._turns.setdefault(connection, asyncio.Lock()):
            await self._pauses.wait(connection)
            began_s, pauses = monotonic(), True
            try:
                await self._source.refresh(connection, kinds)
            except BridgeError as error:
                pauses = error.kind is not ErrorKind.NOT_CONNECTED
                raise
            finally:
                if pauses:
                    self._pauses.begin(connection, monotonic() - began_s)

    def watch(self, connection: str, intervals: Mapping[Kind, float]) -> None:
        """The shortest intervals that anyone watches with, in seconds, by kind."""
        self._source.watch(connection, frozenset(intervals))
        self._polling.watch(connection, intervals)

    async def stop(self) -> None:
        await self._polling.stop()
        await self._related.stop()
        await self._flights.stop()
