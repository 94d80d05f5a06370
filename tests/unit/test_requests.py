"""The way back: refreshes are shared, and nobody can keep a libvirt busy with them."""

import asyncio
from typing import Any

import pytest

from tests.support.fake_clock import FakeClock
from tests.support.requested import request
from tests.support.until import until
from virtbridge.cache.cache import Cache
from virtbridge.cache.requests import Requests
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.metrics import Metrics
from virtbridge.model.changes import Forget, Put
from virtbridge.model.keys import Key, Kind, connection_key
from virtbridge.model.operations import Request
from virtbridge.model.records import ConnectionRecord, DomainRecord

DOMAINS = frozenset({Kind.DOMAIN})


class Source:
    """Takes its time for a refresh, and remembers when it was asked."""

    def __init__(self, clock: FakeClock, takes_s: float, *, fails: bool = False) -> None:
        self.began: list[float] = []
        self.ended: list[float] = []
        self.fails_with = ErrorKind.OPERATION_FAILED
        self._clock = clock
        self._takes_s = takes_s
        self._fails = fails

    async def refresh(self, connection: str, kinds: frozenset[Kind]) -> None:
        self.began.append(self._clock.now_s)
        await self._clock.pass_s(self._takes_s)
        self.ended.append(self._clock.now_s)
        if self._fails:
            raise BridgeError(self.fails_with, "gone")


def requests(source: Any) -> Requests:
    return Requests(source, Metrics(), Cache())


async def test_one_refresh_in_a_loop_leaves_libvirt_three_times_as_long_alone(clock: FakeClock) -> None:
    for fails in (False, True):
        source = Source(clock, 0.02, fails=fails)
        asked = requests(source)
        for _ in range(4):
            await asyncio.gather(asked.refresh("lab", DOMAINS), return_exceptions=True)
        pauses = [began - ended for began, ended in zip(source.began[1:], source.ended, strict=False)]
        assert pauses == pytest.approx([3 * 0.02] * 3)


async def test_connections_do_not_wait_for_each_other_and_a_new_one_starts_fresh(clock: FakeClock) -> None:
    source, cache = Source(clock, 0.05), Cache()
    asked = Requests(source, Metrics(), cache)
    cache.apply([Put(connection_key("far"), ConnectionRecord("far", "test:///default"))])
    await asked.refresh("lab", DOMAINS)
    await asked.refresh("far", DOMAINS)
    assert source.began[1] == source.ended[0]
    cache.apply([Forget("far")])
    await asked.refresh("far", DOMAINS)
    assert source.began[2] == source.ended[1]


async def test_other_kinds_rest_as_long(clock: FakeClock) -> None:
    source = Source(clock, 0.02)
    asked = requests(source)
    kinds = (Kind.DOMAIN, Kind.NETWORK, Kind.POOL)
    await asyncio.gather(*(asked.refresh("lab", frozenset({kind})) for kind in kinds))
    pauses = [began - ended for began, ended in zip(source.began[1:], source.ended, strict=False)]
    assert pauses == pytest.approx([3 * 0.02] * 2)


async def test_all_who_come_while_one_is_under_way_share_the_next(clock: FakeClock) -> None:
    source = Source(clock, 0.02)
    asked = requests(source)
    first = asyncio.create_task(asked.refresh("lab", DOMAINS))
    await until(lambda: source.began)
    await asyncio.gather(first, *(asked.refresh("lab", DOMAINS) for _ in range(50)))
    assert len(source.began) == 2


async def test_a_host_that_hung_until_it_was_given_up_needs_no_rest(clock: FakeClock) -> None:
    source = Source(clock, 0.1, fails=True)
    source.fails_with = ErrorKind.NOT_CONNECTED
    asked = requests(source)
    for _ in range(2):
        await asyncio.gather(asked.refresh("lab", DOMAINS), return_exceptions=True)
    assert source.began[1] == source.ended[0]


async def test_another_connection_of_the_same_name_has_no_part_in_what_is_under_way() -> None:
    class Slow:
        async def operate(self, _request: Request) -> str:
            host = hosts[-1]
            asked_of.append(host)
            await go_on.wait()
            return host

    hosts, about, cache = ["old"], connection_key("lab"), Cache()
    asked_of: list[str] = []
    go_on = asyncio.Event()
    source: Any = Slow()
    asked = Requests(source, Metrics(), cache)
    cache.apply([Put(about, ConnectionRecord("lab", "test:///old"))])
    before = asyncio.create_task(asked.operate(request(about, "get-capabilities"), 60))
    await until(lambda: asked_of)
    cache.apply([Forget("lab"), Put(about, ConnectionRecord("lab", "test:///new"))])
    hosts.append("new")
    after = asyncio.create_task(asked.operate(request(about, "get-capabilities"), 60))
    await until(lambda: len(asked_of) == 2)
    go_on.set()
    assert await after == "new"
    assert await before == "old"


class Host:
    """Answers each request with its number, in a turn of its own."""

    def __init__(self) -> None:
        self.made: list[Request] = []

    async def operate(self, made: Request) -> int:
        self.made.append(made)
        await asyncio.sleep(0)
        return len(self.made)


async def test_one_door_shares_the_cached_operations_and_no_others() -> None:
    host: Any = Host()
    cache, web = Cache(), Key("lab", Kind.DOMAIN, "web")
    asked = Requests(host, Metrics(), cache)
    cache.apply([Put(web, DomainRecord("web", "web"))])
    running = request(web, "get-job-info", False)
    assert await asyncio.gather(*(asked.operate(running, 60) for _ in range(3))) == [1, 1, 1]
    assert await asked.operate(running, 60) == 1
    assert await asked.operate(request(web, "get-job-info", True), 60) == 2
    secrets = request(web, "get-xml", 1)
    assert await asyncio.gather(asked.operate(secrets, 60), asked.operate(secrets, 60)) == [4, 4]
    write = request(web, "set-autostart", True)
    await asyncio.gather(asked.operate(write), asked.operate(write))
    assert host.made == [running, request(web, "get-job-info", True), secrets, secrets, write, write]
