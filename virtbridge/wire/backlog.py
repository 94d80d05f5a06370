"""The backlog: how many calls wait, and how many bytes these are, within the limits of each client and user.

Pure. The calls themselves are with whoever lets them wait.
"""

from dataclasses import dataclass, field

from virtbridge.limiter import Bounds, Limiter, Portions


@dataclass(frozen=True, slots=True)
class BacklogLimits:
    """calls: how many may wait. size_bytes: how many bytes they may have together."""

    calls: Bounds = field(default_factory=lambda: Portions().of(65536, per_client=4096))
    size_bytes: Bounds = field(default_factory=lambda: Portions().of(16 << 20))


class Backlog:
    """Counts what waits. what: names it in errors, as in "calls"."""

    def __init__(self, limits: BacklogLimits, what: str = "calls") -> None:
        self._limiters = (
            Limiter(f"{what} that wait", limits.calls),
            Limiter(f"bytes of {what} that wait", limits.size_bytes),
        )

    @property
    def calls(self) -> int:
        return self._limiters[0].taken

    @property
    def size_bytes(self) -> int:
        return self._limiters[1].taken

    def problem(self, user: int, client: str, size: int) -> str:
        """Why a call of this size may not wait, naming the limit; empty when it may."""
        calls, size_bytes = self._limiters
        return calls.problem(user, client) or size_bytes.problem(user, client, size)

    def count(self, user: int, client: str, size: int) -> None:
        """Count an item that begins to wait."""
        calls, size_bytes = self._limiters
        calls.count(user, client)
        size_bytes.count(user, client, size)

    def give_back(self, user: int, client: str, size: int) -> None:
        """Count an item that waits no longer."""
        calls, size_bytes = self._limiters
        calls.give_back(user, client)
        size_bytes.give_back(user, client, size)
