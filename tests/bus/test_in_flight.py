"""More calls of one client than are worked on at a time: they wait for their turn, and nobody else does."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.client import ROOT, SERVICE, CallFailed, Client, wait_until
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import BusDaemon
from tests.support.libvirtd import Libvirtd, is_available
from tests.support.stopped import stopped

pytestmark = pytest.mark.skipif(not is_available(), reason="a private libvirtd needs root")

MANAGER, DOMAIN = f"{SERVICE}.Manager", f"{SERVICE}.Domain"
MANY, AT_A_TIME = 150, 64


@pytest_asyncio.fixture
async def daemon(host: Libvirtd, bus: BusDaemon) -> AsyncIterator[Daemon]:
    running = await Daemon.start(bus.address, {"host": host.uri()})
    yield running
    if running.process.poll() is None:
        await running.stop()


@pytest_asyncio.fixture
async def client(daemon: Daemon) -> AsyncIterator[Client]:
    connected = await Client.connect(daemon.address)
    yield connected
    await connected.close()


async def ask_for_many(client: Client) -> list["asyncio.Task[str]"]:
    """Each of these is a call of libvirt's own: nothing is shared."""
    [path] = await client.call(ROOT, MANAGER, "FindDomains", "sa{sv}", ["test", {}])
    options = {"inactive": client.variant("b", True)}
    return [
        asyncio.create_task(client.call(path, DOMAIN, "GetXml", "a{sv}", [options], timeout_s=30))
        for _ in range(MANY)
    ]


async def queues(client: Client) -> tuple[int, int]:
    counters = await client.counters()
    return counters["queue.in-flight"], counters["queue.waiting"]


async def until(client: Client, in_flight: int, waiting: int) -> None:
    async def reached() -> bool:
        return await queues(client) == (in_flight, waiting)

    await wait_until(reached, f"{in_flight} in flight and {waiting} waiting")


async def test_all_are_answered_in_the_end(host: Libvirtd, client: Client) -> None:
    with stopped(host.pid):
        asked = await ask_for_many(client)
        await until(client, AT_A_TIME, MANY - AT_A_TIME)
        assert await client.call(ROOT, MANAGER, "FindDomains", "sa{sv}", ["nobody", {}]) == []
    answers = await asyncio.gather(*asked)
    assert all("<name>test</name>" in xml for xml in answers)
    assert await queues(client) == (0, 0)


async def test_those_of_a_client_that_left_are_forgotten(
    host: Libvirtd, daemon: Daemon, client: Client
) -> None:
    leaving = await Client.connect(daemon.address)
    with stopped(host.pid):
        asked = await ask_for_many(leaving)
        await until(client, AT_A_TIME, MANY - AT_A_TIME)
        for each in asked:
            each.cancel()
        await leaving.close()
        await until(client, 0, 0)


async def test_at_the_end_each_gets_its_answer(host: Libvirtd, daemon: Daemon, client: Client) -> None:
    with stopped(host.pid):
        asked = await ask_for_many(client)
        await until(client, AT_A_TIME, MANY - AT_A_TIME)
        await daemon.stop()
    for ended in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(ended, CallFailed)
        assert ended.name == f"{SERVICE}.Error.Cancelled"


async def test_calls_of_the_same_client_to_another_host_do_not_wait_with_them(
    host: Libvirtd, client: Client
) -> None:
    await client.call(ROOT, MANAGER, "OpenConnection", "ssa{sv}", ["other", "test:///default", {}])
    other = f"{ROOT}/other"

    async def ready() -> bool:
        return bool(await client.get(other, f"{SERVICE}.Connection", "State") == "ready")

    await wait_until(ready, "ready")
    [path] = await client.call(
        ROOT, MANAGER, "FindDomains", "sa{sv}", ["test", {"connection": client.variant("s", "host")}]
    )
    options = {"inactive": client.variant("b", True)}
    with stopped(host.pid):
        asked = [
            asyncio.create_task(client.call(path, DOMAIN, "GetXml", "a{sv}", [options], timeout_s=30))
            for _ in range(MANY)
        ]
        await until(client, AT_A_TIME, MANY - AT_A_TIME)
        assert await client.call(
            other, f"{SERVICE}.Connection", "List", "sa{sv}", ["interface", {}], timeout_s=3
        )
    await asyncio.gather(*asked)
