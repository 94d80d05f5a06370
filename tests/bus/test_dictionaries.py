"""The rule about empty keys, and the keys of devices, in what a client gets of libvirt's test driver."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
import pytest_asyncio

from tests.data import document
from tests.support.client import ROOT, SERVICE, Client
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import BusDaemon
from tests.support.reread import accepted, single_device_domains
from virtbridge.bus.contract import load_contract
from virtbridge.bus.names import NAME

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAB = f"{ROOT}/lab"
CONNECTION, DOMAIN, MANAGER = f"{SERVICE}.Connection", f"{SERVICE}.Domain", f"{SERVICE}.Manager"
NETWORKS = ("default", "openvswitch-vlans", "sriov")
NODE_DEVICES = ("net", "pci-gpu", "pci-sriov", "scsi", "storage", "usb-device", "usb-interface")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every device of tests/data that libvirt takes, and networks and node devices."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    trial = libvirt.open("test:///default")
    domains = [xml for xml in single_device_domains() if accepted(trial, xml) is not None]
    trial.close()
    networks = [document("networks", name) for name in NETWORKS]
    devices = [document("nodedevs", name) for name in NODE_DEVICES]
    file = tmp_path_factory.mktemp("node") / "node.xml"
    file.write_text(f"<node>{''.join([*domains, *networks, *devices])}</node>")
    return file


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(module_bus: BusDaemon, node: Path) -> AsyncIterator[Daemon]:
    running = await Daemon.start(module_bus.address, {"lab": f"test://{node}"})
    yield running
    await running.stop()


def dictionaries(value: Any) -> Iterator[dict[str, Any]]:
    """Those of an `aa{sv}`, and those inside them."""
    for each in value:
        yield each
        for inner in each.values():
            if isinstance(inner, list) and inner and isinstance(inner[0], dict):
                yield from dictionaries(inner)


async def test_no_description_has_an_empty_key(client: Client) -> None:
    contract = load_contract(NAME)
    seen: dict[tuple[str, str], int] = {}
    for interfaces in (await client.managed_objects()).values():
        for interface, properties in interfaces.items():
            if interface not in contract:
                continue
            assert properties.keys() == contract[interface].properties.keys()
            for name, value in properties.items():
                if contract[interface].properties[name].signature == "aa{sv}":
                    for each in dictionaries(value):
                        assert all(item not in ("", 0, [], False) for item in each.values()), (name, each)
                        seen[interface, name] = seen.get((interface, name), 0) + 1
    members = {f"{interface.removeprefix(SERVICE)}.{name}"[1:] for interface, name in seen}
    assert members == {
        "Domain.Disks",
        "Domain.Interfaces",
        "Domain.HostDevices",
        "Domain.Graphics",
        "Domain.Filesystems",
        "Network.Addresses",
        "Network.PortGroups",
        "NodeDevice.Details",
    }


async def test_the_host_is_a_description_and_its_figures_are_a_report(client: Client) -> None:
    info = await client.call(LAB, CONNECTION, "GetNodeInfo", "a{sv}", [{}])
    assert info["model"]
    assert all(value not in ("", 0) for value in info.values())
    stats = await client.call(LAB, CONNECTION, "GetNodeStats", "a{sv}", [{}])
    assert {"cpu-user", "cpu-kernel", "cpu-idle", "cpu-iowait"} <= stats.keys()


async def test_a_column_is_there_whatever_its_value(client: Client) -> None:
    chosen = ["Title", "Autostart", "Disks"]
    rows = await client.call(ROOT, MANAGER, "Select", "sasa{sv}", ["domain", chosen, {}])
    assert rows
    assert all(list(row) == chosen for row in rows.values())


async def domain_of(client: Client, name: str) -> dict[str, Any]:
    (path,) = await client.call(ROOT, MANAGER, "FindDomains", "sa{sv}", [name, {}])
    return await client.get_all(path, DOMAIN)


async def test_usb_twins_can_be_told_apart(client: Client) -> None:
    twins = [await domain_of(client, f"hostdev-usb-twins-{place}") for place in (0, 1)]
    assert [twin["HostDevices"] for twin in twins] == [
        [
            {
                "mode": "subsystem",
                "type": "usb",
                "source": "1234:5678",
                "vendor": "0x1234",
                "product": "0x5678",
                "bus": 1,
                "device": device,
            }
        ]
        for device in (2, 3)
    ]


async def test_an_interface_on_usb_has_no_pci_address(client: Client) -> None:
    (nic,) = (await domain_of(client, "interface-hostdev-usb-0"))["Interfaces"]
    assert (nic["type"], nic["source"], nic["bus"], nic["device"]) == ("hostdev", "1.2", 1, 2)
    assert "address" not in nic


async def test_a_query_tells_disks_apart_to_who_asks_for_users(client: Client) -> None:
    async def users(source: str) -> list[str]:
        found = await client.call(ROOT, MANAGER, "FindDiskUsers", "sa{sv}", [source, {}])
        names = [await client.get(path, DOMAIN, "Name") for path, _, _ in found]
        return sorted(names)

    first, second = "disk-https-query-0", "disk-https-query-1"
    assert await users("https://h.example:443/a/b.iso?x=1") == [first]
    assert await users("https://h.example/a/b.iso?x=2") == [second]
    assert await users("https://h.example:443/a/b.iso") == [first, second]
    assert await users("https://h.example:443/a/b.iso?x=3") == []
    (disk,) = (await domain_of(client, first))["Disks"]
    assert (disk["source"], disk["query"]) == ("/a/b.iso", "x=1")
