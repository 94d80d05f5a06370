"""Moments, and how the wall clock shows them.

The wall clock is set back and forth by whoever administers the host, so nothing is ordered by it. A moment is
kept as microseconds since the host was booted, suspended or not (CLOCK_BOOTTIME), and becomes a time of day
only where a client reads it: by the wall clock as it stands then. So times that are read together are in
order, their distances are real ones, and none is later than now. Source: clock_gettime(2).
"""

from collections.abc import Callable
from time import CLOCK_BOOTTIME, clock_gettime_ns, time_ns

# What two readings of the same two clocks may differ by without a step. The wall clock and the other one are
# slewed alike, so between two steps the distance is always the same.
_STEP_US = 10_000
_CLOSE_US = 1_000  # readings further apart than this, as on a busy host, show no distance


def moment_us() -> int:
    return clock_gettime_ns(CLOCK_BOOTTIME) // 1000


def wall_us() -> int:
    return time_ns() // 1000


class Calendar:
    """Shows moments as times of day, in microseconds since the epoch. Main thread only."""

    def __init__(
        self, moment_us: Callable[[], int] = moment_us, wall_us: Callable[[], int] = wall_us
    ) -> None:
        self._moment_us = moment_us
        self._wall_us = wall_us
        self._distance_us = wall_us() - moment_us()

    def now_us(self) -> int:
        return self.shown_us(self._moment_us())

    def shown_us(self, moment_us: int) -> int:
        return moment_us + self.distance_us()

    def distance_us(self) -> int:
        """Return the distance from a moment to the time it is shown as. It stays the same until the wall
        clock is set.
        """
        before_us, wall_us, after_us = self._moment_us(), self._wall_us(), self._moment_us()
        distance_us = wall_us - before_us
        if after_us - before_us <= _CLOSE_US and abs(distance_us - self._distance_us) > _STEP_US:
            self._distance_us = distance_us
        return self._distance_us
