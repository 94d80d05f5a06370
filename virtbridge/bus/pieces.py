"""Marshalled pieces: each property's bytes are made once and put together for every message that needs them.

An array entry `{sv}` or `{oa{sa{sv}}}` starts on an 8-byte boundary, so its bytes do not depend on where it
stands: entries can be kept and joined, padded to 8 between them. The last one's padding does not belong to
the array and is left out. Pure but for the marshalling of single values, which the D-Bus library does.
Source: https://dbus.freedesktop.org/doc/dbus-specification.html#message-protocol-marshaling
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

from virtbridge.bus.properties import Shape, details_to_bus, device_fields
from virtbridge.bus.transport import Variant, marshal
from virtbridge.model.keys import Key

_U32 = Struct("<I")
_PADS = tuple(bytes(count) for count in range(8))
_EMPTY_ARRAY = _U32.pack(0)
_DEVICES = "aa{sv}"
_DEVICES_SIGNATURE = bytes((len(_DEVICES),)) + _DEVICES.encode() + b"\0"


def property_entry(name: str, signature: str, value: Any) -> bytes:
    """`{sv}`, not padded."""
    if signature == _DEVICES:
        return _with_devices(_string(name) + _DEVICES_SIGNATURE, value)
    return _scalar_entry(name, signature, value)


def variant_body(signature: str, value: Any) -> bytes:
    """The body of a reply to Properties.Get."""
    if signature == _DEVICES:
        return _with_devices(_DEVICES_SIGNATURE, value)
    return _scalar_variant(signature, value)


@lru_cache(maxsize=4096)
def lifecycle_body(event: str, detail: str) -> bytes:
    return marshal("ss", [event, detail])


def xml_entry(xml: str) -> bytes:
    """`{sv}` of Select's column Xml, which is no property: too large to be kept marshalled as well."""
    return _make_entry("Xml", "s", xml)


def event_body(name: str, details: dict[str, Any]) -> bytes:
    return marshal("sa{sv}", [name, details_to_bus(details)])


# Most values are shared by many objects (running, true, x86_64): one copy of their bytes serves all.
@lru_cache(maxsize=8192)
def _scalar_entry(name: str, signature: str, value: Any) -> bytes:
    return _make_entry(name, signature, value)


@lru_cache(maxsize=8192)
def _scalar_variant(signature: str, value: Any) -> bytes:
    return marshal("v", [_variant(signature, value)])


def _make_entry(name: str, signature: str, value: Any) -> bytes:
    return marshal("a{sv}", [{name: _variant(signature, value)}])[8:]


def _variant(signature: str, value: Any) -> Any:
    return Variant(signature, list(value) if isinstance(value, tuple) else value)


def _with_devices(head: bytes, devices: Iterable[Any]) -> bytes:
    """An `aa{sv}` behind a head that starts on an 8-byte boundary and ends with its signature.

    Put together from each field's own entry, most of which are shared. What is empty, 0 or false is left
    out: of a disk's two dozen keys that are all but five, and a bus daemon looks at each key of each message.
    """
    made = bytearray(head)
    made += _PADS[-len(made) & 3]
    start = len(made) + 4
    made += _EMPTY_ARRAY
    for device in devices:
        block = join(
            property_entry(key, signature, value)
            for field, key, signature in device_fields(device)
            if (value := getattr(device, field))
        )
        made += _PADS[-len(made) & 3]
        made += _U32.pack(len(block))
        made += _PADS[-len(made) & 7]
        made += block
    _U32.pack_into(made, start - 4, len(made) - start)
    return bytes(made)


def join(entries: Iterable[bytes]) -> bytes:
    """Entries as they stand in an array, each on its boundary."""
    return b"".join(_spaced(entries))


def _spaced(entries: Iterable[bytes]) -> list[bytes]:
    parts: list[bytes] = []
    for entry in entries:
        parts += (entry, _PADS[-len(entry) & 7])
    del parts[-1:]
    return parts


def array_body(entries: Iterable[bytes]) -> bytes:
    """A body that is one array of 8-aligned entries: `a{sv}`, `a{oa{sa{sv}}}`, `a{oa{sv}}`."""
    parts = _spaced(entries)
    size = sum(map(len, parts))
    return b"".join((_U32.pack(size), _PADS[4], *parts))


def properties_changed_body(interface: str, entries: Sequence[bytes]) -> bytes:
    """`sa{sv}as`: nothing is ever invalidated without its value."""
    block = join(entries)
    return b"".join((_before_block(interface, len(block)), block, _PADS[-len(block) & 3], _EMPTY_ARRAY))


def keyed_entry(path: str, block: bytes) -> bytes:
    """`{oa{sv}}`, not padded: an object's chosen properties."""
    return _before_block(path, len(block)) + block


def object_entry(path: str, interface: str, block: bytes) -> bytes:
    """`{oa{sa{sv}}}`, not padded; also the body of InterfacesAdded."""
    inner = _before_block(interface, len(block))
    return b"".join((_before_block(path, len(inner) + len(block)), inner, block))


def _before_block(key: str, size: int) -> bytes:
    """A key (string or path), then its array's length, then the padding before the array's first entry."""
    head = _string(key)
    head = b"".join((head, _PADS[-len(head) & 3], _U32.pack(size)))
    return head + _PADS[-len(head) & 7]


def _string(text: str) -> bytes:
    raw = text.encode()
    return b"".join((_U32.pack(len(raw)), raw, b"\0"))


class Pieces:
    """One object on the bus: the values that clients know, and their bytes."""

    __slots__ = ("_entry", "entries", "key", "path", "shape", "values")

    def __init__(self, key: Key, path: str, shape: Shape, record: Any) -> None:
        self.key = key
        self.path = path
        self.shape = shape
        self.values = shape.values(key, record)
        self.entries = [
            property_entry(*each) for each in zip(shape.names, shape.signatures, self.values, strict=True)
        ]
        self._entry: bytes | None = None

    def update(self, record: Any) -> list[bytes]:
        """The entries of the properties that differ from what clients know; they know them now."""
        values = self.shape.values(self.key, record)
        changed = [
            place for place, pair in enumerate(zip(values, self.values, strict=True)) if pair[0] != pair[1]
        ]
        self.values = values
        for place in changed:
            self.entries[place] = property_entry(
                self.shape.names[place], self.shape.signatures[place], values[place]
            )
        if changed:
            self._entry = None
        return [self.entries[place] for place in changed]

    def object_entry(self) -> bytes:
        """`{oa{sa{sv}}}`, not padded: kept, as every GetManagedObjects wants it."""
        if self._entry is None:
            self._entry = object_entry(self.path, self.shape.interface, join(self.entries))
        return self._entry
