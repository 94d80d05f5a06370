"""Network definitions: what libvirt's XML says about one virtual network.

Address, DhcpHost and PortGroup are the contract's dictionaries: their fields, in order, are the keys that
dbus/org.virtbridge1.Network.xml documents, with `_` for `-`. Pure: network_xml does the parsing.
Source: libvirt network XML, https://libvirt.org/formatnetwork.html
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DhcpHost:
    """One fixed lease. id: the DHCPv6 client's."""

    mac: str = ""
    id: str = ""
    name: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Address:
    """The host's address on the network. dhcp_ranges: start-end each."""

    family: str = ""
    address: str = ""
    prefix: int = 0
    dhcp_ranges: tuple[str, ...] = ()
    dhcp_hosts: tuple[DhcpHost, ...] = ()
    tftp_root: str = ""
    boot_file: str = ""


@dataclass(frozen=True, slots=True)
class PortGroup:
    """A group of ports of a network, which interfaces of domains choose by its name."""

    name: str = ""
    default: bool = False
    vlans: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkDefinition:
    """forward_devices: interface names, or PCI addresses as in 0000:03:00.0. mtu: 0 for the default."""

    title: str = ""
    description: str = ""
    bridge: str = ""
    mac: str = ""
    forward_mode: str = ""
    forward_devices: tuple[str, ...] = ()
    dns_domain: str = ""
    mtu: int = 0
    addresses: tuple[Address, ...] = ()
    port_groups: tuple[PortGroup, ...] = ()


NO_NETWORK_DEFINITION = NetworkDefinition()
