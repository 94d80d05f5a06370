"""What is read on demand, against a libvirtd of our own with QEMU, filters, dnsmasq and the test driver."""

import asyncio
import json
import logging
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import libvirt
import pytest

from tests.support.asked import CONNECTION, Asked
from tests.support.libvirtd import Libvirtd, is_available, qemu_xml, start_qemu
from tests.support.requested import request
from tests.support.stopped import stopped
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.answers import DhcpLease, GuestAddress, GuestInterface
from virtbridge.model.keys import Key, Kind
from virtbridge.model.xml import BadXml
from virtbridge.source.kinds.table import KINDS

pytestmark = pytest.mark.skipif(not is_available(), reason="needs root, libvirtd and namespaces")

LAN = """
<network><name>lan</name><bridge name='vbt0'/>
  <ip address='192.168.99.1' netmask='255.255.255.0'>
    <dhcp><range start='192.168.99.2' end='192.168.99.20'/></dhcp>
  </ip>
</network>"""
NO_SPOOF = """
<filter name='no-spoof' chain='root'>
  <rule action='drop' direction='out' priority='-500'><mac match='no' srcmacaddr='$MAC'/></rule>
</filter>"""
PLUGGED = """
<interface type='network'>
  <source network='lan'/><mac address='52:54:00:00:00:11'/><filterref filter='no-spoof'/>
</interface>"""


@pytest.fixture(scope="module")
def host() -> Iterator[Libvirtd]:
    with Libvirtd() as daemon:
        yield daemon


@pytest.fixture
def other(host: Libvirtd) -> Iterator[Any]:
    """Another client of the same host, which is left empty."""
    conn = libvirt.open(host.qemu_uri)
    yield conn
    domain = None
    for domain in conn.listAllDomains():
        if domain.isActive():
            domain.destroy()
        flags = (
            libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        )
        domain.undefineFlags(flags)
    del domain
    conn.close()


def disk(host: Libvirtd, name: str) -> str:
    path = host.folder / f"{name}.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "16M"], check=True)
    return (
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        f"<source file='{path}'/><target dev='vda' bus='virtio'/></disk>"
    )


def take(domain: Any, name: str) -> None:
    domain.snapshotCreateXML(f"<domainsnapshot><name>{name}</name></domainsnapshot>", 0)


async def test_a_tree_of_snapshots(host: Libvirtd, other: Any, source: Asked) -> None:
    domain = other.defineXML(qemu_xml("tree", devices=disk(host, "tree")))
    key = Key("c", Kind.DOMAIN, domain.UUIDString())
    await source.ready(host.qemu_uri)
    assert await source.cost(Kind.SNAPSHOT, key) == {"listAllSnapshots": 1}
    assert not source.domain(key.id).has_snapshots
    take(domain, "clean")
    take(domain, "first try")
    domain.revertToSnapshot(domain.snapshotLookupByName("clean"))
    take(domain, "second+try")
    cost = await source.cost(Kind.SNAPSHOT, key)
    cost.pop("XMLDesc", None)  # the domain's own, which reverting has changed
    assert cost == {"listAllSnapshots": 1, "snapshotCurrent": 1, "getXMLDesc": 3}
    assert await source.cost(Kind.SNAPSHOT, key, max_age_s=60) == {}
    assert source.domain(key.id).has_snapshots
    found = source.found(Kind.SNAPSHOT)
    tree = {name: (each.definition.parent, each.children, each.current) for name, each in found.items()}
    assert tree == {
        "clean": ("", ("first try", "second+try"), False),
        "first try": ("clean", (), False),
        "second+try": ("clean", (), True),
    }
    assert {each.definition.state for each in found.values()} == {"shutoff"}
    assert all(each.definition.created_us > 1_600_000_000_000_000 for each in found.values())
    assert all(each.last_refresh_us > 1_600_000_000_000_000 and not each.stale for each in found.values())

    domain.snapshotLookupByName("clean").delete()
    assert await source.cost(Kind.SNAPSHOT) == {
        "listAllDomains": 1,
        "listAllSnapshots": 1,
        "snapshotCurrent": 1,
        "getXMLDesc": 2,
    }
    parents = {name: each.definition.parent for name, each in source.found(Kind.SNAPSHOT).items()}
    assert parents == {"first try": "", "second+try": ""}
    secure = Key("c", Kind.SNAPSHOT, "second+try", key.id)
    assert "<domainsnapshot>" in await source.requests.operate(request(secure, "get-xml", 1))
    for each in domain.listAllSnapshots():
        each.delete()
    del each
    assert await source.cost(Kind.SNAPSHOT) == {"listAllDomains": 1}
    assert source.found(Kind.SNAPSHOT) == {}
    assert not source.domain(key.id).has_snapshots


async def test_a_removed_domain_takes_its_snapshots_along(host: Libvirtd, other: Any, source: Asked) -> None:
    domain = other.defineXML(qemu_xml("leaves", devices=disk(host, "leaves")))
    take(domain, "a")
    await source.ready(host.qemu_uri)
    await source.cost(Kind.SNAPSHOT)
    assert list(source.found(Kind.SNAPSHOT)) == ["a"]
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)
    await source.until(lambda: source.domain(domain.UUIDString()) is None)
    assert source.found(Kind.SNAPSHOT) == {}
    with pytest.raises(BridgeError) as caught:
        await source.cost(Kind.SNAPSHOT, Key("c", Kind.DOMAIN, domain.UUIDString()))
    assert caught.value.kind is ErrorKind.NO_SUCH_OBJECT


async def test_checkpoints(host: Libvirtd, other: Any, source: Asked) -> None:
    domain = start_qemu(other, "checked", devices=disk(host, "checked"))
    for name in ("sunday", "monday"):
        domain.checkpointCreateXML(f"<domaincheckpoint><name>{name}</name></domaincheckpoint>")
    await source.ready(host.qemu_uri)
    key = Key("c", Kind.DOMAIN, domain.UUIDString())
    assert await source.cost(Kind.CHECKPOINT, key) == {"listAllCheckpoints": 1, "getXMLDesc": 2}
    found = source.found(Kind.CHECKPOINT)
    assert {name: (each.definition.parent, each.children) for name, each in found.items()} == {
        "sunday": ("", ("monday",)),
        "monday": ("sunday", ()),
    }
    assert [each.bitmap for each in found["monday"].definition.disks] == ["monday"]


async def test_filters_bindings_ports_and_leases(host: Libvirtd, other: Any, source: Asked) -> None:
    network = other.networkCreateXML(LAN)
    other.nwfilterDefineXML(NO_SPOOF)
    domain = start_qemu(other, "plugged", devices=PLUGGED)
    try:
        await source.ready(host.qemu_uri)
        assert await source.cost(Kind.NWFILTER) == {"listAllNWFilters": 1, "XMLDesc": 1}
        [filter_] = source.found(Kind.NWFILTER).values()
        assert (filter_.definition.name, filter_.definition.rules[0].priority) == ("no-spoof", "-500")
        assert await source.cost(Kind.NWFILTERBINDING) == {"listAllNWFilterBindings": 1, "XMLDesc": 1}
        [(port, binding)] = source.found(Kind.NWFILTERBINDING).items()
        assert (binding.definition.filter, binding.definition.owner) == ("no-spoof", "plugged")
        assert "MAC=52:54:00:00:00:11" in binding.definition.parameters

        lan = Key("c", Kind.NETWORK, network.UUIDString())
        [plug] = await source.requests.operate(request(lan, "list-ports"))
        assert (plug.owner, plug.mac, plug.device) == ("plugged", "52:54:00:00:00:11", "vbt0")
        assert await source.requests.operate(request(lan, "get-dhcp-leases")) == ()
        lease = {
            "ip-address": "192.168.99.7",
            "mac-address": "52:54:00:00:00:11",
            "hostname": "guest",
            "client-id": "01:52:54:00:00:00:11",
            "expiry-time": 4_000_000_000,
        }  # as dnsmasq's helper writes it when a guest asks
        host._inner("/var/lib/libvirt/dnsmasq/vbt0.status").write_text(json.dumps([lease]))
        assert await source.requests.operate(request(lan, "get-dhcp-leases"), 60) == ()
        assert await source.requests.operate(request(lan, "get-dhcp-leases")) == (
            DhcpLease(
                "vbt0",
                4_000_000_000_000_000,
                "ipv4",
                "52:54:00:00:00:11",
                "",
                "192.168.99.7",
                24,
                "guest",
                "01:52:54:00:00:00:11",
            ),
        )
        key = Key("c", Kind.DOMAIN, domain.UUIDString())
        assert await source.requests.operate(request(key, "get-interface-addresses", "lease")) == (
            GuestInterface(port, "52:54:00:00:00:11", (GuestAddress("ipv4", "192.168.99.7", 24),)),
        )
        with pytest.raises(BridgeError, match="agent is not configured"):
            await source.requests.operate(request(key, "get-interface-addresses", "agent"))
        with pytest.raises(BridgeError, match="agent is not configured"):
            await source.requests.operate(request(key, "get-guest-info", 0))
    finally:
        domain.destroy()
        network.destroy()
        other.nwfilterLookupByName("no-spoof").undefine()
    await source.cost(Kind.NWFILTERBINDING)
    assert source.found(Kind.NWFILTERBINDING) == {}


async def test_jobs(host: Libvirtd, other: Any, source: Asked) -> None:
    domain = start_qemu(other, "busy")
    await source.ready(host.qemu_uri)
    key = Key("c", Kind.DOMAIN, domain.UUIDString())
    assert (await source.requests.operate(request(key, "get-job-info", False)))["type"] == "none"
    await asyncio.to_thread(domain.managedSave)
    for _ in range(2):  # it stays readable
        job = await source.requests.operate(request(key, "get-job-info", True))
        assert (job["type"], job["operation"]) == ("completed", "save")
        assert job["data-total"] > 0
    with pytest.raises(BridgeError) as caught:
        await source.requests.operate(request(key, "get-job-info", False))
    assert caught.value.kind is ErrorKind.OPERATION_INVALID


async def test_interfaces_of_the_host(host: Libvirtd, source: Asked) -> None:
    await source.ready(host.qemu_uri)
    await source.cost(Kind.INTERFACE)
    loopback = source.found(Kind.INTERFACE)["lo"]
    assert (loopback.definition.type, loopback.definition.mtu) == ("ethernet", 65536)
    assert "name='lo'" in await source.requests.operate(request(Key("c", Kind.INTERFACE, "lo"), "get-xml", 1))


async def test_the_host_s_answers(host: Libvirtd, source: Asked) -> None:
    await source.ready(host.qemu_uri)
    assert "<capabilities>" in await source.requests.operate(request(CONNECTION, "get-capabilities"))
    xml = await source.requests.operate(
        request(CONNECTION, "get-domain-capabilities", "", "x86_64", "", "qemu")
    )
    assert "<domain>qemu</domain>" in xml
    info = await source.requests.operate(request(CONNECTION, "get-node-info"))
    assert info.memory > 1 << 28
    assert info.cpus >= 1
    stats = await source.requests.operate(request(CONNECTION, "get-node-stats"))
    assert stats["memory-total"] > stats["memory-free"] > 0
    assert stats["cpu-idle"] > 0


async def test_interfaces_and_what_the_test_driver_lacks(host: Libvirtd, source: Asked) -> None:
    await source.ready(host.uri())
    assert await source.cost(Kind.INTERFACE) == {"listAllInterfaces": 2, "XMLDesc": 1}
    eth1 = source.found(Kind.INTERFACE)["eth1"]
    assert (eth1.active, eth1.definition.mtu, eth1.definition.mac) == (True, 1492, "aa:bb:cc:dd:ee:ff")
    assert [each.address for each in eth1.definition.addresses] == ["192.168.0.5"]
    assert "nwfilter" in source.connection().demand_kinds
    with pytest.raises(BridgeError) as caught:
        await source.cost(Kind.NWFILTER)
    assert caught.value.kind is ErrorKind.NOT_SUPPORTED
    assert "nwfilter" not in source.connection().demand_kinds
    await source.connections.refresh("c", frozenset({Kind.DOMAIN}))  # which announces the kinds again
    assert "nwfilter" not in source.connection().demand_kinds
    with pytest.raises(BridgeError) as caught:
        await source.requests.operate(request(CONNECTION, "get-domain-capabilities", "", "", "", ""))
    assert caught.value.kind is ErrorKind.NOT_SUPPORTED
    stats = await source.requests.operate(request(CONNECTION, "get-node-stats"))  # processors only
    assert {name.split("-")[0] for name in stats} == {"cpu"}


async def test_fifty_askers_cost_one(host: Libvirtd, source: Asked) -> None:
    await source.ready(host.uri())
    before = source.calls()
    await asyncio.gather(*(source.requests.load(CONNECTION, Kind.INTERFACE, 60) for _ in range(50)))
    await asyncio.gather(
        *(source.requests.operate(request(CONNECTION, "get-node-info"), 60) for _ in range(50))
    )
    spent = {name: count - before.get(name, 0) for name, count in source.calls().items()}
    assert {name: count for name, count in spent.items() if count} == {
        "listAllInterfaces": 2,
        "XMLDesc": 1,
        "getInfo": 1,
    }


async def test_a_host_that_hangs_makes_stale_and_not_empty(host: Libvirtd) -> None:
    async with Asked(call_timeout_s=0.5) as source:
        await source.ready(host.uri(), keepalive_interval_s=0)
        await source.cost(Kind.INTERFACE)
        known = source.found(Kind.INTERFACE)["eth1"]
        with stopped(host.pid):
            answers = await asyncio.gather(
                *(source.requests.load(CONNECTION, Kind.INTERFACE, 0) for _ in range(3)),
                return_exceptions=True,
            )
            assert [each.kind for each in answers if isinstance(each, BridgeError)] == [ErrorKind.TIMEOUT] * 3
            assert source.found(Kind.INTERFACE)["eth1"] == replace(known, stale=True)
            assert await source.cost(Kind.INTERFACE, max_age_s=60) == {}
        await source.cost(Kind.INTERFACE)
        again = source.found(Kind.INTERFACE)["eth1"]
        assert not again.stale
        assert again.last_refresh_us > known.last_refresh_us


async def test_one_that_cannot_be_read_does_not_spoil_its_listing(
    host: Libvirtd,
    other: Any,
    source: Asked,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """libvirt-python raises on names that are not UTF-8, which libvirt itself makes of files only."""
    domain = other.defineXML(qemu_xml("odd", devices=disk(host, "odd")))
    for name in ("good", "bad", "unnamed"):
        take(domain, name)
    await source.ready(host.qemu_uri)
    spec = KINDS[Kind.SNAPSHOT]
    broken: set[str] = {"bad", "unnamed"}

    def identify(raw: Any) -> str:
        if raw.getName() == "unnamed" and "unnamed" in broken:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
        return spec.id_of(raw)

    def parse(xml: str) -> Any:
        if "<name>bad</name>\n  <state>" in xml and "bad" in broken:
            raise BadXml("domainsnapshot: odd")
        return spec.parse(xml)

    monkeypatch.setitem(KINDS, Kind.SNAPSHOT, replace(spec, id_of=identify, parse=parse))  # type: ignore[arg-type]
    key = Key("c", Kind.DOMAIN, domain.UUIDString())
    for _ in range(3):
        await source.cost(Kind.SNAPSHOT, key)
        assert set(source.found(Kind.SNAPSHOT)) == {"good"}
    assert source.domain(key.id).has_snapshots
    told = [
        each
        for each in caplog.records
        if each.name.startswith("virtbridge") and each.levelno >= logging.WARNING
    ]
    assert len(told) == 2
    assert source.domain(key.id).unreadable == (
        "snapshot: 1 of them have a name that is not UTF-8",
        "snapshot bad: invalid xml: domainsnapshot: odd",
    )
    broken.clear()
    await source.cost(Kind.SNAPSHOT, key)
    assert source.domain(key.id).unreadable == ()
    assert set(source.found(Kind.SNAPSHOT)) == {"good", "bad", "unnamed"}
    broken.add("bad")
    await source.cost(Kind.SNAPSHOT, key)
    assert source.found(Kind.SNAPSHOT)["bad"].stale
    assert source.found(Kind.SNAPSHOT)["bad"].problem == "invalid xml: domainsnapshot: odd"
    assert source.domain(key.id).unreadable == ()
    assert not source.found(Kind.SNAPSHOT)["good"].stale
