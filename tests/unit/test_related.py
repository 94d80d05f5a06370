"""What a pool's events do for its volumes: one reading where somebody asked before, none where nobody did."""

import asyncio
from typing import Any

import pytest

from tests.support.fake_clock import FakeClock
from tests.support.until import until
from virtbridge.cache.cache import Cache
from virtbridge.cache.requests import Requests
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.metrics import Metrics
from virtbridge.model.changes import Change, Listing, Patch, Put, Signal
from virtbridge.model.keys import Key, Kind, connection_key
from virtbridge.model.records import ConnectionRecord, PoolRecord, VolumeRecord
from virtbridge.model.volumes import VolumeDefinition

UUID = "00000000-0000-0000-0000-000000000001"
LAB = connection_key("lab")
POOL = Key("lab", Kind.POOL, UUID)
REFRESHED = Signal(POOL, "Event", ("refresh", {}))
STARTED = Signal(POOL, "Lifecycle", ("started", "0"))


class Host:
    """A source whose one pool has the volumes that the test gives it; asked: what for, in order."""

    def __init__(self) -> None:
        self.cache = Cache()
        pool = PoolRecord(UUID, "images", active=True)
        self.cache.apply([Put(LAB, ConnectionRecord("lab", "")), Put(POOL, pool)])
        source: Any = self
        self.requests = Requests(source, Metrics(), self.cache)
        self.asked: list[Key] = []
        self.volumes = {"a"}
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, about: Key, kind: Kind, whole: bool) -> bool:
        self.asked.append(about)
        found = set(self.volumes)
        await self.gate.wait()
        if not getattr(self.cache.get(POOL), "active", False):
            if about == POOL:
                raise BridgeError(ErrorKind.OPERATION_INVALID, "not active")
            found = set()
        puts: list[Change] = [
            Put(Key("lab", kind, name, UUID), VolumeRecord(VolumeDefinition(name))) for name in found
        ]
        self.cache.apply([Listing("lab", kind, found, UUID), *puts])
        return True

    async def list(self, about: Key = POOL, max_age_s: float = 60) -> set[str]:
        await self.requests.load(about, Kind.VOLUME, max_age_s)
        return self.names()

    def names(self) -> set[str]:
        return {key.id for key in self.cache.keys(Kind.VOLUME)}

    def turn(self, *, active: bool) -> None:
        self.cache.apply([Patch(POOL, {"active": active}), *([STARTED] if active else [])])


async def test_nobody_asked_and_nobody_pays() -> None:
    host = Host()
    host.cache.apply([REFRESHED, STARTED])
    await asyncio.sleep(0)
    assert host.asked == []
    await host.requests.stop()


@pytest.mark.parametrize("about", [POOL, LAB])
async def test_a_refresh_is_read_once_however_often_it_is_told(about: Key, clock: FakeClock) -> None:
    host = Host()
    assert await host.list(about) == {"a"}
    host.gate.clear()
    host.volumes = {"b"}
    host.cache.apply([REFRESHED])
    await until(lambda: len(host.asked) == 2)
    host.volumes = {"c"}
    host.cache.apply([REFRESHED] * 100)
    host.gate.set()
    await until(lambda: host.names() == {"c"})
    await clock.pass_s(60)
    assert host.asked == [about, POOL, POOL]
    await host.requests.stop()


@pytest.mark.parametrize("about", [POOL, LAB])
async def test_who_asks_after_a_refresh_gets_what_was_read_after_it(about: Key) -> None:
    host = Host()
    await host.list(about)
    host.volumes = {"b"}
    host.cache.apply([REFRESHED])
    assert await host.list(about) == {"b"}
    await until(lambda: POOL in host.asked[1:])
    before = len(host.asked)
    assert await host.list(about) == await host.list(POOL) == {"b"}
    assert len(host.asked) == before
    await host.requests.stop()


async def test_a_refresh_during_the_first_reading_is_not_lost() -> None:
    host = Host()
    host.gate.clear()
    first = asyncio.create_task(host.list(LAB))
    await until(lambda: len(host.asked) == 1)
    host.volumes = {"b"}
    host.cache.apply([REFRESHED])
    host.gate.set()
    await first
    await until(lambda: host.names() == {"b"})
    await host.requests.stop()


@pytest.mark.parametrize("about", [POOL, LAB])
async def test_volumes_go_with_a_pool_that_stops_and_come_with_its_start(about: Key) -> None:
    host = Host()
    await host.list(about)
    host.turn(active=False)
    assert host.names() == set()
    for _ in range(2):  # libvirt's word, also where the answer for the whole connection is known
        with pytest.raises(BridgeError, match="not active"):
            await host.list(POOL)
        assert await host.list(LAB) == set()
    before = len(host.asked)
    host.volumes = {"b"}
    host.turn(active=True)
    await until(lambda: host.names() == {"b"})
    assert host.asked[before:] == [POOL]
    await host.requests.stop()


async def test_a_reading_that_fails_is_tried_by_the_next_who_asks() -> None:
    host = Host()
    await host.list()
    host.turn(active=False)
    host.cache.apply([REFRESHED])
    await until(lambda: len(host.asked) == 2)
    await asyncio.sleep(0)
    host.cache.apply([Patch(POOL, {"active": True})])
    assert await host.list() == {"a"}
    assert len(host.asked) == 3
    await host.requests.stop()
