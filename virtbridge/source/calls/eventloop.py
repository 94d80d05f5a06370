"""libvirt's own event loop, which runs in the thread vb-events for all connections of the process.

It serves libvirt's timers and sockets: events, keepalive and close callbacks. Nothing slow may run here, and
this module does not know what the callbacks mean. Source: virEventRunDefaultImpl().
"""

import asyncio
import logging
import threading
from functools import cache
from time import monotonic
from typing import Any

import libvirt

from virtbridge.source.calls.event_source_guard import LIBRARY, load_guard
from virtbridge.source.calls.registering import guard_registrations

log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
EVENT_SOURCES_FIXED = 10_004_000  # the first libvirt that does not need event_source_guard.c


@cache
def install() -> None:
    """Give libvirt its event loop. This happens once per process, before the first connection is opened,
    since libvirt does not accept another loop later.
    """
    # Without a handler libvirt prints every error to stderr, although each is raised as an exception as well.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    libvirt.virEventRegisterDefaultImpl()
    guard_registrations()
    if libvirt.getVersion() < EVENT_SOURCES_FIXED and not load_guard():
        log.warning(
            "%s is missing: when a host is lost during calls, this version of libvirt may crash", LIBRARY.name
        )


class EventLoop:
    """The thread that runs libvirt's event loop.

    start() and stop() are called on the main thread, last_turn_s() on any thread.
    """

    def __init__(self, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._heartbeat_s = heartbeat_s
        self._last_turn_s = monotonic()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._timer = -1
        self._ended: asyncio.Future[None] | None = None

    def start(self) -> None:
        install()
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._stopping = False
        self._last_turn_s = monotonic()
        self._timer = libvirt.virEventAddTimeout(int(self._heartbeat_s * 1000), self._on_heartbeat, None)
        self._thread = threading.Thread(
            target=self._run, args=(loop, self._ended), name="vb-events", daemon=True
        )
        self._thread.start()

    def last_turn_s(self) -> float:
        """Return the monotonic time of the loop's last turn. The loop hangs when that is more than two
        heartbeats ago.
        """
        return self._last_turn_s

    async def stop(self, timeout_s: float) -> bool:
        """End the thread, and return whether it ended in time."""
        if self._thread is None or self._ended is None:
            return True
        self._stopping = True
        libvirt.virEventUpdateTimeout(self._timer, 0)  # wakes the poll at once
        done, _ = await asyncio.wait([self._ended], timeout=timeout_s)
        if not done:
            log.error("libvirt's event loop did not end in time")
            return False
        self._thread.join()
        libvirt.virEventRemoveTimeout(self._timer)
        self._thread = None
        return True

    def _on_heartbeat(self, _timer: int, _opaque: Any) -> None:
        self._last_turn_s = monotonic()

    def _run(self, loop: asyncio.AbstractEventLoop, ended: "asyncio.Future[None]") -> None:
        while not self._stopping:
            self._last_turn_s = monotonic()
            try:
                libvirt.virEventRunDefaultImpl()
            except libvirt.libvirtError as error:
                log.error("libvirt's event loop failed: %s", error)
        try:
            loop.call_soon_threadsafe(_set, ended)
        except RuntimeError:
            log.debug("the main loop was closed before libvirt's event loop ended")


def _set(ended: "asyncio.Future[None]") -> None:
    if not ended.done():
        ended.set_result(None)
