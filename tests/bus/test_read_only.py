"""Every member with right `read`, on a connection that libvirt opened read-only: libvirt allows what it asks.

This is the proof that the rights are libvirt's: what libvirt refuses here is nothing that everybody may have
done on a connection that can do everything. Real libvirt, one with QEMU and one with the test driver, which
has snapshots and host interfaces.
"""

import inspect
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
import pytest_asyncio

from tests.libvirtd.test_demand import LAN, NO_SPOOF, PLUGGED, disk
from tests.support.client import PROPERTIES, ROOT, SERVICE, CallFailed, Client, error_of
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import dbus_daemon
from tests.support.libvirtd import Libvirtd, is_available, start_qemu
from virtbridge.bus.contract import CONTRACT_FOLDER, load_contract
from virtbridge.bus.names import NAME
from virtbridge.bus.permissions import permissions
from virtbridge.model.keys import OBJECT_KINDS
from virtbridge.model.operations import OPERATIONS
from virtbridge.model.statistics import GROUPS

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not is_available(), reason="a private libvirtd needs root"),
]

CONTRACT = load_contract(NAME)
CONNECTION, DOMAIN = f"{SERVICE}.Connection", f"{SERVICE}.Domain"

# The arguments before the options, one call each; a method that is not here has none.
ARGUMENTS: dict[str, list[list[Any]]] = {
    "Connection.List": [[kind] for kind in OBJECT_KINDS],
    "Connection.Refresh": [[[]]],
    "Connection.Watch": [[[], 60_000]],
    "Connection.Unwatch": [[1]],
    "Connection.WatchStats": [[60_000, sorted(GROUPS)]],
    "Connection.UnwatchStats": [[1]],
    "Connection.GetStatsHistory": [["/"]],
    "Connection.GetFreePages": [[[4]]],
    "Connection.GetCpuModels": [["x86_64"]],
    "Connection.GetMaxVcpus": [["test"]],
    "Connection.CompareCpu": [["<cpu/>"]],
    "Connection.BaselineCpu": [[["<cpu/>"]]],
    "Domain.GetStats": [[[group]] for group in GROUPS],
    "Domain.GetMetadata": [["title"]],
    "Domain.GetBlockInfo": [["vda"]],
    "Domain.GetBlockIoTune": [["vda"]],
    "Domain.GetInterfaceParameters": [["vnet0"]],
    "Domain.GetAuthorizedSshKeys": [["root"]],
    "Network.GetPortParameters": [["6d1f8b3a-5f8e-4a2a-9b3c-2f0d9c1a7b11"]],
    "Manager.FindDomains": [["test"]],
    "Manager.FindDiskUsers": [["/x"]],
    "Manager.FindMacUsers": [["52:54:00:00:00:01"]],
    "Manager.Select": [["domain", []]],
    "Manager.QueryXml": [["domain", "name"]],
}
# The options that libvirt gets to see, with values that need no right.
OPTIONS: dict[str, list[dict[str, tuple[str, Any]]]] = {
    "Domain.GetXml": [{"inactive": ("b", True)}, {"flags": ("u", 4)}],
    "Domain.GetInterfaceAddresses": [{"source": ("s", "lease")}, {"source": ("s", "arp")}],
    "Domain.GetJobInfo": [{"completed": ("b", True)}],
    "Network.GetXml": [{"inactive": ("b", True)}],
    "StoragePool.GetXml": [{"inactive": ("b", True)}],
    "NodeDevice.GetXml": [{"inactive": ("b", True)}],
    "Interface.GetXml": [{"inactive": ("b", True)}],
}
# What the API reference says: libvirt refuses it for one of its arguments.
EXEMPT = "Connection.GetDomainCapabilities"
# virDomainGetGuestInfo() asks for domain:write, but libvirt 9 does not ask whether a connection is read-only.
NOT_REFUSED = {"Domain.GetGuestInfo"}
REFUSED: list[tuple[str, dict[str, tuple[str, Any]]]] = [
    ("Domain.GetXml", {"secure": ("b", True)}),
    ("Domain.GetXml", {"migratable": ("b", True)}),
    ("Domain.GetXml", {"flags": ("u", 1)}),
    ("Domain.GetInterfaceAddresses", {"source": ("s", "agent")}),
    ("Snapshot.GetXml", {"secure": ("b", True)}),
    ("Checkpoint.GetXml", {"secure": ("b", True)}),
    (EXEMPT, {"emulator": ("s", "/usr/bin/qemu-system-x86_64")}),
    (EXEMPT, {}),
    ("Connection.GetSevInfo", {}),
    ("Domain.GetLaunchSecurityInfo", {}),
    ("Domain.GetAuthorizedSshKeys", {}),
    ("Domain.GetFsInfo", {}),
    ("Domain.GetGuestVcpus", {}),
    ("Domain.GetHostname", {}),
    ("Domain.GetTime", {}),
    ("Secret.GetValue", {}),
]


@pytest.fixture(scope="module")
def furnished(host: Libvirtd) -> Iterator[Libvirtd]:
    """With one object at least of every kind."""
    qemu, test = libvirt.open(host.qemu_uri), libvirt.open(host.uri())
    network = qemu.networkCreateXML(LAN)
    qemu.nwfilterDefineXML(NO_SPOOF)
    qemu.secretDefineXML("<secret><usage type='volume'><volume>/x</volume></usage></secret>")
    domain = start_qemu(qemu, "plugged", devices=PLUGGED + disk(host, "plugged"))
    domain.checkpointCreateXML("<domaincheckpoint><name>monday</name></domaincheckpoint>")
    own = test.lookupByName("test")
    own.snapshotCreateXML("<domainsnapshot><name>clean</name></domainsnapshot>", 0)
    pool = test.storagePoolLookupByName("default-pool")
    pool.createXML("<volume><name>v</name><capacity>1</capacity></volume>", 0)
    yield host
    domain.destroy()
    network.destroy()
    del domain, network, own, pool
    qemu.close()
    test.close()


@pytest.fixture(scope="module")
def config(furnished: Libvirtd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("read-only") / "virtbridge.toml"
    file.write_text(
        "".join(
            f'[connections.{name}]\nuri = "{uri}"\nread_only = true\n'
            for name, uri in (("qemu", furnished.qemu_uri), ("test", furnished.uri()))
        )
    )
    return file


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reader(config: Path) -> AsyncIterator[Client]:
    with dbus_daemon() as bus:
        daemon = await Daemon.start(bus.address, {}, args=["--config", str(config)])
        client = await Client.connect(bus.address)
        for name in ("qemu", "test"):
            await daemon.wait_state(client, name, "ready")
        yield client
        await client.close()
        await daemon.stop()


async def objects(client: Client) -> dict[str, list[str]]:
    """The paths by interface, with those that are read on demand."""
    for name in ("qemu", "test"):
        for kind in OBJECT_KINDS:
            answer = await answer_of(client, f"{ROOT}/{name}", f"{CONNECTION}.List", [kind], {})
            assert answer in ("", f"{SERVICE}.Error.NotSupported"), (name, kind, answer)
    found: dict[str, list[str]] = {f"{SERVICE}.Metrics": [ROOT]}
    for path, interfaces in (await client.managed_objects()).items():
        for interface in interfaces:
            found.setdefault(interface, []).append(path)
    found.setdefault(f"{SERVICE}.Manager", [ROOT])
    return found


async def answer_of(
    client: Client, path: str, member: str, args: list[Any], options: dict[str, tuple[str, Any]]
) -> str:
    """The error's name, empty for none."""
    interface, _, name = member.rpartition(".")
    made = {option: client.variant(*value) for option, value in options.items()}
    signature = CONTRACT[interface].methods[name].in_signature
    try:
        await client.call(path, interface, name, signature, [*args, made], timeout_s=40)
    except CallFailed as failure:
        return failure.name
    return ""


async def test_libvirt_allows_what_everybody_may_do(reader: Client) -> None:
    paths = await objects(reader)
    assert CONTRACT.keys() - {f"{SERVICE}.Job"} <= paths.keys()  # which reading makes none of
    tried = set()
    for interface, where in paths.items():
        for method in CONTRACT[interface].methods.values() if interface in CONTRACT else ():
            member = f"{interface.removeprefix(f'{SERVICE}.')}.{method.name}"
            if method.access != "read" or member == EXEMPT:
                continue
            for path in {where[0], where[-1]}:
                for args in ARGUMENTS.get(member, [[]]):
                    for options in ({}, *OPTIONS.get(member, [])):
                        answer = await answer_of(reader, path, f"{SERVICE}.{member}", args, options)
                        assert not answer.endswith(".NotAuthorized"), (member, path, args, options)
                        assert not answer.endswith(".InvalidArgs"), (member, path, args, options)
            tried.add(member)
    assert tried >= (ARGUMENTS.keys() | OPTIONS.keys()) - {member for member, _ in REFUSED}
    counters = await reader.counters()
    made = {name.removeprefix("libvirt.") for name in counters if name.startswith("libvirt.")}
    unknown = {name for name in made if not functions(name) & (known() | HOUSEKEEPING)}
    assert unknown == {"open"}  # a function of the module: virConnectOpenAuth()


async def test_libvirt_refuses_what_needs_another_right(reader: Client) -> None:
    paths = await objects(reader)
    for member, options in REFUSED:
        interface = f"{SERVICE}.{member.partition('.')[0]}"
        for path in paths.get(interface, []):
            if member == EXEMPT and path.endswith("/test"):
                continue
            (args, *_) = ARGUMENTS.get(member, [[]])
            answer = await answer_of(reader, path, f"{SERVICE}.{member}", args, options)
            assert answer.endswith(".NotAuthorized"), (member, path, options, answer)
    for interface, described in CONTRACT.items():
        for prop in described.properties.values():
            for path in paths.get(interface, [])[:1] if prop.access else ():
                value = reader.variant(prop.signature, False)
                call = (reader, path, PROPERTIES, "Set", "ssv", [interface, prop.name, value])
                assert await error_of(*call) == "NotAuthorized"


def changing() -> set[str]:
    """The members that change something. Their rows are compared with libvirt's permissions, see
    test_permissions.py.
    """
    return {
        row.name.replace("-", "").lower()
        for rows in OPERATIONS.values()
        for row in rows.values()
        if not row.is_reading
    }


async def test_every_right_that_is_not_read_is_tried() -> None:
    refused = {(member, option) for member, options in REFUSED for option in options or ("",)}
    refused |= {(member, "") for member in NOT_REFUSED}
    flags_that_libvirt_does_not_have = {
        (f"{kind}.GetXml", "flags") for kind in ("Network", "NodeDevice", "StoragePool")
    }
    rows = permissions(sorted(CONTRACT_FOLDER.glob("org.virtbridge1.*.xml")))
    needed = {
        (f"{row.interface.removeprefix(f'{SERVICE}.')}.{row.member}", row.option)
        for row in rows
        if row.right not in ("read", "connections")
        and not row.member.endswith(" (writing)")
        and row.member.lower() not in changing()
    }
    assert needed - flags_that_libvirt_does_not_have == refused - {(EXEMPT, "")}


# Of the connection itself; libvirt's access control does not know them.
HOUSEKEEPING = {
    "virConnectRegisterCloseCallback",
    "virConnectUnregisterCloseCallback",
    "virConnectSetKeepAlive",
}
HOUSEKEEPING |= {"virConnectClose"}


def known() -> set[str]:
    rows = permissions(sorted(CONTRACT_FOLDER.glob("org.virtbridge1.*.xml")))
    return {call for row in rows for call in row.calls}


def functions(method: str) -> set[str]:
    """libvirt's functions behind a method of libvirt-python's, whatever class has it."""
    found: set[str] = set()
    for each in vars(libvirt).values():
        if inspect.isclass(each) and (function := vars(each).get(method)):
            found |= set(re.findall(r"libvirtmod\.(vir\w+)\(", inspect.getsource(function)))
    return found
