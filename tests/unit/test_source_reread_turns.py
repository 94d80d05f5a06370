"""The round robin of what is read again though nothing shows that it differs."""

import pytest

from virtbridge.source.reread_turns import PER_ROUND_MIN, ROUNDS, next_in_turn


def test_it_goes_round() -> None:
    share: list[int] = []
    seen = []
    for _ in range(3):
        share = next_in_turn(range(6), share[-1] if share else -1)
        seen.append(share)
    assert seen == [[0, 1, 2, 3], [4, 5, 0, 1], [2, 3, 4, 5]]


@pytest.mark.parametrize(
    ("count", "size"),
    [(0, 0), (1, 1), (PER_ROUND_MIN, PER_ROUND_MIN), (ROUNDS * 10, 10), (ROUNDS * 10 + 1, 10)],
)
def test_its_size_is_bounded(count: int, size: int) -> None:
    assert len(next_in_turn(range(count), -1)) == size


def test_who_is_gone_leaves_no_gap() -> None:
    assert next_in_turn([1, 2, 5, 7, 9, 11], 6) == [7, 9, 11, 1]
