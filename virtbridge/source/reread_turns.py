"""The round robin of rereads: which definitions are read again although nothing shows that they changed.

libvirt changes some things without an event. The round robin finds them after some time, with few calls.
Pure.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

from virtbridge.model.keys import Key, Kind

ROUNDS = 64  # after so many rounds every object was read again
PER_ROUND_MIN = 4  # each round reads at least so many


class RereadTurns:
    """Remembers for each kind where the last round ended."""

    def __init__(self) -> None:
        self._last: dict[Kind, Key] = {}

    def take(self, kind: Kind, keys: Iterable[Key]) -> list[Key]:
        """Return the objects for the next round. keys: all objects of this kind."""
        chosen = next_in_turn(sorted(keys), self._last.get(kind, ()))
        if chosen:
            self._last[kind] = chosen[-1]
        return chosen


def next_in_turn(ids: Sequence[Any], last: Any) -> list[Any]:
    """Return the ids that follow `last` in the sorted ids. After the end it begins again at the start."""
    size = min(max(PER_ROUND_MIN, len(ids) // ROUNDS), len(ids))
    start = bisect_right(ids, last)
    return [*ids[start : start + size], *ids][:size]
