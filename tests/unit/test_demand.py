"""What is read on demand: ages, one reading for all who ask, failure that is not emptiness."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from tests.support.fake_clock import FakeClock
from tests.support.until import until
from virtbridge.cache.cache import Cache
from virtbridge.cache.demand import MAX_ANSWERS, PAUSE, Demand
from virtbridge.cache.flight import SingleFlight
from virtbridge.clock import moment_us
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.metrics import Metrics
from virtbridge.model.changes import Change, Drop, Forget, Listing, Put
from virtbridge.model.keys import Key, Kind, connection_key
from virtbridge.model.records import ConnectionRecord, DomainRecord, SnapshotRecord
from virtbridge.model.snapshots import SnapshotDefinition

UUID = "00000000-0000-0000-0000-000000000001"
LAB = connection_key("lab")
DOMAIN = Key("lab", Kind.DOMAIN, UUID)


def snapshot(name: str) -> Key:
    return Key("lab", Kind.SNAPSHOT, name, UUID)


def listing(*names: str) -> list[Change]:
    puts = [Put(snapshot(name), SnapshotRecord(SnapshotDefinition(name))) for name in names]
    return [Listing("lab", Kind.SNAPSHOT, set(names), UUID), *puts]


class Host:
    """Answers with what the test gives it, and counts how often it was asked."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.cache.apply([Put(LAB, ConnectionRecord("lab", "")), Put(DOMAIN, DomainRecord(UUID, "a"))])
        self.metrics = Metrics()
        self.demand = Demand(self.cache, SingleFlight(self.metrics), self.metrics)
        self.asked = 0
        self.does: Callable[[], Any] = lambda: None
        self.depths: list[bool] = []  # of the readings: whether all was wanted
        self.is_small = False  # so that any reading is a whole one
        self.gate = asyncio.Event()
        self.gate.set()

    async def work(self) -> Any:
        self.asked += 1
        await self.gate.wait()
        return self.does()

    def fails(self) -> None:
        raise BridgeError(ErrorKind.NOT_CONNECTED, "gone")

    async def load(self, max_age_s: float = 0) -> None:
        await self.demand.load(DOMAIN, Kind.SNAPSHOT, max_age_s, self.read)

    async def poll(self, max_age_s: float) -> tuple[float, float]:
        return await self.demand.poll(DOMAIN, Kind.SNAPSHOT, max_age_s, self.read)

    async def read(self, whole: bool) -> bool:
        self.depths.append(whole)
        await self.work()
        return whole or self.is_small

    async def answer(self, max_age_s: float = 0, question: str = "job") -> Any:
        return await self.demand.answer(DOMAIN, question, max_age_s, self.work)

    def names(self) -> list[str]:
        return sorted(key.id for key in self.cache.children(DOMAIN, Kind.SNAPSHOT))


async def test_max_age_decides_whether_the_cache_may_answer() -> None:
    host = Host()
    host.does = lambda: host.asked
    assert [await host.answer(), await host.answer(60), await host.answer(0), await host.answer(60)] == [
        1,
        1,
        2,
        2,
    ]
    assert await host.answer(60, "another question") == 3
    await host.load()
    await host.load(60)
    assert host.asked == 4
    assert host.metrics.snapshot()["cache.fresh"] == 3


async def test_those_who_ask_at_once_share_one_reading_also_when_the_first_leaves() -> None:
    host = Host()
    host.gate.clear()
    host.does = lambda: host.cache.apply(listing("a"))
    askers = [asyncio.create_task(host.load(60)) for _ in range(50)]
    await asyncio.sleep(0)
    askers[0].cancel()
    await asyncio.sleep(0)
    host.gate.set()
    assert sum(each is None for each in await asyncio.gather(*askers, return_exceptions=True)) == 49
    assert (host.asked, host.names()) == (1, ["a"])


async def test_a_reading_that_began_before_the_question_may_be_too_old_to_join() -> None:
    host = Host()
    host.gate.clear()
    host.does = lambda: host.asked
    first = asyncio.create_task(host.answer())
    await until(lambda: host.asked == 1)
    others = [asyncio.create_task(host.answer(0)) for _ in range(5)]
    content = asyncio.create_task(host.answer(60))
    await asyncio.sleep(0)
    host.gate.set()
    assert await asyncio.gather(first, content, *others) == [1, 1, 2, 2, 2, 2, 2]


async def test_who_asks_without_end_leaves_the_host_time_for_others(clock: FakeClock) -> None:
    host = Host()
    began: list[float] = []

    async def work() -> None:
        began.append(clock.now_s)
        await clock.pass_s(0.05)

    for _ in range(3):
        await host.demand.answer(DOMAIN, "job", 0, work)
    pauses = [after - before - 0.05 for before, after in pairwise(began)]
    assert pauses == pytest.approx([PAUSE * 0.05] * 2)
    before_s = clock.now_s
    await host.demand.answer(DOMAIN, "another question", 0, work)
    assert began[-1] == before_s


async def test_who_polls_keeps_its_interval(clock: FakeClock) -> None:
    host = Host()
    began: list[float] = []

    async def work(_whole: bool) -> bool:
        began.append(clock.now_s)
        await clock.pass_s(0.05)
        return False

    for _ in range(3):
        await host.demand.poll(DOMAIN, Kind.SNAPSHOT, 0, work)
    assert [after - before for before, after in pairwise(began)] == pytest.approx([0.05] * 2)
    await host.demand.load(DOMAIN, Kind.SNAPSHOT, 0, work)
    assert began[-1] - began[-2] == pytest.approx((1 + PAUSE) * 0.05)


async def test_a_failure_reaches_every_waiter_and_keeps_what_was_known(clock: FakeClock) -> None:
    host = Host()
    host.does = lambda: host.cache.apply(listing("a", "b"))
    await host.load()
    host.does = host.fails
    host.gate.clear()
    await clock.pass_s(0.3)  # what is known is older than they accept, and what is being read is not
    askers = [asyncio.create_task(host.load(0.2)) for _ in range(5)]
    await asyncio.sleep(0)
    host.gate.set()
    errors = await asyncio.gather(*askers, return_exceptions=True)
    assert {error.message for error in errors if isinstance(error, BridgeError)} == {"gone"}
    assert len(errors) == 5
    assert host.names() == ["a", "b"]
    assert all(getattr(host.cache.get(snapshot(name)), "stale", None) for name in "ab")
    await host.load(60)  # as old as it was: what is known may still answer
    assert host.asked == 2
    host.does = lambda: host.cache.apply(listing("b"))
    await host.load()
    assert host.names() == ["b"]
    assert not getattr(host.cache.get(snapshot("b")), "stale", None)


async def test_a_failed_question_keeps_its_last_answer() -> None:
    host = Host()
    host.does = lambda: "known"
    await host.answer()
    host.does = host.fails
    with pytest.raises(BridgeError, match="gone"):
        await host.answer()
    assert await host.answer(60) == "known"


async def test_an_object_takes_with_it_what_was_known_of_it() -> None:
    host = Host()
    host.does = lambda: host.cache.apply(listing("a"))
    await host.load()
    await host.answer()
    host.cache.apply([Drop(DOMAIN)])
    assert host.names() == []
    assert host.cache.get(snapshot("a")) is None
    host.cache.apply([Put(DOMAIN, DomainRecord(UUID, "a"))])
    await host.load(60)
    await host.answer(60)
    assert host.asked == 4
    assert host.demand.loaded("lab") == {Kind.SNAPSHOT}
    host.cache.apply([Forget("lab")])
    assert host.demand.loaded("lab") == frozenset()
    assert len(host.cache) == 0


async def test_an_object_that_goes_while_it_is_read_stays_gone() -> None:
    host = Host()

    def go() -> str:
        host.cache.apply([Drop(DOMAIN), *listing("a")])
        return "late"

    host.does = go
    assert await host.answer() == "late"
    await host.load()
    assert host.names() == []
    host.cache.apply([Put(DOMAIN, DomainRecord(UUID, "a"))])
    host.does = lambda: "new"
    assert await host.answer(60) == "new"


async def test_a_reading_of_the_whole_connection_answers_for_each_object() -> None:
    host = Host()
    await host.demand.load(LAB, Kind.SNAPSHOT, 0, host.read)
    await host.load(60)
    assert host.asked == 1
    host.does = host.fails
    host.cache.apply(listing("a"))
    with pytest.raises(BridgeError):
        await host.demand.load(LAB, Kind.SNAPSHOT, 0, host.read)
    assert getattr(host.cache.get(snapshot("a")), "stale", None)


async def test_who_asks_many_questions_does_not_fill_the_memory() -> None:
    host = Host()
    for number in range(MAX_ANSWERS * 2):
        await host.answer(60, f"question {number}")
    assert host.asked == MAX_ANSWERS * 2
    await host.answer(60, f"question {MAX_ANSWERS * 2 - 1}")
    assert host.asked == MAX_ANSWERS * 2
    await host.answer(60, "question 0")
    assert host.asked == MAX_ANSWERS * 2 + 1


async def test_what_a_failed_reading_has_brought_is_not_stale() -> None:
    host = Host()
    host.cache.apply(listing("a", "b"))

    def partly() -> None:
        fresh = SnapshotRecord(SnapshotDefinition("b"), read_us=moment_us())
        host.cache.apply([Put(snapshot("b"), fresh)])
        host.fails()

    host.does = partly
    with pytest.raises(BridgeError):
        await host.demand.load(LAB, Kind.SNAPSHOT, 0, host.read)
    assert [getattr(host.cache.get(snapshot(name)), "stale", None) for name in "ab"] == [True, False]


async def test_who_polls_and_who_asks_share_what_is_enough_for_both(clock: FakeClock) -> None:
    host = Host()
    await host.load()
    assert await host.poll(60) == await host.poll(60)  # when it was loaded
    assert host.depths == [True]
    await host.poll(0)
    await host.poll(60)
    await host.load(60)  # as young as the whole reading was
    assert host.depths == [True, False]
    await clock.pass_s(0.06)
    await host.poll(0.05)
    await host.load(0.05)  # which a part is not enough for
    assert host.depths == [True, False, False, True]
    host.is_small = True
    await clock.pass_s(0.06)
    await host.poll(0.05)
    await host.load(0.05)
    assert host.depths == [True, False, False, True, False]


async def test_those_who_poll_and_ask_at_once_share_a_reading_unless_it_began_as_a_part() -> None:
    host = Host()
    both = [asyncio.create_task(each) for each in (host.poll(60), host.load(60), host.poll(60))]
    await asyncio.gather(*both)
    assert host.depths == [True]  # it had not begun
    host.gate.clear()
    poll = asyncio.create_task(host.poll(0))
    await until(lambda: len(host.depths) == 2)
    askers = [asyncio.create_task(host.load(0)) for _ in range(5)]
    await asyncio.sleep(0)
    assert not any(each.done() for each in askers)
    host.gate.set()
    await asyncio.gather(poll, *askers)
    assert host.depths == [True, False, True]
    host.gate.clear()
    asker = asyncio.create_task(host.load(0))
    await until(lambda: len(host.depths) == 4)
    poll = asyncio.create_task(host.poll(60))
    await asyncio.sleep(0)
    host.gate.set()
    await asyncio.gather(poll, asker)
    assert host.depths == [True, False, True, True]


async def test_a_poll_that_nobody_needs_any_more_ends_at_once(clock: FakeClock) -> None:
    host = Host()
    host.gate.clear()
    host.does = lambda: host.cache.apply(listing("a"))
    poll = asyncio.create_task(host.poll(0))
    await until(lambda: host.asked == 1)
    poll.cancel()
    await asyncio.sleep(0)
    host.gate.set()
    await clock.pass_s(60)
    assert (host.names(), host.demand.loaded("lab")) == ([], frozenset())
    await host.poll(60)  # nobody joins what has ended
    assert (host.asked, host.names()) == (2, ["a"])
    host.gate.clear()
    polls = [asyncio.create_task(host.poll(0)) for _ in range(2)]
    await until(lambda: host.asked == 3)
    polls[0].cancel()
    await asyncio.sleep(0)
    host.gate.set()
    await polls[1]
    assert host.asked == 3
