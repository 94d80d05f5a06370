"""Domain XML is parsed to a DomainDefinition.

Unknown elements and namespaces are ignored and odd values never raise, so that a newer libvirt or another
hypervisor cannot take a domain from the bus; only memory and vCPU counts must be readable where they are. Ten
thousand domains pass through here at every sync, so it asks for no more than it shows. Pure. Threads: any.
Source: https://libvirt.org/formatdomain.html, virDomainGetXMLDesc().
"""

from collections.abc import Iterable

from virtbridge.model.disk_xml import parse_disk
from virtbridge.model.domain import DomainDefinition, Filesystem, Graphics, Interface
from virtbridge.model.hostdev_xml import parse_host_device
from virtbridge.model.interface_sources import interface_source
from virtbridge.model.macs import shown_mac
from virtbridge.model.units import UINT32_MAX, memory_bytes, whole_number
from virtbridge.model.xml import (
    BadXml,
    Element,
    attribute,
    child,
    children,
    children_by_tag,
    number,
    parse_root,
    text,
    vlan_tags,
    word,
    yes,
)

_DEVICES = ("disk", "interface", "graphics", "hostdev", "filesystem", "channel")
_AGENT_CHANNEL = "org.qemu.guest_agent.0"


def parse_domain(xml: str) -> DomainDefinition:
    """Read domain XML as virDomainGetXMLDesc() returns it.

    Raises BadXml, naming the element, on anything unreadable; never returns a half-filled record, so the
    cache can keep the last good one.
    """
    root = parse_root(xml, "domain")
    parts = children(root)
    os = children(parts["os"]) if "os" in parts else {}
    os_type = os.get("type")
    devices = children_by_tag(parts.get("devices"), _DEVICES)
    memory = _memory(parts.get("memory"))
    vcpus = _vcpus(parts.get("vcpu"))
    return DomainDefinition(
        title=text(parts.get("title")),
        description=text(parts.get("description")),
        type=word(root, "type"),
        os_type=text(os_type).strip(),
        arch=word(os_type, "arch"),
        machine=word(os_type, "machine"),
        firmware=_firmware(parts.get("os"), os.get("loader")),
        memory_maximum_bytes=memory,
        memory_current_bytes=_memory(parts["currentMemory"]) if "currentMemory" in parts else memory,
        vcpus_maximum=vcpus,
        vcpus_current=number(parts.get("vcpu"), "current", UINT32_MAX) or vcpus,
        disks=tuple(map(parse_disk, devices["disk"])),
        interfaces=tuple(map(_interface, devices["interface"])),
        graphics=tuple(map(_graphics, devices["graphics"])),
        host_devices=tuple(map(parse_host_device, devices["hostdev"])),
        filesystems=tuple(map(_filesystem, devices["filesystem"])),
        agent_connected=_agent_connected(devices["channel"]),
    )


def _agent_connected(channels: Iterable[Element]) -> bool:
    targets = (child(channel, "target") for channel in channels)
    return any(
        target is not None and target.get("name") == _AGENT_CHANNEL and target.get("state") == "connected"
        for target in targets
    )


def _memory(element: Element | None) -> int:
    if element is None:
        return 0
    size = memory_bytes(element.text, element.get("unit"))
    if size is None:
        raise BadXml(f"domain/{element.tag}: not a size")
    return size


def _vcpus(element: Element | None) -> int:
    """libvirt's default is one vCPU, when the element or its text is missing."""
    if element is None or not text(element).strip():
        return 1
    count = whole_number(element.text)
    if count is None:
        raise BadXml("domain/vcpu: not a number")
    return min(count, UINT32_MAX)


def _firmware(os: Element | None, loader: Element | None) -> str:
    """Return what the XML says. Where it says nothing, only UEFI is loaded as flash memory."""
    said = word(os, "firmware")
    return said or ("efi" if attribute(loader, "type") == "pflash" else "")


# --- interfaces


def _interface(element: Element) -> Interface:
    parts = children(element)
    kind = word(element, "type")
    source = parts.get("source")
    return Interface(
        type=kind,
        mac=shown_mac(attribute(parts.get("mac"), "address")),
        model=word(parts.get("model"), "type"),
        target=attribute(parts.get("target"), "dev"),
        alias=word(parts.get("alias"), "name"),
        link_down=attribute(parts.get("link"), "state") == "down",
        boot_order=number(parts.get("boot"), "order"),
        mtu=number(parts.get("mtu"), "size"),
        filter=word(parts.get("filterref"), "filter"),
        vlans=vlan_tags(parts.get("vlan")),
        **(interface_source(kind, source) if source is not None else {}),
    )


# --- graphics


def _graphics(element: Element) -> Graphics:
    kind = word(element, "type")
    listen = child(element, "listen")
    address = attribute(listen, "address") or attribute(element, "listen")
    socket = attribute(listen, "socket") or attribute(element, "socket")
    return Graphics(
        type=kind,
        listen_type=word(listen, "type") or ("socket" if socket else "address" if address else ""),
        address=address or (attribute(element, "address") if kind == "dbus" else ""),
        network=attribute(listen, "network"),
        port=number(element, "port"),
        tls_port=number(element, "tlsPort"),
        websocket=number(element, "websocket"),
        socket=socket,
        autoport=yes(element, "autoport"),
        display=attribute(element, "display"),
        keymap=word(element, "keymap"),
    )


# --- filesystems


def _filesystem(element: Element) -> Filesystem:
    parts = children(element)
    kind = word(element, "type") or "mount"
    return Filesystem(
        type=kind,
        driver=word(parts.get("driver"), "type"),
        access_mode=word(element, "accessmode"),
        source=_filesystem_source(kind, parts.get("source")),
        target=attribute(parts.get("target"), "dir"),
        read_only="readonly" in parts,
        alias=word(parts.get("alias"), "name"),
    )


# Which attribute of a filesystem's source names it, by the filesystem's type.
_SOURCE_ATTRIBUTES = {"mount": "dir", "bind": "dir", "file": "file", "block": "dev", "template": "name"}


def _filesystem_source(kind: str, source: Element | None) -> str:
    """A socket instead of a directory is a virtiofsd that someone else runs; ram's is its size in bytes."""
    if source is None:
        return ""
    if kind == "ram":
        return str(memory_bytes(source.get("usage"), source.get("units")) or "")
    if kind == "volume":
        return f"{source.get('pool', '')}/{source.get('volume', '')}"
    return source.get(_SOURCE_ATTRIBUTES.get(kind, "dir"), "") or source.get("socket", "")
