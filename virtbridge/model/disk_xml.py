"""Disks in domain XML, and the storage sources that disks, their backing chains and snapshots consist of.

Odd values never raise. Ten thousand domains have mostly file disks: what only other types have is read for
those alone. Pure. Threads: any.
Source: https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms, virDomainStorageSourceParse()
"""

from collections.abc import Callable, Mapping
from typing import Any

from virtbridge.model.addresses import parse_address
from virtbridge.model.disk_sources import source_text
from virtbridge.model.domain import Disk
from virtbridge.model.xml import Element, attribute, child, children, number, text, word

Fields = dict[str, Any]

_MAX_BACKING = 200  # libvirt itself follows no deeper chains; libxml2 stops at 256 levels of elements


def parse_disk(element: Element) -> Disk:
    parts = children(element)
    kind = word(element, "type") or "file"
    source, target, driver = parts.get("source"), parts.get("target"), parts.get("driver")
    return Disk(
        device=word(element, "device") or "disk",
        type=kind,
        target=word(target, "dev"),
        bus=word(target, "bus"),
        format=word(driver, "type"),
        cache=word(driver, "cache"),
        serial=text(parts.get("serial")),
        wwn=text(parts.get("wwn")),
        alias=word(parts.get("alias"), "name"),
        boot_order=number(parts.get("boot"), "order"),
        read_only="readonly" in parts,
        shareable="shareable" in parts,
        transient="transient" in parts,
        tray_open=attribute(target, "tray") == "open",
        removable=attribute(target, "removable") == "on",
        mirror=_mirror(parts["mirror"]) if "mirror" in parts else "",
        backing=_backing(parts["backingStore"]) if "backingStore" in parts else (),
        **(_source_fields(kind, source, parts.get("auth")) if source is not None else {}),
    )


def _source_fields(kind: str, source: Element, auth: Element | None) -> Fields:
    """auth: beside the source, where old definitions have it, instead of in it."""
    fields = {"source": _location(kind, source), "data_store": _data_store(source), **_slice(source)}
    reader = _READERS.get(kind)
    if reader is not None:
        fields |= reader(source)
    if kind == "network" and not fields["user"]:
        fields["user"] = attribute(auth, "username")
    return fields


def _network_fields(source: Element) -> Fields:
    parts = children(source)
    identity = parts.get("identity")
    return {
        "protocol": word(source, "protocol"),
        "hosts": network_hosts(source),
        "query": source.get("query", ""),
        "snapshot": attribute(parts.get("snapshot"), "name"),
        "config": attribute(parts.get("config"), "file"),
        # nfs says user, ssh says username.
        "user": attribute(identity, "user")
        or attribute(identity, "username")
        or attribute(parts.get("auth"), "username"),
        "group": attribute(identity, "group"),
        "initiator": initiator_of(source),
    }


def _volume_fields(source: Element) -> Fields:
    return {
        "pool": word(source, "pool"),
        "volume": source.get("volume", ""),
        "mode": word(source, "mode"),
    }


def _nvme_fields(source: Element) -> Fields:
    return {"address": _nvme_address(source), "namespace": number(source, "namespace")}


_READERS: Mapping[str, Callable[[Element], Fields]] = {
    "network": _network_fields,
    "volume": _volume_fields,
    "nvme": _nvme_fields,
}


def _slice(source: Element) -> Fields:
    """Return the part of the storage that is the disk, when that is not all of it."""
    slices = child(source, "slices")
    if slices is None:
        return {}
    found = [each for each in slices.iterchildren("slice") if each.get("type") == "storage"]
    return (
        {
            "slice_offset": number(found[0], "offset"),
            "slice_size": number(found[0], "size"),
        }
        if found
        else {}
    )


# Which attribute of a disk's source names the storage, by the disk's type.
_SOURCE_ATTRIBUTES = {
    "file": "file",
    "block": "dev",
    "dir": "dir",
    "network": "name",
    "vhostuser": "path",
    "vhostvdpa": "dev",
}


def _location(kind: str, source: Element) -> str:
    """Return the file, device, directory, socket or name; empty for volumes, no medium and unknown types."""
    if kind == "nvme":
        # As QEMU spells it: the controller's PCI address and the namespace.
        address = _nvme_address(source)
        return f"nvme://{address}/{source.get('namespace', '')}" if address else ""
    return source.get(_SOURCE_ATTRIBUTES[kind], "") if kind in _SOURCE_ATTRIBUTES else ""


def _nvme_address(source: Element) -> str:
    """The source's type says what kind of address that is; there is only pci today."""
    return parse_address(child(source, "address"), source.get("type", "pci")).pci


def network_hosts(source: Element) -> tuple[str, ...]:
    """Return name:port, `[address]:port` of IPv6, or the socket's path, each in the XML's order."""
    return tuple(_host(host) for host in source.iterchildren("host"))


def _host(host: Element) -> str:
    if host.get("transport") == "unix":
        return host.get("socket", "")
    name, port = host.get("name", ""), host.get("port", "")
    if ":" in name and not name.startswith("["):
        name = f"[{name}]"
    return f"{name}:{port}" if port else name


def initiator_of(source: Element) -> str:
    """Return the name by which the host presents itself to an iSCSI target."""
    initiator = child(source, "initiator")
    return attribute(child(initiator, "iqn"), "name") if initiator is not None else ""


def source_string(kind: str, source: Element | None) -> str:
    """Write a source below or beside the top one as one string: path, pool/volume or source_text()."""
    if source is None:
        return ""
    if kind == "volume":
        return f"{source.get('pool', '')}/{source.get('volume', '')}"
    if kind == "network":
        return source_text(
            source.get("protocol", ""),
            network_hosts(source),
            source.get("name", ""),
            query=source.get("query", ""),
            snapshot=attribute(child(source, "snapshot"), "name"),
            config=attribute(child(source, "config"), "file"),
        )
    return _location(kind, source)


def _data_store(source: Element | None) -> str:
    """Return where a qcow2 image has its data, when that is not the image itself."""
    store = child(source, "dataStore") if source is not None else None
    return source_string(store.get("type", "file"), child(store, "source")) if store is not None else ""


def _mirror(element: Element) -> str:
    """Return the mirror. Old libvirt wrote the file as an attribute, and a client may see both."""
    return source_string(element.get("type", "file"), child(element, "source")) or element.get("file", "")


def _backing(element: Element) -> tuple[str, ...]:
    """Return the chain, nearest first, each with its data file behind it; an empty backingStore ends it."""
    chain: list[str] = []
    layer: Element | None = element
    for _ in range(_MAX_BACKING):
        if layer is None:
            break
        source = child(layer, "source")
        places = (source_string(layer.get("type", "file"), source), _data_store(source))
        chain.extend(place for place in places if place)
        layer = child(layer, "backingStore")
    return tuple(chain)
