"""Watching kinds without events, on a real libvirtd: what a poll finds, what it costs, and when it ends."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import libvirt
import pytest

from tests.bus.test_polling import poll_messages, polled, polls, refuse
from tests.libvirtd.test_demand import disk, take
from tests.libvirtd.test_volumes import MIB, Pool, shown
from tests.support.asked import CONNECTION, Asked
from tests.support.followed import Followed
from tests.support.libvirtd import Libvirtd, is_available, own_domain, qemu_xml
from tests.support.until import until
from virtbridge.errors import ErrorKind
from virtbridge.model.keys import Key, Kind
from virtbridge.source.reread_turns import PER_ROUND_MIN

pytestmark = pytest.mark.skipif(not is_available(), reason="a private libvirtd needs root")

FAST_S = 0.05
FILTERS = 12
REDEFINED = "<rule action='drop' direction='in' priority='{}'><ip/></rule>"


@pytest.fixture(scope="module")
def host() -> Iterator[Libvirtd]:
    with Libvirtd() as daemon:
        yield daemon


@pytest.fixture
def tested(host: Libvirtd) -> Iterator[Any]:
    """The test driver's own domain, of another client, without snapshots before and after."""
    with own_domain(host) as domain:
        yield domain


@pytest.fixture
def filtered(host: Libvirtd) -> Iterator[Any]:
    """Another client of a host that has FILTERS filters."""
    conn = libvirt.open(host.qemu_uri)
    for number in range(FILTERS):
        conn.nwfilterDefineXML(f"<filter name='f{number}' chain='root'/>")
    yield conn
    for each in conn.listAllNWFilters():
        each.undefine()
        del each
    conn.close()


def watch(source: Followed, *kinds: Kind, interval_s: float = FAST_S) -> None:
    source.requests.watch("c", dict.fromkeys(kinds, interval_s))


def names(source: Followed, kind: Kind) -> set[str]:
    return {record.definition.name for _, record in source.cache.records(kind)}


async def cost(source: Followed, kind: Kind, times: int) -> tuple[int, Counter[str]]:
    """How many polls there were, and what they took, all together."""
    before, count = source.calls(), polls(source)
    watch(source, kind)
    await polled(source, times)
    watch(source)
    await source.idle()
    return polls(source) - count, Counter(source.calls()) - Counter(before)


async def test_snapshots_of_another_client_come_and_go(source: Followed, tested: Any) -> None:
    take(tested, "a")
    await source.ready(tested.connect().getURI())
    assert names(source, Kind.SNAPSHOT) == set()
    watch(source, Kind.SNAPSHOT)
    await source.until(lambda: names(source, Kind.SNAPSHOT) == {"a"})  # it was never read
    take(tested, "b")
    take(tested, "c")
    await source.until(lambda: names(source, Kind.SNAPSHOT) == {"a", "b", "c"})
    assert source.domain(tested.UUIDString()).has_snapshots
    tested.snapshotLookupByName("a").delete()
    await source.until(lambda: names(source, Kind.SNAPSHOT) == {"b", "c"})
    tree = {
        each.definition.name: (each.definition.parent, each.children, each.current)
        for _, each in source.cache.records(Kind.SNAPSHOT)
    }
    assert tree == {"b": ("", ("c",), False), "c": ("b", (), True)}
    for name in ("c", "b"):
        tested.snapshotLookupByName(name).delete()
    await source.until(lambda: not source.domain(tested.UUIDString()).has_snapshots)
    assert names(source, Kind.SNAPSHOT) == set()


async def test_the_real_thing(host: Libvirtd, source: Followed) -> None:
    other = libvirt.open(host.qemu_uri)
    domains = [other.defineXML(qemu_xml(name, devices=disk(host, name))) for name in ("one", "two")]
    await source.ready(host.qemu_uri)
    watch(source, Kind.SNAPSHOT, Kind.CHECKPOINT, Kind.NWFILTER, Kind.NWFILTERBINDING, Kind.INTERFACE)
    for domain in domains:
        take(domain, "a")
    await source.until(lambda: len(list(source.cache.keys(Kind.SNAPSHOT))) == 2)
    domains[0].snapshotLookupByName("a").delete()
    left = [domains[1].UUIDString()]
    await source.until(lambda: [key.parent for key in source.cache.keys(Kind.SNAPSHOT)] == left)
    domains[1].create()
    domains[1].checkpointCreateXML("<domaincheckpoint><name>monday</name></domaincheckpoint>")
    await source.until(lambda: names(source, Kind.CHECKPOINT) == {"monday"})
    domains[1].checkpointLookupByName("monday").delete()
    await source.until(lambda: names(source, Kind.CHECKPOINT) == set())
    found = other.nwfilterDefineXML("<filter name='seen' chain='root'/>")
    await source.until(lambda: names(source, Kind.NWFILTER) == {"seen"})
    found.undefine()
    await source.until(lambda: names(source, Kind.NWFILTER) == set())
    assert "lo" in names(source, Kind.INTERFACE)
    assert source.connection().last_error == ("", "")
    domains[1].destroy()
    for domain in domains:
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)
    await source.until(lambda: not list(source.cache.keys(Kind.SNAPSHOT)))
    del domains, domain, found
    other.close()


async def test_volumes_of_another_client_come_grow_and_go(host: Libvirtd, source: Asked) -> None:
    conn = libvirt.open(host.qemu_uri)
    pool = Pool(host, conn, "watched")
    await source.ready(host.qemu_uri)
    watch(source, Kind.VOLUME)
    pool.add(*(f"v{number}.img" for number in range(10)))
    await source.until(lambda: shown(source, pool) == pool.figures())
    pool.raw.storageVolLookupByName("v7.img").resize(4 * MIB)  # only the XML shows it
    pool.raw.storageVolLookupByName("v3.img").delete()
    await source.until(lambda: shown(source, pool) == pool.figures())
    pool.raw.destroy()
    await source.until(lambda: shown(source, pool) == {})
    pool.raw.create()
    await source.until(lambda: shown(source, pool) == pool.figures())
    watch(source)
    count, spent = await cost(source, Kind.VOLUME, 4)
    assert spent.pop("XMLDesc") <= count * PER_ROUND_MIN
    assert spent.keys() == {"listAllStoragePools", "listAllVolumes"}
    pool.raw.destroy()
    pool.raw.undefine()
    del pool.raw
    conn.close()


async def test_a_quiet_poll_is_a_listing_and_the_xml_of_a_few(source: Followed, tested: Any) -> None:
    for number in range(20):
        take(tested, f"s{number}")
    await source.ready(tested.connect().getURI())
    assert await cost(source, Kind.INTERFACE, 0)  # whose first poll reads everything, as this one's:
    await source.requests.load(CONNECTION, Kind.SNAPSHOT, 0)
    for kind, listing, xml in (
        (Kind.SNAPSHOT, {"listAllDomains": 1, "listAllSnapshots": 1, "snapshotCurrent": 1}, "getXMLDesc"),
        (Kind.INTERFACE, {"listAllInterfaces": 2}, "XMLDesc"),
    ):
        count, spent = await cost(source, kind, 4)
        assert spent.pop(xml) <= count * PER_ROUND_MIN
        # The last poll may not have got as far as its first call, nor the first have had anything to do.
        assert all(times * (count - 2) <= spent[name] <= times * count for name, times in listing.items())
        assert spent.keys() == listing.keys()
    before = source.calls()
    await source.a_long_time()
    assert source.calls() == before


async def test_what_only_the_xml_shows_is_found_in_turn(source: Followed, filtered: Any) -> None:
    await source.ready(filtered.getURI())
    watch(source, Kind.NWFILTER)
    await source.until(lambda: len(names(source, Kind.NWFILTER)) == FILTERS)
    for number in (0, 7, FILTERS - 1):
        uuid = filtered.nwfilterLookupByName(f"f{number}").UUIDString()
        filtered.nwfilterDefineXML(
            f"<filter name='f{number}' chain='root'><uuid>{uuid}</uuid>{REDEFINED.format(number)}</filter>"
        )
        key = Key("c", Kind.NWFILTER, uuid)
        before: Any = source.cache.get(key)
        await source.until(lambda key=key: source.cache.get(key).definition.rules)  # type: ignore[misc,union-attr]
        after: Any = source.cache.get(key)
        assert after.last_refresh_us > before.last_refresh_us


async def test_those_who_ask_and_those_who_watch_share_what_is_read(
    source: Followed, tested: Any, filtered: Any
) -> None:
    take(tested, "a")
    await source.ready(tested.connect().getURI())
    await source.requests.load(CONNECTION, Kind.SNAPSHOT, 0)
    before, count = source.calls(), polls(source)
    watch(source, Kind.SNAPSHOT, interval_s=60)
    await source.requests.load(CONNECTION, Kind.SNAPSHOT, 60)
    await until(lambda: polls(source) == count + 1)
    await source.a_long_time(50)
    assert (source.calls(), polls(source)) == (before, count + 1)
    take(tested, "b")
    watch(source, Kind.SNAPSHOT)
    await source.until(lambda: names(source, Kind.SNAPSHOT) == {"a", "b"})
    watch(source)
    await source.idle()
    before = source.calls()
    domain = Key("c", Kind.DOMAIN, tested.UUIDString())
    await source.requests.load(domain, Kind.SNAPSHOT, 60)  # the poll's reading is so young, and was whole
    assert source.calls() == before


async def test_a_poll_of_many_is_not_as_good_as_a_reading_of_all(source: Followed, filtered: Any) -> None:
    await source.ready(filtered.getURI())
    await source.requests.load(CONNECTION, Kind.NWFILTER, 0)
    read_us = {key: each.last_refresh_us for key, each in source.cache.records(Kind.NWFILTER)}  # type: ignore[union-attr]
    await source.a_long_time(FAST_S)
    watch(source, Kind.NWFILTER, interval_s=60)
    assert polls(source) == 0
    watch(source, Kind.NWFILTER)
    await polled(source, 1)
    watch(source)
    await source.idle()
    again = [
        key
        for key, each in source.cache.records(Kind.NWFILTER)
        if each.last_refresh_us > read_us[key]  # type: ignore[union-attr]
    ]
    assert 0 < len(again) < FILTERS
    before = source.calls()
    await source.requests.load(CONNECTION, Kind.NWFILTER, FAST_S / 10)
    assert source.calls()["XMLDesc"] - before["XMLDesc"] == FILTERS


async def test_a_failing_poll_makes_stale_and_says_so_until_one_succeeds(
    source: Followed, filtered: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await source.ready(filtered.getURI())
    await source.requests.load(CONNECTION, Kind.NWFILTER, 0)

    def stale() -> set[bool]:
        return {each.stale for _, each in source.cache.records(Kind.NWFILTER)}  # type: ignore[union-attr]

    with monkeypatch.context() as broken:
        refuse(broken, "listAllNWFilters", libvirt.VIR_ERR_OPERATION_FAILED)
        watch(source, Kind.NWFILTER)
        await source.until(lambda: source.connection().last_error[0] == ErrorKind.OPERATION_FAILED)
        await polled(source, 4)
        assert (len(names(source, Kind.NWFILTER)), stale()) == (FILTERS, {True})
        before = source.calls()
    await source.until(lambda: source.connection().last_error == ("", ""))
    assert stale() == {False}
    assert source.calls()["XMLDesc"] - before["XMLDesc"] <= 3 * PER_ROUND_MIN
    assert [line.split(" error=")[0] for line in poll_messages(caplog)] == [
        "poll failed conn=c kind=nwfilter",
        "poll succeeds again conn=c kind=nwfilter",
    ]
    with monkeypatch.context() as broken:
        refuse(broken, "listAllNWFilters", libvirt.VIR_ERR_OPERATION_FAILED)
        await source.until(lambda: source.connection().last_error[1])
        watch(source)
        assert source.connection().last_error == ("", "")


async def test_one_domain_that_fails_again_and_again_does_not_stir_up_the_others(
    source: Asked, tested: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tested.connect()
    broken = other.defineXML(
        "<domain type='test'><name>broken</name><memory>1</memory><os><type>hvm</type></os></domain>"
    )
    take(broken, "x")
    for number in range(12):
        take(tested, f"s{number}")
    await source.ready(other.getURI())
    await source.requests.load(CONNECTION, Kind.SNAPSHOT, 0)
    real = libvirt.virDomain.listAllSnapshots

    def list_most(domain: Any, flags: int = 0) -> Any:
        if domain.name() == "broken":
            error = libvirt.libvirtError("broken")
            error.err = (libvirt.VIR_ERR_OPERATION_FAILED, 0, "broken", 2, "", "", "", 0, 0)
            raise error
        return real(domain, flags)

    def stale() -> int:
        return sum(each.stale for _, each in source.cache.records(Kind.SNAPSHOT))  # type: ignore[union-attr]

    monkeypatch.setattr(libvirt.virDomain, "listAllSnapshots", list_most)
    watch(source, Kind.SNAPSHOT)
    await source.until(lambda: source.connection().last_error[1] == "broken")
    stirred: list[int] = []
    for _ in range(5):
        before = stale()
        await polled(source, 1)
        stirred.append(abs(stale() - before))
        assert stale() >= 13 - 2 * PER_ROUND_MIN
    assert max(stirred) <= PER_ROUND_MIN
    monkeypatch.undo()
    await source.until(lambda: source.connection().last_error == ("", "") and not stale())
    broken.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)


async def test_a_kind_that_the_driver_turns_out_not_to_have_is_asked_for_once(
    source: Followed, tested: Any
) -> None:
    await source.ready(tested.connect().getURI())
    assert "nwfilter" in source.connection().demand_kinds
    watch(source, Kind.NWFILTER, Kind.INTERFACE)
    await source.until(lambda: "nwfilter" not in source.connection().demand_kinds)
    await polled(source, 3)
    assert source.calls()["listAllNWFilters"] == 1
    assert source.connection().last_error == ("", "")
    assert names(source, Kind.INTERFACE) == {"eth1"}


async def test_a_slow_kind_holds_up_no_other(
    source: Followed, filtered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await source.ready(filtered.getURI())
    refresher = source.connections._connections["c"].ready()[1].refresher
    read, held = refresher.load, asyncio.Event()

    async def load(about: Key, kind: Kind, *, everything: bool = True) -> bool:
        if kind is Kind.INTERFACE:
            await held.wait()
        return await read(about, kind, everything=everything)

    monkeypatch.setattr(refresher, "load", load)
    watch(source, Kind.INTERFACE, Kind.NWFILTER)
    await polled(source, 5)
    assert len(names(source, Kind.NWFILTER)) == FILTERS
    watch(source, Kind.NWFILTER)
    held.set()
    await polled(source, 2)
    assert names(source, Kind.INTERFACE) == set(), "its reading ended with the last who watched"


def take_one(host: Libvirtd, name: str) -> None:
    conn = libvirt.open(host.uri())
    take(conn.lookupByName("test"), name)
    conn.close()


async def test_a_watch_goes_on_after_a_reconnect(source: Followed) -> None:
    with Libvirtd() as own:
        await source.ready(own.uri())
        take_one(own, "a")  # the test driver's state lasts as long as anybody is connected
        watch(source, Kind.SNAPSHOT, Kind.INTERFACE)
        await source.until(lambda: names(source, Kind.SNAPSHOT) == {"a"})
        own.kill()
        await source.until_state("disconnected")
        assert names(source, Kind.SNAPSHOT) == {"a"}
        own.start()
        await source.until_state("ready")
        await source.until(lambda: names(source, Kind.SNAPSHOT) == set())  # the test driver begins anew
        take_one(own, "b")
        await source.until(lambda: names(source, Kind.SNAPSHOT) == {"b"})
        await source.connections.close("c")
