"""Turns and their round robin: who is next among users, and among the clients of one user."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from virtbridge.limiter import Limiter, Portions
from virtbridge.round_robin import RoundRobin
from virtbridge.turns import Turns, grant, turn


def test_users_take_turns_and_then_their_clients() -> None:
    waiting: RoundRobin[str] = RoundRobin()
    for client in ("a1", "a2", "a3"):
        for number in (1, 2):
            waiting.push(1, client, f"{client}.{number}")
    waiting.push(2, "b1", "b1.1")
    waiting.push(2, "b1", "b1.2")
    served = [waiting.pop() for _ in range(len(waiting))]
    assert served == ["a1.1", "b1.1", "a2.1", "b1.2", "a3.1", "a1.2", "a2.2", "a3.2"]
    assert waiting.pop() is None


def test_who_may_not_is_passed_over_and_keeps_its_place() -> None:
    waiting: RoundRobin[str] = RoundRobin()
    waiting.push(1, "a", "a1")
    waiting.push(2, "b", "b1")
    assert waiting.pop(lambda user, _client: user == 2) == "b1"
    assert waiting.pop(lambda user, _client: user == 2) is None
    assert waiting.pop() == "a1"


@given(st.lists(st.sampled_from(["a", "b", "c", "-a", "-b", "pop"]), max_size=60))
def test_each_item_once_and_a_client_s_in_order(steps: list[str]) -> None:
    waiting: RoundRobin[tuple[str, int]] = RoundRobin()
    expected: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for number, step in enumerate(steps):
        if step == "pop":
            item = waiting.pop()
            assert (item is None) == (not any(expected.values()))
            if item is not None:
                assert expected[item[0]].pop(0) == item[1]
        elif step.startswith("-"):
            client = step[1:]
            assert waiting.withdraw(client) == [(client, each) for each in expected[client]]
            expected[client] = []
        else:
            waiting.push(ord(step) % 2, step, (step, number))
            expected[step].append(number)
        assert len(waiting) == sum(map(len, expected.values()))
        assert sorted(waiting.clients()) == [client for client, items in expected.items() if items]


def test_as_many_as_there_may_be_and_the_next_when_one_ends() -> None:
    started: list[str] = []
    ready = {"a", "b"}
    turns: Turns[str] = Turns(
        started.append, Limiter("turns", Portions(50).of(2)), lambda _user, client: client in ready
    )
    for item in ("a1", "a2", "a3"):
        turns.add(1, "a", item)
    turns.add(2, "b", "b1")
    assert started == ["a1", "b1"]
    ready.discard("a")
    turns.ended(1, "a")
    assert not turns.resume()
    ready.add("a")
    assert not turns.resume()
    assert started == ["a1", "b1", "a2"]
    assert turns.withdraw("a") == ["a3"]
    turns.ended(1, "a")
    turns.ended(2, "b")
    assert turns.idle


async def test_who_stops_waiting_takes_no_turn() -> None:
    turns: Turns[asyncio.Future[None]] = Turns(grant, Limiter("turns", Portions().of(1)))
    order: list[str] = []

    async def work(client: str) -> None:
        async with turn(turns, 1, client):
            order.append(client)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work(client)) for client in "abc"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["a", "c"]
    assert turns.idle
