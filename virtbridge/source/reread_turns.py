"""The round robin: how many definitions are read again though nothing shows that they differ, and which.

What libvirt changes without a word is found by it in the end, at a bounded price. Pure.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

from virtbridge.model.keys import Key, Kind

ROUNDS = 64  # of so many objects one is read again each time, and of any number at least PER_ROUND_MIN
PER_ROUND_MIN = 4


class RereadTurns:
    """Where each kind's turn has come to."""

    def __init__(self) -> None:
        self._last: dict[Kind, Key] = {}

    def take(self, kind: Kind, keys: Iterable[Key]) -> list[Key]:
        """The next of these objects, all of one kind."""
        chosen = next_in_turn(sorted(keys), self._last.get(kind, ()))
        if chosen:
            self._last[kind] = chosen[-1]
        return chosen


def next_in_turn(ids: Sequence[Any], last: Any) -> list[Any]:
    """Those that come after last in the sorted ids, and again from the start after the end."""
    size = min(max(PER_ROUND_MIN, len(ids) // ROUNDS), len(ids))
    start = bisect_right(ids, last)
    return [*ids[start : start + size], *ids][:size]
