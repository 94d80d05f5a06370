"""The mirror property for volumes: after a listing, a client that applied only GetManagedObjects and the
signals has exactly what libvirt says, whatever another libvirt client did before.

Real directories; libvirt is asked over a connection of its own, and its XML read with ElementTree, as in
tests/support/mirror.py. The signals come before the listing's reply: nothing has to be waited for.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import libvirt
import pytest

from tests.support.client import ROOT, SERVICE, CallFailed, Client, installed_libraries, wait_until
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import dbus_daemon
from tests.support.libvirtd import Libvirtd, is_available
from tests.support.mirror import Mirror

pytestmark = pytest.mark.skipif(not is_available(), reason="a private libvirtd needs root")

LIBRARIES = [name.replace("_", "-") for name in installed_libraries()]
CONNECTION, POOL, VOLUME = (f"{SERVICE}.{thing}" for thing in ("Connection", "StoragePool", "StorageVolume"))
HOST = f"{ROOT}/host"
View = dict[str, dict[str, Any]]


@pytest.fixture
def host() -> Iterator[Libvirtd]:
    libvirt.registerErrorHandler(lambda *_: None, None)
    with Libvirtd() as running:
        yield running


class Other:
    """Another client of libvirt, with two pools."""

    def __init__(self, host: Libvirtd, seed: int) -> None:
        self.conn = libvirt.open(host.qemu_uri)
        self.rng = random.Random(seed)
        self.made = 0
        self.done: list[str] = []
        for name in ("one", "two"):
            folder = host.folder / name
            folder.mkdir()
            xml = f"<pool type='dir'><name>{name}</name><target><path>{folder}</path></target></pool>"
            self.conn.storagePoolDefineXML(xml).create()

    def step(self) -> None:
        act = self.rng.choice(
            [self._add, self._add, self._resize, self._delete, self._file, self._refresh, self._turn]
        )
        with suppress(libvirt.libvirtError):  # an inactive pool, an empty one
            self.done.append(f"{act.__name__} {act(self.rng.choice(self.pools()))}")

    def pools(self) -> list[libvirt.virStoragePool]:
        return sorted(self.conn.listAllStoragePools(), key=lambda pool: str(pool.name()))

    def _volume(self, pool: libvirt.virStoragePool) -> libvirt.virStorageVol:
        return self.rng.choice(sorted(pool.listAllVolumes(), key=lambda each: str(each.name())) or [None])

    def _add(self, pool: libvirt.virStoragePool) -> str:
        """A new name or one that was there before; on another one of any pool, or on none."""
        name = f"v {self.rng.randrange(12)}"
        there = sorted(
            volume.path() for each in self.pools() if each.isActive() for volume in each.listAllVolumes()
        )
        below = self.rng.choice(there) if there and self.rng.random() < 0.8 else None
        backing = f"<backingStore><path>{below}</path><format type='qcow2'/></backingStore>" if below else ""
        pool.createXML(
            f"<volume><name>{name}</name><capacity>{self.rng.randrange(1, 9)}000000</capacity>"
            f"<target><format type='qcow2'/></target>{backing}</volume>"
        )
        return name

    def _resize(self, pool: libvirt.virStoragePool) -> str:
        if (volume := self._volume(pool)) is not None:
            volume.resize(self.rng.randrange(10, 20) * 1_000_000)
        return str(volume and volume.name())

    def _delete(self, pool: libvirt.virStoragePool) -> str:
        if (volume := self._volume(pool)) is not None:
            volume.delete()
        return str(volume and volume.name())

    def _file(self, pool: libvirt.virStoragePool) -> str:
        """Behind libvirt's back."""
        path = ElementTree.fromstring(pool.XMLDesc()).findtext("target/path", "")
        self.made += 1
        Path(path, f"file{self.made}").write_bytes(b"x" * 1000)
        return path

    def _refresh(self, pool: libvirt.virStoragePool) -> str:
        pool.refresh()
        return str(pool.name())

    def _turn(self, pool: libvirt.virStoragePool) -> str:
        if pool.isActive() and self.rng.random() < 0.3:
            pool.destroy()
        elif not pool.isActive():
            pool.create()
        return str(pool.name())

    def truth(self) -> View:
        """Return every volume of every active pool, by object path."""
        xmls: dict[str, ElementTree.Element] = {}
        for pool in self.pools():
            if pool.isActive():
                base = f"{HOST}/pool/_{pool.UUIDString().replace('-', '_')}/volume"
                for volume in pool.listAllVolumes():
                    path = f"{base}/{volume.name().replace(' ', '_20')}"
                    xmls[path] = ElementTree.fromstring(volume.XMLDesc())
                    info = volume.info()
                    xmls[path].set("capacity", str(info[1]))
                    xmls[path].set("allocation", str(info[2]))
        return {path: _truth_of(xml, xmls) for path, xml in xmls.items()}


def _truth_of(xml: ElementTree.Element, all_of_them: dict[str, ElementTree.Element]) -> dict[str, Any]:
    paths = {each.findtext("target/path"): (path, each) for path, each in all_of_them.items()}
    chain, below = [], xml.findtext("backingStore/path")
    while below:
        volume, found = paths.get(below, ("", None))
        chain.append((below, volume))
        below = found.findtext("backingStore/path") if found is not None else None
    return {
        "Name": xml.findtext("name"),
        "Path": xml.findtext("target/path"),
        "Capacity": int(xml.get("capacity", "")),
        "Allocation": int(xml.get("allocation", "")),
        "Format": xml.find("target/format").get("type"),  # type: ignore[union-attr]
        "Mode": xml.findtext("target/permissions/mode"),
        "Type": xml.get("type"),
        "chain": chain,
    }


def seen(mirror: Mirror) -> View:
    found: View = {}
    for path, interfaces in mirror.objects.items():
        if (values := interfaces.get(VOLUME)) is not None:
            names = ("Name", "Path", "Capacity", "Allocation", "Format", "Mode", "Type")
            chain = [(each["path"], each.get("volume", "")) for each in values["BackingChain"]]
            found[path] = {name: values[name] for name in names} | {"chain": chain}
    return found


async def list_all(client: Client) -> list[str]:
    age = {"max-age": client.variant("t", 0)}
    return list(await client.call(HOST, CONNECTION, "List", "sa{sv}", ["volume", age]))


@asynccontextmanager
async def watched(host: Libvirtd, seed: int, library: str) -> AsyncIterator[tuple[Other, list[Mirror]]]:
    """Another client of libvirt, and three mirrors on a bus with the service."""
    other = await asyncio.to_thread(Other, host, seed)
    with dbus_daemon() as bus:
        daemon = await Daemon.start(bus.address, {"host": host.qemu_uri}, library=library)
        clients = [await Client.connect(bus.address) for _ in range(3)]
        try:
            yield other, [await Mirror.follow(client) for client in clients]
            assert "WARNING" not in daemon.log()
            await daemon.stop()
        finally:
            for client in clients:
                await client.close()
            if daemon.process.poll() is None:
                print(daemon.log())
                daemon.kill()
            other.conn.close()


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_mirror_has_what_libvirt_says(host: Libvirtd, library: str) -> None:
    longest = 0
    async with watched(host, 7, library) as (other, mirrors):
        client = mirrors[0].client
        assert await list_all(client) == []
        for number in range(60):
            for _ in range(other.rng.randrange(1, 6)):
                await asyncio.to_thread(other.step)
            expected = await asyncio.to_thread(other.truth)
            if number % 3:
                assert await list_all(client) == sorted(expected)
            else:
                await _list_each(client, other)
            await _settled(mirrors, expected, other)
            longest = max([longest, *(len(each["chain"]) for each in expected.values())])
    assert longest > 1, "the random sequence makes no chains"


async def test_a_burst_while_three_clients_ask(host: Libvirtd) -> None:
    """Pools that stop and start below them, and answers of any age; then the truth, by one listing."""
    async with watched(host, 11, LIBRARIES[0]) as (other, mirrors):
        over = asyncio.Event()
        paths = [f"{HOST}/pool/_{pool.UUIDString().replace('-', '_')}" for pool in other.pools()]

        async def ask(client: Client, pace: random.Random) -> int:
            answers = 0
            while not over.is_set():
                options = {"max-age": client.variant("t", pace.choice([0, 5, 1000]))}
                with suppress(CallFailed):  # an inactive pool
                    if pace.random() < 0.3:
                        await client.call(HOST, CONNECTION, "List", "sa{sv}", ["volume", options])
                    else:
                        await client.call(pace.choice(paths), POOL, "ListVolumes", "a{sv}", [options])
                    answers += 1
            return answers

        asking = [
            asyncio.create_task(ask(mirror.client, random.Random(number)))
            for number, mirror in enumerate(mirrors)
        ]
        for _ in range(250):
            await asyncio.to_thread(other.step)
        over.set()
        assert min(await asyncio.gather(*asking)) > 5
        expected = await asyncio.to_thread(other.truth)
        assert await list_all(mirrors[0].client) == sorted(expected)
        await _settled(mirrors, expected, other)


async def _list_each(client: Client, other: Other) -> None:
    for pool in await asyncio.to_thread(other.pools):
        if pool.isActive():
            path = f"{HOST}/pool/_{pool.UUIDString().replace('-', '_')}"
            await client.call(path, POOL, "ListVolumes", "a{sv}", [{"max-age": client.variant("t", 0)}])


async def _settled(mirrors: list[Mirror], expected: View, other: Other) -> None:
    """At once, unless a pool was stopped, whose event may still be on its way."""

    def all_are() -> bool:
        return all(seen(mirror) == expected for mirror in mirrors)

    with suppress(AssertionError):
        await wait_until(all_are, "the mirrors are what libvirt says", timeout_s=3)
    assert all_are(), (other.done[-30:], [seen(mirror) for mirror in mirrors], expected)
    assert [mirror.faults for mirror in mirrors] == [[], [], []]
