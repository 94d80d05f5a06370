"""Drivers without events, on libvirt's test driver in this process: what a poll finds, costs and leaves be.

`test:///default` is one state for the whole process, so each test undoes what it does.
"""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import libvirt
import pytest

from tests.support.followed import Followed
from tests.support.until import until
from virtbridge.errors import ErrorKind
from virtbridge.model.keys import ON_DEMAND, Kind
from virtbridge.source.calls.errors import not_connected
from virtbridge.source.calls.session import Session
from virtbridge.source.reread_turns import PER_ROUND_MIN

URI = "test:///default"
EXTRA = "<domain type='test'><name>{name}</name><memory>1024</memory><os><type>hvm</type></os></domain>"
NETWORK = "<network><name>extra</name><bridge name='extra0'/></network>"
FAST = dict.fromkeys((Kind.DOMAIN, Kind.NETWORK), 0.02)


def polls(source: Followed) -> int:
    return source.metrics.snapshot().get("source.polls", 0)


async def polled(source: Followed, times: int = 2) -> None:
    """Until so many polls, begun from now on, are over."""
    wanted = polls(source) + times + 1
    await until(lambda: polls(source) >= wanted)


def poll_messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of polls. That asyncio found one of them slow says something of the machine."""
    return [each.getMessage() for each in caplog.records if each.name == "virtbridge.cache.polling"]


def refuse(monkeypatch: pytest.MonkeyPatch, method: str, code: int) -> None:
    """Have every call of a virConnect's method fail, as a driver without it does."""

    def fail(*_: object, **__: object) -> None:
        error = libvirt.libvirtError("refused")
        error.err = (code, 0, "this function is not supported", 2, "", "", "", 0, 0)
        raise error

    monkeypatch.setattr(libvirt.virConnect, method, fail)


async def test_nothing_is_polled_unless_somebody_watches_and_the_end_is_at_once(other: Any) -> None:
    async with Followed(audit_interval_s=0.02) as source:
        await source.ready(URI, events=False)
        before = source.calls()
        await source.a_long_time()
        assert source.calls() == before
        source.requests.watch("c", FAST)
        await polled(source)
        source.requests.watch("c", {})
        await source.idle()
        before = source.calls()
        await source.a_long_time()
        assert source.calls() == before


async def test_a_quiet_poll_is_one_listing_and_one_state_read(other: Any) -> None:
    """Beside the XML of a few, in turn."""
    async with Followed() as source:
        await source.ready(URI, events=False)
        for kind, bulk in (
            (Kind.DOMAIN, {"listAllDomains": 1, "getAllDomainStats": 1}),
            (Kind.NETWORK, {"listAllNetworks": 2}),
        ):
            before, count = source.calls(), polls(source)
            source.requests.watch("c", {kind: 0.02})
            await polled(source, 4)
            source.requests.watch("c", {})
            await source.idle()
            done = polls(source) - count
            cost = Counter(source.calls()) - Counter(before)
            assert cost.pop("XMLDesc") <= done * PER_ROUND_MIN
            assert cost == {name: times * done for name, times in bulk.items()}


async def test_a_domain_s_life_looks_as_with_events(other: Any) -> None:
    async with Followed() as source:
        await source.ready(URI, events=False)
        source.requests.watch("c", FAST)
        domain = other.defineXML(EXTRA.format(name="extra"))
        uuid = domain.UUIDString()
        try:
            await source.until(lambda: source.domain(uuid))
            assert source.domain(uuid).xml  # it appears whole
            assert source.lifecycles(uuid) == [("defined", "added")]
            for step, state in (
                ("create", "running"),
                ("suspend", "paused"),
                ("resume", "running"),
                ("destroy", "shutoff"),
            ):
                getattr(domain, step)()
                await source.until(lambda s=state: source.domain(uuid).state == s)  # type: ignore[misc]
            assert source.domain(uuid).id == -1
            domain.rename("other")
            await source.until(lambda: source.domain(uuid).name == "other")
            await source.until(lambda: "<name>other</name>" in source.domain(uuid).xml)
            domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, "A title", None, None, 2)
            await source.until(lambda: source.domain(uuid).definition.title == "A title")
        finally:
            domain.undefine()
        await source.until(lambda: source.domain(uuid) is None)
        assert source.lifecycles(uuid) == [
            ("defined", "added"),
            ("started", "booted"),
            ("suspended", "paused"),
            ("resumed", "unpaused"),
            ("stopped", "destroyed"),
            ("undefined", "renamed"),
            ("defined", "renamed"),
            ("undefined", "removed"),
        ]


async def test_what_a_start_changes_beside_the_state_is_read_too(other: Any) -> None:
    domain = other.defineXML(EXTRA.format(name="extra"))
    uuid = domain.UUIDString()
    try:
        async with Followed() as source:
            await source.ready(URI, events=False)
            source.requests.watch("c", FAST)
            domain.create()
            await source.until(lambda: source.domain(uuid).active)
            domain.managedSave()
            await source.until(lambda: source.domain(uuid).has_managed_save)
            domain.create()
            await source.until(lambda: not source.domain(uuid).has_managed_save)
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
            await source.until(lambda: not source.domain(uuid).persistent)
            domain.destroy()
            await source.until(lambda: source.domain(uuid) is None)
            assert source.lifecycles(uuid)[-2:] == [("undefined", "removed"), ("stopped", "unknown")]
    finally:
        if any(each.name() == "extra" for each in other.listAllDomains()):
            domain.undefine()


async def test_networks_come_start_stop_and_go(other: Any) -> None:
    async with Followed() as source:
        await source.ready(URI, events=False)
        source.requests.watch("c", FAST)
        network = other.networkDefineXML(NETWORK)
        uuid = network.UUIDString()
        try:
            await source.until(lambda: source.named(Kind.NETWORK, "extra"))
            assert source.named(Kind.NETWORK, "extra").definition.bridge == "extra0"
            network.create()
            await source.until(lambda: source.named(Kind.NETWORK, "extra").active)
            network.destroy()
            await source.until(lambda: not source.named(Kind.NETWORK, "extra").active)
        finally:
            network.undefine()
        await source.until(lambda: not source.named(Kind.NETWORK, "extra"))
        assert source.lifecycles(uuid) == [
            ("defined", "0"),
            ("started", "0"),
            ("stopped", "0"),
            ("undefined", "0"),
        ]


async def test_a_kind_without_events_is_polled_beside_one_with(
    other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "networkEventRegisterAny", libvirt.VIR_ERR_NO_SUPPORT)
    async with Followed() as source:
        await source.ready(URI)
        assert source.connection().event_kinds == ("domain", "nodedev", "pool")
        assert source.connection().demand_kinds == tuple(sorted({"network"} | ON_DEMAND))
        source.requests.watch("c", FAST)
        before = source.calls()
        network = other.networkDefineXML(NETWORK)
        try:
            await source.until(lambda: source.named(Kind.NETWORK, "extra"))
        finally:
            network.undefine()
        await source.until(lambda: not source.named(Kind.NETWORK, "extra"))
        assert source.calls()["listAllDomains"] == before["listAllDomains"]
        assert source.calls()["getAllDomainStats"] == before["getAllDomainStats"]


async def test_without_bulk_statistics_only_what_moved_is_asked_for_its_state(
    other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "getAllDomainStats", libvirt.VIR_ERR_NO_SUPPORT)
    domains = [other.defineXML(EXTRA.format(name=f"extra{number}")) for number in range(5)]
    uuid = domains[0].UUIDString()
    try:
        async with Followed() as source:
            await source.ready(URI, events=False)
            before = source.calls()
            source.requests.watch("c", {Kind.DOMAIN: 0.02})
            await polled(source)
            assert source.calls()["state"] == before["state"]
            domains[0].create()
            await source.until(lambda: source.domain(uuid).state == "running")
            domains[0].suspend()
            await source.until(lambda: source.domain(uuid).state == "paused")
            domains[0].destroy()
            await source.until(lambda: source.domain(uuid).state == "shutoff")
            assert source.domain(uuid).state_reason == "destroyed"
            assert source.calls()["state"] - before["state"] <= 6
            assert source.lifecycles(uuid) == [
                ("started", "booted"),
                ("suspended", "paused"),
                ("stopped", "destroyed"),
            ]
    finally:
        for domain in domains:
            domain.undefine()


@pytest.mark.parametrize("method", ["listAllDomains", "getAllDomainStats"])
async def test_a_failed_poll_keeps_what_was_known_and_says_so_until_one_succeeds(
    other: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    caplog.set_level(logging.INFO)
    async with Followed() as source:
        await source.ready(URI, events=False)
        known = dict(source.cache.records(Kind.DOMAIN))
        with monkeypatch.context() as broken:
            refuse(broken, method, libvirt.VIR_ERR_OPERATION_FAILED)
            source.requests.watch("c", FAST)
            await source.until(lambda: source.connection().last_error[0] == ErrorKind.OPERATION_FAILED)
            await polled(source, 6)
            assert dict(source.cache.records(Kind.DOMAIN)) == known
            assert source.connection().state == "ready"
        await source.until(lambda: source.connection().last_error == ("", ""))
        failed, succeeds = poll_messages(caplog)
        assert failed.startswith("poll failed conn=c kind=domain")
        assert succeeds.startswith("poll succeeds again conn=c kind=domain")


async def test_a_trouble_that_nobody_watches_any_more_is_over(
    other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Followed() as source:
        await source.ready(URI, events=False)
        refuse(monkeypatch, "listAllNetworks", libvirt.VIR_ERR_OPERATION_FAILED)
        source.requests.watch("c", FAST)
        await source.until(lambda: source.connection().last_error[1])
        source.requests.watch("c", {})
        assert source.connection().last_error == ("", "")


async def test_one_domain_that_cannot_be_read_does_not_spoil_the_poll(
    other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = libvirt.virDomain.XMLDesc

    def only_some(domain: Any, flags: int = 0) -> Any:
        if domain.name() == "extra":
            error = libvirt.libvirtError("refused")
            error.err = (libvirt.VIR_ERR_ACCESS_DENIED, 0, "no", 2, "", "", "", 0, 0)
            raise error
        return read(domain, flags)

    monkeypatch.setattr(libvirt.virDomain, "XMLDesc", only_some)
    async with Followed() as source:
        await source.ready(URI, events=False)
        source.requests.watch("c", FAST)
        domain, second = (other.defineXML(EXTRA.format(name=name)) for name in ("extra", "second"))
        try:
            await source.until(lambda: source.named(Kind.DOMAIN, "second"))
            assert source.named(Kind.DOMAIN, "second").xml
            await source.until(lambda: source.named(Kind.DOMAIN, "extra"))
            assert not source.named(Kind.DOMAIN, "extra").xml
        finally:
            domain.undefine()
            second.undefine()
        await source.until(lambda: not source.named(Kind.DOMAIN, "extra"))


async def test_an_object_missing_from_a_glance_but_there_is_kept(
    other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listings of one glance are several moments: only what the plain listing lacks too is gone."""
    listed = Session.call
    domain = other.lookupByName("test")

    async def call(session: Any, name: str, *args: Any, **more: Any) -> Any:
        if name == "getAllDomainStats" or (name == "listAllDomains" and args != (0,)):
            then = more.pop("then")
            return await listed(session, name, *args, then=lambda raws: then([]), **more)
        return await listed(session, name, *args, **more)

    async with Followed() as source:
        await source.ready(URI, events=False)
        before = source.domain(domain.UUIDString())
        monkeypatch.setattr(Session, "call", call)
        source.requests.watch("c", {Kind.DOMAIN: 0.02})
        await polled(source, 3)
        assert source.domain(domain.UUIDString()) == before
        assert source.lifecycles(domain.UUIDString()) == []


async def test_a_refresh_tells_of_events_too_where_there_are_none(other: Any) -> None:
    async with Followed() as source:
        await source.ready(URI, events=False)
        domain = other.defineXML(EXTRA.format(name="extra"))
        uuid = domain.UUIDString()
        try:
            await source.connections.refresh("c", frozenset())
            assert source.domain(uuid).xml
        finally:
            domain.undefine()
        await source.connections.refresh("c", frozenset({Kind.DOMAIN}))
        assert source.lifecycles(uuid) == [("defined", "added"), ("undefined", "removed")]


async def test_a_shorter_interval_counts_from_the_last_look(other: Any) -> None:
    async with Followed() as source:
        await source.ready(URI, events=False)
        source.requests.watch("c", {Kind.DOMAIN: 3600.0})
        await source.a_long_time(1000)
        assert polls(source) == 0  # the sync was a while ago
        source.requests.watch("c", {Kind.DOMAIN: 0.05})
        await polled(source, 1)
        source.requests.watch("c", {Kind.DOMAIN: 3600.0, Kind.NETWORK: 3600.0})
        await source.idle()
        count = polls(source)
        await source.a_long_time(1000)
        assert polls(source) == count
        await source.a_long_time(2000)
        assert polls(source) == count + 1  # of the networks, whose last listing was the sync


async def test_a_watch_goes_on_with_the_next_session(other: Any, tmp_path: Path) -> None:
    node = tmp_path / "node.xml"
    node.write_text(f"<node>{EXTRA.format(name='a')}</node>")
    async with Followed() as source:
        await source.ready(f"test://{node}", events=False)
        source.requests.watch("c", FAST)
        await polled(source)
        connection = source.connections._connections["c"]
        session, _ = connection.ready()
        node.write_text(f"<node>{EXTRA.format(name='a')}{EXTRA.format(name='b')}</node>")
        session._lose(not_connected("a test"))
        await source.until(lambda: source.named(Kind.DOMAIN, "b"))
        await source.until_state("ready")
        await polled(source)
