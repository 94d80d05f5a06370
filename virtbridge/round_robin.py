"""The round robin: what waits is taken in turn, of one user after the other, and of one client of this user
after the other, so that more connections give nobody more turns. The order of one client's is kept. Pure.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class RoundRobin(Generic[T]):
    """Items that wait, by user and client."""

    def __init__(self) -> None:
        # The first one is next.
        self._users: OrderedDict[int, OrderedDict[str, deque[T]]] = OrderedDict()
        self._user_of: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, client: str) -> bool:
        return client in self._user_of

    def push(self, user: int, client: str, item: T) -> None:
        clients = self._users.setdefault(user, OrderedDict())
        clients.setdefault(client, deque()).append(item)
        self._user_of[client] = user
        self._count += 1

    def pop(self, may: Callable[[int, str], bool] = lambda _user, _client: True) -> T | None:
        """Return the next item of a client that may have its turn; None when there is none."""
        for _ in range(len(self._users)):
            user, clients = next(iter(self._users.items()))
            self._users.move_to_end(user)
            for _ in range(len(clients)):
                client, queue = next(iter(clients.items()))
                clients.move_to_end(client)
                if may(user, client):
                    item = queue.popleft()
                    self._count -= 1
                    if not queue:
                        self._forget(user, client)
                    return item
        return None

    def withdraw(self, client: str) -> list[T]:
        """Take out all items of a client, and return them; they wait no longer."""
        user = self._user_of.get(client)
        if user is None:
            return []
        items = list(self._users[user][client])
        self._count -= len(items)
        self._forget(user, client)
        return items

    def remove(self, client: str, item: T) -> bool:
        """Take out one item of a client, wherever it stands; False when it does not wait."""
        user = self._user_of.get(client)
        if user is None:
            return False
        queue = self._users[user][client]
        try:
            queue.remove(item)
        except ValueError:
            return False
        self._count -= 1
        if not queue:
            self._forget(user, client)
        return True

    def clients(self) -> list[str]:
        return list(self._user_of)

    def _forget(self, user: int, client: str) -> None:
        del self._user_of[client]
        clients = self._users[user]
        del clients[client]
        if not clients:
            del self._users[user]
