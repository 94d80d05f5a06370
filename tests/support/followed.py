"""Connections with a cache and a log of signals: the source as the rest of the service sees it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any

from tests.support.leap import leap
from tests.support.until import until
from virtbridge.cache.cache import Cache
from virtbridge.cache.requests import Requests
from virtbridge.config import ConnectionConfig, RefreshConfig
from virtbridge.metrics import Metrics
from virtbridge.model.changes import Change, Put, Signal
from virtbridge.model.keys import Key, Kind, connection_key
from virtbridge.source.connections import Connections

WAIT_S = 20.0
QUICK = RefreshConfig(audit_interval_s=0, reconnect_min_s=0.1, reconnect_max_s=0.5, call_timeout_s=5.0)


class _Counted(Connections):
    """busy: how many listings and readings of polls and requests are not over, between two calls as well."""

    busy = 0

    async def list_again(self, connection: str, kind: Kind) -> None:
        with self._counted():
            await super().list_again(connection, kind)

    async def load(self, about: Key, kind: Kind, everything: bool) -> bool:
        with self._counted():
            return await super().load(about, kind, everything)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1


class Followed:
    """async with Followed() as source: … stop() must have ended in time, and cleanly unless hangs was set."""

    def __init__(self, refresh: RefreshConfig = QUICK, **changes: Any) -> None:
        self.cache = Cache()
        self.metrics = Metrics()
        self.signals: list[Signal] = []
        self.puts: list[Key] = []
        self.states: list[str] = []
        self.watched = True
        self.hangs = False
        self._changed = asyncio.Event()
        self.connections = _Counted(
            publish=self._publish,
            lookup=self.cache.get,
            watched=lambda: self.watched,
            metrics=self.metrics,
            refresh=replace(refresh, **changes),
        )
        self.requests = Requests(self.connections, self.metrics, self.cache)

    async def __aenter__(self) -> "Followed":
        self.connections.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.requests.stop()
        clean = await self.connections.stop(10.0)
        assert clean or self.hangs or kind is not None

    def _publish(self, changes: list[Change]) -> None:
        self.cache.apply(changes)
        self.signals += [change for change in changes if isinstance(change, Signal)]
        self.puts += [change.key for change in changes if isinstance(change, Put)]
        for change in changes:
            fields = getattr(change, "fields", {})
            if (
                change.__class__.__name__ == "Patch"
                and change.key.kind is Kind.CONNECTION
                and "state" in fields
            ):
                self.states.append(fields["state"])
        self._changed.set()

    async def until(self, condition: Callable[[], object], wait_s: float = WAIT_S) -> None:
        """Until the condition holds, looked at after each change."""
        async with asyncio.timeout(wait_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def connection(self, name: str = "c") -> Any:
        return self.cache.get(connection_key(name))

    async def ready(self, uri: str, name: str = "c", **config: Any) -> None:
        """Until the last call that comes by itself has come, too."""
        before = self.calls().get("getVersion", 0)
        self.connections.open(ConnectionConfig(name, uri, **config))
        await self.until_state("ready", name)
        await self.until(lambda: self.calls().get("getVersion", 0) > before)

    async def until_state(self, state: str, name: str = "c", wait_s: float = WAIT_S) -> None:
        await self.until(lambda: self.connection(name).state == state, wait_s)

    def domain(self, uuid: str, name: str = "c") -> Any:
        return self.cache.get(Key(name, Kind.DOMAIN, uuid))

    def named(self, kind: Kind, object_name: str) -> Any:
        return next((record for _, record in self.cache.records(kind) if record.name == object_name), None)

    def calls(self) -> dict[str, int]:
        """libvirt calls so far, without the prefix."""
        counts = self.metrics.snapshot()
        return {name[8:]: count for name, count in counts.items() if name.startswith("libvirt.")}

    async def idle(self) -> None:
        """Until what is polled, asked for or read again is over, if nothing new is begun."""
        await until(lambda: not self._is_in_flight())

    def _is_in_flight(self) -> bool:
        """Whether a call of libvirt, a poll, an audit or a reading is under way, between two calls too."""
        counts = self.metrics.snapshot()
        works = [work for each in self.connections._connections.values() if (work := each._work) is not None]
        return (
            self.connections.busy > 0
            or any(
                count
                for name, count in counts.items()
                if name.endswith((".running", ".waiting", ".readings"))
            )
            or any(work._one_at_a_time.locked() or work._rereads._running for work in works)
        )

    async def a_long_time(self, seconds: float = 3600.0) -> None:
        """Let so much time pass, and all that is due begin and end."""
        await self.idle()
        await leap(seconds)
        await self.idle()

    def lifecycles(self, uuid: str) -> list[tuple[str, str]]:
        return [each.args for each in self.signals if each.member == "Lifecycle" and each.key.id == uuid]
