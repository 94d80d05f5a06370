"""Who wants which kinds kept fresh, and how often: the watches of all clients, as one interval for each kind.

Bookkeeping only: the shortest interval of each kind is handed on whenever it changes, so that fifty clients
ask the source for what one of them asks. Main thread only; nothing waits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.limiter import Bounds, Limiter
from virtbridge.model.keys import Kind

Intervals = Mapping[Kind, float]  # seconds

_LAST_NUMBER = (1 << 32) - 1  # of a D-Bus u


@dataclass(frozen=True, slots=True)
class Watch:
    user: int
    client: str
    connection: str
    kinds: frozenset[Kind]
    interval_s: float


class Interests:
    """changed: told the shortest intervals of a connection when they differ from before, by kind; what is
    watched by nobody is not in them. bounds: how many watches there may be.
    """

    def __init__(self, changed: Callable[[str, Intervals], None], bounds: Bounds) -> None:
        self._changed = changed
        self._limiter = Limiter("watches", bounds)
        self._number = 0
        self._watches: dict[int, Watch] = {}
        self._of_client: dict[str, set[int]] = {}
        self._known: dict[str, Intervals] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def add(self, watch: Watch) -> int:
        """The watch's number, never 0. Raises LimitExceeded."""
        if problem := self._limiter.problem(watch.user, watch.client):
            raise BridgeError(ErrorKind.LIMIT_EXCEEDED, f"this is above {problem}")
        self._limiter.count(watch.user, watch.client)
        number = self._free_number()
        self._watches[number] = watch
        self._of_client.setdefault(watch.client, set()).add(number)
        self._tell({watch.connection})
        return number

    def end(self, client: str, connection: str, number: int) -> None:
        """Raises NoSuchObject, also for a watch of somebody else."""
        watch = self._watches.get(number)
        if watch is None or (watch.client, watch.connection) != (client, connection):
            raise BridgeError(ErrorKind.NO_SUCH_OBJECT, f"this client has no watch {number} here")
        self._end({number})

    def end_client(self, client: str) -> None:
        """All watches of a client that left the bus."""
        self._end(set(self._of_client.get(client, ())))

    def end_connection(self, connection: str) -> None:
        """All watches of a connection that was closed."""
        self._end({number for number, watch in self._watches.items() if watch.connection == connection})

    def _end(self, numbers: set[int]) -> None:
        ended = [self._watches.pop(number) for number in numbers]
        for watch in ended:
            self._limiter.give_back(watch.user, watch.client)
        for client in {watch.client for watch in ended}:
            self._of_client[client] -= numbers
            if not self._of_client[client]:
                del self._of_client[client]
        self._tell({watch.connection for watch in ended})

    def _tell(self, connections: set[str]) -> None:
        for connection in connections:
            intervals = self._intervals(connection)
            if intervals != self._known.get(connection, {}):
                if intervals:
                    self._known[connection] = intervals
                else:
                    del self._known[connection]
                self._changed(connection, intervals)

    def _intervals(self, connection: str) -> Intervals:
        shortest: dict[Kind, float] = {}
        for watch in self._watches.values():
            if watch.connection == connection:
                for kind in watch.kinds:
                    shortest[kind] = min(watch.interval_s, shortest.get(kind, watch.interval_s))
        return shortest

    def _free_number(self) -> int:
        """The next one, so that an ended watch's number is not another's soon."""
        while True:
            self._number = self._number % _LAST_NUMBER + 1
            if self._number not in self._watches:
                return self._number
