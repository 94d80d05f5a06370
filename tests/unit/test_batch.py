"""Reads by the hundred, with the threads of a connection but no libvirt."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.fake_clock import FakeClock
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.metrics import Metrics
from virtbridge.source.calls.batch import READS_AHEAD, SHORT_CHARACTERS, Read
from virtbridge.source.calls.inbox import Inbox
from virtbridge.source.calls.window import Window
from virtbridge.source.calls.workers import Workers

COUNT = 3 * READS_AHEAD


def workers(metrics: Metrics | None = None, timeout_s: float = 10.0) -> Workers:
    inbox = Inbox(asyncio.get_running_loop())
    return Workers("t", inbox, metrics or Metrics(), timeout_s, alive=lambda: True, on_lost=lambda _: None)


class Answers:
    """What was settled: a value or an error by key. each: called for every one."""

    def __init__(self, each: Callable[[], None] = lambda: None) -> None:
        self.found: dict[int, Any] = {}
        self._each = each

    def __call__(self, key: int, value: Any, error: Exception | None) -> None:
        assert key not in self.found
        self.found[key] = value if error is None else error
        self._each()

    async def first(self, count: int) -> None:
        """Until so many have come."""
        come = asyncio.Event()
        self._each = lambda: come.set() if len(self.found) >= count else None
        self._each()
        await asyncio.wait_for(come.wait(), 10)


async def over(pool: Workers) -> None:
    """Until the last thread has ended, and what it brought was dealt with."""
    ended = asyncio.Event()
    pool.abandon(ended.set)
    await asyncio.wait_for(ended.wait(), 10)


def reads(call: Callable[[int], str], count: int = COUNT) -> Iterator[Read]:
    return (Read(key, lambda key=key: call(key), str.upper) for key in range(count))


async def test_all_are_read_and_counted() -> None:
    metrics, answers = Metrics(), Answers()
    await workers(metrics).read_many("XMLDesc", reads(lambda key: f"x{key}"), answers)
    assert answers.found == {key: f"X{key}" for key in range(COUNT)}
    assert metrics.snapshot()["libvirt.XMLDesc"] == COUNT


async def test_without_another_thread_those_that_there_are_have_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, threads = threading.Thread.start, 0

    def start(thread: threading.Thread) -> None:
        nonlocal threads
        if threads == 0:
            raise RuntimeError("can't start new thread")
        threads -= 1
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    group, calls = workers(), []
    with pytest.raises(BridgeError) as caught:
        await group.call("a", lambda: calls.append("a"))
    assert caught.value.kind is ErrorKind.LIMIT_EXCEEDED
    threads = 2
    answers = Answers()
    await group.read_many("XMLDesc", reads(lambda key: f"x{key}"), answers)
    assert len(answers.found) == COUNT
    await group.call("b", lambda: calls.append("b"))
    assert calls == ["b"]


async def test_none_is_nothing() -> None:
    await workers().read_many("XMLDesc", iter(()), Answers())


async def test_what_fails_spoils_nothing() -> None:
    def call(key: int) -> str:
        if key % 3 == 0:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd")
        return "" if key % 3 == 1 else "x"

    answers = Answers()
    await workers().read_many("XMLDesc", reads(call), answers)
    assert [type(answers.found[key]) for key in range(3)] == [UnicodeDecodeError, str, str]
    assert len(answers.found) == COUNT


async def test_what_cannot_be_parsed_is_an_answer_too() -> None:
    answers = Answers()
    for text in ("x", "x" * (SHORT_CHARACTERS + 1)):
        await workers().read_many("XMLDesc", iter([Read(len(text), lambda t=text: t, int)]), answers)
    assert [type(each) for each in answers.found.values()] == [ValueError, ValueError]


@pytest.mark.parametrize(("size", "here"), [(SHORT_CHARACTERS, True), (SHORT_CHARACTERS + 1, False)])
async def test_only_what_is_short_is_parsed_on_the_main_thread(size: int, here: bool) -> None:
    answers = Answers()
    read = Read(0, lambda: "x" * size, lambda _: threading.current_thread() is threading.main_thread())
    await workers().read_many("XMLDesc", iter([read]), answers)
    assert answers.found == {0: here}


async def test_the_iterator_is_asked_little_ahead() -> None:
    taken = 0
    most_ahead = 0
    answers = Answers()

    def counted() -> Iterator[Read]:
        nonlocal taken, most_ahead
        for read in reads(lambda _: "x"):
            taken += 1
            most_ahead = max(most_ahead, taken - len(answers.found))
            yield read

    await workers().read_many("XMLDesc", counted(), answers)
    assert taken == COUNT
    assert most_ahead <= READS_AHEAD


async def test_without_progress_it_ends_and_what_comes_late_is_dropped(clock: FakeClock) -> None:
    released, hangs = threading.Event(), threading.Event()

    def call(key: int) -> str:
        if key >= 10:
            hangs.set()
            released.wait(10)
        return "x"

    clock.stands = True
    answers, pool = Answers(), workers(timeout_s=60)
    batch = asyncio.create_task(pool.read_many("XMLDesc", reads(call), answers))
    await answers.first(10)
    await asyncio.to_thread(hangs.wait)
    clock.stands = False
    with pytest.raises(BridgeError) as failure:
        await batch
    assert failure.value.kind is ErrorKind.TIMEOUT
    assert sorted(answers.found) == list(range(10))
    assert pool.hung() > 0
    clock.stands = True
    released.set()
    await over(pool)
    assert len(answers.found) == 10


async def test_slow_is_not_stuck(clock: FakeClock) -> None:
    """Each answer comes nearly a deadline after the one before."""
    clock.stands = True
    answers = Answers(each=lambda: clock.advance(59))
    await workers(timeout_s=60).read_many("XMLDesc", reads(lambda _: "x"), answers)
    assert len(answers.found) == COUNT


async def test_the_end_of_the_connection_ends_it() -> None:
    released, begun, pool = threading.Event(), threading.Event(), workers()

    def call(_key: int) -> str:
        begun.set()
        return str(released.wait(10))

    batch = asyncio.create_task(pool.read_many("XMLDesc", reads(call), Answers()))
    await asyncio.to_thread(begun.wait)
    pool.abandon()
    try:
        with pytest.raises(BridgeError) as failure:
            await batch
        assert failure.value.kind is ErrorKind.NOT_CONNECTED
    finally:
        released.set()


async def test_it_is_over_when_the_last_call_has_come_back_and_its_answer_is_gone() -> None:
    released, over, pool = threading.Event(), asyncio.Event(), workers()
    begun = threading.Barrier(3)

    def close() -> None:
        begun.wait(10)
        released.wait(10)

    calls = [asyncio.create_task(pool.call("close", close)) for _ in range(2)]
    await asyncio.to_thread(begun.wait, 10)
    pool.abandon(over.set)
    for answer in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(answer, BridgeError)
    posted = asyncio.Event()
    pool._inbox.post(posted.set)  # behind whatever was told until now
    await asyncio.wait_for(posted.wait(), 10)
    assert not over.is_set()
    released.set()
    await asyncio.wait_for(over.wait(), 10)
    assert not pool.running()


async def test_without_calls_it_is_over_at_once() -> None:
    over, pool = asyncio.Event(), workers()
    pool.abandon(over.set)
    await asyncio.wait_for(over.wait(), 10)


async def test_single_calls_and_the_reads_of_a_batch_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread; what is queued while the first read runs is taken one of each."""
    monkeypatch.setattr(Window, "finished", lambda *_: None)
    group, order, begun, go_on = workers(), [], threading.Event(), threading.Event()
    group.window.size = 1

    def read(key: int) -> str:
        begun.set()
        go_on.wait()
        order.append("read")
        return "x"

    batch = asyncio.create_task(group.read_many("XMLDesc", reads(read), Answers()))
    await asyncio.to_thread(begun.wait)
    singles = [
        asyncio.create_task(group.call("a", lambda: order.append("single"), short=True)) for _ in range(3)
    ]
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(batch, *singles)
    assert order[:8] == ["read", "single", "read", "single", "read", "single", "read", "read"]
    assert len(order) == COUNT + 3
