"""Moments as times of day, whatever becomes of the wall clock; and the history of samples by them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from virtbridge.cache.cache import Cache
from virtbridge.cache.statistics import Samples, Statistics
from virtbridge.clock import Calendar
from virtbridge.config import StatsConfig
from virtbridge.metrics import Metrics
from virtbridge.model.keys import Key, Kind
from virtbridge.model.statistics import Sample

KEY = Key("c", Kind.DOMAIN, "u")
HOUR_US = 3600 * 10**6
START_US = 1_700_000_000 * 10**6


class Clocks:
    """moment_us goes on by itself, wall_us is set; apart_us: what passes between two readings."""

    def __init__(self) -> None:
        self.moment_us, self.set_us, self.apart_us = 10**6, START_US, 0

    def read_moment(self) -> int:
        self.moment_us += self.apart_us
        return self.moment_us

    def read_wall(self) -> int:
        return self.set_us + self.read_moment()

    def calendar(self) -> Calendar:
        return Calendar(self.read_moment, self.read_wall)


class NoSource:
    async def sample(self, connection: str, groups: frozenset[str], only: str | None) -> Samples:
        raise NotImplementedError


class Kept:
    """A history of samples, one second apart."""

    def __init__(self) -> None:
        self.clocks = Clocks()
        self.statistics = Statistics(
            NoSource(), Cache(), Metrics(), StatsConfig(history_samples=20), self.clocks.calendar()
        )

    def sample(self) -> None:
        self.clocks.moment_us += 10**6
        self.statistics._history.add(KEY, Sample(0, self.clocks.moment_us, frozenset(), {}))

    def times(self, since_us: int = 0) -> list[int]:
        return [time_us for time_us, _ in self.statistics.history(KEY, since_us)]


@given(st.lists(st.none() | st.integers(-24 * HOUR_US, 24 * HOUR_US), max_size=30))
def test_the_history_is_in_order_and_never_later_than_now(steps: list[int | None]) -> None:
    """A step of the wall clock, or None for a sample."""
    kept = Kept()
    for step in steps:
        if step is None:
            kept.sample()
        elif abs(step) > 10_000:
            kept.clocks.set_us += step
        times = kept.times()
        assert all(later - earlier == 10**6 for earlier, later in pairwise(times))
        assert all(time_us <= kept.clocks.read_wall() for time_us in times[-1:])


def test_who_asks_for_what_is_new_loses_nothing_when_the_clock_is_set_back() -> None:
    kept = Kept()
    kept.sample()
    kept.sample()
    [_, known_us] = kept.times()
    kept.sample()
    assert kept.times(known_us) == [known_us + 10**6]
    kept.clocks.set_us -= HOUR_US
    assert kept.times(known_us) == [known_us + step * 10**6 - HOUR_US for step in (-1, 0, 1)]
    assert kept.times(known_us - HOUR_US) == [known_us + 10**6 - HOUR_US]


def test_a_moment_is_always_shown_as_the_same_time() -> None:
    """Also on a host so busy that something comes between the readings of two clocks."""
    clocks = Clocks()
    calendar = clocks.calendar()
    shown = calendar.shown_us(10**6)
    for clocks.apart_us in (1, 500, 20_000, 10**6):
        assert calendar.shown_us(10**6) == shown
