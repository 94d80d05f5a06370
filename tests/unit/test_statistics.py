"""Statistics for many askers, with a source that answers when the test lets it; and the ring of samples."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_clock import FakeClock
from tests.support.until import until
from virtbridge.cache.cache import Cache
from virtbridge.cache.history import History
from virtbridge.cache.statistics import Samples, Sampling, Statistics
from virtbridge.config import StatsConfig
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.metrics import Metrics
from virtbridge.model.changes import Drop, Forget, Put
from virtbridge.model.keys import Key, Kind, connection_key
from virtbridge.model.records import ConnectionRecord, DomainRecord
from virtbridge.model.statistics import HISTORY, Sample

CPU = frozenset({"cpu-total"})
BLOCK = frozenset({"block"})
KEY = Key("c", Kind.DOMAIN, "u")
UNUSED = 3_600_000


class Source:
    """Answers a little later, when the gate is open, or fails; asked: what it was asked for."""

    def __init__(self, clock: FakeClock) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self._clock = clock
        self.asked: list[tuple[frozenset[str], str | None]] = []
        self.failure: BridgeError | None = None

    async def sample(self, connection: str, groups: frozenset[str], only: str | None) -> Samples:
        self.asked.append((groups, only))
        began_ns = self._clock.read_ns()
        await self._clock.pass_s(0.005)
        await self.gate.wait()
        if self.failure:
            raise self.failure
        return {"u": Sample(began_ns, len(self.asked), groups, {"cpu-host-percent": 1.0})}


class Ear:
    def __init__(self) -> None:
        self.samples: list[Samples] = []
        self.gone: list[str] = []

    def sampled(self, connection: str, samples: Samples) -> None:
        self.samples.append(samples)

    def forgotten(self, connection: str) -> None:
        self.gone.append(connection)


class Bench:
    def __init__(self, clock: FakeClock, **config: int) -> None:
        self.source, self.cache, self.ear = Source(clock), Cache(), Ear()
        self.statistics = Statistics(self.source, self.cache, Metrics(), StatsConfig(**config))
        self.statistics.listen(self.ear)

    def put(self) -> None:
        self.cache.apply([Put(connection_key("c"), ConnectionRecord("c", ""))])
        self.cache.apply([Put(KEY, DomainRecord("u", "d", id=1))])


@pytest_asyncio.fixture
async def bench(clock: FakeClock) -> AsyncIterator[Bench]:
    made = Bench(clock)
    made.put()
    yield made
    await made.statistics.stop()


async def test_one_round_for_all_watchers_with_the_union_of_groups(bench: Bench) -> None:
    for who in range(50):
        bench.statistics.watch("c", who, Sampling(UNUSED, CPU if who % 2 else BLOCK))
    await until(lambda: bench.ear.samples)
    assert bench.source.asked == [(CPU | BLOCK, None)]


async def test_the_shortest_interval_wins_at_once(bench: Bench, clock: FakeClock) -> None:
    bench.statistics.watch("c", 1, Sampling(UNUSED, CPU))
    await until(lambda: bench.ear.samples)
    bench.statistics.watch("c", 2, Sampling(10, CPU))
    await until(lambda: len(bench.ear.samples) >= 3)
    bench.statistics.end_watch("c", 2)
    await asyncio.sleep(0)
    count = len(bench.source.asked)
    await clock.pass_s(60)
    assert len(bench.source.asked) == count


async def test_the_last_one_out_ends_it(bench: Bench, clock: FakeClock) -> None:
    bench.statistics.watch("c", 1, Sampling(1, CPU))
    await until(lambda: bench.ear.samples)
    bench.statistics.end_watch("c", 1)
    count = len(bench.source.asked)
    await clock.pass_s(60)
    assert len(bench.source.asked) == count
    assert bench.statistics.known(KEY, CPU, UNUSED) is None
    bench.statistics.end_watch("c", 1)


async def test_a_failed_round_is_followed_by_the_next(bench: Bench) -> None:
    bench.source.failure = BridgeError(ErrorKind.NOT_CONNECTED, "gone")
    bench.statistics.watch("c", 1, Sampling(1, CPU))
    await until(lambda: len(bench.source.asked) >= 2)
    assert not bench.ear.samples
    bench.source.failure = None
    await until(lambda: bench.ear.samples)


async def test_the_same_question_at_once_is_asked_once(bench: Bench) -> None:
    answers = await asyncio.gather(*(bench.statistics.read(KEY, CPU) for _ in range(50)))
    assert len({id(answer) for answer in answers}) == 1
    assert bench.source.asked == [(CPU, "u")]


async def test_nobody_gets_what_was_read_before_they_asked(bench: Bench) -> None:
    bench.source.gate.clear()
    first = asyncio.create_task(bench.statistics.read(KEY, CPU))
    await until(lambda: bench.source.asked)
    others = [asyncio.create_task(bench.statistics.read(KEY, CPU)) for _ in range(5)]
    await asyncio.sleep(0)
    bench.source.gate.set()
    answers = await asyncio.gather(*others)
    assert len({id(answer) for answer in answers}) == 1
    assert answers[0] is not await first
    first = asyncio.create_task(bench.statistics.read(KEY, CPU))
    await until(lambda: len(bench.source.asked) == 3)
    assert await bench.statistics.read(KEY, CPU, UNUSED) is await first


async def test_a_failure_is_everyone_s_and_leaves_what_was_known(bench: Bench) -> None:
    kept = await bench.statistics.read(KEY, CPU)
    bench.source.failure = BridgeError(ErrorKind.TIMEOUT, "late")
    tasks = [asyncio.create_task(bench.statistics.read(KEY, CPU)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(each, "kind", None) for each in found] == [None, ErrorKind.TIMEOUT, ErrorKind.TIMEOUT]
    assert bench.statistics.known(KEY, CPU, UNUSED) is kept
    assert len(bench.source.asked) == 2


async def test_what_is_young_enough_and_has_the_groups_is_known(bench: Bench) -> None:
    assert bench.statistics.known(KEY, CPU, UNUSED) is None
    sample = await bench.statistics.read(KEY, CPU | BLOCK)
    assert bench.statistics.known(KEY, CPU, UNUSED) is sample
    assert bench.statistics.known(KEY, CPU | {"perf"}, UNUSED) is None
    assert bench.statistics.known(KEY, CPU, 0) is None
    bench.statistics.watch("c", 1, Sampling(UNUSED, CPU))
    await until(lambda: bench.ear.samples)
    assert bench.statistics.known(KEY, CPU, UNUSED) is bench.ear.samples[0]["u"]
    assert bench.statistics.known(KEY, BLOCK, UNUSED) is sample


async def test_answers_kept_of_a_domain_are_few(bench: Bench) -> None:
    groups = [frozenset({name}) for name in ("state", "cpu-total", "balloon", "vcpu", "block", "perf")]
    for each in groups:
        await bench.statistics.read(KEY, each)
    known = [bench.statistics.known(KEY, each, UNUSED) is not None for each in groups]
    assert known == [False, False, True, True, True, True]


async def test_what_is_gone_is_forgotten(bench: Bench, clock: FakeClock) -> None:
    bench.statistics.watch("c", 1, Sampling(5, CPU))
    await until(lambda: bench.statistics.history(KEY, 0))
    bench.cache.apply([Drop(KEY)])
    assert bench.statistics.history(KEY, 0) == []
    count = len(bench.ear.samples)
    await until(lambda: len(bench.ear.samples) > count)
    assert bench.statistics.history(KEY, 0) == []  # a late sample does not bring it back
    bench.cache.apply([Forget("c")])
    assert bench.ear.gone == ["c"]
    count = len(bench.source.asked)
    await clock.pass_s(60)
    assert len(bench.source.asked) == count


async def test_always_on_where_the_configuration_says_so(clock: FakeClock) -> None:
    bench = Bench(clock, always_interval_ms=5, history_samples=3)
    bench.put()
    await until(lambda: len(bench.ear.samples) >= 5)
    rows = bench.statistics.history(KEY, 0)
    assert [time for time, _ in rows] == sorted(time for time, _ in rows)
    assert len(rows) == 3
    assert bench.statistics.history(KEY, rows[0][0]) == rows[1:]
    await bench.statistics.stop()


figures = st.dictionaries(st.sampled_from(HISTORY), st.integers(0, 2**50))


@given(st.integers(0, 5), st.lists(figures, max_size=20))
def test_a_ring_keeps_the_last_ones_in_order(length: int, rows: list[dict[str, Any]]) -> None:
    history = History(length)
    for number, values in enumerate(rows):
        history.add(KEY, Sample(0, number, CPU, values | {"other": {}}))
    expected = list(enumerate(rows))[-length:] if length else []
    assert list(history.rows(KEY)) == expected
    history.drop(KEY)
    assert list(history.rows(KEY)) == []
    assert len(history) == 0
