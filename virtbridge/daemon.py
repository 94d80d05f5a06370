"""The daemon: the parts wired together, from the first signal handler to the last closed connection.

What joins the layers is handed over here: changes go from the source to the cache, requests the other way.
"""

import asyncio
import logging
import math
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from virtbridge.bus.errors import NAME_OF_KIND, link_errors
from virtbridge.bus.service import BusService, Core, NameTaken
from virtbridge.bus.virtbridge1 import handlers, virtbridge1
from virtbridge.cache.cache import Cache
from virtbridge.cache.chains import Chains
from virtbridge.cache.requests import Requests
from virtbridge.cache.statistics import Statistics
from virtbridge.config import Config, LimitsConfig
from virtbridge.interpreter import GarbageFreezer, shorten_switch_interval
from virtbridge.limiter import Portions
from virtbridge.memory import end_in_time
from virtbridge.metrics import Metrics
from virtbridge.notify import Notifier
from virtbridge.reloads import Reloads
from virtbridge.source.calls.eventloop import HEARTBEAT_S
from virtbridge.source.connections import Connections
from virtbridge.status import Status
from virtbridge.tasks import end_all
from virtbridge.wire.backlog import DESCRIPTORS, BacklogLimits
from virtbridge.wire.clients import Clients
from virtbridge.wire.dial import DialError
from virtbridge.wire.inbound import InboundLimits
from virtbridge.wire.link import BusError, Link, LinkLimits, LinkLost

log = logging.getLogger(__name__)

_STOP_S = 5.0  # how long a hypervisor may take to say goodbye
_END_LIMIT_S = 15  # from the signal to the end, whatever hangs: less than the unit's TimeoutStopSec
_ENDING = (signal.SIGTERM, signal.SIGINT)

T = TypeVar("T")


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
    owned. reload: reads the configuration anew, for SIGHUP; raises BadConfig. None: SIGHUP is an end as well,
    as the terminal's is.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _ENDING:
        loop.add_signal_handler(number, stopped.set)
        # This replaces the loop's own handler, which does nothing: the signal's byte wakes the loop.
        signal.signal(number, lambda *_: end_in_time(_END_LIMIT_S))
    loop.add_signal_handler(signal.SIGHUP, (lambda: None) if reload else stopped.set)
    try:
        link = await _run_unless(
            stopped,
            Link.connect(address, _link_limits(config.limits, session=session), link_errors(NAME_OF_KIND)),
        )
        return await _serve_on(link, config, stopped, session, ready, reload) if link else 0
    except (DialError, BusError) as error:
        log.error("no bus: %s", error)
        return 1
    finally:
        # From here on the end takes seconds at most, and is a clean one if it is left alone.
        _ignore_signals(loop, (*_ENDING, signal.SIGHUP))


def _ignore_signals(loop: asyncio.AbstractEventLoop, numbers: tuple[signal.Signals, ...]) -> None:
    """Ignore the signals in place of the loop's handlers.

    Between the two a signal would do what it does by default, which is to end us, so it is blocked meanwhile.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    for number in numbers:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


async def _serve_on(
    link: Link,
    config: Config,
    stopped: asyncio.Event,
    session: bool,
    ready: Callable[[], None] | None,
    reload: Callable[[], Config] | None,
) -> int:
    try:
        return await _Daemon(config, link, session=session).run(stopped, ready, reload)
    finally:
        await link.drain(1.0)
        link.close()


async def _run_unless(stopped: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Return the work's result, or None when stopped comes first, which ends the work."""
    task = asyncio.create_task(work)
    waiter = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        await end_all([task, waiter])


class _Daemon:
    def __init__(self, config: Config, link: Link, *, session: bool) -> None:
        self._config = config
        self._link = link
        self._notifier = Notifier()
        metrics = Metrics()
        cache = Cache()
        self._chains = Chains(cache)
        self._chains.attach()
        self._clients = Clients(link, session=session)
        self._connections = Connections(
            publish=cache.apply,
            lookup=cache.get,
            watched=self._clients.present,
            batch=cache.batch,
            heartbeat_s=min(HEARTBEAT_S, (self._notifier.watchdog_s or math.inf) / 3),
            metrics=metrics,
            refresh=config.refresh,
            stats=config.stats,
            jobs=config.jobs,
        )
        self._requests = Requests(self._connections, metrics, cache)
        self._statistics = Statistics(self._connections, cache, metrics, config.stats)
        self._status = Status(cache, self._notifier)
        self._reloads = Reloads(config, self._connections, self._status)
        self._freezer = GarbageFreezer(cache)
        self._freezer.attach()
        metrics.gauge("queue.clients", lambda: len(self._clients))
        for what in ("calls", "replies", "errors", "signals"):
            metrics.gauge(f"bus.{what}", partial(getattr, link.counts, what))
        metrics.gauge("queue.outgoing-bytes", lambda: link.queued_bytes)
        metrics.gauge("queue.calls", lambda: link.queued_calls)
        core = Core(
            cache,
            self._requests,
            self._statistics,
            metrics,
            config,
            _portions(config.limits, session=session),
            _backlog_limits(config.limits, session=session),
        )
        self._service = BusService(virtbridge1(), handlers, link, self._clients, core, session=session)

    async def run(
        self,
        stopped: asyncio.Event,
        ready: Callable[[], None] | None,
        reload: Callable[[], Config] | None,
    ) -> int:
        shorten_switch_interval()
        if reload:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reloads.begin, reload)
        watchdog = asyncio.create_task(self._feed_watchdog())
        try:
            return await self._serve(stopped, ready)
        finally:
            watchdog.cancel()

    async def _serve(self, stopped: asyncio.Event, ready: Callable[[], None] | None) -> int:
        # They are announced first, so that the first call is answered with them. They are connected once the
        # name is ours, so that a second instance calls no host.
        self._connections.prepare()
        for connection in self._config.connections.values():
            self._connections.open(connection)
        try:
            await _run_unless(stopped, self._own_name())
            if not stopped.is_set():
                log.info("serving connections=%d", len(self._config.connections))
                if ready:
                    ready()
                await _run_unless(stopped, self._end_of_bus())
            await self._reloads.stop()
            self._notifier.stopping()
            log.info("stopping")
            await self._statistics.stop()
            await self._requests.stop()
            await self._service.stop()
            await self._clients.stop()
        except (NameTaken, BusError, LinkLost) as error:
            log.error("%s", error)
            return 1
        finally:
            await self._reloads.stop()
            await self._connections.stop(_STOP_S)
        return 0

    async def _own_name(self) -> None:
        """Get on the bus. Raises NameTaken, BusError."""
        await self._clients.watch()
        await self._service.serve()
        self._connections.start()
        await self._status.announce_ready()  # at once: whoever is answered may ask for the unit's state next
        self._status.start()
        self._reloads.start()

    async def _end_of_bus(self) -> None:
        """Wait for the bus to go away. Raises LinkLost."""
        await asyncio.shield(self._link.lost)

    async def _feed_watchdog(self) -> None:
        """Feed the watchdog from the main loop, and only while libvirt's own loop turns as well."""
        limit_s = self._notifier.watchdog_s
        while limit_s is not None:
            if monotonic() - self._connections.last_turn_s() < limit_s:
                self._notifier.watchdog()
            await asyncio.sleep(limit_s / 3)


# What a bus takes in one message before it hangs up: dbus-daemon's max_message_size in system.conf, and
# the protocol's own maximum.
_SYSTEM_MESSAGE_BYTES = 32 << 20
_SESSION_MESSAGE_BYTES = 128 << 20
# What may wait to be taken by the bus before no more is made: under a flood dbus-daemon takes some 5 MB/s of
# us, and whoever is not flooding waits behind what has its final order already (wire/outgoing.py).
_REPLY_BYTES = 1 << 20
_CLIENT_REPLY_BYTES = 8 << 10


def _portions(limits: LimitsConfig, *, session: bool) -> Portions:
    return Portions() if session else Portions(limits.user_percent, limits.root_percent)


def _backlog_limits(limits: LimitsConfig, *, session: bool) -> BacklogLimits:
    portions = _portions(limits, session=session)
    return BacklogLimits(
        calls=portions.of(limits.calls, limits.calls_per_client),
        size_bytes=portions.of(limits.calls_bytes),
        descriptors=portions.of(DESCRIPTORS),
    )


def _link_limits(limits: LimitsConfig, *, session: bool) -> LinkLimits:
    return LinkLimits(
        call_bytes=limits.message_bytes,
        message_bytes=_SESSION_MESSAGE_BYTES if session else _SYSTEM_MESSAGE_BYTES,
        high_water_bytes=limits.outgoing_high_water_bytes,
        low_water_bytes=limits.outgoing_high_water_bytes // 4,
        reply_bytes=_portions(limits, session=session).of(_REPLY_BYTES, _CLIENT_REPLY_BYTES),
        inbound=InboundLimits(backlog=_backlog_limits(limits, session=session)),
    )
