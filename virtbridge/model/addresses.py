"""Addresses of devices: every `<address>` in libvirt's XML is read here, by its type.

One attribute name means different things under different types: `bus` belongs to PCI, USB, SCSI and drive
addresses alike. Who does not ask for the type shows a USB device as a PCI one. Pure. Threads: any.
Source: virDomainDeviceInfoParseXML(), virPCIDeviceAddressParseXML(), `address` in libvirt's domaincommon.rng
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from virtbridge.model.units import UINT64_MAX
from virtbridge.model.xml import Element


@dataclass(frozen=True, slots=True)
class Address:
    """type: libvirt's word; empty without an address. text: the address in one string, empty when an
    attribute cannot be read. numbers: the attributes that are whole numbers.
    """

    type: str = ""
    text: str = ""
    numbers: Mapping[str, int] = field(default_factory=dict)

    @property
    def pci(self) -> str:
        """The address if it is a PCI one, as in 0000:03:00.0; otherwise empty."""
        return self.text if self.type == "pci" else ""


NO_ADDRESS = Address()


@dataclass(frozen=True, slots=True)
class _Form:
    """names: attributes that are numbers, 0 when they are missing. text: made of these numbers."""

    names: tuple[str, ...] = ()
    text: str = ""


# What stands in `text` is how Linux or QEMU write it. scsi has no type attribute in libvirt's XML: it is what
# the source of a SCSI host device holds.
_FORMS: Mapping[str, _Form] = {
    "pci": _Form(("domain", "bus", "slot", "function"), "{:04x}:{:02x}:{:02x}.{:x}"),
    "usb": _Form(("bus", "device"), "{}.{}"),
    "scsi": _Form(("bus", "target", "unit"), "{}:{}:{}"),
    "drive": _Form(("controller", "bus", "target", "unit"), "{}:{}:{}:{}"),
    "virtio-serial": _Form(("controller", "bus", "port"), "{}:{}:{}"),
    "ccid": _Form(("controller", "slot"), "{}:{}"),
    "ccw": _Form(("cssid", "ssid", "devno"), "{:x}.{:x}.{:04x}"),
    "isa": _Form(("iobase", "irq"), "{:#x}:{:#x}"),
    "spapr-vio": _Form(("reg",), "{:#x}"),
    "dimm": _Form(("slot", "base"), "{}:{:#x}"),
}
_NAMES = frozenset(name for form in _FORMS.values() for name in form.names) | {"uuid"}
# C's notation, which libvirt's parser takes: what starts with 0 is octal, as in the bus='001' of old USB XML.
_NUMBER = re.compile(
    r"0[xX](?P<hex>[0-9a-fA-F]{1,16})|0(?P<octal>[0-7]{1,21})|(?P<decimal>0|[1-9][0-9]{0,19})"
)


def parse_address(element: Element | None, untyped: str = "") -> Address:
    """Read an address element by its type; untyped: what libvirt takes one without a type for at this place,
    which it is only if no attribute of another type stands there.

    Types that have no text (virtio-mmio, unassigned) or that a newer libvirt adds keep their type alone.
    """
    if element is None:
        return NO_ADDRESS
    kind = element.get("type") or untyped
    if kind == "mdev":
        return Address(kind, element.get("uuid", ""))
    if kind == "usb" and element.get("port"):
        return _usb_port(element)
    form = _FORMS.get(kind)
    if form is None or not any(name in element.attrib for name in form.names):
        return Address(kind)
    if "type" not in element.attrib and any(name in _NAMES.difference(form.names) for name in element.attrib):
        return NO_ADDRESS  # no type, and not of the expected one either
    numbers = {name: c_number(element.get(name, "0")) for name in form.names}
    known = {name: number for name, number in numbers.items() if number is not None}
    if len(known) < len(numbers):
        return Address(kind)
    return Address(kind, form.text.format(*known.values()), known)


def _usb_port(element: Element) -> Address:
    """Return a place in the tree of hubs, as Linux names it: 1-2.4."""
    bus = c_number(element.get("bus", "0"))
    return Address("usb") if bus is None else Address("usb", f"{bus}-{element.get('port')}", {"bus": bus})


def c_number(text: str) -> int | None:
    """Read a whole number in C's notation (0x1f, 017, 15), as libvirt reads addresses; None for anything
    else.
    """
    found = _NUMBER.fullmatch(text.strip())
    if found is None:
        return None
    base = {"hex": 16, "octal": 8, "decimal": 10}[str(found.lastgroup)]
    return min(int(found[str(found.lastgroup)], base), UINT64_MAX)
