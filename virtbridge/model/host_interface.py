"""Interfaces of the host: what libvirt's XML says about one.

HostAddress is the contract's dictionary, as with domains. Unknown elements are ignored and odd values never
raise. Pure. Source: virInterfaceGetXMLDesc(), libvirt's interface.rng.
"""

from dataclasses import dataclass

from virtbridge.model.macs import shown_mac
from virtbridge.model.units import UINT32_MAX, whole_number
from virtbridge.model.xml import Element, attribute, child, children, number, parse_root, word


@dataclass(frozen=True, slots=True)
class HostAddress:
    """One configured address, or a family that is configured by itself: then address is empty. prefix: 0 for
    none.
    """

    family: str = ""
    address: str = ""
    prefix: int = 0
    gateway: str = ""
    dhcp: bool = False
    autoconf: bool = False


@dataclass(frozen=True, slots=True)
class HostInterfaceDefinition:
    """ports: the interfaces in a bridge or bond. vlan_tag, vlan_device: of a VLAN."""

    name: str = ""
    type: str = ""
    mac: str = ""
    start_mode: str = ""
    mtu: int = 0
    link_state: str = ""
    link_speed: int = 0
    addresses: tuple[HostAddress, ...] = ()
    ports: tuple[str, ...] = ()
    bond_mode: str = ""
    vlan_tag: str = ""
    vlan_device: str = ""


def parse_interface(xml: str) -> HostInterfaceDefinition:
    """Read interface XML as virInterfaceGetXMLDesc() returns it. Raises BadXml on anything unreadable."""
    root = parse_root(xml, "interface")
    parts = children(root)
    vlan, bond, link = parts.get("vlan"), parts.get("bond"), parts.get("link")
    return HostInterfaceDefinition(
        name=attribute(root, "name"),
        type=word(root, "type"),
        mac=shown_mac(attribute(parts.get("mac"), "address")),
        start_mode=word(parts.get("start"), "mode"),
        mtu=number(parts.get("mtu"), "size", UINT32_MAX),
        link_state=word(link, "state"),
        link_speed=_speed(link),
        addresses=tuple(each for part in root.iterchildren("protocol") for each in _addresses(part)),
        ports=_ports(parts.get("bridge")) + _ports(bond),
        bond_mode=word(bond, "mode"),
        vlan_tag=attribute(vlan, "tag"),
        vlan_device=attribute(child(vlan, "interface"), "name") if vlan is not None else "",
    )


def _speed(link: Element | None) -> int:
    """Linux says -1 where it does not know, and libvirt reads that as a whole number without sign."""
    speed = number(link, "speed", UINT32_MAX)
    return 0 if speed == UINT32_MAX else speed


def _ports(element: Element | None) -> tuple[str, ...]:
    if element is None:
        return ()
    return tuple(attribute(each, "name") for each in element.iterchildren("interface"))


def _addresses(protocol: Element) -> list[HostAddress]:
    parts = children(protocol)
    family, gateway = word(protocol, "family"), attribute(parts.get("route"), "gateway")
    dhcp, autoconf = "dhcp" in parts, "autoconf" in parts
    found = [
        HostAddress(
            family,
            attribute(ip, "address"),
            min(whole_number(attribute(ip, "prefix")) or 0, 128),
            gateway,
            dhcp,
            autoconf,
        )
        for ip in protocol.iterchildren("ip")
    ]
    return found or [HostAddress(family, gateway=gateway, dhcp=dhcp, autoconf=autoconf)]
