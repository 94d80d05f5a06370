"""The source against libvirt's test driver in this process: sync, events, audit, refresh, and ends that leave
nothing.

`test:///default` is one state for the whole process, so each test undoes what it does.
"""

import asyncio
import gc
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import libvirt
import pytest

from tests.support.followed import Followed
from tests.support.requested import request
from tests.support.until import until
from virtbridge.config import ConnectionConfig
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import ON_DEMAND, Key, Kind, connection_key
from virtbridge.source import rereads
from virtbridge.source.calls.session import Session
from virtbridge.source.listing import fetch_listing

URI = "test:///default"
EXTRA = "<domain type='test'><name>extra</name><memory>1024</memory><os><type>hvm</type></os></domain>"


def uuid_of(other: Any, name: str = "test") -> str:
    uuid: str = other.lookupByName(name).UUIDString()
    return uuid


async def test_the_first_sync_brings_everything_and_the_facts(other: Any) -> None:
    async with Followed() as source:
        await source.ready(URI)
        known = source.domain(uuid_of(other))
        assert (known.name, known.state, known.persistent) == ("test", "running", True)
        assert known.xml == other.lookupByName("test").XMLDesc(0)
        assert known.definition.vcpus_maximum == 2
        assert source.named(Kind.NETWORK, "default").definition.bridge == "virbr0"
        connection = source.connection()
        assert (connection.driver, connection.uri) == ("TEST", URI)
        assert connection.event_kinds == ("domain", "network", "nodedev", "pool")
        assert connection.last_sync_us > 0
        assert source.states == ["syncing", "ready"]


async def test_nothing_happens_and_nothing_is_called(other: Any) -> None:
    async with Followed() as source:
        await source.ready(URI)
        before = source.calls()
        await source.a_long_time()
        assert source.calls() == before


async def test_a_silent_change_is_found_by_the_audit_and_only_while_watched(other: Any) -> None:
    domain = other.lookupByName("test")
    async with Followed(audit_interval_s=0.05) as source:
        source.watched = False
        await source.ready(URI)
        domain.setAutostart(1)
        try:
            await source.a_long_time()
            assert not source.domain(domain.UUIDString()).autostart
            assert "source.audits" not in source.metrics.snapshot()
            source.watched = True
            await source.until(lambda: source.domain(domain.UUIDString()).autostart)
        finally:
            domain.setAutostart(0)
        await source.until(lambda: not source.domain(domain.UUIDString()).autostart)


async def test_refresh_and_set_autostart_show_at_once(other: Any) -> None:
    domain = other.lookupByName("test")
    key = Key("c", Kind.DOMAIN, domain.UUIDString())
    async with Followed() as source:
        await source.ready(URI)
        await source.connections.operate(request(key, "set-autostart", True))
        assert source.domain(key.id).autostart
        domain.setAutostart(0)
        domain.reboot(0)  # the test driver changes the reason, and says nothing
        await source.connections.refresh("c", frozenset({Kind.DOMAIN}))
        assert not source.domain(key.id).autostart
        assert source.domain(key.id).state_reason == "booted"


async def test_a_domain_defined_renamed_and_undefined_by_another_client(other: Any) -> None:
    async with Followed() as source:
        await source.ready(URI)
        before = source.calls()
        domain = other.defineXML(EXTRA)
        uuid = domain.UUIDString()
        try:
            await source.until(lambda: source.domain(uuid))
            assert source.domain(uuid).xml
            assert source.domain(uuid).state == "shutoff"
            assert source.calls()["XMLDesc"] == before["XMLDesc"] + 1
            domain.rename("other")
            await source.until(lambda: source.domain(uuid).name == "other")
        finally:
            domain.undefine()
        await source.until(lambda: source.domain(uuid) is None)
        assert source.lifecycles(uuid) == [
            ("defined", "added"),
            ("undefined", "renamed"),
            ("defined", "renamed"),
            ("undefined", "removed"),
        ]


@pytest.mark.parametrize("read_only", [False, True])
async def test_what_only_a_call_tells_of_a_mediated_device_is_asked_of_those_alone(
    tmp_path: Path, read_only: bool
) -> None:
    """The test driver has no such call, and a read-only connection refuses one: that stays false."""
    mdev = "<type id='t'/><uuid>3627463d-b7f0-4fea-b468-f1da537d301b</uuid><iommuGroup number='1'/>"
    node = tmp_path / "node.xml"
    node.write_text(
        "<node><device><name>mdev_x</name><parent>computer</parent>"
        f"<capability type='mdev'>{mdev}</capability></device>"
        "<device><name>computer</name><capability type='system'><hardware>"
        "<uuid>55555555-5555-4555-8555-555555555555</uuid></hardware><firmware/></capability></device></node>"
    )
    async with Followed() as source:
        await source.ready(f"test://{node}", read_only=read_only)
        known = source.named(Kind.NODEDEV, "mdev_x")
        assert known.definition.details[0].mdev_type == "t"
        assert (known.persistent, known.autostart) == (False, False)
        asked = source.calls()
        assert (asked["isPersistent"], asked["autostart"], asked["XMLDesc"]) == (1, 1, 2)


async def test_without_events_the_kinds_are_on_demand_and_refresh_finds_changes(other: Any) -> None:
    async with Followed() as source:
        await source.ready(URI, events=False)
        assert source.connection().event_kinds == ()
        assert source.connection().demand_kinds == tuple(
            sorted({"domain", "network", "nodedev", "pool"} | ON_DEMAND)
        )
        assert "domainEventRegisterAny" not in source.calls()
        domain = other.defineXML(EXTRA)
        try:
            await source.connections.refresh("c", frozenset())
            assert source.named(Kind.DOMAIN, "extra").xml
        finally:
            domain.undefine()
        await source.connections.refresh("c", frozenset())
        assert source.named(Kind.DOMAIN, "extra") is None


async def test_a_domain_defined_again_while_its_first_xml_is_read_stays(other: Any) -> None:
    """Whether that read still finds it (define, undefine, define) or not: its last word counts."""
    uuids = [str(uuid4()) for _ in range(50)]

    def churn(uuid: str) -> None:
        xml = EXTRA.replace("<memory>", f"<uuid>{uuid}</uuid><memory>").replace("extra", uuid)
        other.defineXML(xml).undefine()
        other.defineXML(xml)

    async with Followed() as source:
        await source.ready(URI)
        try:
            for uuid in uuids:
                await asyncio.to_thread(churn, uuid)
            await source.until(lambda: all(source.domain(uuid) for uuid in uuids), wait_s=5)
        finally:
            for uuid in uuids:
                other.lookupByUUIDString(uuid).undefine()
        await source.until(lambda: not any(source.domain(uuid) for uuid in uuids), wait_s=5)


async def test_a_read_only_connection_refuses_changes() -> None:
    async with Followed() as source:
        await source.ready(URI, read_only=True)
        key = next(source.cache.keys(Kind.DOMAIN))
        with pytest.raises(BridgeError) as failure:
            await source.connections.operate(request(key, "set-autostart", True))
        assert failure.value.kind is ErrorKind.NOT_AUTHORIZED


async def test_what_cannot_be_opened_says_why_and_delays_nobody() -> None:
    async with Followed() as source:
        source.connections.open(ConnectionConfig("bad", "qemu+unix:///system?socket=/nonexistent"))
        await source.ready(URI)
        await source.until(lambda: source.connection("bad").reconnect_attempts >= 2)
        bad = source.connection("bad")
        assert bad.state == "disconnected"
        assert "/nonexistent" in bad.last_error[1]
        with pytest.raises(BridgeError) as failure:
            source.connections.open(ConnectionConfig("bad", URI))
        assert failure.value.kind is ErrorKind.ALREADY_EXISTS
        with pytest.raises(BridgeError) as failure:
            await source.connections.refresh("bad", frozenset())
        assert failure.value.kind is ErrorKind.NOT_CONNECTED
        await source.connections.close("bad")
        assert source.connection("bad") is None
        with pytest.raises(BridgeError) as failure:
            await source.connections.close("bad")
        assert failure.value.kind is ErrorKind.NO_SUCH_OBJECT


async def test_a_connection_takes_no_other_s_gauges_along() -> None:
    async with Followed() as source:
        await source.ready(URI, "a")
        await source.ready(URI, "a.b")
        await source.connections.close("a")
        left = [name for name in source.metrics.snapshot() if name.startswith("queue.a.")]
        assert sorted(left) == ["queue.a.b.running", "queue.a.b.waiting", "queue.a.b.window"]


async def test_unreadable_xml_keeps_what_was_known_and_is_told_once(
    other: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Followed() as source:
        await source.ready(URI)
        known = source.domain(uuid_of(other))
        monkeypatch.setattr(libvirt.virDomain, "XMLDesc", lambda *_: "<domain")
        with caplog.at_level(logging.WARNING, "virtbridge"):
            await source.connections.refresh("c", frozenset({Kind.DOMAIN}))
            await source.connections.refresh("c", frozenset({Kind.DOMAIN}))
        problem = "invalid xml: domain: not well-formed at line 1, column 8"
        assert source.domain(known.uuid) == replace(known, problem=problem)
        monkeypatch.undo()
        await source.connections.refresh("c", frozenset({Kind.DOMAIN}))
        assert source.domain(known.uuid) == known
    # And the errors' tracebacks kept no handle: nothing about references to a closed connection.
    ours = [record for record in caplog.records if record.name.startswith("virtbridge")]
    assert [record.message.partition(" conn=")[0] for record in ours] == ["unreadable XML"]


@pytest.mark.parametrize("everything", [True, False])
async def test_a_listing_that_was_published_keeps_no_handle(
    other: Any, caplog: pytest.LogCaptureFixture, everything: bool
) -> None:
    with caplog.at_level(logging.DEBUG, "virtbridge"):
        async with Followed() as source:
            await source.ready(URI)
            await source.connections.load(connection_key("c"), Kind.INTERFACE, everything)
            assert list(source.cache.keys(Kind.INTERFACE))
    assert not [record for record in caplog.records if "closed connection" in record.message]


@pytest.mark.parametrize("times", [2, rereads.RETRIES + 1])
async def test_a_definition_that_could_not_be_read_is_tried_again_and_not_for_ever(
    other: Any, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    real, calls = libvirt.virDomain.XMLDesc, []

    def refuse(domain: Any, flags: int) -> Any:
        calls.append(domain.name())
        if len(calls) > times:
            return real(domain, flags)
        raise libvirt.libvirtError("busy")

    monkeypatch.setattr(rereads, "RETRY_S", 0.001)
    monkeypatch.setattr(libvirt.virDomain, "XMLDesc", refuse)
    async with Followed() as source:
        await source.ready(URI)
        if times > rereads.RETRIES:
            await until(lambda: len(calls) == times)
            await source.a_long_time()
            assert len(calls) == times
            await source.connections.refresh("c", frozenset({Kind.DOMAIN}))
        await source.until(lambda: source.named(Kind.DOMAIN, "test").xml, wait_s=5)
        await source.a_long_time()
        assert len(calls) == times + 1


async def test_the_end_leaves_no_thread_and_no_reference(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    before = set(threading.enumerate())
    with caplog.at_level(logging.WARNING, "virtbridge"):
        async with Followed() as source:
            await source.ready(URI)
            await source.ready(URI, "second")
            await source.connections.close("second")
        ours = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("vb-")]
        for thread in ours:  # told to end; the last turns may still be under way
            await asyncio.to_thread(thread.join, 5)
        assert not any(thread.is_alive() for thread in ours)
    assert not [record for record in caplog.records if record.name.startswith("virtbridge")]  # close() gave 0
    calls = source.calls()
    assert calls["domainEventDeregisterAny"] == calls["domainEventRegisterAny"]
    assert calls["close"] == calls["open"] == 2


async def test_nothing_keeps_the_session_of_a_connection_that_was_closed() -> None:
    """libvirt never lets go of the close callback of a driver that has none."""

    def kept() -> int:
        gc.collect()
        return sum(isinstance(each, Session) for each in gc.get_objects())

    before = kept()
    async with Followed() as source:
        for _ in range(3):
            await source.ready(URI)
            await source.connections.close("c")
        await until(lambda: kept() <= before)


async def test_a_refresh_reads_what_an_event_told_of_meanwhile(
    other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event's word stands against that listing, but it says nothing of autostart."""
    pool = other.storagePoolLookupByName("default-pool")
    key = Key("c", Kind.POOL, pool.UUIDString())
    events = 2
    async with Followed() as source:
        await source.ready(URI)

        async def fetch(session: Any, spec: Any) -> Any:
            nonlocal events
            found = await fetch_listing(session, spec)
            if events:
                events -= 1
                source.connections._connections["c"].ready()[1].newer.note(key)
            return found

        monkeypatch.setattr("virtbridge.source.refresh.fetch_listing", fetch)
        pool.setAutostart(1)
        try:
            await source.connections.refresh("c", frozenset({Kind.POOL}))
            assert source.cache.get(key).autostart  # type: ignore[union-attr]
        finally:
            pool.setAutostart(0)
        assert not events


async def replaced_while_it_is_read(
    source: Followed,
    other: Any,
    monkeypatch: pytest.MonkeyPatch,
    read: Any,
    blocked: list[str],
    more: str = "",
) -> Any:
    """A domain that was undefined, and defined anew under its UUID, while its XML was read; the new one is
    known. read: in place of virDomainGetXMLDesc(), keeps the first one waiting, and says so in blocked.
    """
    domain = other.defineXML(EXTRA)
    uuid = domain.UUIDString()
    await source.until(lambda: source.domain(uuid))
    monkeypatch.setattr(libvirt.virDomain, "XMLDesc", read)
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, "old", None, None)
    await until(lambda: blocked)
    domain.undefine()
    domain = other.defineXML(EXTRA.replace("</name>", f"</name><uuid>{uuid}</uuid>{more}"))
    await source.until(lambda: source.puts.count(Key("c", Kind.DOMAIN, uuid)) == 2)
    return domain


async def test_what_was_read_of_an_object_before_it_was_defined_anew_is_not_published(
    other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer comes after that of the new object under the same UUID."""
    real, go_on = libvirt.virDomain.XMLDesc, threading.Event()
    blocked: list[str] = []

    def read(domain: Any, flags: int) -> Any:
        xml = real(domain, flags)
        if "<title>old</title>" in xml:
            blocked.append(xml)
            go_on.wait(10)
        return xml

    async with Followed() as source:
        await source.ready(URI)
        domain = await replaced_while_it_is_read(
            source, other, monkeypatch, read, blocked, "<title>new</title>"
        )
        uuid = domain.UUIDString()
        before = source.calls()["XMLDesc"]
        go_on.set()
        await until(lambda: source.calls()["XMLDesc"] == before + 1)
        await source.until(lambda: source.domain(uuid).definition.title == "new", wait_s=5)
        domain.undefine()
        await source.until(lambda: source.domain(uuid) is None)


async def test_what_a_read_finds_gone_is_dropped_unless_it_was_defined_anew(
    other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal comes after the event of the new object under the same UUID."""
    real, go_on = libvirt.virDomain.XMLDesc, threading.Event()
    blocked: list[str] = []

    def read(domain: Any, flags: int) -> Any:
        if not blocked:
            blocked.append(domain.name())
            go_on.wait(10)
            error = libvirt.libvirtError("gone")
            error.err = (libvirt.VIR_ERR_NO_DOMAIN, 0, "gone", 2, None, None, None, -1, -1)
            raise error
        return real(domain, flags)

    monkeypatch.setattr(rereads, "REMOVED_S", 0.05)
    async with Followed() as source:
        await source.ready(URI)
        domain = await replaced_while_it_is_read(source, other, monkeypatch, read, blocked)
        uuid = domain.UUIDString()
        go_on.set()
        await source.a_long_time()
        assert source.domain(uuid) is not None
        blocked.clear()
        domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, "gone", None, None)
        await source.until(lambda: source.domain(uuid) is None)
        domain.undefine()
