"""Watches of statistics: which clients have them, and the one body that all of them are sent.

A watch ends with its client. A sample is marshalled once, a few domains per turn of the loop, and sent to the
watchers one by one, one signal after the other: other messages on the bus never wait behind more than one of
them. When the bus takes a sample too slowly, the remaining signals are dropped, since the next sample is as
good. Main thread only.
"""

import asyncio
import logging
from time import monotonic

from virtbridge.bus.names import INTERFACE_OF
from virtbridge.bus.paths import path_of
from virtbridge.bus.publisher import Publisher
from virtbridge.bus.samples import sample_entry, sampled_body
from virtbridge.cache.statistics import Samples, Sampling, Statistics, joined
from virtbridge.cache.watches import Watch, Watches
from virtbridge.config import StatsConfig
from virtbridge.limiter import Bounds
from virtbridge.metrics import Metrics
from virtbridge.model.keys import Key, Kind, connection_key
from virtbridge.tasks import end_all
from virtbridge.wire.clients import Clients
from virtbridge.wire.link import Link

log = logging.getLogger(__name__)

_SIGNATURE = "ta{oa{sv}}"
_TURN_S = 0.005  # of marshalling in one turn of the loop
_BODY_BYTES = 1 << 17  # then the remaining domains of a sample go into another signal
_BUS_S = 5.0  # within which the bus must take one signal


class StatsWatches:
    """A listener of Statistics. bounds: how many watches there may be."""

    def __init__(
        self,
        link: Link,
        publisher: Publisher,
        statistics: Statistics,
        clients: Clients,
        metrics: Metrics,
        config: StatsConfig,
        bounds: Bounds,
    ) -> None:
        self._link = link
        self._publisher = publisher
        self._statistics = statistics
        self._metrics = metrics
        self._config = config
        watches = self._watches = Watches("watches of statistics", bounds, joined, self._changed)
        self._sending: dict[str, asyncio.Task[None]] = {}
        clients.vanished.append(watches.end_client)
        statistics.listen(self)
        metrics.gauge("queue.stats-watches", lambda: len(watches))

    def begin(self, user: int, client: str, connection: str, wanted: Sampling) -> int:
        """Begin a watch, and return its number. Raises LimitExceeded."""
        interval_ms = max(self._config.interval_min_ms, wanted.interval_ms)
        return self._watches.add(Watch(user, client, connection, wanted._replace(interval_ms=interval_ms)))

    def end(self, client: str, connection: str, number: int) -> None:
        """End a watch. Raises NoSuchObject for one that is not this client's."""
        self._watches.end(client, connection, number)

    def _changed(self, connection: str, sampling: Sampling | None) -> None:
        if sampling is None:
            self._statistics.end_watch(connection, self)
        else:
            self._statistics.watch(connection, self, sampling)

    # -- a listener of Statistics ---------------------------------------------------------------------------

    def forgotten(self, connection: str) -> None:
        self._watches.end_connection(connection)

    def sampled(self, connection: str, samples: Samples) -> None:
        if not self._watches.clients(connection):
            return
        if connection in self._sending or self._link.congested:
            self._metrics.add("bus.samples.dropped")
            return
        task = asyncio.create_task(self._send(connection, samples), name=f"sample of {connection}")
        self._sending[connection] = task
        task.add_done_callback(lambda _done: self._sending.pop(connection))

    async def stop(self) -> None:
        await end_all(self._sending.values())

    async def _send(self, connection: str, samples: Samples) -> None:
        try:
            await self._marshal_and_send(connection, samples)
        except Exception:  # an edge: the top of a task
            log.exception("a sample was not sent conn=%s", connection)

    async def _marshal_and_send(self, connection: str, samples: Samples) -> None:
        # Where no domain is active no sample would show it.
        calendar = self._statistics.calendar
        moment_us = max((sample.moment_us for sample in samples.values()), default=0)
        time_us = calendar.shown_us(moment_us) if samples else calendar.now_us()
        entries: list[bytes] = []
        size, end = 0, monotonic() + _TURN_S
        for key_id, sample in samples.items():
            known = self._publisher.get(Key(connection, Kind.DOMAIN, key_id))
            if known is None:
                continue  # clients have not heard of it yet
            entries.append(sample_entry(known.path, sample.values))
            size += len(entries[-1])
            if size >= _BODY_BYTES:
                if not await self._broadcast(connection, sampled_body(time_us, entries)):
                    return
                entries, size = [], 0
            if monotonic() >= end:
                await asyncio.sleep(0)
                end = monotonic() + _TURN_S
        if entries or not samples:
            await self._broadcast(connection, sampled_body(time_us, entries))

    async def _broadcast(self, connection: str, body: bytes) -> bool:
        """Send to each watcher by its name, so that nobody else wakes. False when the bus does
        not take it.
        """
        path = path_of(connection_key(connection))
        for client in self._watches.clients(connection):
            self._metrics.add("bus.samples")
            self._link.signal(
                path, INTERFACE_OF[Kind.CONNECTION], "StatsSampled", _SIGNATURE, body, destination=client
            )
            if self._link.queued_bytes > _BODY_BYTES // 2 and not await self._link.drain(_BUS_S):
                self._metrics.add("bus.samples.dropped")
                return False
        return True
