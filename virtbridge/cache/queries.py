"""Queries that the cache answers over many objects without a libvirt call. They never block. Main thread
only.
"""

from collections.abc import Iterable, Iterator

from virtbridge.cache.cache import Cache
from virtbridge.model.disk_sources import backing_sources, disk_sources, normal_source
from virtbridge.model.domain import Disk
from virtbridge.model.keys import Key
from virtbridge.model.records import DomainRecord, NetworkRecord


def find_domains(cache: Cache, text: str) -> set[Key]:
    """Return the domains whose name, UUID (in any case, with or without dashes)
    or id is exactly this text.
    """
    found = set(cache.find("name", text))
    found.update(cache.find("uuid", _normal_uuid(text)))
    # libvirt's ids are 32-bit; Python refuses to convert thousands of digits.
    if len(text) <= 10 and text.isascii() and text.isdecimal() and str(int(text)) == text:
        found.update(cache.find("id", int(text)))
    return found


def find_disk_users(cache: Cache, source: str) -> Iterator[tuple[Key, str, str]]:
    """Yield (domain, target device, `rw`, `ro` or `shared`) for each disk that uses the source, at the top of
    its chain or below.
    """
    wanted = normal_source(source)
    for key in cache.find("disk", wanted):
        record = cache.get(key)
        if isinstance(record, DomainRecord):
            yield from ((key, target, how) for target, how in _users(record.definition.disks, wanted))


def find_mac_users(cache: Cache, mac: str) -> Iterator[tuple[Key, str]]:
    """Yield (domain or network, its device) for each interface or bridge with this normal MAC address."""
    for key in cache.find("mac", mac):
        record = cache.get(key)
        if isinstance(record, DomainRecord):
            yield from ((key, nic.target) for nic in record.definition.interfaces if nic.mac == mac)
        elif isinstance(record, NetworkRecord):
            yield key, record.definition.bridge


def _users(disks: Iterable[Disk], source: str) -> Iterator[tuple[str, str]]:
    for disk in disks:
        if source in disk_sources(disk):
            yield disk.target, _access(disk)
        elif source in backing_sources(disk):
            yield disk.target, "ro"  # a guest writes only to the top of its chain


def _access(disk: Disk) -> str:
    if disk.read_only:
        return "ro"
    return "shared" if disk.shareable else "rw"


def _normal_uuid(text: str) -> str:
    digits = text.replace("-", "").lower()
    if len(digits) != 32:
        return ""
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
