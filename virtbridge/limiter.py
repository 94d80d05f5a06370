"""The limiter: at most so many of something at a time, a share for each user, and a reserve for root.

A limit for each connection to the bus protects nobody, as any user may have as many of these as he likes.
Pure: it counts what is taken and given back, and knows neither the bus nor what it counts.
"""

from collections import Counter
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K")

ROOT = 0
UNKNOWN = -1  # the user of all whose user the bus does not know, or not yet


@dataclass(frozen=True, slots=True)
class Bounds:
    """total: for all users together, of which only root may take the last `reserve`. per_user: for each user
    but root. per_client: for each unique name.
    """

    total: int
    per_user: int
    reserve: int
    per_client: int


@dataclass(frozen=True, slots=True)
class Portions:
    """What one user may have of a total, and what is kept for root. The defaults are a session bus's: it has
    only one user.
    """

    user_percent: int = 100
    root_percent: int = 0

    def of(self, total: int, per_client: int | None = None) -> Bounds:
        """Everybody has room for one at least, however small the total is."""
        reserve = min(-(-total * self.root_percent // 100), total - 1)
        per_user = max(1, total * self.user_percent // 100)
        return Bounds(total, per_user, reserve, total if per_client is None else per_client)


class Limiter:
    """what: the things that are counted, for the error. taken: how many there are now."""

    def __init__(self, what: str, bounds: Bounds) -> None:
        self.bounds = bounds
        self._what = what
        self._of_user: Counter[int] = Counter()
        self._of_client: Counter[str] = Counter()
        self.taken = 0

    def problem(self, user: int, client: str, amount: int = 1) -> str:
        """Return why so many more are above a limit, naming the limit; empty when they are not."""
        bounds = self.bounds
        if self._of_client[client] + amount > bounds.per_client:
            return f"the limit of one client, {bounds.per_client} {self._what}"
        if user != ROOT and self._of_user[user] + amount > bounds.per_user:
            return f"the limit of one user, {bounds.per_user} {self._what}"
        if self.taken + amount > bounds.total - (0 if user == ROOT else bounds.reserve):
            return f"the limit of all clients together, {bounds.total} {self._what}"
        return ""

    def free(self, user: int, client: str, amount: int = 1) -> bool:
        return not self.problem(user, client, amount)

    def count(self, user: int, client: str, amount: int = 1) -> None:
        """Take what problem() has allowed."""
        self.taken += amount
        self._of_user[user] += amount
        self._of_client[client] += amount

    def give_back(self, user: int, client: str, amount: int = 1) -> None:
        self.taken -= amount
        _subtract(self._of_user, user, amount)
        _subtract(self._of_client, client, amount)


def _subtract(counter: Counter[K], key: K, amount: int) -> None:
    """Subtract, and forget whoever has nothing: names on a bus are never used again."""
    counter[key] -= amount
    if not counter[key]:
        del counter[key]
