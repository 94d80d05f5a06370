"""Domain XML to a DomainDefinition.

Unknown elements and namespaces are ignored and odd values never raise, so that a newer libvirt or another
hypervisor cannot take a domain from the bus; only memory and vCPU counts must be readable where they are. Ten
thousand domains pass through here at every sync, so it asks for no more than it shows. Pure. Threads: any.
Source: https://libvirt.org/formatdomain.html, virDomainGetXMLDesc().
"""

from collections.abc import Callable, Iterable

from virtbridge.model.addresses import parse_address
from virtbridge.model.disk_sources import source_text
from virtbridge.model.domain import (
    Disk,
    DomainDefinition,
    Filesystem,
    Graphics,
    HostDevice,
    Interface,
)
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
_MAX_BACKING = 200  # libvirt itself follows no deeper chains; libxml2 stops at 256 levels of elements


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
        disks=tuple(map(_disk, devices["disk"])),
        interfaces=tuple(map(_interface, devices["interface"])),
        graphics=tuple(map(_graphics, devices["graphics"])),
        host_devices=tuple(map(_host_device, devices["hostdev"])),
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
    """What the XML says; without that, only UEFI is loaded as flash memory."""
    said = word(os, "firmware")
    return said or ("efi" if attribute(loader, "type") == "pflash" else "")


def _alias(parts: dict[str, Element]) -> str:
    return word(parts.get("alias"), "name")


def _boot_order(parts: dict[str, Element]) -> int:
    return number(parts.get("boot"), "order")


# --- disks


def _disk(element: Element) -> Disk:
    parts = children(element)
    kind = word(element, "type") or "file"
    source, target, driver = parts.get("source"), parts.get("target"), parts.get("driver")
    return Disk(
        device=word(element, "device") or "disk",
        type=kind,
        target=word(target, "dev"),
        bus=word(target, "bus"),
        source=_place(kind, source),
        protocol=word(source, "protocol") if kind == "network" else "",
        hosts=_hosts(source) if kind == "network" else (),
        pool=word(source, "pool") if kind == "volume" else "",
        volume=attribute(source, "volume") if kind == "volume" else "",
        format=word(driver, "type"),
        cache=word(driver, "cache"),
        serial=text(parts.get("serial")),
        wwn=text(parts.get("wwn")),
        alias=_alias(parts),
        boot_order=_boot_order(parts),
        read_only="readonly" in parts,
        shareable="shareable" in parts,
        transient="transient" in parts,
        tray_open=attribute(target, "tray") == "open",
        removable=attribute(target, "removable") == "on",
        data_store=_data_store(source),
        mirror=_mirror(parts["mirror"]) if "mirror" in parts else "",
        backing=_backing(parts["backingStore"]) if "backingStore" in parts else (),
    )


# Which attribute of a disk's source names the storage, by the disk's type.
_PLACES = {
    "file": "file",
    "block": "dev",
    "dir": "dir",
    "network": "name",
    "vhostuser": "path",
    "vhostvdpa": "dev",
}


def _place(kind: str, source: Element | None) -> str:
    """The file, device, directory, socket or name; empty for volumes, no medium and types not known here."""
    if source is None:
        return ""
    if kind == "nvme":
        # As QEMU spells it: the controller's PCI address and the namespace.
        return f"nvme://{parse_address(child(source, 'address'), 'pci').pci}/{source.get('namespace', '')}"
    return source.get(_PLACES[kind], "") if kind in _PLACES else ""


def _hosts(source: Element | None) -> tuple[str, ...]:
    """name:port, `[address]:port` of IPv6, or the socket's path, each in the XML's order."""
    if source is None:
        return ()
    return tuple(_host(host) for host in source.iterchildren("host"))


def _host(host: Element) -> str:
    if host.get("transport") == "unix":
        return host.get("socket", "")
    name, port = host.get("name", ""), host.get("port", "")
    if ":" in name and not name.startswith("["):
        name = f"[{name}]"
    return f"{name}:{port}" if port else name


def _one_text(kind: str, source: Element | None) -> str:
    """A source below or beside the top one as one string: path, pool/volume or source_text()."""
    if source is None:
        return ""
    if kind == "volume":
        return f"{source.get('pool', '')}/{source.get('volume', '')}"
    if kind == "network":
        return source_text(source.get("protocol", ""), _hosts(source), source.get("name", ""))
    return _place(kind, source)


def _data_store(source: Element | None) -> str:
    """Where a qcow2 image has its data, when that is not the image itself."""
    store = child(source, "dataStore") if source is not None else None
    return _one_text(store.get("type", "file"), child(store, "source")) if store is not None else ""


def _mirror(element: Element) -> str:
    """Old libvirt wrote the file as an attribute, and a client may see both."""
    return _one_text(element.get("type", "file"), child(element, "source")) or element.get("file", "")


def _backing(element: Element) -> tuple[str, ...]:
    """The chain, nearest first, each with its data file behind it; an empty backingStore ends it."""
    chain: list[str] = []
    layer: Element | None = element
    for _ in range(_MAX_BACKING):
        if layer is None:
            break
        source = child(layer, "source")
        places = (_one_text(layer.get("type", "file"), source), _data_store(source))
        chain.extend(place for place in places if place)
        layer = child(layer, "backingStore")
    return tuple(chain)


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
        alias=_alias(parts),
        source=_joins(kind, source),
        network=word(source, "network"),
        port_group=word(source, "portgroup"),
        bridge=word(source, "bridge"),
        mode=word(source, "mode") if kind in ("direct", "network") else "",
        address=_joins(kind, source) if kind == "hostdev" else "",
        link_down=attribute(parts.get("link"), "state") == "down",
        boot_order=_boot_order(parts),
        mtu=number(parts.get("mtu"), "size"),
        filter=word(parts.get("filterref"), "filter"),
        vlans=vlan_tags(parts.get("vlan")),
    )


# Which attributes of an interface's source, the first that is there, name what it connects to, by its type.
_JOINS = {
    "network": ("network",),
    "bridge": ("bridge",),
    "direct": ("dev",),
    "internal": ("name",),
    "vhostuser": ("path",),
    "vdpa": ("dev",),
    "ethernet": ("dev",),
    "user": ("dev",),
    "vds": ("switchid",),
    "hostdev": (),
}


def _joins(kind: str, source: Element | None) -> str:
    """The network, bridge, device or socket; address:port for the socket types, PCI address for hostdev."""
    if source is None:
        return ""
    if kind == "hostdev":
        return parse_address(child(source, "address"), "pci").pci
    for name in _JOINS.get(kind, ("dev", "name", "path")):
        value = attribute(source, name)
        if value:
            return value
    if source.get("address") or source.get("port"):
        return f"{source.get('address', '')}:{source.get('port', '')}"
    return ""


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


# --- host devices


def _host_device(element: Element) -> HostDevice:
    parts = children(element)
    mode, kind = word(element, "mode") or "subsystem", word(element, "type")
    source = parts.get("source")
    reader = _HOST_SOURCES.get(kind)
    return HostDevice(
        mode=mode,
        type=kind,
        managed=yes(element, "managed"),
        source=reader(source) if reader is not None and source is not None else "",
        model=word(element, "model"),
        alias=_alias(parts),
        boot_order=_boot_order(parts),
    )


def _pci_source(source: Element) -> str:
    return parse_address(child(source, "address"), "pci").pci


def _usb_source(source: Element) -> str:
    """vendor:product as lsusb writes them, else bus.device."""
    vendor, product = child(source, "vendor"), child(source, "product")
    if vendor is not None and product is not None:
        return f"{_hex_id(vendor)}:{_hex_id(product)}"
    address = child(source, "address")
    return f"{address.get('bus', '')}.{address.get('device', '')}" if address is not None else ""


def _hex_id(element: Element) -> str:
    return element.get("id", "").removeprefix("0x").lower()


def _scsi_source(source: Element) -> str:
    """adapter:bus:target:unit, or an iSCSI target as source_text()."""
    if source.get("protocol"):
        return _one_text("network", source)
    adapter, address = child(source, "adapter"), child(source, "address")
    if address is None:
        return attribute(adapter, "name")
    return ":".join(
        [attribute(adapter, "name"), *(address.get(part, "") for part in ("bus", "target", "unit"))]
    )


def _scsi_host_source(source: Element) -> str:
    return source.get("wwpn", "")


def _mdev_source(source: Element) -> str:
    return attribute(child(source, "address"), "uuid")


def _capability_source(source: Element) -> str:
    """The block or character device, or the interface, given to a container."""
    return next((text(each).strip() for each in source if each.tag in ("block", "char", "interface")), "")


_HOST_SOURCES: dict[str, Callable[[Element], str]] = {
    "pci": _pci_source,
    "usb": _usb_source,
    "scsi": _scsi_source,
    "scsi_host": _scsi_host_source,
    "mdev": _mdev_source,
    "storage": _capability_source,
    "misc": _capability_source,
    "net": _capability_source,
}


# --- filesystems


def _filesystem(element: Element) -> Filesystem:
    parts = children(element)
    kind = word(element, "type") or "mount"
    return Filesystem(
        type=kind,
        driver=word(parts.get("driver"), "type"),
        access_mode=word(element, "accessmode"),
        source=_shared(kind, parts.get("source")),
        target=attribute(parts.get("target"), "dir"),
        read_only="readonly" in parts,
        alias=_alias(parts),
    )


# Which attribute of a filesystem's source names it, by the filesystem's type.
_SHARED = {"mount": "dir", "bind": "dir", "file": "file", "block": "dev", "template": "name"}


def _shared(kind: str, source: Element | None) -> str:
    """A socket instead of a directory is a virtiofsd that someone else runs; ram's is its size in bytes."""
    if source is None:
        return ""
    if kind == "ram":
        return str(memory_bytes(source.get("usage"), source.get("units")) or "")
    if kind == "volume":
        return f"{source.get('pool', '')}/{source.get('volume', '')}"
    return source.get(_SHARED.get(kind, "dir"), "") or source.get("socket", "")
