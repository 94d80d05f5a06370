"""Connection.Watch and Unwatch over a real bus: what they cost libvirt, whose they are, when they end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.bus.test_budget import calls, node
from tests.support.client import ROOT, SERVICE, CallFailed, Client, wait_until
from tests.support.costs import spent
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import dbus_daemon

HOST, INTERFACE = f"{ROOT}/host", f"{SERVICE}.Connection"


@asynccontextmanager
async def daemon_without_events(
    tmp_path: Path, *, events: bool = False, floor_s: float = 0.1, limits: str = "", domains: int = 10
) -> AsyncIterator[tuple[Daemon, Client]]:
    config = tmp_path / "virtbridge.toml"
    uri = node(tmp_path / "node.xml", domains)
    config.write_text(
        f"[connections.host]\nuri = '{uri}'\nevents = {str(events).lower()}\n"
        f"[refresh]\npoll_floor_s = {floor_s}\naudit_interval_s = 0\n[limits]\n{limits}\n"
    )
    with dbus_daemon() as bus:
        daemon = await Daemon.start(bus.address, {}, args=["--config", str(config)], leaps=True)
        client = await Client.connect(bus.address)
        await daemon.wait_state(client, "host", "ready")
        try:
            yield daemon, client
        finally:
            await client.close()
            await daemon.stop()


async def watch(client: Client, kinds: list[str], interval_ms: int = 100) -> int:
    number = await client.call(HOST, INTERFACE, "Watch", "asua{sv}", [kinds, interval_ms, {}])
    assert isinstance(number, int)
    return number


async def unwatch(client: Client, number: int) -> None:
    await client.call(HOST, INTERFACE, "Unwatch", "ua{sv}", [number, {}])


async def over(client: Client, polls: int) -> dict[str, int]:
    """What so many polls cost, whoever watches."""
    before = await client.counters()
    wanted = before.get("source.polls", 0) + polls

    async def done() -> dict[str, int]:
        now = await client.counters()
        return now if now.get("source.polls", 0) >= wanted else {}

    after = await wait_until(done, f"{polls} polls")
    return spent(before, after)


async def nothing_more(daemon: Daemon, client: Client) -> None:
    """Whether libvirt is left alone from now on. A Refresh comes after a poll that had begun."""
    await client.call(HOST, INTERFACE, "Refresh", "asa{sv}", [["network"], {}])
    await wait_until(lambda: daemon.is_quiet(client), "what was under way is over")
    before = calls(await client.counters())
    await daemon.leap(client)
    assert spent(before, calls(await client.counters())) == {}


async def test_fifty_watching_clients_cost_what_one_costs(tmp_path: Path) -> None:
    async with daemon_without_events(tmp_path) as (daemon, client):
        await nothing_more(daemon, client)
        crowd = [await Client.connect(daemon.address) for _ in range(50)]
        per_poll = {}
        for watching in (1, 50):
            numbers = [await watch(one, ["domain"], 100) for one in crowd[:watching]]
            cost = await over(client, 6)
            polls = cost["source.polls"]
            # The last one may not have made all of its calls when the counters were read, nor the first.
            for name in ("libvirt.listAllDomains", "libvirt.getAllDomainStats"):
                assert abs(cost[name] - polls) <= 1
            assert cost["libvirt.XMLDesc"] <= 4 * (polls + 1)
            assert set(calls(cost)) == {
                "libvirt.listAllDomains",
                "libvirt.getAllDomainStats",
                "libvirt.XMLDesc",
            }
            began = asyncio.get_running_loop().time()
            await over(client, 5)
            per_poll[watching] = (asyncio.get_running_loop().time() - began) / 5
            for one, number in zip(crowd[:watching], numbers, strict=True):
                await unwatch(one, number)
        assert per_poll[50] > 0.05, "fifty clients were polled for more often than one"
        await nothing_more(daemon, client)
        for one in crowd:
            await one.close()


async def test_a_client_that_vanishes_is_unwatched(tmp_path: Path) -> None:
    async with daemon_without_events(tmp_path) as (daemon, client):
        second = await Client.connect(daemon.address)
        await watch(second, [])
        await watch(second, ["network"], 60_000)
        await over(client, 2)
        assert (await client.counters())["queue.watches"] == 2
        await second.close()

        async def none() -> bool:
            return (await client.counters())["queue.watches"] == 0

        await wait_until(none, "its watches are over")
        await nothing_more(daemon, client)


async def test_the_shortest_interval_wins_and_the_floor_holds(tmp_path: Path) -> None:
    async with daemon_without_events(tmp_path, floor_s=0.2) as (daemon, client):
        second = await Client.connect(daemon.address)
        await watch(client, ["domain"], 60_000)
        number = await watch(second, ["domain"], 0)
        began = asyncio.get_running_loop().time()
        await over(client, 4)
        elapsed_s = asyncio.get_running_loop().time() - began
        assert elapsed_s > 0.55
        await unwatch(second, number)
        await nothing_more(daemon, client)  # a minute's interval is left
        await second.close()


async def test_watching_what_events_feed_costs_nothing(tmp_path: Path) -> None:
    async with daemon_without_events(tmp_path, events=True) as (daemon, client):
        before = calls(await client.counters())
        await watch(client, ["domain", "network"], 0)
        await watch(client, [], 0)
        await daemon.leap(client)
        assert spent(before, calls(await client.counters())) == {}


async def test_limits_of_a_client_and_of_all(tmp_path: Path) -> None:
    limits = "watches_per_client = 2\nwatches = 3"
    async with daemon_without_events(tmp_path, limits=limits) as (daemon, client):
        second = await Client.connect(daemon.address)
        number = await watch(client, ["domain"])
        await watch(client, ["network"])
        await refused(watch(client, ["domain"]), "LimitExceeded")
        await watch(second, ["domain"])
        await refused(watch(second, ["domain"]), "LimitExceeded")
        await unwatch(client, number)
        await watch(second, ["domain"])
        await second.close()


async def refused(call: Any, error: str) -> None:
    with pytest.raises(CallFailed) as failure:
        await call
    assert failure.value.name == f"{SERVICE}.Error.{error}"


async def test_what_is_refused(tmp_path: Path) -> None:
    async with daemon_without_events(tmp_path) as (daemon, client):
        second = await Client.connect(daemon.address)
        await refused(watch(client, ["nonsense"]), "InvalidArgument")
        await refused(watch(client, ["connection"]), "InvalidArgument")
        option = {"often": client.variant("b", True)}
        await refused(client.call(HOST, INTERFACE, "Watch", "asua{sv}", [[], 0, option]), "InvalidArgument")
        number = await watch(client, [])
        assert number > 0
        await refused(unwatch(second, number), "NoSuchObject")
        await refused(unwatch(client, number + 1), "NoSuchObject")
        await unwatch(client, number)
        await refused(unwatch(client, number), "NoSuchObject")
        await second.close()


async def test_a_watch_ends_with_its_connection(tmp_path: Path) -> None:
    async with daemon_without_events(tmp_path) as (_, client):
        number = await watch(client, [])
        await client.call(ROOT, f"{SERVICE}.Manager", "CloseConnection", "oa{sv}", [HOST, {}])
        assert (await client.counters())["queue.watches"] == 0
        uri = "test:///default"
        await client.call(ROOT, f"{SERVICE}.Manager", "OpenConnection", "ssa{sv}", ["host", uri, {}])

        async def there() -> bool:
            return HOST in await client.managed_objects()

        await wait_until(there, "the new connection is on the bus")
        await refused(unwatch(client, number), "NoSuchObject")
        await watch(client, ["domain"])  # before it was ever connected, if need be
