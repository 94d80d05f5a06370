"""The backlog: how many calls wait, and how many bytes and descriptors came with them, within the limits of
each client and user.

Pure. The calls themselves are with whoever lets them wait.
"""

from dataclasses import dataclass, field
from typing import Final

from virtbridge.limiter import Bounds, Limiter, Portions

# An eighth of the unit's LimitNOFILE: a service that has no descriptor left loses those of a message that
# comes, and with them its connection to the bus.
DESCRIPTORS: Final = 2048


@dataclass(frozen=True, slots=True)
class BacklogLimits:
    """calls: how many may wait. size_bytes: how many bytes they may have together. descriptors:
    how many open file descriptors came with them.
    """

    calls: Bounds = field(default_factory=lambda: Portions().of(65536, per_client=4096))
    size_bytes: Bounds = field(default_factory=lambda: Portions().of(16 << 20))
    descriptors: Bounds = field(default_factory=lambda: Portions().of(DESCRIPTORS))


class Backlog:
    """Counts what waits. what: names it in errors, as in "calls"."""

    def __init__(self, limits: BacklogLimits, what: str = "calls") -> None:
        self._limiters = (
            Limiter(f"{what} that wait", limits.calls),
            Limiter(f"bytes of {what} that wait", limits.size_bytes),
        )
        self._descriptors = Limiter(f"descriptors of {what} that wait", limits.descriptors)

    @property
    def calls(self) -> int:
        return self._limiters[0].taken

    @property
    def size_bytes(self) -> int:
        return self._limiters[1].taken

    def problem(self, user: int, client: str, size: int, descriptors: int = 0) -> str:
        """Why a call of this size may not wait, naming the limit; empty when it may."""
        calls, size_bytes = self._limiters
        return (
            calls.problem(user, client)
            or size_bytes.problem(user, client, size)
            or (self._descriptors.problem(user, client, descriptors) if descriptors else "")
        )

    def count(self, user: int, client: str, size: int, descriptors: int = 0) -> None:
        """Count an item that begins to wait."""
        calls, size_bytes = self._limiters
        calls.count(user, client)
        size_bytes.count(user, client, size)
        if descriptors:
            self._descriptors.count(user, client, descriptors)

    def give_back(self, user: int, client: str, size: int, descriptors: int = 0) -> None:
        """Count an item that waits no longer."""
        calls, size_bytes = self._limiters
        calls.give_back(user, client)
        size_bytes.give_back(user, client, size)
        if descriptors:
            self._descriptors.give_back(user, client, descriptors)
