"""One kind that fails takes nothing else down: the test driver, some functions failing as those of a host
without virtnetworkd do.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import libvirt
import pytest

from tests.support.followed import WAIT_S, Followed
from tests.support.requested import request
from virtbridge.config import ConnectionConfig
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.changes import Put
from virtbridge.model.keys import ON_DEMAND, Key, Kind, connection_key
from virtbridge.model.records import NetworkRecord
from virtbridge.source.kinds.table import FOLLOWED

URI = "test:///default"
NO_DAEMON = "Failed to connect socket to '/run/libvirt/virtnetworkd-sock'"
OLD = Key("c", Kind.NETWORK, "00000000-0000-0000-0000-000000000001")


class Failing:
    """Methods of virConnect that raise an error with this code until they are mended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self._real: dict[str, Callable[..., Any]] = {}

    def fail(self, *methods: str, code: int = libvirt.VIR_ERR_SYSTEM_ERROR) -> None:
        for method in methods:
            self._real.setdefault(method, getattr(libvirt.virConnect, method))
            self._patch.setattr(libvirt.virConnect, method, lambda *_: _refuse(code))

    def mend(self, *methods: str) -> None:
        for method in methods:
            self._patch.setattr(libvirt.virConnect, method, self._real[method])


def _refuse(code: int) -> None:
    error = libvirt.libvirtError(NO_DAEMON)
    error.err = (code, 0, NO_DAEMON, 2, "", None, None, -1, -1)
    raise error


def on_demand(*kinds: Kind) -> tuple[str, ...]:
    """The kinds that no driver has events for, and these."""
    return tuple(sorted(ON_DEMAND | set(kinds)))


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    return Failing(monkeypatch)


OTHERS = {"domain", "nodedev", "pool"}  # the test driver has no secrets
LISTS = {spec.list_all for spec in FOLLOWED.values()}
NETWORKS = ("listAllNetworks", "networkEventRegisterAny")


async def test_the_other_kinds_are_served_and_the_audit_brings_it_back(other: Any, failing: Failing) -> None:
    failing.fail(*NETWORKS)
    async with Followed(audit_interval_s=0.05) as source:
        source.watched = False
        await source.ready(URI)
        known = source.connection()
        assert known.last_error[0] == ErrorKind.OPERATION_FAILED
        assert known.last_error[1].startswith("network: Failed to connect socket")
        assert known.demand_kinds == on_demand(Kind.NETWORK)
        assert set(known.event_kinds) == OTHERS
        assert source.named(Kind.DOMAIN, "test").xml
        assert source.named(Kind.NETWORK, "default") is None
        with pytest.raises(BridgeError, match="network: Failed to connect"):
            await source.connections.refresh("c", frozenset({Kind.NETWORK}))
        await source.connections.refresh("c", frozenset({Kind.DOMAIN}))
        source.watched = True
        audits = source.metrics.snapshot().get("source.audits", 0)
        await source.until(lambda: source.metrics.snapshot().get("source.audits", 0) > audits + 1)
        assert source.connection().last_error[1].startswith("network: ")
        failing.mend(*NETWORKS)
        await source.until(lambda: source.connection().last_error == ("", ""))
        await source.until(lambda: source.named(Kind.NETWORK, "default"))
        assert source.connection().demand_kinds == on_demand()
        source.watched = False
        network = other.networkLookupByName("default")
        network.destroy()
        try:  # told once, by an event
            await source.until(lambda: not source.named(Kind.NETWORK, "default").active)
        finally:
            network.create()
        await source.until(lambda: source.named(Kind.NETWORK, "default").active)
        assert source.lifecycles(network.UUIDString()) == [("stopped", "0"), ("started", "0")]


async def test_a_kind_that_cannot_be_followed_is_on_demand_until_it_can(failing: Failing) -> None:
    failing.fail("networkEventRegisterAny")
    async with Followed() as source:
        await source.ready(URI)
        assert source.named(Kind.NETWORK, "default").definition.bridge == "virbr0"
        assert source.connection().demand_kinds == on_demand(Kind.NETWORK)
        assert source.connection().last_error[1].startswith("network: ")
        failing.mend("networkEventRegisterAny")
        await source.connections.refresh("c", frozenset({Kind.NETWORK}))
        assert source.connection().demand_kinds == on_demand()
        assert source.connection().last_error == ("", "")


async def test_a_kind_that_fails_in_an_audit_keeps_its_objects_and_the_audit_goes_on(
    other: Any, failing: Failing
) -> None:
    domain = other.lookupByName("test")
    async with Followed(audit_interval_s=0.05) as source:
        await source.ready(URI)
        failing.fail("listAllNetworks")
        await source.until(lambda: source.connection().last_error[1].startswith("network: "))
        assert source.named(Kind.NETWORK, "default")
        domain.setAutostart(1)
        try:
            await source.until(lambda: source.named(Kind.DOMAIN, "test").autostart)
        finally:
            domain.setAutostart(0)
        failing.mend("listAllNetworks")
        await source.until(lambda: source.connection().last_error == ("", ""))


@pytest.mark.parametrize(
    ("code", "stays"),
    [(libvirt.VIR_ERR_SYSTEM_ERROR, True), (libvirt.VIR_ERR_NO_SUPPORT, False)],
)
async def test_what_was_known_stays_when_a_kind_fails_and_goes_when_there_is_none(
    failing: Failing, code: int, stays: bool
) -> None:
    """After a reconnect, in effect: the cache holds what an earlier session brought."""
    failing.fail(*NETWORKS, code=code)
    async with Followed() as source:
        source.cache.apply([Put(OLD, NetworkRecord(OLD.id, "old"))])
        await source.ready(URI)
        assert (source.cache.get(OLD) is not None) == stays
        assert source.connection().demand_kinds == (on_demand(Kind.NETWORK) if stays else on_demand())
        assert (source.connection().last_error == ("", "")) != stays
        with pytest.raises(BridgeError) as failure:
            await source.connections.operate(request(OLD, "get-xml", 0))
        assert failure.value.kind == (ErrorKind.OPERATION_FAILED if stays else ErrorKind.NO_SUCH_OBJECT)


async def test_when_every_kind_fails_the_connection_does(failing: Failing) -> None:
    failing.fail(*LISTS)
    async with Followed() as source:
        source.connections.open(ConnectionConfig("c", URI))
        await source.until(lambda: source.connection().reconnect_attempts >= 2)
        assert source.connection().state == "disconnected"
        assert "Failed to connect socket" in source.connection().last_error[1]
        failing.mend(*LISTS)
        await source.until_state("ready")
        assert source.connection().last_error == ("", "")


@pytest.fixture
def hanging_networks(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Networks cannot be listed until this is set."""
    released = threading.Event()
    real = libvirt.virConnect.listAllNetworks
    monkeypatch.setattr(
        libvirt.virConnect, "listAllNetworks", lambda *args: real(*args) if released.wait() else None
    )
    yield released
    released.set()


async def test_a_kind_that_hangs_does_not_use_up_the_threads(hanging_networks: threading.Event) -> None:
    async with Followed(audit_interval_s=0.02, call_timeout_s=0.2) as source:
        try:
            await source.ready(URI)
            assert source.connection().last_error[0] == ErrorKind.TIMEOUT
            audits = source.metrics.snapshot().get("source.audits", 0)
            await source.until(lambda: source.metrics.snapshot().get("source.audits", 0) > audits + 5)
            assert source.calls()["listAllNetworks"] <= 8  # one try takes four
        finally:
            hanging_networks.set()
        await source.until(lambda: source.named(Kind.NETWORK, "default"))
        await source.until(lambda: source.connection().last_error == ("", ""))


async def test_a_kind_that_hangs_holds_up_no_other(other: Any, hanging_networks: threading.Event) -> None:
    async with Followed(call_timeout_s=WAIT_S) as source:
        source.connections.open(ConnectionConfig("c", URI))
        await source.until(lambda: (known := source.named(Kind.DOMAIN, "test")) and known.xml)
        other.lookupByName("test").suspend()
        await source.until(lambda: source.named(Kind.DOMAIN, "test").state == "paused")
        assert "domain" in source.connection().event_kinds
        assert source.connection().state == "syncing"
        hanging_networks.set()
        await source.until_state("ready")
        assert source.named(Kind.NETWORK, "default")


async def test_a_driver_without_pools_has_no_volumes(other: Any, failing: Failing) -> None:
    failing.fail("listAllStoragePools", "storagePoolEventRegisterAny", code=libvirt.VIR_ERR_NO_SUPPORT)
    async with Followed() as source:
        await source.ready(URI)
        assert source.connection().demand_kinds == on_demand()
        with pytest.raises(BridgeError) as caught:
            await source.connections.load(connection_key("c"), Kind.VOLUME, everything=True)
        assert caught.value.kind is ErrorKind.NOT_SUPPORTED
        assert "volume" not in source.connection().demand_kinds
