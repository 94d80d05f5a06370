"""The clock with which other tests are made exact."""

import asyncio
import threading
import time

import pytest

from tests.support.fake_clock import FakeClock
from virtbridge.cache import statistics


async def test_time_passes_at_once_in_the_order_of_the_timers(clock: FakeClock) -> None:
    order: list[tuple[str, float]] = []
    loop, real_s = asyncio.get_running_loop(), time.monotonic()
    began_s = loop.time()
    for name, delay_s in (("last", 7200.0), ("first", 0.25), ("second", 3600.0)):
        loop.call_later(delay_s, lambda name=name: order.append((name, loop.time() - began_s)))
    await clock.pass_s(7200.0)
    assert order == [("first", 0.25), ("second", 3600.0), ("last", 7200.0)]
    assert time.monotonic() - real_s < 3600


async def test_what_is_ready_takes_no_time(clock: FakeClock) -> None:
    before_s = clock.now_s
    for _ in range(100):
        await asyncio.sleep(0)
    assert clock.now_s == before_s


async def test_the_service_s_modules_read_it_too(clock: FakeClock) -> None:
    before_ns = statistics.monotonic_ns()
    await clock.pass_s(5)
    assert statistics.monotonic_ns() - before_ns == 5 * 10**9
    assert asyncio.get_running_loop().time() == clock.now_s


async def test_a_timeout_is_reached_only_when_nothing_else_happens(clock: FakeClock) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await asyncio.Event().wait()
    async with asyncio.timeout(60):
        await clock.pass_s(59)


async def test_while_it_stands_threads_work_and_no_timer_is_due(clock: FakeClock) -> None:
    clock.stands = True
    loop, rang, done = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    loop.call_later(1, rang.set)
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(done.set,))
    thread.start()
    await done.wait()
    thread.join()
    assert not rang.is_set()
    clock.advance(1)
    await rang.wait()


def test_afterwards_everything_has_its_own_clock_again() -> None:
    assert statistics.monotonic_ns is time.monotonic_ns
