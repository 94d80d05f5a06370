"""Demand reads over the bus: objects that appear when asked for, ages, and what fifty clients cost."""

import asyncio
from typing import Any

import pytest

from tests.support.client import ROOT, SERVICE, Client, error_of, wait_until
from tests.support.costs import calls, spent
from tests.support.daemon import Daemon
from tests.support.libvirtd import Libvirtd, is_available
from tests.support.stopped import stopped
from virtbridge.bus.contract import load_contract
from virtbridge.bus.names import NAME

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not is_available(), reason="a private libvirtd needs root"),
]

HOST = f"{ROOT}/host"
CONNECTION, DOMAIN, SNAPSHOT = f"{SERVICE}.Connection", f"{SERVICE}.Domain", f"{SERVICE}.Snapshot"
MANAGER = f"{SERVICE}.Manager"
CROWD = 50
AGE_MS = 4000


@pytest.fixture(scope="module")
def daemon(remote: Daemon) -> Daemon:
    return remote


def take(domain: Any, *names: str) -> None:
    for name in names:
        domain.snapshotCreateXML(f"<domainsnapshot><name>{name}</name></domainsnapshot>", 0)


def path_of(domain: Any) -> str:
    return f"{HOST}/domain/_{domain.UUIDString().replace('-', '_')}"


async def listed(client: Client, domain: Any, **options: int) -> list[str]:
    made = {name.replace("_", "-"): client.variant("t", value) for name, value in options.items()}
    return list(await client.call(path_of(domain), DOMAIN, "ListSnapshots", "a{sv}", [made]))


def leaves(paths: list[str]) -> list[str]:
    return [path.rpartition("/")[2] for path in paths]


async def test_snapshots_appear_when_asked_for_and_are_whole(client: Client, domain: Any) -> None:
    take(domain, "clean", "later on")
    assert not [path for path in await client.managed_objects() if "/snapshot/" in path]
    signals = await client.signals()
    paths = await listed(client, domain, max_age=0)
    assert leaves(paths) == ["clean", "later_20on"]
    heard = signals.drain()  # whoever gets the answer has heard of the objects
    assert [each.args[0] for each in heard if each.member == "InterfacesAdded"] == paths
    assert {"HasSnapshots": True} in [
        each.args[1] for each in heard if each.member == "PropertiesChanged" and each.path == path_of(domain)
    ]
    clean, later = [await client.get_all(path, SNAPSHOT) for path in paths]
    assert list(clean) == list(load_contract(NAME)[SNAPSHOT].properties)
    assert (clean["Name"], clean["Parent"], clean["Children"]) == ("clean", "/", [paths[1]])
    assert (later["Name"], later["Parent"], later["Children"]) == ("later on", paths[0], [])
    assert (clean["Current"], later["Current"], later["State"]) == (False, True, "running")
    assert clean["Domain"] == path_of(domain)
    assert clean["CreationTime"] > 1_600_000_000_000_000
    assert (await client.managed_objects())[paths[0]][SNAPSHOT] == clean
    assert "<domainsnapshot>" in await client.call(paths[0], SNAPSHOT, "GetXml", "a{sv}", [{}])
    secure = {"secure": client.variant("b", True)}
    assert "<domainsnapshot>" in await client.call(paths[0], SNAPSHOT, "GetXml", "a{sv}", [secure])
    node = await client.call(
        f"{path_of(domain)}/snapshot", "org.freedesktop.DBus.Introspectable", "Introspect"
    )
    assert '<node name="later_20on"/>' in node
    chosen = await client.call(ROOT, MANAGER, "Select", "sasa{sv}", ["snapshot", ["Name"], {}])
    assert chosen == {paths[0]: {"Name": "clean"}, paths[1]: {"Name": "later on"}}
    names = await client.call(ROOT, MANAGER, "QueryXml", "ssa{sv}", ["snapshot", "parent/name/text()", {}])
    assert names == {paths[1]: ["clean"]}


async def test_an_unchanged_snapshot_is_not_announced_and_a_removed_one_is(
    client: Client, domain: Any
) -> None:
    take(domain, "a", "b")
    [first, second] = await listed(client, domain, max_age=0)
    read_at = await client.get(first, SNAPSHOT, "LastRefresh")
    signals = await client.signals()
    await listed(client, domain, max_age=0)
    assert signals.drain() == []
    assert await client.get(first, SNAPSHOT, "LastRefresh") > read_at
    domain.snapshotLookupByName("a").delete()
    assert await listed(client, domain, max_age=60_000) == [first, second]
    assert await listed(client, domain, max_age=0) == [second]
    heard = signals.drain()
    assert [each.args[0] for each in heard if each.member == "InterfacesRemoved"] == [first]
    assert {"Parent": "/"} in [each.args[1] for each in heard if each.member == "PropertiesChanged"]


async def test_fifty_clients_at_once_cost_one_and_within_max_age_nothing(
    host: Libvirtd, daemon: Daemon, client: Client, domain: Any
) -> None:
    crowd = [await Client.connect(daemon.address) for _ in range(CROWD)]
    one = {"listAllSnapshots": 1, "snapshotCurrent": 1, "getXMLDesc": 3}
    take(domain, "a", "b", "c")

    async def cost(max_age: int) -> dict[str, int]:
        before = await calls(client)
        with stopped(host.pid):  # until all of them have asked
            asking = [asyncio.create_task(listed(each, domain, max_age=max_age)) for each in crowd]

            async def all_wait() -> bool:
                return (await client.counters())["queue.in-flight"] == CROWD

            await wait_until(all_wait, "all clients wait")
        answers = await asyncio.gather(*asking)
        assert [leaves(answer) for answer in answers] == [["a", "b", "c"]] * CROWD
        return spent(before, await calls(client))

    # Nothing that began before the question will do: the first one's reading, and one for all others.
    assert await cost(max_age=0) == {name: 2 * count for name, count in one.items()}
    await asyncio.sleep(AGE_MS / 1000)
    assert await cost(AGE_MS) == one
    before = await calls(client)
    await asyncio.gather(*(listed(one, domain, max_age=60_000) for one in crowd))
    assert spent(before, await calls(client)) == {}

    async def info(each: Client) -> Any:
        return await each.call(HOST, CONNECTION, "GetNodeInfo", "a{sv}", [{}])

    first, *others = await asyncio.gather(*(info(each) for each in crowd))
    assert all(other == first for other in others)
    assert spent(before, await calls(client)) == {"getInfo": 1}
    for each in crowd:
        await each.close()


async def test_the_first_asker_may_leave(host: Libvirtd, daemon: Daemon, client: Client, domain: Any) -> None:
    take(domain, "a")
    first = await Client.connect(daemon.address)
    age = {"max-age": client.variant("t", AGE_MS)}
    await asyncio.sleep(AGE_MS / 1000)  # what is known is too old then, and what is being read is not
    before = await calls(client)
    with stopped(host.pid):
        await first.send(path_of(domain), DOMAIN, "ListSnapshots", "a{sv}", [age])
        others = [asyncio.create_task(listed(client, domain, max_age=AGE_MS)) for _ in range(5)]

        async def waiting(count: int) -> bool:
            return (await client.counters())["queue.in-flight"] == count

        await wait_until(lambda: waiting(6), "all wait")
        await first.close()
        await wait_until(lambda: waiting(5), "the first has gone")
    assert [leaves(await other) for other in others] == [["a"]] * 5
    assert spent(before, await calls(client))["listAllSnapshots"] == 1


async def test_list_is_the_way_to_load_a_kind(client: Client, domain: Any) -> None:
    take(domain, "a")
    kinds = await client.get(HOST, CONNECTION, "DemandKinds")
    assert {"interface", "snapshot"} <= set(kinds)

    async def of(kind: str, **options: int) -> list[str]:
        made = {name.replace("_", "-"): client.variant("t", value) for name, value in options.items()}
        return list(await client.call(HOST, CONNECTION, "List", "sa{sv}", [kind, made]))

    [eth1] = await of("interface")
    assert eth1 == f"{HOST}/interface/eth1"
    shown = await client.get_all(eth1, f"{SERVICE}.Interface")
    assert (shown["Name"], shown["Active"], shown["Mtu"]) == ("eth1", True, 1492)
    assert shown["Addresses"][0]["address"] == "192.168.0.5"
    assert "eth1" in await client.call(eth1, f"{SERVICE}.Interface", "GetXml", "a{sv}", [{}])
    assert leaves(await of("snapshot", max_age=0)) == ["a"]
    before = await calls(client)
    assert await of("interface", max_age=60_000) == [eth1]
    assert await of("domain") == [path_of(domain)]
    assert spent(before, await calls(client)) == {}
    assert await of("domain", max_age=0) == [path_of(domain)]
    assert "listAllDomains" in spent(before, await calls(client))

    nwfilters = (HOST, CONNECTION, "List", "sa{sv}", ["nwfilter", {}])
    if "nwfilter" in kinds:
        assert await error_of(client, *nwfilters) == "NotSupported"
    assert "nwfilter" not in await client.get(HOST, CONNECTION, "DemandKinds")
    before = await calls(client)
    assert await error_of(client, *nwfilters) == "NotSupported"
    assert spent(before, await calls(client)) == {}

    take(domain, "b")
    await client.call(HOST, CONNECTION, "Refresh", "asa{sv}", [[], {}])  # what somebody has asked for, too
    assert leaves([path for path in await client.managed_objects() if "/snapshot/" in path]) == ["a", "b"]


async def test_answers_that_are_no_objects(client: Client, domain: Any) -> None:
    async def ask(member: str, **options: tuple[str, Any]) -> Any:
        made = {name.replace("_", "-"): client.variant(*value) for name, value in options.items()}
        return await client.call(HOST, CONNECTION, member, "a{sv}", [made])

    assert "<capabilities>" in await ask("GetCapabilities")
    assert "<sysinfo" in await ask("GetSysinfo", max_age=("t", 0))
    assert (await ask("GetNodeInfo"))["model"] == "i686"
    assert "cpu-idle" in await ask("GetNodeStats")
    source = {"source": client.variant("s", "agent")}
    [nic] = await client.call(path_of(domain), DOMAIN, "GetInterfaceAddresses", "a{sv}", [source])
    assert nic["addresses"] == [{"type": "ipv4", "address": "192.168.122.3", "prefix": 24}]


async def test_refusals_have_their_names(client: Client, domain: Any) -> None:
    def options(**given: tuple[str, Any]) -> list[Any]:
        return [{name.replace("_", "-"): client.variant(*value) for name, value in given.items()}]

    at = path_of(domain)
    network = (await client.call(HOST, CONNECTION, "List", "sa{sv}", ["network", {}]))[0]
    refused = [
        (at, DOMAIN, "GetInterfaceAddresses", options(source=("s", "rumour")), "InvalidArgument"),
        (at, DOMAIN, "GetGuestInfo", options(types=("as", ["moods"])), "InvalidArgument"),
        (at, DOMAIN, "GetGuestInfo", options(types=("s", "users")), "InvalidArgument"),
        (at, DOMAIN, "ListSnapshots", options(max_age=("s", "old")), "InvalidArgument"),
        (at, DOMAIN, "ListSnapshots", options(colour=("s", "red")), "InvalidArgument"),
        (at, DOMAIN, "GetGuestInfo", options(), "NotSupported"),
        (at, DOMAIN, "GetJobInfo", options(completed=("b", True)), "NotSupported"),
        (HOST, CONNECTION, "GetDomainCapabilities", options(arch=("s", "x86_64")), "NotSupported"),
        (network, f"{SERVICE}.Network", "GetDhcpLeases", options(), "NotSupported"),
        (network, f"{SERVICE}.Network", "ListPorts", options(), "NotSupported"),
    ]
    for path, interface, member, body, error in refused:
        assert await error_of(client, path, interface, member, "a{sv}", body) == error, (member, error)
