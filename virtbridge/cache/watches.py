"""Watches: what clients want kept fresh, and the total of all watches of one connection.

The registry is the same for watches of kinds and of statistics. It only counts and combines: the total is
passed on whenever it changes, so that fifty equal watches cost the source as much as one. Main thread only;
nothing blocks.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.limiter import Bounds, Limiter
from virtbridge.model.keys import Kind

_LAST_NUMBER = (1 << 32) - 1  # the largest value of D-Bus's type u

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Watch(Generic[T]):
    """wanted: what is to be kept fresh, and how often."""

    user: int
    client: str
    connection: str
    wanted: T


class Watches(Generic[T, S]):
    """what: the name of the watches in errors. bounds: how many there may be. total: combines the wanted
    values of several watches, or of none. changed: called with the new total of a connection when it differs
    from the last.
    """

    def __init__(
        self,
        what: str,
        bounds: Bounds,
        total: Callable[[Iterable[T]], S],
        changed: Callable[[str, S], None],
    ) -> None:
        self._total = total
        self._changed = changed
        self._limiter = Limiter(what, bounds)
        self._number = 0
        self._watches: dict[int, Watch[T]] = {}
        self._of_client: dict[str, set[int]] = {}
        self._nothing = total(())
        self._known: dict[str, S] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def add(self, watch: Watch[T]) -> int:
        """Return the watch's number, which is never 0. Raises LimitExceeded."""
        if problem := self._limiter.problem(watch.user, watch.client):
            raise BridgeError(ErrorKind.LIMIT_EXCEEDED, f"this is above {problem}")
        self._limiter.count(watch.user, watch.client)
        number = self._free_number()
        self._watches[number] = watch
        self._of_client.setdefault(watch.client, set()).add(number)
        self._announce({watch.connection})
        return number

    def end(self, client: str, connection: str, number: int) -> None:
        """End one watch. Raises NoSuchObject, also for a watch of another client."""
        watch = self._watches.get(number)
        if watch is None or (watch.client, watch.connection) != (client, connection):
            raise BridgeError(ErrorKind.NO_SUCH_OBJECT, f"this client has no watch {number} here")
        self._end({number})

    def end_client(self, client: str) -> None:
        """End all watches of a client that left the bus."""
        self._end(set(self._of_client.get(client, ())))

    def end_connection(self, connection: str) -> None:
        """End all watches of a connection that was closed."""
        self._end({number for number, watch in self._watches.items() if watch.connection == connection})

    def clients(self, connection: str) -> list[str]:
        """Return the clients that have a watch of this connection, each once."""
        found = (watch.client for watch in self._watches.values() if watch.connection == connection)
        return list(dict.fromkeys(found))

    def _end(self, numbers: set[int]) -> None:
        ended = [self._watches.pop(number) for number in numbers]
        for watch in ended:
            self._limiter.give_back(watch.user, watch.client)
        for client in {watch.client for watch in ended}:
            self._of_client[client] -= numbers
            if not self._of_client[client]:
                del self._of_client[client]
        self._announce({watch.connection for watch in ended})

    def _announce(self, connections: set[str]) -> None:
        for connection in connections:
            watches = (each for each in self._watches.values() if each.connection == connection)
            total = self._total(each.wanted for each in watches)
            if total == self._known.get(connection, self._nothing):
                continue
            if total == self._nothing:
                del self._known[connection]
            else:
                self._known[connection] = total
            self._changed(connection, total)

    def _free_number(self) -> int:
        """Return the next free number. Numbers go up, so that the number of an ended watch is not used again
        soon.
        """
        while True:
            self._number = self._number % _LAST_NUMBER + 1
            if self._number not in self._watches:
                return self._number


class KindsWanted(NamedTuple):
    """The kinds of one watch, and its interval in seconds."""

    kinds: frozenset[Kind]
    interval_s: float


def shortest_intervals(wanted: Iterable[KindsWanted]) -> Mapping[Kind, float]:
    """Return the shortest interval of each kind in seconds, without the kinds that nobody watches."""
    shortest: dict[Kind, float] = {}
    for kinds, interval_s in wanted:
        for kind in kinds:
            shortest[kind] = min(interval_s, shortest.get(kind, interval_s))
    return shortest
