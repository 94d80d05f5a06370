"""Snapshots and checkpoints of a domain: what libvirt's XML says about one, and the tree they form.

SnapshotDisk and CheckpointDisk are the contract's dictionaries, as with domains. Unknown elements are ignored
and odd values never raise. Pure.
Source: https://libvirt.org/formatsnapshot.html, https://libvirt.org/formatcheckpoint.html
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from virtbridge.model.disk_xml import source_string
from virtbridge.model.units import microseconds
from virtbridge.model.xml import Element, attribute, child, children, number, parse_root, text, word


@dataclass(frozen=True, slots=True)
class SnapshotDisk:
    """source: the overlay of an external snapshot in one string, as in a disk's backing chain."""

    name: str = ""
    snapshot: str = ""
    type: str = ""
    format: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotDefinition:
    """parent: empty for a root of the tree. created_us: microseconds since the epoch. memory: no, internal or
    external; memory_file only of external.
    """

    name: str = ""
    description: str = ""
    state: str = ""
    parent: str = ""
    created_us: int = 0
    memory: str = ""
    memory_file: str = ""
    disks: tuple[SnapshotDisk, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckpointDisk:
    """size: bytes changed since, where libvirt was asked for it; else 0."""

    name: str = ""
    checkpoint: str = ""
    bitmap: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class CheckpointDefinition:
    """What libvirt's XML says about one checkpoint. parent: empty for a root of the tree."""

    name: str = ""
    description: str = ""
    parent: str = ""
    created_us: int = 0
    disks: tuple[CheckpointDisk, ...] = ()


def parse_snapshot(xml: str) -> SnapshotDefinition:
    """Read snapshot XML as virDomainSnapshotGetXMLDesc() returns it. Raises BadXml on anything unreadable."""
    parts = children(parse_root(xml, "domainsnapshot"))
    return SnapshotDefinition(
        name=text(parts.get("name")),
        description=text(parts.get("description")),
        state=text(parts.get("state")).strip(),
        parent=_parent(parts),
        created_us=microseconds(text(parts.get("creationTime"))),
        memory=word(parts.get("memory"), "snapshot"),
        memory_file=attribute(parts.get("memory"), "file"),
        disks=tuple(map(_snapshot_disk, _disks(parts))),
    )


def parse_checkpoint(xml: str) -> CheckpointDefinition:
    """Read checkpoint XML as virDomainCheckpointGetXMLDesc() returns it. Raises BadXml on anything
    unreadable.
    """
    parts = children(parse_root(xml, "domaincheckpoint"))
    return CheckpointDefinition(
        name=text(parts.get("name")),
        description=text(parts.get("description")),
        parent=_parent(parts),
        created_us=microseconds(text(parts.get("creationTime"))),
        disks=tuple(map(_checkpoint_disk, _disks(parts))),
    )


def children_of(parents: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return each one's children, sorted, from each one's parent, by name."""
    found: dict[str, list[str]] = {}
    for name in sorted(parents):
        found.setdefault(parents[name], []).append(name)
    return {name: tuple(found.get(name, ())) for name in parents}


def _parent(parts: Mapping[str, Element]) -> str:
    return text(child(parts["parent"], "name")) if "parent" in parts else ""


def _disks(parts: Mapping[str, Element]) -> Iterable[Element]:
    return parts["disks"].iterchildren("disk") if "disks" in parts else ()


def _snapshot_disk(element: Element) -> SnapshotDisk:
    parts = children(element)
    kind, source = word(element, "type"), parts.get("source")
    return SnapshotDisk(
        name=attribute(element, "name"),
        snapshot=word(element, "snapshot"),
        type=kind,
        format=word(parts.get("driver"), "type"),
        source=source_string(kind or "file", source),
    )


def _checkpoint_disk(element: Element) -> CheckpointDisk:
    return CheckpointDisk(
        name=attribute(element, "name"),
        checkpoint=word(element, "checkpoint"),
        bitmap=attribute(element, "bitmap"),
        size=number(element, "size"),
    )
