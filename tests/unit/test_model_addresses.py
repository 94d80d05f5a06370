"""An address is read by its type, and by no other."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from tests.data import document
from virtbridge.model.addresses import _FORMS, Address, c_number, parse_address
from virtbridge.model.answers import parse_port
from virtbridge.model.network_xml import parse_network
from virtbridge.model.nodedev_xml import parse_node_device
from virtbridge.model.pool_xml import parse_pool


def element(**attributes: str) -> etree._Element:
    return etree.Element("address", attributes)


PCI = {"domain": "0x0001", "bus": "0x3b", "slot": "0x0a", "function": "0x3"}


@pytest.mark.parametrize(
    ("attributes", "untyped", "kind", "text"),
    [
        ({"type": "pci", **PCI}, "", "pci", "0001:3b:0a.3"),
        (PCI, "pci", "pci", "0001:3b:0a.3"),
        (PCI, "", "", ""),
        (PCI, "usb", "", ""),
        ({"type": "pci", "bus": "0x02", "multifunction": "on"}, "", "pci", "0000:02:00.0"),
        ({"type": "pci"}, "pci", "pci", ""),
        ({"type": "pci", "bus": "zz"}, "", "pci", ""),
        ({"type": "pci", "bus": "-1"}, "", "pci", ""),
        ({"type": "pci", "domain": "0x10000", "bus": "1"}, "", "pci", "10000:01:00.0"),
        ({"type": "usb", "bus": "1", "device": "2"}, "pci", "usb", "1.2"),
        ({"bus": "1", "device": "2"}, "usb", "usb", "1.2"),
        ({"bus": "1", "device": "2"}, "pci", "", ""),
        ({"type": "usb", "bus": "0", "port": "1.4"}, "pci", "usb", "0-1.4"),
        (
            {"type": "drive", "controller": "0", "bus": "0", "target": "0", "unit": "7"},
            "pci",
            "drive",
            "0:0:0:7",
        ),
        ({"type": "virtio-serial", "controller": "0", "bus": "0", "port": "1"}, "", "virtio-serial", "0:0:1"),
        ({"type": "ccid", "controller": "0", "slot": "1"}, "pci", "ccid", "0:1"),
        ({"type": "ccw", "cssid": "0xfe", "ssid": "0x0", "devno": "0x0001"}, "", "ccw", "fe.0.0001"),
        ({"type": "isa", "iobase": "0x3f8", "irq": "0x4"}, "pci", "isa", "0x3f8:0x4"),
        ({"type": "spapr-vio", "reg": "0x30000000"}, "", "spapr-vio", "0x30000000"),
        ({"type": "dimm", "slot": "0", "base": "0x100000000"}, "pci", "dimm", "0:0x100000000"),
        ({"type": "virtio-mmio"}, "pci", "virtio-mmio", ""),
        ({"type": "unassigned"}, "pci", "unassigned", ""),
        (
            {"uuid": "c2177883-f1bb-47f0-914d-32a22e3a8804"},
            "mdev",
            "mdev",
            "c2177883-f1bb-47f0-914d-32a22e3a8804",
        ),
        ({"uuid": "c2177883-f1bb-47f0-914d-32a22e3a8804"}, "pci", "pci", ""),
        ({"bus": "0", "target": "3", "unit": "7"}, "scsi", "scsi", "0:3:7"),
        ({"type": "from-the-future", "bus": "1"}, "pci", "from-the-future", ""),
    ],
)
def test_each_type(attributes: Mapping[str, str], untyped: str, kind: str, text: str) -> None:
    read = parse_address(element(**attributes), untyped)
    assert (read.type, read.text) == (kind, text)
    assert read.pci == (text if kind == "pci" else "")


def test_no_element_is_no_address() -> None:
    assert parse_address(None, "pci") == Address()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("0x0a", 10),
        ("0X1F", 31),
        ("10", 10),
        ("010", 8),
        ("00", 0),
        ("001", 1),
        ("18446744073709551615", 2**64 - 1),
    ]
    + [(bad, None) for bad in ("", "-1", "+1", "1b", "08", "0x", "1.2", "١", "1_0", "1 2")],
)
def test_numbers_are_in_cs_notation(text: str, number: int | None) -> None:
    assert c_number(text) == number


NAMES = sorted({name for form in _FORMS.values() for name in form.names} | {"type", "uuid", "port", "x"})
VALUES = st.sampled_from(["0", "1", "0x1f", "017", "zz", "-1", "9" * 30, *_FORMS, "mdev", "unassigned"])


@given(st.dictionaries(st.sampled_from(NAMES), VALUES), st.sampled_from(["", "pci", "usb", "scsi", "mdev"]))
def test_no_other_address_is_a_pci_one(attributes: dict[str, str], untyped: str) -> None:
    read = parse_address(element(**attributes), untyped)
    assert all(0 <= number < 2**64 for number in read.numbers.values())
    if read.pci:
        assert attributes.get("type", untyped) == "pci"
        assert "type" in attributes or not {"device", "target", "unit", "uuid", "cssid"} & attributes.keys()


@given(st.integers(0, 2**16 - 1), st.integers(0, 255), st.integers(0, 31), st.integers(0, 7))
def test_what_libvirt_writes_is_what_linux_writes(domain: int, bus: int, slot: int, function: int) -> None:
    read = parse_address(
        element(domain=f"{domain:#06x}", bus=f"{bus:#04x}", slot=f"{slot:#04x}", function=f"{function:#x}"),
        "pci",
    )
    assert read.pci == f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def test_a_networks_devices_are_those_of_pci() -> None:
    usb = "<address type='usb' bus='1' device='2'/>"
    pci = "<address type='pci' domain='0x0000' bus='0x04' slot='0x10' function='0x1'/>"
    network = parse_network(
        f"<network><forward mode='hostdev'>{usb}{pci}<address bus='3'/></forward></network>"
    )
    assert network.forward_devices == ("0000:04:10.1",)


def test_a_node_devices_neighbours_are_those_of_pci() -> None:
    address = "<address domain='0x0000' bus='0x04' slot='0x10' function='0x1'/>"
    other = "<address type='ccw' cssid='0xfe' ssid='0x0' devno='0x0001'/>"
    group = f"<iommuGroup number='1'>{other}{address}</iommuGroup>"
    (capability,) = parse_node_device(f"<device><capability type='pci'>{group}</capability></device>").details
    assert capability.iommu_devices == ("0000:04:10.1",)  # type: ignore[union-attr]


def test_a_pools_adapter_hangs_on_a_pci_device_or_on_none() -> None:
    def adapter(address: str) -> str:
        inside = f"<adapter type='scsi_host'><parentaddr unique_id='2'>{address}</parentaddr></adapter>"
        return parse_pool(f"<pool type='scsi'><source>{inside}</source></pool>").source_adapter

    assert adapter("<address domain='0x0000' bus='0x00' slot='0x1f' function='0x2'/>") == "0000:00:1f.2/2"
    assert adapter("<address type='usb' bus='1' device='2'/>") == "2"


def test_ports_of_a_network() -> None:
    assert parse_port(document("ports", "hostdev-pci")).device == "0001:02:03.4"
    assert parse_port(document("ports", "direct")).device == "eth2"
    assert parse_port(document("ports", "no-owner")).device == "virbr0"
