"""Storage pool XML is parsed to a PoolDefinition.

As with domains, what is unknown is ignored and odd values never raise. Pure. Threads: any.
Source: https://libvirt.org/formatstorage.html, virStoragePoolGetXMLDesc().
"""

from virtbridge.model.addresses import parse_address
from virtbridge.model.pool import PoolDefinition
from virtbridge.model.storage_xml import device_paths, permissions_of, secret_of, size_bytes, text_of
from virtbridge.model.xml import Element, attribute, child, children, parse_root, text


def parse_pool(xml: str) -> PoolDefinition:
    """Read pool XML as virStoragePoolGetXMLDesc() returns it. Raises BadXml on anything unreadable."""
    root = parse_root(xml, "pool")
    parts = children(root)
    source, target = parts.get("source"), parts.get("target")
    inside = children(source) if source is not None else {}
    auth = inside.get("auth")
    permissions = permissions_of(target)
    return PoolDefinition(
        type=attribute(root, "type"),
        capacity_bytes=size_bytes(parts.get("capacity")),
        allocation_bytes=size_bytes(parts.get("allocation")),
        available_bytes=size_bytes(parts.get("available")),
        source_name=text(inside.get("name")),
        source_hosts=_hosts(source),
        source_devices=device_paths(source),
        source_directory=attribute(inside.get("dir"), "path"),
        source_adapter=_adapter(inside.get("adapter")),
        source_format=attribute(inside.get("format"), "type"),
        source_initiator=_initiator(inside.get("initiator")),
        source_vendor=attribute(inside.get("vendor"), "name"),
        source_product=attribute(inside.get("product"), "name"),
        auth_type=attribute(auth, "type"),
        auth_username=attribute(auth, "username"),
        auth_secret=secret_of(auth),
        target_path=text_of(target, "path"),
        target_mode=permissions.mode,
        target_owner=permissions.owner,
        target_group=permissions.group,
        target_label=permissions.label,
    )


def _hosts(source: Element | None) -> tuple[str, ...]:
    if source is None:
        return ()
    found = []
    for host in source.iterchildren("host"):
        name, port = host.get("name", ""), host.get("port", "")
        bracketed = f"[{name}]" if port and ":" in name else name
        found.append(f"{bracketed}:{port}" if port else name)
    return tuple(found)


def _adapter(adapter: Element | None) -> str:
    """Return a SCSI host by its name or its place (PCI address and unique id), a Fibre Channel HBA by its
    names.
    """
    if adapter is None:
        return ""
    if name := adapter.get("name", ""):
        return name
    if (parent := child(adapter, "parentaddr")) is not None:
        address = parse_address(child(parent, "address"), "pci").pci
        return "/".join(filter(None, (address, parent.get("unique_id", ""))))
    return ":".join(filter(None, (adapter.get("wwnn", ""), adapter.get("wwpn", ""))))


def _initiator(initiator: Element | None) -> str:
    return attribute(child(initiator, "iqn"), "name") if initiator is not None else ""
