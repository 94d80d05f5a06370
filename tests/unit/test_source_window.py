"""The window: grows on a quiet link, shrinks when calls queue, not fooled by calls that never leave."""

from hypothesis import given
from hypothesis import strategies as st

from virtbridge.source.calls.window import LARGEST, SMALLEST, START, WIDE, Window


def full_rounds(window: Window, rounds: int, elapsed_s: float, name: str = "XMLDesc") -> None:
    for _ in range(rounds):
        size = window.size
        for _ in range(size):
            window.finished(name, elapsed_s, size)


def test_it_doubles_each_round_trip_up_to_its_largest() -> None:
    window = Window()
    assert window.size == START
    full_rounds(window, 1, 0.1)
    assert window.size == 2 * START
    full_rounds(window, 3, 0.1)
    assert window.size == LARGEST


def test_it_goes_beyond_wide_only_while_calls_take_hardly_any_longer() -> None:
    window = Window()
    window.finished("XMLDesc", 0.02, START)
    full_rounds(window, 10, 0.025)
    assert window.size == WIDE
    full_rounds(window, 1, 0.021)
    assert window.size == LARGEST


def test_it_does_not_grow_when_it_is_not_used() -> None:
    window = Window()
    for _ in range(1000):
        window.finished("XMLDesc", 0.1, 1)
    assert window.size == START


def test_it_falls_back_when_calls_queue_and_recovers() -> None:
    window = Window()
    full_rounds(window, 5, 0.1)
    full_rounds(window, 3, 0.5)
    assert window.size < LARGEST
    full_rounds(window, 10, 0.1)
    assert window.size == LARGEST


def test_a_call_answered_here_says_nothing_of_the_link() -> None:
    window = Window()
    window.finished("getType", 0.00001, START)
    full_rounds(window, 4, 0.1)
    assert window.size == LARGEST


def test_it_does_not_grow_where_the_link_has_no_delay() -> None:
    """More threads would only compete for the processor, but what was cut comes back."""
    window = Window()
    full_rounds(window, 10, 0.0005)
    assert window.size == START
    full_rounds(window, 10, 0.1)
    assert window.size < START
    full_rounds(window, 10, 0.0005)
    assert window.size == START


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 10), st.integers(1, 64))))
def test_it_stays_within_its_bounds(calls: list[tuple[str, float, int]]) -> None:
    window = Window()
    for name, elapsed_s, in_flight in calls:
        window.finished(name, elapsed_s, in_flight)
        assert SMALLEST <= window.size <= LARGEST
