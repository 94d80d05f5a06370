"""Watches of kinds as the bus sees them: they end with their client, and with their connection.

Main thread only.
"""

from virtbridge.cache.cache import Cache
from virtbridge.cache.requests import Requests
from virtbridge.cache.watches import KindsWanted, Watch, Watches, shortest_intervals
from virtbridge.config import RefreshConfig
from virtbridge.limiter import Bounds
from virtbridge.metrics import Metrics
from virtbridge.model.keys import Kind
from virtbridge.wire.clients import Clients


class KindWatches:
    """The watches of kinds, by client and connection. bounds: how many watches there may be."""

    def __init__(
        self,
        cache: Cache,
        requests: Requests,
        clients: Clients,
        metrics: Metrics,
        bounds: Bounds,
        refresh: RefreshConfig,
    ) -> None:
        self._floor_s = refresh.poll_floor_s
        watches = self._watches = Watches("watches", bounds, shortest_intervals, requests.watch)
        clients.vanished.append(watches.end_client)
        cache.listen([Kind.CONNECTION], dropped=lambda key: watches.end_connection(key.connection))
        metrics.gauge("queue.watches", lambda: len(watches))

    def begin(self, user: int, client: str, connection: str, kinds: frozenset[Kind], interval_ms: int) -> int:
        """Begin a watch, and return its number. Raises LimitExceeded."""
        wanted = KindsWanted(kinds, max(interval_ms / 1000, self._floor_s))
        return self._watches.add(Watch(user, client, connection, wanted))

    def end(self, client: str, connection: str, number: int) -> None:
        """End a watch. Raises NoSuchObject for one that is not this client's."""
        self._watches.end(client, connection, number)
