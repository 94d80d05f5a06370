"""Statistics as body bytes, marshalled here: a thousand domains with sixty values a second are too much work
for the library.

The values are those of model.statistics: int is t (x below 0), float d, bool b, str s, a dictionary a{sv}, a
list of them aa{sv}. A number's entry is its name's bytes, made once, and eight bytes more.
Pure. Source: https://dbus.freedesktop.org/doc/dbus-specification.html#message-protocol-marshaling
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from struct import Struct
from typing import Any

from virtbridge.bus.marshalling import join, keyed_entry
from virtbridge.wire.bodies import PADDING, UINT32, pack_string

_TIME = Struct("<Q")
_SIGNED = Struct("<q")
_pack_unsigned = Struct("<Q").pack
_pack_double = Struct("<d").pack
_MAX_UNSIGNED = 1 << 64


@lru_cache(maxsize=1 << 14)
def _head(name: str, signature: str) -> bytes:
    """Return an entry's name and its variant's signature; numbers of eight bytes stand right behind them."""
    head = pack_string(name) + bytes((len(signature),)) + signature.encode() + b"\0"
    return head + PADDING[-len(head) & (7 if signature in "tdx" else 3)]


def values_block(values: Mapping[str, Any]) -> bytes:
    """Return the entries of an a{sv}, without the array's length."""
    parts: list[bytes] = []
    padding = b""  # before the next entry; a number's ends on its boundary
    for name, value in values.items():
        kind = type(value)
        if kind is float:
            parts += (padding, _head(name, "d"), _pack_double(value))
            padding = b""
        elif kind is int and 0 <= value < _MAX_UNSIGNED:
            parts += (padding, _head(name, "t"), _pack_unsigned(value))
            padding = b""
        else:
            entry = _text(name, value) if kind is str else _entry(name, value)
            parts += (padding, entry)
            padding = PADDING[-len(entry) & 7]
    return b"".join(parts)


# Most are the words of a state and the names of devices, which come again with every sample.
@lru_cache(maxsize=1 << 12)
def _text(name: str, value: str) -> bytes:
    return _head(name, "s") + pack_string(value.replace("\0", ""))


def _entry(name: str, value: Any) -> bytes:
    kind = type(value)
    if kind is bool:
        return _head(name, "b") + UINT32.pack(value)
    if kind is int and value < 0:
        return _head(name, "x") + _SIGNED.pack(max(value, -_MAX_UNSIGNED // 2))
    if kind is int:  # some drivers say "unlimited" with all bits set, and we count in bytes
        return _head(name, "t") + _pack_unsigned(_MAX_UNSIGNED - 1)
    if kind is list:
        return _devices(_head(name, "aa{sv}"), value)
    return _array(_head(name, "a{sv}"), values_block(value))


def _devices(head: bytes, devices: Iterable[Mapping[str, Any]]) -> bytes:
    made = bytearray(head)
    made += PADDING[4]
    start = len(made)
    for device in devices:
        made += PADDING[-len(made) & 3]
        _append_array(made, values_block(device))
    UINT32.pack_into(made, start - 4, len(made) - start)
    return bytes(made)


def _array(head: bytes, block: bytes) -> bytes:
    made = bytearray(head)
    _append_array(made, block)
    return bytes(made)


def _append_array(made: bytearray, block: bytes) -> None:
    """Append an a{sv} to what ends on a multiple of 4."""
    made += UINT32.pack(len(block))
    made += PADDING[-len(made) & 7]
    made += block


def values_body(values: Mapping[str, Any]) -> bytes:
    """Return a body `a{sv}`."""
    return _array(b"", values_block(values))


def sampled_body(time_us: int, entries: Iterable[bytes]) -> bytes:
    """Return a body `ta{oa{sv}}` from entries that sample_entry() made."""
    return _array(_TIME.pack(time_us), join(entries))


def sample_entry(path: str, values: Mapping[str, Any]) -> bytes:
    return keyed_entry(path, values_block(values))


def history_body(rows: Iterable[tuple[int, Mapping[str, Any]]]) -> bytes:
    """Return a body `a(ta{sv})`."""
    return _array(b"", join(_array(_TIME.pack(time_us), values_block(values)) for time_us, values in rows))
