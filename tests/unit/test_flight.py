"""Single flight: one asking for all who ask at the same time, whoever of them leaves."""

import asyncio

import pytest

from virtbridge.cache.flight import SingleFlight
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.metrics import Metrics


class Work:
    """Counts how often it is asked, and ends when the test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        self.asked += 1
        return await asyncio.shield(self.gate)


async def test_one_flight_serves_all_who_wait() -> None:
    metrics, work = Metrics(), Work()
    flights = SingleFlight(metrics)
    waiters = [asyncio.create_task(flights.run("x", work)) for _ in range(50)]
    await asyncio.sleep(0)
    work.gate.set_result("done")
    assert await asyncio.gather(*waiters) == ["done"] * 50
    assert work.asked == 1
    assert metrics.snapshot() == {"cache.refreshes": 1, "cache.refreshes-joined": 49}
    assert await flights.run("x", work) == "done"
    assert work.asked == 2


async def test_who_wants_it_anew_shares_the_next_flight() -> None:
    metrics, first, second = Metrics(), Work(), Work()
    flights = SingleFlight(metrics)
    early = asyncio.create_task(flights.run_anew("x", first))
    await asyncio.sleep(0)
    late = [asyncio.create_task(flights.run_anew("x", second)) for _ in range(50)]
    await asyncio.sleep(0)
    first.gate.set_result("old")
    second.gate.set_result("new")
    assert await early == "old"
    assert await asyncio.gather(*late) == ["new"] * 50
    assert (first.asked, second.asked) == (1, 1)
    assert metrics.snapshot() == {"cache.refreshes": 2, "cache.refreshes-joined": 49}


async def test_the_first_asker_may_leave() -> None:
    work = Work()
    flights = SingleFlight(Metrics())
    first = asyncio.create_task(flights.run("x", work))
    second = asyncio.create_task(flights.run("x", work))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    work.gate.set_result("done")
    assert await second == "done"
    assert first.cancelled()


async def test_a_failure_reaches_every_waiter_and_the_next_asks_anew() -> None:
    work = Work()
    flights = SingleFlight(Metrics())
    waiters = [asyncio.create_task(flights.run("x", work)) for _ in range(3)]
    await asyncio.sleep(0)
    work.gate.set_exception(BridgeError(ErrorKind.NOT_CONNECTED, "gone"))
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert [result.kind for result in results if isinstance(result, BridgeError)] == [
        ErrorKind.NOT_CONNECTED
    ] * 3
    again = Work()
    again.gate.set_result("back")
    assert await flights.run("x", again) == "back"


async def test_stop_ends_what_is_under_way() -> None:
    work = Work()
    flights = SingleFlight(Metrics())
    waiter = asyncio.create_task(flights.run("x", work))
    await asyncio.sleep(0)
    await flights.stop()
    with pytest.raises(asyncio.CancelledError):
        await waiter
