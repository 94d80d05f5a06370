"""Storage volumes: what libvirt's XML says about one, and the chain of those that it is built on.

Unknown elements are ignored and odd values never
raise. Pure. Source: https://libvirt.org/formatstorage.html#storage-volume-xml, virStorageVolGetXMLDesc().
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from virtbridge.model.disk_sources import normal_source
from virtbridge.model.keys import Key
from virtbridge.model.storage_xml import (
    NO_PERMISSIONS,
    Permissions,
    device_paths,
    permissions_of,
    secret_of,
    size_bytes,
    text_of,
)
from virtbridge.model.units import microseconds
from virtbridge.model.xml import Element, attribute, child, children, parse_root, text, word

CHAIN_MAX = 200  # as libvirt's own limit


@dataclass(frozen=True, slots=True)
class BackingVolume:
    """One link of a chain. volume: the volume at this path, None when none is known there."""

    path: str = ""
    format: str = ""
    volume: Key | None = None


@dataclass(frozen=True, slots=True)
class VolumeDefinition:
    """physical_bytes: 0 when libvirt does not report it. backing_path, backing_format: of the first one
    below, all that libvirt reports of a chain. encryption_secret: the secret's UUID, or its usage id. Times:
    microseconds since the epoch, 0 for unknown.
    """

    name: str = ""
    key: str = ""
    path: str = ""
    type: str = ""
    capacity_bytes: int = 0
    allocation_bytes: int = 0
    physical_bytes: int = 0
    format: str = ""
    compat: str = ""
    cluster_size_bytes: int = 0
    features: tuple[str, ...] = ()
    backing_path: str = ""
    backing_format: str = ""
    encryption: str = ""
    encryption_secret: str = ""
    permissions: Permissions = NO_PERMISSIONS
    access_time_us: int = 0
    modification_time_us: int = 0
    change_time_us: int = 0
    creation_time_us: int = 0
    source_devices: tuple[str, ...] = ()


class VolumeLink(NamedTuple):
    """What a volume says that chains depend on. place, below: the normal spellings of its own path and of
    backing_path.
    """

    place: str
    format: str
    backing_path: str
    below: str
    backing_format: str


def parse_volume(xml: str) -> VolumeDefinition:
    """Read volume XML as virStorageVolGetXMLDesc() returns it. Raises BadXml on anything unreadable."""
    root = parse_root(xml, "volume")
    parts = children(root)
    target, backing = parts.get("target"), parts.get("backingStore")
    inside = children(target) if target is not None else {}
    times, encryption = inside.get("timestamps"), inside.get("encryption")
    return VolumeDefinition(
        name=text(parts.get("name")),
        key=text(parts.get("key")),
        path=text(inside.get("path")),
        type=word(root, "type"),
        capacity_bytes=size_bytes(parts.get("capacity")),
        allocation_bytes=size_bytes(parts.get("allocation")),
        physical_bytes=size_bytes(parts.get("physical")),
        format=word(inside.get("format"), "type"),
        compat=text(inside.get("compat")),
        cluster_size_bytes=size_bytes(inside.get("clusterSize")),
        features=_features(inside.get("features")),
        backing_path=text_of(backing, "path"),
        backing_format=word(child(backing, "format"), "type") if backing is not None else "",
        encryption=attribute(encryption, "format"),
        encryption_secret=secret_of(encryption),
        permissions=permissions_of(target),
        access_time_us=microseconds(text_of(times, "atime")),
        modification_time_us=microseconds(text_of(times, "mtime")),
        change_time_us=microseconds(text_of(times, "ctime")),
        creation_time_us=microseconds(text_of(times, "btime")),
        source_devices=device_paths(parts.get("source")),
    )


def link_of(definition: VolumeDefinition) -> VolumeLink:
    below = definition.backing_path
    return VolumeLink(
        normal_source(definition.path),
        definition.format,
        below,
        normal_source(below) if below else "",
        definition.backing_format,
    )


def chain_of(
    top: VolumeLink, find: Callable[[str], tuple[Key, VolumeLink] | None]
) -> tuple[BackingVolume, ...]:
    """Return what a volume is built on, from the first one below it downwards, as far as is known.

    find: gives the volume at a place. A chain that refers back to itself ends there.
    """
    chain: list[BackingVolume] = []
    seen = {top.place}
    at: VolumeLink | None = top
    while at is not None and at.below and len(chain) < CHAIN_MAX:
        found = find(at.below)
        volume, link = found if found is not None else (None, None)
        # What the volume says of itself is newer than what the one above it was made with.
        own = link.format if link is not None else ""
        chain.append(BackingVolume(at.backing_path, own or at.backing_format, volume))
        is_loop = at.below in seen
        seen.add(at.below)
        at = None if is_loop else link
    return tuple(chain)


def _features(element: Element | None) -> tuple[str, ...]:
    """Return the features in the contract's spelling."""
    return tuple(each.tag.replace("_", "-") for each in element) if element is not None else ()
