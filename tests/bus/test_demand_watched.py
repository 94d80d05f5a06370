"""Watching what is read on demand, over a real bus: what clients see, what it costs, and when it ends."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.bus.test_demand import CONNECTION, HOST, SNAPSHOT, leaves, path_of, take
from tests.bus.test_watches import over, refused, unwatch, watch
from tests.support.client import SERVICE, Client, wait_until
from tests.support.costs import calls, spent
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import dbus_daemon
from tests.support.libvirtd import Libvirtd, is_available

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not is_available(), reason="a private libvirtd needs root"),
]

CROWD = 50
KINDS = ["snapshot", "interface"]


@pytest.fixture(scope="module")
def config(host: Libvirtd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("watched") / "virtbridge.toml"
    path.write_text(
        f"[connections.host]\nuri = '{host.uri()}'\n[refresh]\npoll_floor_s = 0.2\naudit_interval_s = 0\n"
    )
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(config: Path) -> AsyncIterator[Daemon]:
    with dbus_daemon() as bus:
        running = await Daemon.start(bus.address, {}, args=["--config", str(config)], leaps=True)
        yield running
        await running.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def client(daemon: Daemon) -> AsyncIterator[Client]:
    connected = await Client.connect(daemon.address)
    await daemon.wait_state(connected, "host", "ready")
    yield connected
    await connected.close()


async def snapshots(client: Client) -> list[str]:
    return leaves([path for path in await client.managed_objects() if "/snapshot/" in path])


async def nothing_more(daemon: Daemon, client: Client) -> None:
    await wait_until(lambda: daemon.is_quiet(client), "what was under way is over")
    before = await calls(client)
    await daemon.leap(client)
    assert spent(before, await calls(client)) == {}


async def test_another_client_s_snapshots_come_and_go_by_signals(
    daemon: Daemon, client: Client, domain: Any
) -> None:
    assert await snapshots(client) == []
    signals = await client.signals()
    number = await watch(client, ["snapshot"])
    take(domain, "a", "b")

    async def told(member: str, name: str) -> None:
        path = f"{path_of(domain)}/snapshot/{name}"
        await signals.until(lambda each: each.member == member and each.args[0] == path)

    await told("InterfacesAdded", "a")
    await told("InterfacesAdded", "b")
    shown = await client.get_all(f"{path_of(domain)}/snapshot/b", SNAPSHOT)
    assert (shown["Parent"], shown["Stale"]) == (f"{path_of(domain)}/snapshot/a", False)
    domain.snapshotLookupByName("a").delete()
    await told("InterfacesRemoved", "a")
    assert await snapshots(client) == ["b"]

    async def is_root() -> bool:
        return bool(await client.get(f"{path_of(domain)}/snapshot/b", SNAPSHOT, "Parent") == "/")

    await wait_until(is_root, "b has no parent any more")
    await unwatch(client, number)
    await nothing_more(daemon, client)


async def test_fifty_watching_clients_cost_what_one_costs(
    daemon: Daemon, client: Client, domain: Any
) -> None:
    take(domain, "a", "b", "c")
    await nothing_more(daemon, client)
    crowd = [await Client.connect(daemon.address) for _ in range(CROWD)]
    for watching in (1, CROWD):
        numbers = [await watch(each, KINDS, 200) for each in crowd[:watching]]
        await over(client, 2)  # the first look at all
        began = asyncio.get_running_loop().time()
        cost = await over(client, 8)
        elapsed_s = asyncio.get_running_loop().time() - began
        assert cost["source.polls"] <= (elapsed_s / 0.2 + 1) * len(KINDS)
        for name, times in (
            *(("listAllDomains", 1), ("listAllSnapshots", 1), ("snapshotCurrent", 1)),
            *(("listAllInterfaces", 2), ("getXMLDesc", 3), ("XMLDesc", 1)),
        ):
            assert cost.get(f"libvirt.{name}", 0) <= times * (elapsed_s / 0.2 + 2), (watching, name)
        for each, number in zip(crowd[:watching], numbers, strict=True):
            await unwatch(each, number)
        await nothing_more(daemon, client)
    await watch(crowd[0], KINDS, 200)
    await over(client, 2)
    for each in crowd:
        await each.close()

    async def nobody_watches() -> bool:
        return (await client.counters())["queue.watches"] == 0

    await wait_until(nobody_watches, "the bus has told that they left")
    await nothing_more(daemon, client)  # who left the bus watches no more


async def test_who_lists_while_somebody_watches_asks_libvirt_nothing(
    daemon: Daemon, client: Client, domain: Any
) -> None:
    take(domain, "a")
    number = await watch(client, ["snapshot"])
    options = {"max-age": client.variant("t", 60_000)}

    async def there() -> bool:
        return await snapshots(client) == ["a"]

    await wait_until(there, "a poll")
    await unwatch(client, number)
    # The next poll comes long after this; one that was ended midway is made again at once, without a reading.
    number = await watch(client, ["snapshot"], 60_000)
    await wait_until(lambda: daemon.is_quiet(client), "what was under way is over")
    before = await calls(client)
    found = await client.call(HOST, CONNECTION, "List", "sa{sv}", ["snapshot", options])
    assert leaves(found) == ["a"]
    await client.call(path_of(domain), f"{SERVICE}.Domain", "ListSnapshots", "a{sv}", [options])
    assert spent(before, await calls(client)) == {}
    await unwatch(client, number)


async def test_all_kinds_are_not_those_that_are_read_on_demand(daemon: Daemon, client: Client) -> None:
    await nothing_more(daemon, client)
    number = await watch(client, [])
    await nothing_more(daemon, client)
    await unwatch(client, number)


async def test_a_kind_that_the_driver_lacks(client: Client) -> None:
    number = await watch(client, ["nwfilter"])

    async def is_known() -> bool:
        return "nwfilter" not in await client.get(HOST, CONNECTION, "DemandKinds")

    await wait_until(is_known, "the driver's answer")
    await refused(watch(client, ["nwfilter"]), "NotSupported")
    assert await client.get(HOST, CONNECTION, "LastError") == ("", "")
    await unwatch(client, number)
    assert (await client.counters())["queue.watches"] == 0
