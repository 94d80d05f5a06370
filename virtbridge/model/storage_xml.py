"""What the XML of storage pools and of volumes have in common: sizes, permissions, secrets.

Pure. Threads: any. Source: https://libvirt.org/formatstorage.html
"""

from typing import NamedTuple

from virtbridge.model.units import memory_bytes
from virtbridge.model.xml import Element, attribute, child, children, text


class Permissions(NamedTuple):
    """mode: in octal, as in 0711. owner, group: numbers. All empty when the XML has none."""

    mode: str = ""
    owner: str = ""
    group: str = ""
    label: str = ""


NO_PERMISSIONS = Permissions()


def text_of(element: Element | None, tag: str) -> str:
    return text(child(element, tag)) if element is not None else ""


def size_bytes(element: Element | None) -> int:
    """Read a size, which is in bytes where the XML names no unit, unlike memory."""
    return memory_bytes(text(element), attribute(element, "unit") or "bytes") or 0


def device_paths(source: Element | None) -> tuple[str, ...]:
    if source is None:
        return ()
    return tuple(device.get("path", "") for device in source.iterchildren("device"))


def permissions_of(target: Element | None) -> Permissions:
    element = child(target, "permissions") if target is not None else None
    if element is None:
        return NO_PERMISSIONS
    parts = children(element)
    owner, group = (text(parts.get(tag)) for tag in ("owner", "group"))
    return Permissions(
        mode=text(parts.get("mode")),
        owner=_number(owner),
        group=_number(group),
        label=text(parts.get("label")),
    )


def secret_of(element: Element | None) -> str:
    """Return the secret that an element names, by its UUID or its usage id."""
    secret = child(element, "secret") if element is not None else None
    return attribute(secret, "uuid") or attribute(secret, "usage")


def _number(text_: str) -> str:
    """A user or group by number; -1 is libvirt's "as it comes"."""
    return "" if text_ == "-1" else text_
