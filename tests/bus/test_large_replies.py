"""Floods of large replies through a real bus: what others wait for is counted in replies, not in time."""

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.client import OBJECT_MANAGER, ROOT, SERVICE, Client, installed_libraries
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import BusDaemon
from virtbridge.wire import framing as wire
from virtbridge.wire import headers
from virtbridge.wire.framing import Incoming
from virtbridge.wire.link import Link

DOMAINS, FLOOD = 400, 200
HEADERS = headers.Headers()
TIMEOUT_S = 60.0
DOMAIN_XML = (
    "<domain type='test'><name>flood-{n}</name><uuid>00000000-0000-4000-8000-{n:012}</uuid>"
    "<memory>8192</memory><os><type>hvm</type></os></domain>"
)
ONE = f"{ROOT}/lab/domain/_00000000_0000_4000_8000_000000000007"


@pytest.fixture(params=installed_libraries())
async def daemon(bus: BusDaemon, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Daemon]:
    node = tmp_path / "node.xml"
    node.write_text("<node>" + "".join(DOMAIN_XML.format(n=n) for n in range(DOMAINS)) + "</node>")
    running = await Daemon.start(
        bus.address, {"lab": f"test://{node}"}, library=request.param.replace("_", "-")
    )
    yield running
    await running.stop()


class Flood:
    """So many calls in one write; `answered` counts their replies."""

    def __init__(
        self, link: Link, interface: str, member: str, signature: str = "", body: bytes = b""
    ) -> None:
        self.answered = 0
        self.over = asyncio.get_running_loop().create_future()
        link._on_reply = self._on_reply  # type: ignore[method-assign]
        calls = (
            HEADERS.method_call(1000 + n, SERVICE, ROOT, interface, member, signature, body)
            for n in range(FLOOD)
        )
        link.send(b"".join(calls))

    def _on_reply(self, reply: Incoming) -> None:
        assert reply.kind == wire.METHOD_RETURN
        self.answered += 1
        if self.answered == FLOOD:
            self.over.set_result(None)


_ALL_DOMAINS = (
    struct.pack("<I", 6) + b"domain\0\0" + struct.pack("<I", 0) + struct.pack("<I", 0) + bytes(4)
)  # "sasa{sv}": of this kind, all properties


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param((OBJECT_MANAGER, "GetManagedObjects"), id="GetManagedObjects"),
        pytest.param((f"{SERVICE}.Manager", "Select", "sasa{sv}", _ALL_DOMAINS), id="Select"),
    ],
)
async def test_short_calls_overtake_large_replies(
    bus: BusDaemon, daemon: Daemon, flood: tuple[str, ...]
) -> None:
    client = await Client.connect(bus.address)
    link = await Link.connect(bus.address)
    running = Flood(link, *flood)  # type: ignore[arg-type]
    while not running.answered:  # noqa: ASYNC110 (its replies come in turns of this loop)
        await asyncio.sleep(0)
    waited = []
    for _ in range(20):
        before = running.answered
        assert await client.get(ONE, f"{SERVICE}.Domain", "Name") == "flood-7"
        waited.append(running.answered - before)
    # One is on its way, one is at the bus, and one arrives here in the same turn.
    assert sorted(waited)[len(waited) // 2] <= 3, waited
    assert max(waited) <= 10, waited
    assert running.answered < FLOOD
    await asyncio.wait_for(running.over, TIMEOUT_S)
    assert (await client.counters())["queue.large"] == 0
    link.close()
    await client.close()


async def test_a_caller_that_leaves_takes_its_large_replies_along(bus: BusDaemon, daemon: Daemon) -> None:
    client = await Client.connect(bus.address)
    link = await Link.connect(bus.address)
    running = Flood(link, OBJECT_MANAGER, "GetManagedObjects")
    while not running.answered:  # noqa: ASYNC110 (its replies come in turns of this loop)
        await asyncio.sleep(0)
    link.close()
    first = (await client.counters())["bus.replies"]
    asked = 0
    async with asyncio.timeout(TIMEOUT_S):
        while (counters := await client.counters())["queue.large"]:
            asked += 1
    assert counters["bus.replies"] - first - asked < FLOOD // 2
    await client.close()
