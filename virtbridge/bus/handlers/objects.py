"""org.virtbridge1.Connection, and all objects that libvirt has XML for: what clients can ask them."""

from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from virtbridge.bus import rows
from virtbridge.bus.call import Call
from virtbridge.bus.handlers.demand import (
    ConnectionQuestions,
    DomainQuestions,
    PoolQuestions,
    Questions,
)
from virtbridge.bus.handlers.statistics import ConnectionStatistics, DomainStatistics
from virtbridge.bus.options import check_words
from virtbridge.bus.publisher import Publisher
from virtbridge.bus.rows import Rows
from virtbridge.bus.stats_watches import StatsWatches
from virtbridge.bus.watches import KindWatches
from virtbridge.cache.cache import Cache
from virtbridge.cache.requests import Requests
from virtbridge.cache.statistics import Statistics
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import OBJECT_KINDS, ON_DEMAND, Kind
from virtbridge.model.records import ConnectionRecord


class ConnectionHandlers(ConnectionQuestions, ConnectionStatistics):
    """Serves org.virtbridge1.Connection."""

    def __init__(
        self,
        cache: Cache,
        publisher: Publisher,
        requests: Requests,
        watches: KindWatches,
        statistics: Statistics,
        stats_watches: StatsWatches,
    ) -> None:
        super().__init__(cache, publisher, requests)
        self._statistics = statistics
        self._stats_watches = stats_watches
        self._watches = watches

    def list(
        self, call: Call, kind: str, options: Mapping[str, Any]
    ) -> Rows[str] | Coroutine[Any, Any, Rows[str]]:
        if kind == Kind.JOB:  # libvirt does not list them, so they are never older than anything
            return self._paths(call, Kind.JOB)
        (chosen,) = self._kinds(call, [kind])
        if "max-age" in options or self._is_read_on_demand(call, chosen):
            return self._loaded(call, chosen, options)
        return self._paths(call, chosen)

    async def _loaded(self, call: Call, kind: Kind, options: Mapping[str, Any]) -> Rows[str]:
        await self._load(call.key, kind, options)
        return self._paths(call, kind)

    def _paths(self, call: Call, kind: Kind) -> Rows[str]:
        return rows.paths(partial(self._publisher.objects, kind, call.key.connection))

    def _is_read_on_demand(self, call: Call, kind: Kind) -> bool:
        record = self._cache.get(call.key)
        return isinstance(record, ConnectionRecord) and kind.value in record.demand_kinds

    async def refresh(self, call: Call, kinds: Sequence[str], options: Mapping[str, Any]) -> None:
        everything = self._known(call) - (ON_DEMAND - self._requests.loaded(call.key.connection))
        chosen = self._kinds(call, kinds or sorted(everything))
        await self._until_known(options, partial(self._requests.refresh, call.key.connection, chosen))

    def watch(self, call: Call, kinds: Sequence[str], interval_ms: int, options: Mapping[str, Any]) -> int:
        chosen = self._kinds(call, kinds) or frozenset(OBJECT_KINDS) - ON_DEMAND
        return self._watches.begin(call.user, call.sender, call.key.connection, chosen, interval_ms)

    def unwatch(self, call: Call, number: int, options: Mapping[str, Any]) -> None:
        self._watches.end(call.sender, call.key.connection, number)

    def _kinds(self, call: Call, names: Sequence[str]) -> frozenset[Kind]:
        check_words(names, OBJECT_KINDS, "kinds")
        known = self._known(call)
        for name in names:
            if name not in known:
                raise BridgeError(ErrorKind.NOT_SUPPORTED, f"this connection has no objects of kind {name}")
        return frozenset(map(Kind, names))

    def _known(self, call: Call) -> frozenset[str]:
        """Return the kinds that this driver has. Before the first connection nobody knows, so it is all of
        them.
        """
        record = self._cache.get(call.key)
        if not isinstance(record, ConnectionRecord) or not record.last_sync_us:
            return frozenset(OBJECT_KINDS)
        return frozenset(record.event_kinds) | frozenset(record.demand_kinds)


class DefinedHandlers(Questions):
    """Serves the kinds that have XML and whose changes events announce."""

    def get_xml(self, call: Call, options: Mapping[str, Any]) -> str | Coroutine[Any, Any, str]:
        return self._get_xml(call, options, self._cached_xml)

    def _cached_xml(self, call: Call) -> str:
        record: Any = self._cache.get(call.key)
        xml: str = getattr(record, "xml", "")
        if not xml:
            problem = getattr(record, "problem", "") or "it has not been read yet"
            raise BridgeError(ErrorKind.OPERATION_FAILED, f"no definition: {problem}")
        return xml


class DomainHandlers(DomainQuestions, DomainStatistics, DefinedHandlers):
    """Serves org.virtbridge1.Domain."""

    def __init__(
        self, cache: Cache, publisher: Publisher, requests: Requests, statistics: Statistics
    ) -> None:
        super().__init__(cache, publisher, requests)
        self._statistics = statistics


class StoragePoolHandlers(PoolQuestions, DefinedHandlers):
    """Serves org.virtbridge1.StoragePool."""


class JobHandlers:
    """Serves org.virtbridge1.Job, whose members are all answered by rows."""
