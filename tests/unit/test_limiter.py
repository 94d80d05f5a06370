"""The limiter: a share for each user, a reserve for root, and nothing kept of who has given all back."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtbridge.limiter import ROOT, Limiter, Portions

GREEDY, OTHER = 1000, 1001


def take(limiter: Limiter, user: int, client: str, amount: int = 1) -> None:
    assert limiter.problem(user, client, amount) == ""
    limiter.count(user, client, amount)


def test_more_connections_give_a_user_no_more() -> None:
    limiter = Limiter("things", Portions(25, 10).of(100, per_client=10))
    for number in range(25):
        take(limiter, GREEDY, f":1.{number}")
    assert limiter.problem(GREEDY, ":1.99") == "the limit of one user, 25 things"
    take(limiter, OTHER, ":1.100")
    take(limiter, ROOT, ":1.101")


def test_a_client_has_its_limit_within_its_user_s() -> None:
    limiter = Limiter("things", Portions(25, 10).of(100, per_client=10))
    take(limiter, GREEDY, ":1.1", 10)
    assert limiter.problem(GREEDY, ":1.1") == "the limit of one client, 10 things"
    assert limiter.free(GREEDY, ":1.2", 10)


def test_all_users_together_leave_root_its_reserve() -> None:
    limiter = Limiter("things", Portions(50, 10).of(100))
    take(limiter, GREEDY, ":1.1", 50)
    take(limiter, OTHER, ":1.2", 40)
    assert limiter.problem(OTHER, ":1.2") == "the limit of all clients together, 100 things"
    take(limiter, ROOT, ":1.3", 10)
    assert not limiter.free(ROOT, ":1.3")


def test_the_one_user_of_a_session_bus_may_have_all() -> None:
    limiter = Limiter("things", Portions().of(100))
    take(limiter, GREEDY, ":1.1", 100)
    limiter.give_back(GREEDY, ":1.1", 1)
    take(limiter, GREEDY, ":1.2")


@pytest.mark.parametrize("total", [1, 2, 4, 1000])
@pytest.mark.parametrize(("user_percent", "root_percent"), [(1, 50), (25, 10), (100, 0)])
def test_everybody_has_room_for_one(total: int, user_percent: int, root_percent: int) -> None:
    for user in (ROOT, GREEDY):
        assert Limiter("things", Portions(user_percent, root_percent).of(total)).free(user, ":1.1")


@given(st.lists(st.tuples(st.sampled_from([ROOT, 1, 2]), st.sampled_from("abc"), st.integers(1, 4))))
def test_what_was_given_back_is_forgotten(wanted: list[tuple[int, str, int]]) -> None:
    bounds = Portions(40, 20).of(20, per_client=7)
    limiter = Limiter("things", bounds)
    taken = [one for one in wanted if limiter.free(*one) and limiter.count(*one) is None]
    users: Counter[int] = Counter()
    for user, _, amount in taken:
        users[user] += amount
    assert limiter.taken == users.total() <= bounds.total
    assert users.total() - users[ROOT] <= bounds.total - bounds.reserve
    assert all(count <= bounds.per_user for user, count in users.items() if user != ROOT)
    for one in taken:
        limiter.give_back(*one)
    assert limiter.taken == 0
    assert all(limiter.free(user, "d", 7) for user in (ROOT, 1, 2))
