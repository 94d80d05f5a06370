"""The way back: what clients ask of a source, shared where they ask the same.

The source itself is handed in where the daemon is wired together. Main thread only.
"""

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Protocol

from virtbridge.cache.flight import SingleFlight
from virtbridge.config import ConnectionConfig
from virtbridge.metrics import Metrics
from virtbridge.model.keys import Key, Kind

_REST = 3


class Source(Protocol):
    """What asks libvirt. Every method raises BridgeError and never blocks the loop."""

    def open(self, config: ConnectionConfig) -> None: ...

    async def close(self, name: str) -> None: ...

    async def refresh(self, connection: str, kinds: frozenset[Kind]) -> None: ...

    def watch(self, connection: str, intervals: Mapping[Kind, float]) -> None: ...

    async def read_xml(self, key: Key, flags: int) -> str: ...

    async def set_autostart(self, key: Key, value: bool) -> None: ...


class Requests:
    def __init__(self, source: Source, metrics: Metrics) -> None:
        self._source = source
        self._flights = SingleFlight(metrics)
        self._rested_at: dict[str, float] = {}  # when the next refresh of a connection may begin

    def open(self, config: ConnectionConfig) -> None:
        self._source.open(config)

    async def close(self, name: str) -> None:
        self._rested_at.pop(name, None)
        await self._source.close(name)

    async def refresh(self, connection: str, kinds: frozenset[Kind]) -> None:
        """kinds: at least one. Ends when they have been read and published, all of it after this call."""
        await self._flights.run_anew(("refresh", connection, kinds), lambda: self._refresh(connection, kinds))

    async def _refresh(self, connection: str, kinds: frozenset[Kind]) -> None:
        """Anyone may ask, as often as they like: libvirt gets _REST times as long to recover as the last
        one took.
        """
        await asyncio.sleep(self._rested_at.pop(connection, 0.0) - monotonic())
        began = monotonic()
        try:
            await self._source.refresh(connection, kinds)
        finally:
            now = monotonic()
            self._rested_at[connection] = now + _REST * (now - began)

    def watch(self, connection: str, intervals: Mapping[Kind, float]) -> None:
        """The shortest intervals that anyone watches with, in seconds, by kind."""
        self._source.watch(connection, intervals)

    async def read_xml(self, key: Key, flags: int) -> str:
        """flags: libvirt's, 0 for what the cache holds already. Not shared: it may hold secrets."""
        return await self._source.read_xml(key, flags)

    async def set_autostart(self, key: Key, value: bool) -> None:
        await self._source.set_autostart(key, value)

    async def stop(self) -> None:
        await self._flights.stop()
