"""All libvirt connections by name, and the threads that they share. The rest of the service uses only this.

The methods raise BridgeError, and none of libvirt's exceptions. Main thread.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

from virtbridge.config import ConnectionConfig, RefreshConfig, StatsConfig
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.metrics import Metrics
from virtbridge.model.keys import Key, Kind
from virtbridge.model.operations import Request
from virtbridge.source.callbacks import Lookup, Publish
from virtbridge.source.calls.eventloop import HEARTBEAT_S, EventLoop
from virtbridge.source.calls.inbox import Inbox
from virtbridge.source.connection import Connection
from virtbridge.source.stats.sampler import Samples

log = logging.getLogger(__name__)


class Connections:
    """publish, lookup, watched: called on the main thread.

    watched: says whether any client would notice a change. batch: is entered while the events that have
    arrived by now are published. heartbeat_s: the longest time between two turns of libvirt's event loop.
    """

    def __init__(
        self,
        *,
        publish: Publish,
        lookup: Lookup,
        watched: Callable[[], bool],
        metrics: Metrics,
        refresh: RefreshConfig | None = None,
        stats: StatsConfig | None = None,
        batch: AbstractContextManager[object] | None = None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._batch = batch
        self._stats = stats or StatsConfig()
        self._publish = publish
        self._lookup = lookup
        self._watched = watched
        self._metrics = metrics
        self._refresh = refresh or RefreshConfig()
        self._connections: dict[str, Connection] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._events = EventLoop(heartbeat_s)
        self._inbox: Inbox | None = None
        self._started = False

    def prepare(self) -> None:
        """Prepare the inbox; called once, in the running loop. From here on connections are published, but
        libvirt is not called before start().
        """
        inbox = self._inbox = Inbox(asyncio.get_running_loop(), self._batch)
        self._metrics.gauge("queue.inbox", lambda: len(inbox))
        self._metrics.gauge("source.connections", lambda: len(self._connections))

    def start(self) -> None:
        """Connect all connections, those that exist and those that will be opened. Called once."""
        if self._inbox is None:
            self.prepare()
        self._events.start()
        self._started = True
        for connection in self._connections.values():
            connection.start()

    def open(self, config: ConnectionConfig) -> None:
        """Publish the connection at once and connect in the background. Raises AlreadyExists."""
        if self._inbox is None:
            raise BridgeError(ErrorKind.NOT_CONNECTED, "the service is stopping")
        if config.name in self._connections:
            raise BridgeError(ErrorKind.ALREADY_EXISTS, f"there is a connection named {config.name}")
        connection = Connection(
            config,
            self._refresh,
            self._inbox,
            self._metrics,
            publish=self._publish,
            lookup=self._lookup,
            watched=self._watched,
            stats=self._stats,
        )
        self._connections[config.name] = connection
        connection.announce()
        if self._started:
            connection.start()

    async def close(self, name: str) -> None:
        """Remove the connection from the cache at once, and close it in the background: the host may hang."""
        connection = self._connections.pop(name, None)
        if connection is None:
            raise BridgeError(ErrorKind.NO_SUCH_OBJECT, f"there is no connection named {name}")
        connection.forget()
        self._end(connection)

    def configs(self) -> Mapping[str, ConnectionConfig]:
        return MappingProxyType({name: each.config for name, each in self._connections.items()})

    def watch(self, connection: str, kinds: frozenset[Kind]) -> None:
        """Set the kinds that clients watch. This is ignored when the connection was closed."""
        if (known := self._connections.get(connection)) is not None:
            known.watch(kinds)

    async def poll(self, connection: str, kind: Kind) -> None:
        """Poll a kind whose events the driver does not have, and publish the differences."""
        await self._named(connection).poll(kind)

    def show_poll_failure(self, connection: str, failure: BridgeError | None) -> None:
        """Publish the failure of polls. None means that they succeed again. Ignored for a closed
        connection.
        """
        if (known := self._connections.get(connection)) is not None:
            known.show_poll_failure(failure)

    async def refresh(self, connection: str, kinds: frozenset[Kind]) -> None:
        """Read these kinds, or all when none is given, and publish the differences before returning."""
        await self._named(connection).refresh(kinds)

    async def load(self, about: Key, kind: Kind, everything: bool) -> bool:
        """Read and publish the objects of a kind that is read on demand, of a connection or in one object.

        everything: every definition is read, else those that are new, may be outdated, or are in turn.
        Returns whether every definition was read.
        """
        return await self._named(about.connection).load(about, kind, everything)

    async def operate(self, request: Request) -> Any:
        """Make a request by its row in model/operations.py. Returns libvirt's answer, which is not kept."""
        return await self._named(request.key.connection).operate(request)

    async def sample(self, connection: str, groups: frozenset[str], only: str | None) -> Samples:
        """Sample each active domain, or one domain, active or not. Returns samples by UUID."""
        return await self._named(connection).sample(groups, only)

    def last_turn_s(self) -> float:
        """Return the monotonic time of the last turn of libvirt's loop. While it runs, this is at most
        heartbeat_s ago.
        """
        return self._events.last_turn_s()

    async def stop(self, timeout_s: float) -> bool:
        """Close everything. Returns False when something hangs: then only the end of the process ends it."""
        until = asyncio.get_running_loop().time() + timeout_s
        for connection in self._connections.values():
            self._end(connection)
        self._connections.clear()
        if self._ending:
            await asyncio.wait(list(self._ending), timeout=timeout_s)
        clean = not self._ending
        left_s = max(0.1, until - asyncio.get_running_loop().time())
        clean = await self._events.stop(left_s) and clean
        self._inbox = None
        return clean

    def _named(self, name: str) -> Connection:
        connection = self._connections.get(name)
        if connection is None:
            raise BridgeError(ErrorKind.NO_SUCH_OBJECT, f"there is no connection named {name}")
        return connection

    def _end(self, connection: Connection) -> None:
        task = asyncio.create_task(connection.finish(), name=f"end of {connection.config.name}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
