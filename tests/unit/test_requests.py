"""The way back: refreshes are shared, and nobody can keep a libvirt busy with them."""

import asyncio
from time import monotonic
from typing import Any

from tests.support.requested import request
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

    def __init__(self, takes_s: float, *, fails: bool = False) -> None:
        self.began: list[float] = []
        self.ended: list[float] = []
        self.fails_with = ErrorKind.OPERATION_FAILED
        self._takes_s = takes_s
        self._fails = fails

    async def refresh(self, connection: str, kinds: frozenset[Kind]) -> None:
        self.began.append(monotonic())
        await asyncio.sleep(self._takes_s)
        self.ended.append(monotonic())
        if self._fails:
            raise BridgeError(self.fails_with, "gone")


def requests(source: Any) -> Requests:
    return Requests(source, Metrics(), Cache())


async def test_one_refresh_in_a_loop_leaves_libvirt_three_times_as_long_alone() -> None:
    for fails in (False, True):
        source = Source(0.02, fails=fails)
        asked = requests(source)
        for _ in range(4):
            await asyncio.gather(asked.refresh("lab", DOMAINS), return_exceptions=True)
        pauses = [began - ended for began, ended in zip(source.began[1:], source.ended, strict=False)]
        took = [ended - began for began, ended in zip(source.began, source.ended, strict=True)]
        assert all(pause >= 2.9 * before for pause, before in zip(pauses, took, strict=False))


async def test_connections_do_not_wait_for_each_other_and_a_new_one_starts_fresh() -> None:
    source, cache = Source(0.05), Cache()
    asked = Requests(source, Metrics(), cache)
    cache.apply([Put(connection_key("far"), ConnectionRecord("far", "test:///default"))])
    await asked.refresh("lab", DOMAINS)
    await asked.refresh("far", DOMAINS)
    assert source.began[1] - source.ended[0] < source.ended[0] - source.began[0]
    cache.apply([Forget("far")])
    await asked.refresh("far", DOMAINS)
    assert source.began[2] - source.ended[1] < source.ended[1] - source.began[1]


async def test_other_kinds_rest_as_long() -> None:
    source = Source(0.02)
    asked = requests(source)
    kinds = (Kind.DOMAIN, Kind.NETWORK, Kind.POOL)
    await asyncio.gather(*(asked.refresh("lab", frozenset({kind})) for kind in kinds))
    pauses = [began - ended for began, ended in zip(source.began[1:], source.ended, strict=False)]
    assert min(pauses) >= 2.9 * 0.02


async def test_all_who_come_while_one_is_under_way_share_the_next() -> None:
    source = Source(0.02)
    asked = requests(source)
    first = asyncio.create_task(asked.refresh("lab", DOMAINS))
    await asyncio.sleep(0.005)
    await asyncio.gather(first, *(asked.refresh("lab", DOMAINS) for _ in range(50)))
    assert len(source.began) == 2


async def test_a_host_that_hung_until_it_was_given_up_needs_no_rest() -> None:
    source = Source(0.1, fails=True)
    source.fails_with = ErrorKind.NOT_CONNECTED
    asked = requests(source)
    for _ in range(2):
        await asyncio.gather(asked.refresh("lab", DOMAINS), return_exceptions=True)
    assert source.began[1] - source.ended[0] < 0.05


async def test_another_connection_of_the_same_name_has_no_part_in_what_is_under_way() -> None:
    class Slow:
        async def operate(self, _request: Request) -> str:
            host = hosts[-1]
            await asyncio.sleep(0.05)
            return host

    hosts, about, cache = ["old"], connection_key("lab"), Cache()
    source: Any = Slow()
    asked = Requests(source, Metrics(), cache)
    cache.apply([Put(about, ConnectionRecord("lab", "test:///old"))])
    before = asyncio.create_task(asked.operate(request(about, "get-capabilities"), 60))
    await asyncio.sleep(0.01)
    cache.apply([Forget("lab"), Put(about, ConnectionRecord("lab", "test:///new"))])
    hosts.append("new")
    assert await asked.operate(request(about, "get-capabilities"), 60) == "new"
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
