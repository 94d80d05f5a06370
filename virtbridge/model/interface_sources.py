"""What an interface of a domain is connected to: the `source` element, which each type of interface fills
differently.

Pure. Threads: any. Source: virDomainNetDefParseXML() of libvirt 9 to 11, `interface` in its domaincommon.rng
"""

from collections.abc import Callable, Mapping
from typing import Any

from virtbridge.model.hostdev_xml import pci_fields, usb_fields
from virtbridge.model.xml import Element, attribute, child, word

Fields = dict[str, Any]


def interface_source(kind: str, source: Element) -> Fields:
    """Return the fields of domain.Interface that the source gives, and `source` itself as one string."""
    return _READERS.get(kind, _other)(source)


def _network(source: Element) -> Fields:
    """Beside the network's name stands, in the live XML, what libvirt made of it."""
    return _of_network(source) | {"source": attribute(source, "network"), "mode": word(source, "mode")}


def _bridge(source: Element) -> Fields:
    return _of_network(source) | {"source": attribute(source, "bridge")}


def _direct(source: Element) -> Fields:
    return _of_network(source) | {"source": attribute(source, "dev"), "mode": word(source, "mode")}


def _of_network(source: Element) -> Fields:
    """Return what any interface may have that a network gave its type."""
    return {
        "network": word(source, "network"),
        "port_group": word(source, "portgroup"),
        "port_id": source.get("portid", ""),
        "bridge": word(source, "bridge"),
    }


def _vhost_user(source: Element) -> Fields:
    """Return a socket, or with passt (libvirt 11.1) the host's device that its traffic goes out by."""
    return {"source": source.get("path", "") or source.get("dev", ""), "mode": word(source, "mode")}


def _socket(source: Element) -> Fields:
    """mcast, server, client and udp; `local` is where a udp socket is bound."""
    local = child(source, "local")
    return {"source": _endpoint(source), "local": _endpoint(local) if local is not None else ""}


def _endpoint(element: Element) -> str:
    """Return address:port, `[address]:port` of IPv6; a server needs no address."""
    address, port = element.get("address", ""), element.get("port", "")
    if ":" in address:
        address = f"[{address}]"
    return f"{address}:{port}" if address or port else ""


def _switch(source: Element) -> Fields:
    """Return a port of VMware's distributed switch."""
    return {
        "source": source.get("switchid", ""),
        "port_id": source.get("portid", ""),
        "port_group_id": source.get("portgroupid", ""),
        "connection_id": source.get("connectionid", ""),
    }


def _host_device(source: Element) -> Fields:
    """Only the address says of which bus the device is; one with a vendor is on USB as well."""
    address = child(source, "address")
    on_usb = attribute(address, "type") == "usb" or child(source, "vendor") is not None
    return _of_network(source) | (usb_fields(source) if on_usb else pci_fields(source))


def _device(source: Element) -> Fields:
    return {"source": source.get("dev", "")}


def _name(source: Element) -> Fields:
    return {"source": source.get("name", "")}


def _other(source: Element) -> Fields:
    """Return, for a type that is not known here, the first attribute that names something elsewhere."""
    found = (source.get(name, "") for name in ("dev", "name", "path", "network", "bridge"))
    return _of_network(source) | {"source": next(filter(None, found), "") or _endpoint(source)}


_READERS: Mapping[str, Callable[[Element], Fields]] = {
    "network": _network,
    "bridge": _bridge,
    "direct": _direct,
    "internal": _name,
    "user": _device,
    "ethernet": _device,
    "vdpa": _device,
    "vhostuser": _vhost_user,
    "mcast": _socket,
    "server": _socket,
    "client": _socket,
    "udp": _socket,
    "vds": _switch,
    "hostdev": _host_device,
}
