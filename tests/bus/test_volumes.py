"""Storage volumes over the bus: objects that appear when asked for, their sizes, and what fifty clients cost.

On libvirt's test driver; real directories and files are in tests/libvirtd.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import libvirt
import pytest

from tests.support.client import ROOT, SERVICE, Client, error_of, wait_until
from tests.support.costs import calls, spent
from tests.support.daemon import Daemon
from tests.support.libvirtd import Libvirtd, is_available
from virtbridge.bus.contract import load_contract
from virtbridge.bus.names import NAME

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not is_available(), reason="a private libvirtd needs root"),
]

HOST = f"{ROOT}/host"
CONNECTION, POOL, VOLUME = (f"{SERVICE}.{thing}" for thing in ("Connection", "StoragePool", "StorageVolume"))
MANAGER, INTROSPECTABLE = f"{SERVICE}.Manager", "org.freedesktop.DBus.Introspectable"
CROWD = 50
AGE_MS = 1500
MIB = 1 << 20
UNKNOWN = "org.freedesktop.DBus.Error.UnknownObject"


@pytest.fixture(scope="module")
def daemon(remote: Daemon) -> Daemon:
    return remote


@pytest.fixture
def pool(host: Libvirtd) -> Iterator[Any]:
    """The test driver's own, of another client, started and empty before and after."""
    conn = libvirt.open(host.uri())
    found = conn.listAllStoragePools()[0]
    yield found
    if not found.isActive():
        found.create()
    for each in found.listAllVolumes():
        each.delete()
        del each
    del found
    conn.close()


def add(pool: Any, *names: str, size: int = MIB, below: str = "") -> None:
    for name in names:
        backing = f"<backingStore><path>{below}</path><format type='raw'/></backingStore>" if below else ""
        pool.createXML(f"<volume><name>{name}</name><capacity>{size}</capacity>{backing}</volume>")


def path_of(pool: Any) -> str:
    return f"{HOST}/pool/_{pool.UUIDString().replace('-', '_')}"


async def listed(client: Client, pool: Any, **options: int) -> list[str]:
    made = {name.replace("_", "-"): client.variant("t", value) for name, value in options.items()}
    return list(await client.call(path_of(pool), POOL, "ListVolumes", "a{sv}", [made]))


async def test_volumes_appear_when_asked_for_and_are_whole(client: Client, pool: Any) -> None:
    add(pool, "base.img")
    add(pool, "over the base.qcow2", size=2 * MIB, below="/default-pool/base.img")
    assert not [path for path in await client.managed_objects() if "/volume/" in path]
    signals = await client.signals()
    paths = await listed(client, pool, max_age=0)
    assert paths == [f"{path_of(pool)}/volume/{leaf}" for leaf in ("base_2eimg", "over_20the_20base_2eqcow2")]
    heard = signals.drain()  # whoever gets the answer has heard of the objects
    assert [each.args[0] for each in heard if each.member == "InterfacesAdded"] == paths
    base, over = [await client.get_all(path, VOLUME) for path in paths]
    assert list(base) == list(load_contract(NAME)[VOLUME].properties)
    assert (base["Name"], base["Path"], base["Type"]) == ("base.img", "/default-pool/base.img", "file")
    assert (base["Format"], base["Pool"], base["Connection"]) == ("raw", path_of(pool), HOST)
    assert (over["Name"], over["Capacity"]) == ("over the base.qcow2", 2 * MIB)
    assert over["BackingChain"] == [
        {"path": "/default-pool/base.img", "format": "raw", "volume": paths[0]},
    ]
    assert (base["BackingChain"], base["Stale"]) == ([], False)
    assert base["LastRefresh"] > 1_600_000_000_000_000
    assert (await client.managed_objects())[paths[0]][VOLUME] == base
    assert "<name>base.img</name>" in await client.call(paths[0], VOLUME, "GetXml", "a{sv}", [{}])
    node = await client.call(f"{path_of(pool)}/volume", INTROSPECTABLE, "Introspect")
    assert '<node name="base_2eimg"/>' in node
    chosen = await client.call(ROOT, MANAGER, "Select", "sasa{sv}", ["volume", ["Capacity", "Xml"], {}])
    assert {path: values["Capacity"] for path, values in chosen.items()} == {paths[0]: MIB, paths[1]: 2 * MIB}
    found = await client.call(
        ROOT, MANAGER, "QueryXml", "ssa{sv}", ["volume", "backingStore/path/text()", {}]
    )
    assert found == {paths[1]: ["/default-pool/base.img"]}
    assert await client.call(ROOT, MANAGER, "FindDiskUsers", "sa{sv}", ["/default-pool/base.img", {}]) == []


async def test_only_what_differs_is_announced(client: Client, pool: Any) -> None:
    add(pool, "kept", "deleted")
    kept, deleted = sorted(await listed(client, pool, max_age=0), key=lambda path: "deleted" in path)
    signals = await client.signals()
    await listed(client, pool, max_age=0)
    assert signals.drain() == []
    for name in ("kept", "deleted"):
        pool.storageVolLookupByName(name).delete()
    add(pool, "kept", size=4 * MIB)  # the test driver cannot resize
    add(pool, "new")
    [_, new] = await listed(client, pool, max_age=0)
    told = {
        each.member: each.args[1] if each.path == kept else each.args[0]
        for each in signals.drain()
        if each.path in (ROOT, kept)
    }
    assert told.pop("PropertiesChanged") == {"Capacity": 4 * MIB, "Allocation": 4 * MIB}
    assert told == {"InterfacesAdded": new, "InterfacesRemoved": deleted}


async def test_fifty_clients_cost_what_one_costs(daemon: Daemon, client: Client, pool: Any) -> None:
    add(pool, *(f"v{number}" for number in range(20)))
    before = await calls(client)
    paths = await listed(client, pool, max_age=0)
    one = spent(before, await calls(client))
    assert one == {"listAllVolumes": 1, "XMLDesc": 20}
    crowd = [await Client.connect(daemon.address) for _ in range(CROWD)]
    await asyncio.sleep(AGE_MS / 1000)  # what is known is too old then, and what is being read is not
    before = await calls(client)
    answers = await asyncio.gather(*(listed(each, pool, max_age=AGE_MS) for each in crowd))
    assert all(answer == paths for answer in answers)
    assert spent(before, await calls(client)) == one
    before = await calls(client)
    await asyncio.gather(*(listed(each, pool, max_age=60_000) for each in crowd))
    kind = ["volume", {"max-age": client.variant("t", 0)}]
    await client.call(HOST, CONNECTION, "List", "sa{sv}", kind)
    assert spent(before, await calls(client)) == {"listAllStoragePools": 1, **one}
    before = await calls(client)
    for each in crowd:
        lasting = ["volume", {"max-age": each.variant("t", 60_000)}]
        assert await each.call(HOST, CONNECTION, "List", "sa{sv}", lasting) == paths
        await each.get_all(paths[0], VOLUME)
    assert spent(before, await calls(client)) == {}
    for each in crowd:
        await each.close()


async def test_a_pool_s_events_are_its_volumes_too(client: Client, pool: Any) -> None:
    add(pool, "a")
    [first] = await listed(client, pool, max_age=0)
    before = await calls(client)
    add(pool, "b")
    pool.refresh()

    async def known(count: int) -> bool:
        return len([path for path in await client.managed_objects() if "/volume/" in path]) == count

    await wait_until(lambda: known(2), "the new volume is there without being asked for")
    cost = spent(before, await calls(client))
    assert cost == {"listAllVolumes": 1, "XMLDesc": 3}  # the pool's own is one of them
    pool.destroy()
    await wait_until(lambda: known(0), "the volumes went with the pool")
    assert await error_of(client, path_of(pool), POOL, "ListVolumes", "a{sv}", [{}]) == "OperationInvalid"
    assert await error_of(client, first, VOLUME, "GetXml", "a{sv}", [{}]) == UNKNOWN
    assert await client.call(HOST, CONNECTION, "List", "sa{sv}", ["volume", {}]) == []
    pool.create()
    await wait_until(lambda: known(2), "they are back")


async def test_refusals_have_their_names(client: Client, pool: Any) -> None:
    age = {"max-age": client.variant("s", "old")}
    refused = [
        (path_of(pool), POOL, "ListVolumes", "a{sv}", [age], "InvalidArgument"),
        (f"{path_of(pool)}/volume/none", VOLUME, "GetXml", "a{sv}", [{}], UNKNOWN),
    ]
    for *call, error in refused:
        assert await error_of(client, *call) == error
    add(pool, "plain")
    [path] = await listed(client, pool, max_age=0)
    secure = {"secure": client.variant("b", True)}
    assert await error_of(client, path, VOLUME, "GetXml", "a{sv}", [secure]) == "InvalidArgument"
    await client.call(HOST, CONNECTION, "Refresh", "asa{sv}", [["volume"], {}])
