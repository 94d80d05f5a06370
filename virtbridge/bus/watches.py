"""Watches as the bus sees them: they end with the client that made them, and with the connection they are of.

Main thread only.
"""

from virtbridge.bus.clients import Clients
from virtbridge.cache.cache import Cache
from virtbridge.cache.interest import Interests, Watch
from virtbridge.cache.requests import Requests
from virtbridge.config import RefreshConfig
from virtbridge.limiter import Bounds
from virtbridge.metrics import Metrics
from virtbridge.model.keys import Kind


class Watches:
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
        interests = self._interests = Interests(requests.watch, bounds)
        clients.vanished.append(interests.end_client)
        cache.listen([Kind.CONNECTION], dropped=lambda key: interests.end_connection(key.connection))
        metrics.gauge("queue.watches", lambda: len(interests))

    def begin(self, user: int, client: str, connection: str, kinds: frozenset[Kind], interval_ms: int) -> int:
        """Raises LimitExceeded."""
        interval_s = max(interval_ms / 1000, self._floor_s)
        return self._interests.add(Watch(user, client, connection, kinds, interval_s))

    def end(self, client: str, connection: str, number: int) -> None:
        """Raises NoSuchObject."""
        self._interests.end(client, connection, number)
