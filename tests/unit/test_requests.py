"""The way back: refreshes are shared, and nobody can keep a libvirt busy with them."""

import asyncio
from time import monotonic
from typing import Any

from virtbridge.cache.cache import Cache
from virtbridge.cache.requests import Requests
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.metrics import Metrics
from virtbridge.model.keys import Kind

DOMAINS = frozenset({Kind.DOMAIN})


class Source:
    """Takes its time for a refresh, and remembers when it was asked."""

    def __init__(self, takes_s: float, *, fails: bool = False) -> None:
        self.began: list[float] = []
        self.ended: list[float] = []
        self._takes_s = takes_s
        self._fails = fails

    async def refresh(self, connection: str, kinds: frozenset[Kind]) -> None:
        self.began.append(monotonic())
        await asyncio.sleep(self._takes_s)
        self.ended.append(monotonic())
        if self._fails:
            raise BridgeError(ErrorKind.NOT_CONNECTED, "gone")

    async def close(self, name: str) -> None:
        pass


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
    source = Source(0.05)
    asked = requests(source)
    await asked.refresh("lab", DOMAINS)
    await asked.refresh("far", DOMAINS)
    assert source.began[1] - source.ended[0] < source.ended[0] - source.began[0]
    await asked.close("far")
    await asked.refresh("far", DOMAINS)
    assert source.began[2] - source.ended[1] < source.ended[1] - source.began[1]


async def test_all_who_come_while_one_is_under_way_share_the_next() -> None:
    source = Source(0.02)
    asked = requests(source)
    first = asyncio.create_task(asked.refresh("lab", DOMAINS))
    await asyncio.sleep(0.005)
    await asyncio.gather(first, *(asked.refresh("lab", DOMAINS) for _ in range(50)))
    assert len(source.began) == 2
