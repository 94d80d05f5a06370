"""What libvirt writes of a document is read as the document itself: libvirt's parser checks ours."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import libvirt
import pytest

from tests.support.reread import accepted, single_device_domains
from virtbridge.model.disk_sources import disk_sources
from virtbridge.model.domain import DomainDefinition, HostDevice
from virtbridge.model.domain_xml import parse_domain

# What libvirt or its test driver fills in, or gives for running domains only.
FILLED = {"mac", "target", "alias", "listen_type", "access_mode", "bus", "hosts", "backing", "mirror", "mode"}
RUNNING = {"network", "port_group", "port_id", "bridge"}
# What libvirt 9 does not know yet.
LATER = {"user", "data_store"}
IGNORED = {
    "Graphics": {"port", "tls_port", "address", "listen_type"},
    "HostDevice": FILLED - {"bus", "target", "hosts"},
}


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = libvirt.open("test:///default")
    yield connection
    connection.close()


def devices(definition: DomainDefinition) -> list[Any]:
    return [
        *definition.disks,
        *definition.interfaces,
        *definition.host_devices,
        *definition.graphics,
        *definition.filesystems,
    ]


def differences(ours: Any, libvirts: Any) -> dict[str, tuple[Any, Any]]:
    ignored = IGNORED.get(type(ours).__name__, FILLED) | RUNNING | LATER
    values = {each.name: (getattr(ours, each.name), getattr(libvirts, each.name)) for each in fields(ours)}
    return {
        name: (mine, theirs)
        for name, (mine, theirs) in values.items()
        if mine != theirs and name not in ignored
    }


def is_no_pci_address(device: Any) -> bool:
    """libvirt writes no type in the source of a PCI host device, and overlooks one that stands there."""
    return isinstance(device, HostDevice) and device.type == "pci" and not device.address


def test_libvirts_own_reading_is_ours(driver: Any) -> None:
    read = 0
    for xml in single_device_domains():
        written = accepted(driver, xml)
        if written is None:
            continue
        for ours, libvirts in zip(devices(parse_domain(xml)), devices(parse_domain(written)), strict=True):
            if not is_no_pci_address(ours):
                assert differences(ours, libvirts) == {}, xml
                read += 1
    assert read > 50


def test_a_port_that_libvirt_adds_is_searched_already(driver: Any) -> None:
    """Defining a disk without one, libvirt writes the protocol's."""
    host = "<host name='h.example'/>"
    for protocol in ("https", "iscsi", "nbd", "ssh", "gluster"):
        xml = (
            "<domain type='test'><name>x</name><memory>1024</memory><os><type arch='i686'>hvm</type></os>"
            f"<devices><disk type='network'><source protocol='{protocol}' name='a/b'>{host}</source>"
            "<target dev='vda'/></disk></devices></domain>"
        )
        written = accepted(driver, xml)
        assert written is not None, protocol
        (before,), (after,) = parse_domain(xml).disks, parse_domain(written).disks
        assert set(disk_sources(before)) == set(disk_sources(after)), protocol
