"""The daemon: the parts wired together, from the first signal handler to the last closed connection.

What joins the layers is handed over here: changes go from the source to the cache, requests the other way.
"""

import asyncio
import contextlib
import logging
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any

from virtbridge.bus.clients import Clients
from virtbridge.bus.dial import DialError
from virtbridge.bus.face import BusFace, NameTaken
from virtbridge.bus.inbound import InboundLimits
from virtbridge.bus.link import BusError, Link, LinkLimits, LinkLost
from virtbridge.cache.cache import Cache
from virtbridge.cache.chains import Chains
from virtbridge.cache.requests import Requests
from virtbridge.cache.statistics import Statistics
from virtbridge.config import Config, ConnectionConfig, LimitsConfig
from virtbridge.config.files import BadConfig, changed_connections
from virtbridge.errors import BridgeError
from virtbridge.interpreter import Collector, share_fairly
from virtbridge.metrics import Metrics
from virtbridge.model.keys import Key, Kind
from virtbridge.model.records import ConnectionRecord
from virtbridge.notify import Notifier
from virtbridge.source.connections import Connections

log = logging.getLogger(__name__)

_STOP_S = 5.0  # how long a hypervisor may take to say goodbye


async def serve(
    config: Config,
    address: str,
    *,
    session: bool,
    ready: Callable[[], None] | None = None,
    reload: Callable[[], Config] | None = None,
) -> int:
    """Serve one bus until SIGTERM, SIGINT or the end of the bus; returns the exit status.

    address: of the bus. session: it is one user's own, who may do everything. ready: called once the name is
    owned. reload: reads the configuration anew, for SIGHUP; raises BadConfig.
    """
    try:
        link = await Link.connect(address, _link_limits(config.limits, session=session))
    except (DialError, BusError) as error:
        log.error("no bus: %s", error)
        return 1
    try:
        return await _Daemon(config, link, session=session).run(ready, reload)
    finally:
        await link.drain(1.0)
        link.close()


class _Daemon:
    def __init__(self, config: Config, link: Link, *, session: bool) -> None:
        self._config = config
        self._link = link
        self._notifier = Notifier()
        self._reloads: set[asyncio.Task[None]] = set()
        metrics = Metrics()
        cache = Cache()
        Chains(cache)
        self._clients = Clients(link)
        self._connections = Connections(
            publish=cache.apply,
            lookup=cache.get,
            watched=self._clients.present,
            look=lambda *args: self._requests.look(*args),
            on_batch=lambda: self._face.publish(),
            metrics=metrics,
            refresh=config.refresh,
            stats=config.stats,
        )
        self._requests = Requests(self._connections, metrics, cache)
        self._statistics = Statistics(self._connections, cache, metrics, config.stats)
        _Status(cache, self._notifier)
        Collector(cache)
        metrics.gauge("queue.clients", lambda: len(self._clients))
        for what in ("calls", "replies", "errors", "signals"):
            metrics.gauge(f"bus.{what}", partial(getattr, link.counts, what))
        metrics.gauge("queue.outgoing-bytes", lambda: link.queued_bytes)
        metrics.gauge("queue.calls", lambda: link.queued_calls)
        self._face = BusFace(
            link,
            cache,
            self._requests,
            self._clients,
            metrics,
            config.limits,
            config.refresh,
            session=session,
            statistics=self._statistics,
            stats=config.stats,
        )

    async def run(self, ready: Callable[[], None] | None, reload: Callable[[], Config] | None) -> int:
        share_fairly()
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup, reload)
        watchdog = asyncio.create_task(self._feed_watchdog())
        try:
            return await self._serve(stopped, ready)
        finally:
            watchdog.cancel()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def _serve(self, stopped: asyncio.Event, ready: Callable[[], None] | None) -> int:
        self._connections.start()
        for connection in self._config.connections.values():
            self._open(connection)
        try:
            await self._clients.watch()
            await self._face.serve()
            self._notifier.ready("Serving")
            log.info("serving connections=%d", len(self._config.connections))
            if ready:
                ready()
            await self._wait(stopped)
            self._notifier.stopping()
            log.info("stopping")
            await self._statistics.stop()
            await self._requests.stop()
            await self._face.stop()
        except (NameTaken, BusError, LinkLost) as error:
            log.error("%s", error)
            return 1
        finally:
            await self._connections.stop(_STOP_S)
        return 0

    async def _wait(self, stopped: asyncio.Event) -> None:
        """Until somebody wants us to stop. Raises LinkLost when the bus goes first."""
        waiter = asyncio.create_task(stopped.wait())
        try:
            ends: set[asyncio.Future[Any]] = {waiter, self._link.lost}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
        if self._link.lost.done():
            self._link.lost.result()

    def _on_hangup(self, read: Callable[[], Config] | None) -> None:
        if read is not None:
            self._reloads.add(task := asyncio.create_task(self._reload(read)))
            task.add_done_callback(self._reloads.discard)

    async def _reload(self, read: Callable[[], Config]) -> None:
        """Connections that did not change are not touched, nor are those that clients opened."""
        self._notifier.reloading()
        try:
            new = await asyncio.to_thread(read)
        except BadConfig as error:
            log.error("the configuration stays as it was: %s", error)
        else:
            close, start = changed_connections(self._config.connections, new.connections)
            if replace(new, connections=self._config.connections) != self._config:
                log.warning(
                    "only [connections] is read anew, the rest of the configuration at the next start"
                )
            self._config = new
            for name in close:
                await self._close(name)
            for connection in start:
                self._open(connection)
            log.info("reloaded closed=%d opened=%d", len(close), len(start))
        self._notifier.ready("Serving")

    def _open(self, connection: ConnectionConfig) -> None:
        try:
            self._connections.open(connection)
        except BridgeError as error:  # a client was first with that name
            log.error("connection not opened conn=%s: %s", connection.name, error.message)

    async def _close(self, name: str) -> None:
        with contextlib.suppress(BridgeError):  # a client closed it before
            await self._connections.close(name)

    async def _feed_watchdog(self) -> None:
        """Fed from the main loop, and only while libvirt's own loop turns as well."""
        limit_s = self._notifier.watchdog_s
        while limit_s is not None:
            if monotonic() - self._connections.beat() < limit_s:
                self._notifier.watchdog()
            await asyncio.sleep(limit_s / 3)


class _Status:
    """The service's state in words, for `systemctl status`."""

    def __init__(self, cache: Cache, notifier: Notifier) -> None:
        self._cache = cache
        self._notifier = notifier
        cache.listen([Kind.CONNECTION], touched=self._tell)

    def _tell(self, _key: Key) -> None:
        self._notifier.status(self._words())

    def _words(self) -> str:
        records = [record for _, record in self._cache.records(Kind.CONNECTION)]
        states = Counter(record.state for record in records if isinstance(record, ConnectionRecord))
        return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no connections"


# What a bus takes in one message before it hangs up: dbus-daemon's max_message_size in system.conf, and
# the protocol's own maximum.
_SYSTEM_MESSAGE_BYTES = 32 << 20
_SESSION_MESSAGE_BYTES = 128 << 20


def _link_limits(limits: LimitsConfig, *, session: bool) -> LinkLimits:
    return LinkLimits(
        call_bytes=limits.message_bytes,
        message_bytes=_SESSION_MESSAGE_BYTES if session else _SYSTEM_MESSAGE_BYTES,
        high_water_bytes=limits.outgoing_high_water_bytes,
        low_water_bytes=limits.outgoing_high_water_bytes // 4,
        inbound=InboundLimits(calls_per_sender=limits.calls_per_client),
    )
