"""What is read on demand and is no object: leases, ports, addresses. These are the contract's dictionaries.
Pure.
"""

from dataclasses import dataclass

from virtbridge.model.addresses import NO_ADDRESS, parse_address
from virtbridge.model.macs import shown_mac
from virtbridge.model.xml import attribute, child, children, parse_root, text, word


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """virNodeInfo. memory: bytes. cpus: active ones. mhz: 0 where the host does not report it."""

    model: str = ""
    memory: int = 0
    cpus: int = 0
    mhz: int = 0
    nodes: int = 0
    sockets: int = 0
    cores: int = 0
    threads: int = 0


@dataclass(frozen=True, slots=True)
class DhcpLease:
    """expiry: microseconds since the epoch, 0 for never. type: ipv4 or ipv6."""

    interface: str = ""
    expiry: int = 0
    type: str = ""
    mac: str = ""
    iaid: str = ""
    address: str = ""
    prefix: int = 0
    hostname: str = ""
    client_id: str = ""


@dataclass(frozen=True, slots=True)
class NetworkPort:
    """type: none, network, bridge, direct, hostdev-pci. device: the bridge, the host's device or its PCI
    address.
    """

    uuid: str = ""
    owner: str = ""
    owner_uuid: str = ""
    mac: str = ""
    group: str = ""
    type: str = ""
    device: str = ""
    mode: str = ""


@dataclass(frozen=True, slots=True)
class GuestAddress:
    """One address of an interface of a guest. type: ipv4 or ipv6."""

    type: str = ""
    address: str = ""
    prefix: int = 0


@dataclass(frozen=True, slots=True)
class GuestInterface:
    """name: the host's for the sources lease and arp, the guest's own for agent."""

    name: str = ""
    mac: str = ""
    addresses: tuple[GuestAddress, ...] = ()


def parse_port(xml: str) -> NetworkPort:
    """Read network port XML as virNetworkPortGetXMLDesc() returns it. Raises BadXml."""
    parts = children(parse_root(xml, "networkport"))
    owner = children(parts["owner"]) if "owner" in parts else {}
    plug = parts.get("plug")
    address = parse_address(child(plug, "address"), "pci") if plug is not None else NO_ADDRESS
    return NetworkPort(
        uuid=text(parts.get("uuid")).strip(),
        owner=text(owner.get("name")),
        owner_uuid=text(owner.get("uuid")).strip(),
        mac=shown_mac(attribute(parts.get("mac"), "address")),
        group=text(parts.get("group")),
        type=word(plug, "type"),
        device=attribute(plug, "bridge") or attribute(plug, "dev") or address.text,
        mode=word(plug, "mode"),
    )
