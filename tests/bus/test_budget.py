"""The RPC budget, by the daemon's own counters: what a read, a client, a sync and an event cost.

Reads cost nothing, k clients cost what one costs, a sync of N domains is a constant number of calls and one
XML each, a lifecycle event publishes the state without a call.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.client import ROOT, SERVICE, Client, wait_until
from tests.support.costs import spent
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import dbus_daemon
from tests.support.libvirtd import Libvirtd, is_available
from tests.support.mirror import Mirror

DOMAIN = f"{SERVICE}.Domain"
MANAGER = f"{SERVICE}.Manager"


def calls(counters: dict[str, int]) -> dict[str, int]:
    """The libvirt calls among the counters."""
    return {name: count for name, count in counters.items() if name.startswith("libvirt.")}


def node(path: Path, domains: int) -> str:
    """A test driver's URI with this many domains."""
    xml = "".join(
        f"<domain type='test'><name>d{number}</name><memory unit='MiB'>32</memory>"
        "<os><type>hvm</type></os></domain>"
        for number in range(domains)
    )
    path.write_text(f"<node>{xml}</node>")
    return f"test://{path}"


@asynccontextmanager
async def daemon_with(uri: str, *args: str, leaps: bool = False) -> AsyncIterator[tuple[Daemon, Client]]:
    with dbus_daemon() as bus:
        daemon = await Daemon.start(bus.address, {"host": uri}, args=args, leaps=leaps)
        client = await Client.connect(bus.address)
        try:
            yield daemon, client
        finally:
            await client.close()
            await daemon.stop()


async def read_everything(client: Client, domains: int) -> None:
    """Every kind of cached read there is."""
    objects = await client.managed_objects()
    paths = [path for path in objects if "/domain/" in path]
    assert len(paths) == domains
    await client.get_all(paths[0], DOMAIN)
    await client.get(paths[0], DOMAIN, "State")
    await client.call(ROOT, MANAGER, "FindDomains", "sa{sv}", ["d1", {}])
    await client.call(ROOT, MANAGER, "FindDiskUsers", "sa{sv}", ["/nowhere", {}])
    await client.call(ROOT, MANAGER, "FindMacUsers", "sa{sv}", ["52:54:00:00:00:01", {}])
    await client.call(ROOT, MANAGER, "Select", "sasa{sv}", ["domain", ["Name", "State", "Xml"], {}])
    await client.call(f"{ROOT}/host", f"{SERVICE}.Connection", "List", "sa{sv}", ["domain", {}])
    for path in paths[:10]:
        assert "<domain" in await client.call(path, DOMAIN, "GetXml", "a{sv}", [{}])


async def test_reads_cost_no_libvirt_call(tmp_path: Path) -> None:
    async with daemon_with(node(tmp_path / "node.xml", 20)) as (_, client):
        before = calls(await client.counters())
        await read_everything(client, 20)
        await client.call(ROOT, MANAGER, "QueryXml", "ssa{sv}", ["domain", "//name", {}])
        assert spent(before, calls(await client.counters())) == {}


async def test_k_clients_cost_what_one_costs(tmp_path: Path) -> None:
    async with daemon_with(node(tmp_path / "node.xml", 20)) as (daemon, client):
        before = calls(await client.counters())
        crowd = [await Client.connect(daemon.address) for _ in range(8)]
        mirrors = [await Mirror.follow(one) for one in crowd]
        await asyncio.gather(*(read_everything(one, 20) for one in crowd))
        assert all(len(mirror.view("host")) == 20 for mirror in mirrors)
        assert spent(before, calls(await client.counters())) == {}
        for one in crowd:
            await one.close()


async def test_a_sync_is_a_constant_number_of_calls_and_one_xml_for_each_domain(tmp_path: Path) -> None:
    costs = {}
    for count in (10, 60):
        async with daemon_with(node(tmp_path / f"node{count}.xml", count)) as (_, client):
            costs[count] = calls(await client.counters())
    grown = spent(costs[10], costs[60])
    assert len(grown) == 1, f"more than the XML grows with the number of domains: {grown}"
    assert list(grown.values()) == [50]
    assert "XMLDesc" in next(iter(grown))
    bulk = sum(costs[10].values()) - costs[10][next(iter(grown))]
    assert bulk <= 60, f"connecting and the bulk calls of one sync: {costs[10]}"


def host_with(path: Path, pools: int, devices: int) -> str:
    """A test driver's URI with this many storage pools and node devices."""
    xml = "".join(
        f"<pool type='dir'><name>p{number}</name><target><path>/p{number}</path></target></pool>"
        for number in range(pools)
    ) + "".join(
        f"<device><name>scsi_host{number}</name><capability type='scsi_host'><host>{number}</host>"
        "</capability></device>"
        for number in range(devices)
    )
    path.write_text(f"<node>{xml}</node>")
    return f"test://{path}"


async def test_pools_and_devices_cost_one_xml_each_too(tmp_path: Path) -> None:
    costs = {}
    for count in (5, 40):
        uri = host_with(tmp_path / f"host{count}.xml", count, 2 * count)
        async with daemon_with(uri) as (_, client):
            costs[count] = calls(await client.counters())
            before = calls(await client.counters())
            for kind, number in (("pool", count), ("nodedev", 2 * count)):
                paths = await client.call(
                    f"{ROOT}/host", f"{SERVICE}.Connection", "List", "sa{sv}", [kind, {}]
                )
                assert len(paths) == number
                selected = await client.call(ROOT, MANAGER, "Select", "sasa{sv}", [kind, ["Xml"], {}])
                assert all(row["Xml"] for row in selected.values())
            assert spent(before, calls(await client.counters())) == {}
    assert spent(costs[5], costs[40]) == {"libvirt.XMLDesc": 35 * 3}


async def test_refreshes_at_the_same_time_share_one_reading(tmp_path: Path) -> None:
    async with daemon_with(node(tmp_path / "node.xml", 30)) as (daemon, client):
        crowd = [await Client.connect(daemon.address) for _ in range(6)]

        async def refresh(one: Client) -> None:
            await one.call(f"{ROOT}/host", f"{SERVICE}.Connection", "Refresh", "asa{sv}", [[], {}])

        before = calls(await client.counters())
        await refresh(crowd[0])
        alone = spent(before, calls(await client.counters()))
        before = calls(await client.counters())
        await asyncio.gather(*(refresh(one) for one in crowd))
        together = spent(before, calls(await client.counters()))
        # One may come too late to join the first reading; nobody comes too late for the second.
        assert sum(together.values()) <= 2 * sum(alone.values())
        for one in crowd:
            await one.close()


async def test_an_audit_is_a_constant_number_of_bulk_calls(tmp_path: Path) -> None:
    """As many for 60 domains as for 10, beside what it reads again a few domains at a time."""
    settings = tmp_path / "virtbridge.toml"
    settings.write_text("[refresh]\naudit_interval_s = 1\n")
    for count in (10, 60):
        uri = node(tmp_path / f"node{count}.xml", count)
        async with daemon_with(uri, "--config", str(settings)) as (_, client):
            before = calls(await client.counters())

            async def audited(old: dict[str, int] = before, one: Client = client) -> bool:
                return bool(spent(old, calls(await one.counters())))

            await wait_until(audited, "an audit", 10)
            cost = spent(before, calls(await client.counters()))
            assert sum(cost.values()) <= 40, f"one or two audits of {count} domains: {cost}"


async def test_nothing_happens_nothing_is_called(tmp_path: Path) -> None:
    async with daemon_with(node(tmp_path / "node.xml", 20), leaps=True) as (daemon, client):
        await Mirror.follow(client)
        before = await client.counters()
        await daemon.leap(client)
        after = await client.counters()
        assert spent(calls(before), calls(after)) == {}
        assert after.get("bus.signals", 0) == before.get("bus.signals", 0)


@pytest.mark.skipif(not is_available(), reason="a private libvirtd needs root")
async def test_a_lifecycle_event_is_published_without_a_call() -> None:
    """Suspend and resume by another client: State, StateReason and Id follow from the event alone."""
    import libvirt

    libvirt.registerErrorHandler(lambda *_: None, None)
    with Libvirtd() as host:
        other = await asyncio.to_thread(libvirt.open, host.uri())
        async with daemon_with(host.uri()) as (_, client):
            mirror = await Mirror.follow(client)
            domain = other.lookupByName("test")
            key = ("domain", domain.UUIDString())
            before = calls(await client.counters())
            for number in range(20):
                step, state = (domain.suspend, "paused") if number % 2 == 0 else (domain.resume, "running")
                await asyncio.to_thread(step)
                await wait_until(lambda s=state: mirror.view("host")[key]["State"] == s, state, 5)  # type: ignore[misc]
            cost = spent(before, calls(await client.counters()))
            assert cost == {}, f"suspending and resuming cost libvirt calls: {cost}"
            assert mirror.faults == []
        await asyncio.to_thread(other.close)


@pytest.mark.skipif(not is_available(), reason="a private libvirtd needs root")
async def test_a_burst_that_may_change_the_definition_is_read_once_or_twice() -> None:
    """40 changes of one domain's title as fast as they go: coalesced, not one XML read for each."""
    import libvirt

    with Libvirtd() as host:
        other = await asyncio.to_thread(libvirt.open, host.uri())
        async with daemon_with(host.uri()) as (_, client):
            mirror = await Mirror.follow(client)
            domain = other.lookupByName("test")
            key = ("domain", domain.UUIDString())
            before = calls(await client.counters())

            def burst() -> None:
                for number in range(41):
                    title = f"title {number}"
                    flags = libvirt.VIR_DOMAIN_AFFECT_LIVE
                    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, title, None, None, flags)

            await asyncio.to_thread(burst)
            await wait_until(lambda: mirror.view("host")[key]["Title"] == "title 40", "the last title", 5)
            cost = spent(before, calls(await client.counters()))
            assert sum(cost.values()) <= 41, f"never more than one reading for an event: {cost}"
            assert set(cost) <= {name for name in cost if "XMLDesc" in name}, f"nothing but XML: {cost}"
        await asyncio.to_thread(other.close)
