"""Storage volumes of real directories behind a libvirtd of our own: chains, ages, events, odd files, cost."""

import asyncio
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from tests.support.asked import CONNECTION, Asked
from tests.support.libvirtd import Libvirtd, is_available
from tests.support.requested import request
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.changes import Patch
from virtbridge.model.keys import Key, Kind
from virtbridge.source.differences import SLICE

pytestmark = pytest.mark.skipif(not is_available(), reason="needs root, libvirtd and namespaces")

POOL = "<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>"
VOLUME = "<volume><name>{name}</name><capacity>{size}</capacity><allocation>0</allocation></volume>"
BACKED = (
    "<volume><name>{name}</name><capacity>{size}</capacity><target><format type='qcow2'/></target>"
    "<backingStore><path>{below}</path><format type='qcow2'/></backingStore></volume>"
)
MIB = 1 << 20


@pytest.fixture(scope="module")
def host() -> Iterator[Libvirtd]:
    libvirt.registerErrorHandler(lambda *_: None, None)
    with Libvirtd() as daemon:
        yield daemon


@pytest.fixture
def other(host: Libvirtd) -> Iterator[Any]:
    """Another client of the same host, which is left without pools."""
    conn = libvirt.open(host.qemu_uri)
    yield conn
    pool = None
    for pool in conn.listAllStoragePools():
        if pool.isActive():
            pool.destroy()
        pool.undefine()
    del pool
    conn.close()


class Pool:
    """A started pool, its directory, and what libvirt says of its volumes."""

    def __init__(self, host: Libvirtd, conn: Any, name: str) -> None:
        self.folder = Path(host.folder / name)
        self.folder.mkdir(exist_ok=True)
        self.raw = conn.storagePoolDefineXML(POOL.format(name=name, path=self.folder))
        self.raw.create()
        self.key = Key("c", Kind.POOL, self.raw.UUIDString())

    def add(self, *names: str, size: int = MIB) -> None:
        for name in names:
            self.raw.createXML(VOLUME.format(name=name, size=size))

    def image(self, name: str, below: str = "") -> None:
        """Made behind libvirt's back, to be found by a refresh."""
        words = ["-b", below, "-F", "qcow2"] if below else []
        size = [] if below else ["16M"]
        command = ["qemu-img", "create", "-q", "-f", "qcow2", *words, str(self.folder / name), *size]
        subprocess.run(command, check=True)

    def rebase(self, name: str) -> None:
        """On nothing. libvirt reads a file's chain when it refreshes the pool."""
        subprocess.run(["qemu-img", "rebase", "-u", "-b", "", str(self.folder / name)], check=True)
        self.raw.refresh()

    def odd(self) -> None:
        """A file whose name is not UTF-8."""
        Path(os.fsdecode(os.fsencode(self.folder) + b"/bad\xff.img")).write_bytes(b"x" * 100)
        self.raw.refresh()

    def key_of(self, name: str) -> Key:
        return Key("c", Kind.VOLUME, name, self.key.id)

    def figures(self) -> dict[str, tuple[int, int]]:
        """By name, capacity and allocation as virStorageVolGetInfo() reports them."""
        return {each.name(): tuple(each.info()[1:]) for each in self.raw.listAllVolumes()}


def shown(source: Asked, pool: Pool) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for key in source.cache.children(pool.key, Kind.VOLUME):
        record: Any = source.cache.get(key)
        found[key.id] = (record.definition.capacity_bytes, record.definition.allocation_bytes)
    return found


def chain(source: Asked, key: Key) -> list[tuple[str, str, Key | None]]:
    record: Any = source.cache.get(key)
    return [(Path(each.path).name, each.format, each.volume) for each in record.chain]


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The service's own."""
    return [
        each.getMessage()
        for each in caplog.records
        if each.levelno >= logging.WARNING and each.name.startswith("virtbridge")
    ]


async def test_a_listing_and_one_xml_each(host: Libvirtd, other: Any, source: Asked) -> None:
    pool = Pool(host, other, "plain")
    pool.add(*(f"v{number}" for number in range(60)))
    (pool.folder / "folder").mkdir()
    pool.raw.refresh()
    await source.ready(host.qemu_uri)
    assert source.found(Kind.VOLUME) == {}
    assert await source.cost(Kind.VOLUME, pool.key) == {"listAllVolumes": 1, "XMLDesc": 61}
    assert await source.cost(Kind.VOLUME, pool.key, max_age_s=60) == {}
    assert shown(source, pool) == pool.figures()
    assert source.found(Kind.VOLUME)["folder"].definition.type == "dir"
    assert await source.cost(Kind.VOLUME) == {"listAllStoragePools": 1, "listAllVolumes": 1, "XMLDesc": 61}
    before = source.calls()
    await asyncio.gather(*(source.requests.load(pool.key, Kind.VOLUME, 0.001) for _ in range(50)))
    spent = {name: count - before[name] for name, count in source.calls().items()}
    assert {name: count for name, count in spent.items() if count} == {"listAllVolumes": 1, "XMLDesc": 61}
    assert "<name>v7</name>" in await source.requests.operate(request(pool.key_of("v7"), "get-xml"))


async def test_what_another_client_does_silently_is_seen_by_the_next_who_asks(
    host: Libvirtd, other: Any, source: Asked
) -> None:
    pool = Pool(host, other, "silent")
    pool.add("a", "b")
    await source.ready(host.qemu_uri)
    await source.cost(Kind.VOLUME, pool.key)
    assert shown(source, pool) == {"a": (MIB, 0), "b": (MIB, 0)}
    a = pool.raw.storageVolLookupByName("a")
    a.resize(3 * MIB)
    pool.raw.storageVolLookupByName("b").delete()
    pool.add("c", size=2 * MIB)
    assert await source.cost(Kind.VOLUME, pool.key) == {"listAllVolumes": 1, "XMLDesc": 2}
    assert shown(source, pool) == pool.figures() == {"a": (3 * MIB, 0), "c": (2 * MIB, 0)}
    record = source.found(Kind.VOLUME)["a"].definition
    assert (record.path, record.key) == (a.path(), a.key())
    assert (record.permissions.mode, record.permissions.owner) == ("0600", "0")
    assert record.modification_time_us > 1_600_000_000_000_000


async def test_backing_chains_are_complete(host: Libvirtd, other: Any, source: Asked) -> None:
    pool, bases = Pool(host, other, "images"), Pool(host, other, "bases")
    bases.image("base")
    bases.raw.refresh()
    below = bases.folder / "base"
    for name in ("middle", "top"):
        pool.raw.createXML(BACKED.format(name=name, size=16 * MIB, below=below))
        below = pool.folder / name
    pool.image("made", "top")
    pool.raw.refresh()
    await source.ready(host.qemu_uri)
    await source.cost(Kind.VOLUME, pool.key)
    top, middle, base = *map(pool.key_of, ("top", "middle")), bases.key_of("base")
    inner = [("top", "qcow2", top), ("middle", "qcow2", middle)]
    assert chain(source, pool.key_of("made")) == [*inner, ("base", "qcow2", None)]
    await source.cost(Kind.VOLUME)
    assert chain(source, pool.key_of("made")) == [*inner, ("base", "qcow2", base)]
    assert chain(source, pool.key_of("top")) == [inner[1], ("base", "qcow2", base)]
    assert chain(source, bases.key_of("base")) == []

    pool.rebase("middle")
    await source.cost(Kind.VOLUME, pool.key)
    assert chain(source, pool.key_of("made")) == inner
    bases.raw.destroy()
    pool.raw.storageVolLookupByName("middle").delete()
    await source.cost(Kind.VOLUME, pool.key)
    assert chain(source, pool.key_of("made")) == [inner[0], ("middle", "qcow2", None)]


async def test_a_name_that_is_not_utf8_is_left_out_and_told_once(
    host: Libvirtd, other: Any, source: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    pool = Pool(host, other, "odd")
    pool.add("good", "größe.img")
    pool.odd()
    await source.ready(host.qemu_uri)
    for _ in range(3):
        await source.cost(Kind.VOLUME)
        assert set(source.found(Kind.VOLUME)) == {"good", "größe.img"}
    [told] = complaints(caplog)
    assert "not UTF-8" in told


async def test_a_file_that_went_behind_libvirt_s_back(host: Libvirtd, other: Any, source: Asked) -> None:
    """libvirt lists it until the next refresh, and does not know it when asked."""
    pool = Pool(host, other, "deserted")
    pool.add("a", "b")
    await source.ready(host.qemu_uri)
    (pool.folder / "a").unlink()
    await source.cost(Kind.VOLUME)
    assert set(source.found(Kind.VOLUME)) == {"b"}


async def test_a_refresh_reads_volumes_again_only_where_somebody_asked(
    host: Libvirtd, other: Any, source: Asked
) -> None:
    known, unknown = Pool(host, other, "known"), Pool(host, other, "unknown")
    await source.ready(host.qemu_uri)
    await source.cost(Kind.VOLUME, known.key)
    before = source.calls()

    def refreshes() -> int:
        return len([each for each in source.signals if each.args == ("refresh", {})])

    for pool in (unknown, known):
        pool.image("found")
        await asyncio.to_thread(pool.raw.refresh)
    await source.until(lambda: refreshes() == 2)
    await source.until(lambda: source.found(Kind.VOLUME))
    assert shown(source, known) == known.figures()
    assert shown(source, unknown) == {}
    assert source.calls()["listAllVolumes"] - before["listAllVolumes"] == 1

    for _ in range(30):
        known.raw.refresh()
    known.add("after")
    await asyncio.to_thread(known.raw.refresh)
    await source.until(lambda: "after" in source.found(Kind.VOLUME))
    assert source.calls()["listAllVolumes"] - before["listAllVolumes"] < 31


async def test_a_pool_that_cannot_be_listed_leaves_the_others_fresh(
    host: Libvirtd, other: Any, source: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = Pool(host, other, "bad"), Pool(host, other, "good")
    bad.add("kept")
    good.add("a")
    await source.ready(host.qemu_uri)
    await source.cost(Kind.VOLUME)
    real = libvirt.virStoragePool.listAllVolumes

    def fails(pool: Any, flags: int = 0) -> Any:
        if pool.name() == "bad":
            raise libvirt.libvirtError("the file server is away")
        return real(pool, flags)

    with monkeypatch.context() as patch:
        patch.setattr(libvirt.virStoragePool, "listAllVolumes", fails)
        await asyncio.to_thread(good.add, "b")
        with pytest.raises(BridgeError, match="file server"):
            await source.cost(Kind.VOLUME)
    assert {name: each.stale for name, each in source.found(Kind.VOLUME).items()} == {
        "kept": True,
        "a": False,
        "b": False,
    }
    await source.cost(Kind.VOLUME)
    assert not any(each.stale for each in source.found(Kind.VOLUME).values())


async def test_volumes_go_with_their_pool(host: Libvirtd, other: Any, source: Asked) -> None:
    pool = Pool(host, other, "passing")
    pool.add("a")
    await source.ready(host.qemu_uri)
    await source.cost(Kind.VOLUME, pool.key)
    assert set(source.found(Kind.VOLUME)) == {"a"}
    await asyncio.to_thread(pool.raw.destroy)
    await source.until(lambda: not source.named(Kind.POOL, "passing").active)
    assert source.found(Kind.VOLUME) == {}
    for age in (0, 60):
        with pytest.raises(BridgeError) as caught:
            await source.cost(Kind.VOLUME, pool.key, max_age_s=age)
        assert caught.value.kind is ErrorKind.OPERATION_INVALID
    assert await source.cost(Kind.VOLUME) == {"listAllStoragePools": 1}
    await asyncio.to_thread(pool.raw.create)
    await source.until(lambda: set(source.found(Kind.VOLUME)) == {"a"})
    await asyncio.to_thread(pool.raw.destroy)
    await asyncio.to_thread(pool.raw.undefine)
    await source.until(lambda: source.cache.get(pool.key) is None)
    assert source.found(Kind.VOLUME) == {}
    with pytest.raises(BridgeError) as caught:
        await source.cost(Kind.VOLUME, pool.key)
    assert caught.value.kind is ErrorKind.NO_SUCH_OBJECT
    again = Pool(host, other, "passing")
    await source.until(lambda: source.cache.get(again.key))
    await source.cost(Kind.VOLUME, again.key, max_age_s=60)
    assert shown(source, again) == again.figures() == {"a": (MIB, 0)}


async def test_a_pool_that_stops_while_its_volumes_are_read(
    host: Libvirtd, other: Any, source: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    pool, stays = Pool(host, other, "unsteady"), Pool(host, other, "steady")
    stays.add("kept")
    pool.add(*(f"v{number}" for number in range(150)))
    await source.ready(host.qemu_uri)
    await source.cost(Kind.VOLUME)
    for about in (pool.key, CONNECTION) * 3:
        reading = asyncio.create_task(source.requests.load(about, Kind.VOLUME, 0))
        reads = source.calls().get("XMLDesc", 0)
        while source.calls().get("XMLDesc", 0) < reads + 10 and not reading.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.to_thread(pool.raw.destroy)
        await source.until(lambda: not source.named(Kind.POOL, "unsteady").active)
        [answer] = await asyncio.gather(reading, return_exceptions=True)
        assert answer is None or (
            isinstance(answer, BridgeError)
            and answer.kind is ErrorKind.OPERATION_INVALID
            and about == pool.key
        )
        assert shown(source, pool) == {}
        await asyncio.to_thread(pool.raw.create)
        await source.until(lambda: len(shown(source, pool)) == 150)
    assert shown(source, pool) == pool.figures()
    assert set(source.found(Kind.VOLUME)) == {"kept", *pool.figures()}
    assert complaints(caplog) == []


async def test_many_volumes_come_in_slices_and_a_stop_of_the_pool_ends_that(
    host: Libvirtd, other: Any, source: Asked
) -> None:
    pool = Pool(host, other, "large")
    for number in range(5 * SLICE):
        (pool.folder / f"v{number}").touch()
    pool.raw.refresh()
    await source.ready(host.qemu_uri)
    reading = asyncio.create_task(source.requests.load(pool.key, Kind.VOLUME, 0))
    await source.until(lambda: shown(source, pool))
    assert len(shown(source, pool)) < 4 * SLICE
    # What its event does; that itself cannot be made to come just now.
    source.cache.apply([Patch(pool.key, {"active": False})])
    with pytest.raises(BridgeError) as caught:
        await reading
    assert caught.value.kind is ErrorKind.OPERATION_INVALID
    assert shown(source, pool) == {}
    source.cache.apply([Patch(pool.key, {"active": True})])
    await source.cost(Kind.VOLUME, pool.key)
    assert shown(source, pool) == pool.figures()


async def test_without_events_a_watch_sees_the_pool_and_with_it_its_volumes(
    host: Libvirtd, other: Any, source: Asked
) -> None:
    pool = Pool(host, other, "watched")
    pool.add("a")
    await source.ready(host.qemu_uri, events=False)
    await source.cost(Kind.VOLUME)
    assert set(source.found(Kind.VOLUME)) == {"a"}
    source.requests.watch("c", {Kind.POOL: 0.05})
    await asyncio.to_thread(pool.raw.destroy)
    await source.until(lambda: source.found(Kind.VOLUME) == {})
    await asyncio.to_thread(pool.raw.create)
    await source.until(lambda: set(source.found(Kind.VOLUME)) == {"a"})
    source.requests.watch("c", {})


async def test_the_test_driver_s_pool(host: Libvirtd, source: Asked) -> None:
    conn = libvirt.open(host.uri())
    pool = conn.listAllStoragePools()[0]
    key = Key("c", Kind.POOL, pool.UUIDString())
    await source.ready(host.uri())
    assert await source.cost(Kind.VOLUME, key) == {"listAllVolumes": 1}
    volume = pool.createXML(VOLUME.format(name="disk.img", size=5 * MIB))
    assert await source.cost(Kind.VOLUME) == {"listAllStoragePools": 1, "listAllVolumes": 1, "XMLDesc": 1}
    found = source.found(Kind.VOLUME)["disk.img"].definition
    assert (found.path, found.capacity_bytes) == (volume.path(), volume.info()[1])
    volume.delete()
    await source.cost(Kind.VOLUME, key)
    assert source.found(Kind.VOLUME) == {}
    del volume, pool
    conn.close()
