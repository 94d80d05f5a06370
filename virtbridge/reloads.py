"""The configuration is read again while the service runs, at SIGHUP. Connections that did not change stay
open, and so do those that clients opened. Main thread, apart from the reading itself.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TypeVar

from virtbridge.config import Config
from virtbridge.config.files import BadConfig, changed_connections
from virtbridge.errors import BridgeError, shortage
from virtbridge.source.connections import Connections
from virtbridge.status import Status
from virtbridge.tasks import end_all

log = logging.getLogger(__name__)

T = TypeVar("T")


class Reloads:
    """config: what the service was started with."""

    def __init__(self, config: Config, connections: Connections, status: Status) -> None:
        self._config = self._started_with = config
        self._connections = connections
        self._status = status
        self._tasks: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()  # what was read last is what is used
        self._started = asyncio.Event()
        self._stopped = False

    def start(self) -> None:
        """The service is ready, so the end of a reload can be announced as readiness."""
        self._started.set()

    def begin(self, read: Callable[[], Config]) -> None:
        """Begin a reload. read: runs in a thread, and may raise BadConfig."""
        if not self._stopped:
            self._tasks.add(task := asyncio.create_task(self._reload(read)))
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        self._stopped = True
        await end_all(self._tasks)

    async def _reload(self, read: Callable[[], Config]) -> None:
        await self._started.wait()
        async with self._one_at_a_time:
            self._status.reloading()
            try:
                new = await _in_thread(read)
            except BadConfig as error:
                for mistake in error.mistakes:
                    log.error("the configuration stays as it was: %s", mistake)
            except BridgeError as error:
                log.error("the configuration stays as it was: %s", error.message)
            else:
                await self._apply(new)
            await self._status.announce_ready()

    async def _apply(self, new: Config) -> None:
        if replace(new, connections=self._started_with.connections) != self._started_with:
            log.warning(
                "only [connections] is read anew, everything else in the configuration at the next start"
            )
        open_now = self._connections.configs()
        ours = {
            name: config
            for name, config in self._config.connections.items()
            if open_now.get(name) == config  # a client may have closed it, or opened another by its name
        }
        close, start = changed_connections(ours, new.connections)
        self._config = new
        for name in close:
            await self._connections.close(name)
        for connection in start:
            try:
                self._connections.open(connection)
            except BridgeError as error:  # a client was first with that name
                log.error("connection not opened conn=%s: %s", connection.name, error.message)
        log.info("reloaded closed=%d opened=%d", len(close), len(start))


async def _in_thread(work: Callable[[], T]) -> T:
    """Run the work in a thread that may hang as long as a file does. The end would wait for the loop's own
    threads.

    Raises LimitExceeded when the system has no room for a thread.
    """
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    try:
        threading.Thread(target=run, name="vb-config", daemon=True).start()
    except RuntimeError as error:
        raise shortage(error) or error from None
    return await asyncio.wrap_future(done)
