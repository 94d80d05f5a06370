"""Network XML is parsed to a NetworkDefinition.

As with domains, what is unknown is ignored and odd values never raise. Pure. Threads: any.
Source: https://libvirt.org/formatnetwork.html, virNetworkGetXMLDesc().
"""

from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from virtbridge.model.addresses import parse_address
from virtbridge.model.macs import shown_mac
from virtbridge.model.network import Address, DhcpHost, NetworkDefinition, PortGroup
from virtbridge.model.units import UINT32_MAX
from virtbridge.model.xml import (
    Element,
    attribute,
    child,
    children,
    number,
    parse_root,
    text,
    vlan_tags,
    yes,
)


def parse_network(xml: str) -> NetworkDefinition:
    """Read network XML as virNetworkGetXMLDesc() returns it. Raises BadXml on anything unreadable."""
    root = parse_root(xml, "network")
    parts = children(root)
    forward = parts.get("forward")
    return NetworkDefinition(
        title=text(parts.get("title")),
        description=text(parts.get("description")),
        bridge=attribute(parts.get("bridge"), "name"),
        mac=shown_mac(attribute(parts.get("mac"), "address")),
        forward_mode=_forward_mode(forward),
        forward_devices=_forward_devices(forward),
        dns_domain=attribute(parts.get("domain"), "name"),
        mtu=number(parts.get("mtu"), "size", UINT32_MAX),
        addresses=tuple(_address(element) for element in root.iterchildren("ip")),
        port_groups=tuple(_port_group(element) for element in root.iterchildren("portgroup")),
    )


def _forward_mode(forward: Element | None) -> str:
    """Without the element a network is isolated; with it and no mode, libvirt takes nat."""
    return "isolated" if forward is None else attribute(forward, "mode") or "nat"


def _forward_devices(forward: Element | None) -> tuple[str, ...]:
    """Return each device once: libvirt repeats the first interface as the dev attribute."""
    if forward is None:
        return ()
    found = [attribute(forward, "dev")]
    for each in forward:
        if each.tag in ("interface", "pf"):
            found.append(attribute(each, "dev"))
        elif each.tag == "address":
            found.append(parse_address(each).pci)  # libvirt insists on the type here
    return tuple(dict.fromkeys(device for device in found if device))


def _address(element: Element) -> Address:
    dhcp, tftp = child(element, "dhcp"), child(element, "tftp")
    return Address(
        family=attribute(element, "family") or "ipv4",
        address=element.get("address", ""),
        prefix=_prefix(element),
        dhcp_ranges=_ranges(dhcp),
        dhcp_hosts=_dhcp_hosts(dhcp),
        tftp_root=attribute(tftp, "root"),
        boot_file=attribute(child(dhcp, "bootp"), "file") if dhcp is not None else "",
    )


def _prefix(element: Element) -> int:
    """Return the prefix, or the netmask's. Without either it is as libvirt does: IPv4's classes, and 64 for
    IPv6.
    """
    if element.get("prefix"):
        return number(element, "prefix")
    mask, address = element.get("netmask"), element.get("address", "")
    if mask:
        try:
            return IPv4Network(f"0.0.0.0/{mask}").prefixlen
        except (AddressValueError, NetmaskValueError, ValueError):
            return 0
    if element.get("family") == "ipv6":
        return 64
    return _class_prefix(address)


def _class_prefix(address: str) -> int:
    try:
        first = IPv4Address(address).packed[0]
    except AddressValueError:
        return 0
    return 8 if first < 128 else 16 if first < 192 else 24 if first < 224 else 0


def _ranges(dhcp: Element | None) -> tuple[str, ...]:
    if dhcp is None:
        return ()
    return tuple(f"{part.get('start', '')}-{part.get('end', '')}" for part in dhcp.iterchildren("range"))


def _dhcp_hosts(dhcp: Element | None) -> tuple[DhcpHost, ...]:
    if dhcp is None:
        return ()
    return tuple(
        DhcpHost(
            mac=shown_mac(host.get("mac", "")),
            id=host.get("id", ""),
            name=host.get("name", ""),
            address=host.get("ip", ""),
        )
        for host in dhcp.iterchildren("host")
    )


def _port_group(element: Element) -> PortGroup:
    return PortGroup(
        name=attribute(element, "name"),
        default=yes(element, "default"),
        vlans=vlan_tags(child(element, "vlan")),
    )
