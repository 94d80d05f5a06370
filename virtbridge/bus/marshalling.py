"""Marshalled entries: each property's bytes are made once and put together for every message that needs them.

An array entry `{sv}` or `{oa{sa{sv}}}` starts on an 8-byte boundary, so its bytes do not depend on where it
stands: entries can be kept and joined, padded to 8 between them. The last one's padding does not belong to
the array and is left out. Single values of the simple types are made here, all others by the D-Bus library;
tests compare every byte with what either library makes of the same values. Pure.
Source: https://dbus.freedesktop.org/doc/dbus-specification.html#message-protocol-marshaling
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from struct import Struct
from typing import Any

from virtbridge.bus.properties import described, details_to_bus
from virtbridge.wire.bodies import PADDING, UINT32, pack_string
from virtbridge.wire.transport import marshal

_EMPTY_ARRAY = UINT32.pack(0)
_DEVICES = "aa{sv}"
# Texts up to this length have their bytes kept for others. Longer ones are seldom shared, and thousands
# of them would fill the memory: whoever may write a domain's description may write another one every second.
_SHARED_CHARACTERS = 200
_SHARED_BYTES = 256  # and of changes whose complete body is kept
# What a value's first byte stands on. An array's own length does; its elements must not need more than that.
_ALIGNMENTS = {"s": 4, "o": 4, "b": 4, "u": 4, "i": 4, "a": 4, "t": 8, "d": 8, "(": 8}
# The library takes 4 to 25 us for what these do in one.
_PACKERS: dict[str, Callable[[Any], bytes]] = {
    "b": UINT32.pack,
    "u": UINT32.pack,
    "i": Struct("<i").pack,
    "t": Struct("<Q").pack,
    "d": Struct("<d").pack,
}


def property_entry(name: str, signature: str, value: Any) -> bytes:
    """Marshal `{sv}`, not padded."""
    if signature == _DEVICES:
        return _devices_entry(name, value)
    if signature == "s" and len(value) > _SHARED_CHARACTERS:
        return _with_value(pack_string(name), signature, value)
    return _entry(name, signature, value)


def variant_body(signature: str, value: Any) -> bytes:
    """Marshal the body of a reply to Properties.Get."""
    if signature == _DEVICES:
        return _with_devices(_signature(_DEVICES), value)
    if signature == "s" and len(value) > _SHARED_CHARACTERS:
        return _with_value(b"", signature, value)
    return _variant(signature, value)


@lru_cache(maxsize=4096)
def lifecycle_body(event: str, detail: str) -> bytes:
    return marshal("ss", [event, detail])


def xml_entry(xml: str) -> bytes:
    """Marshal `{sv}` for Select's column Xml, which is no property: it is too large to be kept marshalled as
    well.
    """
    return _with_value(pack_string("Xml"), "s", xml)


def event_body(name: str, details: dict[str, Any]) -> bytes:
    return marshal("sa{sv}", [name, details_to_bus(details)])


# Most values are shared by many objects (running, true, x86_64): one copy of their bytes serves all.
@lru_cache(maxsize=8192)
def _entry(name: str, signature: str, value: Any) -> bytes:
    return _with_value(pack_string(name), signature, value)


@lru_cache(maxsize=8192)
def _variant(signature: str, value: Any) -> bytes:
    return _with_value(b"", signature, value)


@lru_cache(maxsize=256)
def completed_body(success: bool, error_name: str, message: str) -> bytes:
    return marshal("bss", [success, error_name, message])


def _with_value(head: bytes, signature: str, value: Any) -> bytes:
    """Marshal a variant behind a head that starts on an 8-byte boundary."""
    if signature in ("s", "o"):
        packed = pack_string(value)
    elif (pack := _PACKERS.get(signature)) is not None:
        packed = pack(value)
    else:
        packed = marshal(signature, [list(value)])
    head += _signature(signature)
    return b"".join((head, PADDING[-len(head) & (_ALIGNMENTS[signature[0]] - 1)], packed))


@lru_cache(maxsize=64)
def _signature(signature: str) -> bytes:
    return bytes((len(signature),)) + signature.encode() + b"\0"


def _devices_entry(name: str, devices: Iterable[Any]) -> bytes:
    return _with_devices(pack_string(name) + _signature(_DEVICES), devices)


def _with_devices(head: bytes, devices: Iterable[Any]) -> bytes:
    """Marshal `aa{sv}` behind a head that starts on an 8-byte boundary and ends with its signature.

    It is put together from each field's own entry, most of which are shared.
    """
    made = bytearray(head)
    made += PADDING[-len(made) & 3]
    start = len(made) + 4
    made += _EMPTY_ARRAY
    for device in devices:
        block = join([property_entry(key, signature, value) for key, signature, value in described(device)])
        made += PADDING[-len(made) & 3]
        made += UINT32.pack(len(block))
        made += PADDING[-len(made) & 7]
        made += block
    UINT32.pack_into(made, start - 4, len(made) - start)
    return bytes(made)


def join(entries: Iterable[bytes]) -> bytes:
    """Join entries as they stand in an array, each on its boundary."""
    return b"".join(_spaced(entries))


def _spaced(entries: Iterable[bytes]) -> list[bytes]:
    parts: list[bytes] = []
    for entry in entries:
        parts += (entry, PADDING[-len(entry) & 7])
    del parts[-1:]
    return parts


def array_body(entries: Iterable[bytes]) -> bytes:
    """Return a body that is one array of 8-aligned entries: `a{sv}`, `a{oa{sa{sv}}}`, `a{oa{sv}}`."""
    parts = _spaced(entries)
    size = sum(map(len, parts))
    return b"".join((UINT32.pack(size), PADDING[4], *parts))


def properties_changed_body(interface: str, entries: tuple[bytes, ...]) -> bytes:
    """Return `sa{sv}as`. No property is ever invalidated without its value."""
    is_shared = sum(map(len, entries)) <= _SHARED_BYTES
    return _changed_shared(interface, entries) if is_shared else _changed(interface, entries)


@lru_cache(maxsize=1024)
def _changed_shared(interface: str, entries: tuple[bytes, ...]) -> bytes:
    """Return the body of a change that many objects share: nearly always it is a state and its reason."""
    return _changed(interface, entries)


def _changed(interface: str, entries: tuple[bytes, ...]) -> bytes:
    block = join(entries)
    return b"".join((_before_block(interface, len(block)), block, PADDING[-len(block) & 3], _EMPTY_ARRAY))


def keyed_entry(path: str, block: bytes) -> bytes:
    """Marshal `{oa{sv}}`, not padded: an object's chosen properties."""
    return _before_block(path, len(block)) + block


def object_entry(path: str, interface: str, block: bytes) -> bytes:
    """Marshal `{oa{sa{sv}}}`, not padded; it is also the body of InterfacesAdded."""
    inner = _before_block(interface, len(block))
    return b"".join((_before_block(path, len(inner) + len(block)), inner, block))


def _before_block(key: str, size: int) -> bytes:
    """Marshal a key (string or path), its array's length, and the padding before the array's first entry."""
    head = pack_string(key)
    head = b"".join((head, PADDING[-len(head) & 3], UINT32.pack(size)))
    return head + PADDING[-len(head) & 7]
