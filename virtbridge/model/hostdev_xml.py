"""Host devices in domain XML: what identifies each, by its type, as fields of its own and in one string.

Two USB devices of one model differ in bus and device only, so no part may be folded into a string alone.
Pure. Threads: any. Source: https://libvirt.org/formatdomain.html#host-device-assignment,
virDomainHostdevDefParseXMLSubsys(), virDomainHostdevDefParseXMLCaps()
"""

from collections.abc import Callable, Mapping
from typing import Any

from virtbridge.model.addresses import c_number, parse_address
from virtbridge.model.disk_xml import initiator_of, network_hosts, source_string
from virtbridge.model.domain import HostDevice
from virtbridge.model.xml import Element, attribute, child, children, number, text, word, yes

Fields = dict[str, Any]


def parse_host_device(element: Element) -> HostDevice:
    parts = children(element)
    kind, source = word(element, "type"), parts.get("source")
    reader = _READERS.get(kind)
    return HostDevice(
        mode=word(element, "mode") or "subsystem",
        type=kind,
        managed=yes(element, "managed"),
        model=word(element, "model"),
        alias=word(parts.get("alias"), "name"),
        boot_order=number(parts.get("boot"), "order"),
        **(reader(source) if reader is not None and source is not None else {}),
    )


def pci_fields(source: Element) -> Fields:
    """libvirt's schema has no type in the source of a PCI host device; where one stands, it counts."""
    address = parse_address(child(source, "address"), "pci")
    return {"source": address.text, "address": address.pci}


def usb_fields(source: Element) -> Fields:
    """source: vendor:product as lsusb writes them, else the address. libvirt adds the address to a vendor and
    product once it has chosen a device.
    """
    address = child(source, "address")
    place = parse_address(address, "usb")
    vendor, product = (_usb_id(child(source, tag)) for tag in ("vendor", "product"))
    model = f"{vendor}:{product}".replace("0x", "") if vendor and product else ""
    on_usb = place.type == "usb"
    return {
        "source": model or place.text,
        "vendor": vendor,
        "product": product,
        "bus": place.numbers.get("bus", 0) if on_usb else 0,
        "device": place.numbers.get("device", 0) if on_usb else 0,
        "port": attribute(address, "port") if on_usb else "",
    }


def _usb_id(element: Element | None) -> str:
    """Write an id as node devices have it: 0x046d. What is no number stays as it is."""
    written = attribute(element, "id")
    value = c_number(written)
    return written.lower() if value is None else f"{value:#06x}"


def _scsi_fields(source: Element) -> Fields:
    """Return adapter:bus:target:unit, or an iSCSI target as disk_sources.source_text() writes it."""
    protocol = source.get("protocol", "")
    if protocol not in ("", "adapter"):
        return {
            "source": source_string("network", source),
            "protocol": protocol,
            "name": source.get("name", ""),
            "hosts": network_hosts(source),
            "initiator": initiator_of(source),
        }
    adapter = attribute(child(source, "adapter"), "name")
    place = parse_address(child(source, "address"), "scsi")
    numbers = place.numbers if place.type == "scsi" else {}
    return {
        "source": f"{adapter}:{place.text}" if place.text else adapter,
        "adapter": adapter,
        **{name: numbers.get(name, 0) for name in ("bus", "target", "unit")},
    }


def _scsi_host_fields(source: Element) -> Fields:
    wwpn = source.get("wwpn", "")
    return {"source": wwpn, "protocol": source.get("protocol", ""), "wwpn": wwpn}


def _mdev_fields(source: Element) -> Fields:
    address = parse_address(child(source, "address"), "mdev")
    return {"source": address.text, "uuid": address.text if address.type == "mdev" else ""}


def _capability_fields(source: Element) -> Fields:
    """Return the block or character device, or the interface, that is given to a container."""
    found = {
        name: text(each).strip()
        for name in ("block", "char", "interface")
        if (each := child(source, name)) is not None
    }
    return found | {"source": next(iter(found.values()), "")}


_READERS: Mapping[str, Callable[[Element], Fields]] = {
    "pci": pci_fields,
    "usb": usb_fields,
    "scsi": _scsi_fields,
    "scsi_host": _scsi_host_fields,
    "mdev": _mdev_fields,
    "storage": _capability_fields,
    "misc": _capability_fields,
    "net": _capability_fields,
}
