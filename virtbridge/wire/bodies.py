"""The simple bodies that nearly every call has: nothing, strings, empty options. No library is needed for
them.

Pure: struct and bytes only. A body of two names, as Properties.Get has it, comes again and again, so it is
kept in a small bounded table. The library reads every other body, through transport.py.
Source: https://dbus.freedesktop.org/doc/dbus-specification.html#message-protocol-marshaling
"""

from collections.abc import Sequence
from struct import Struct
from struct import error as StructError
from typing import Any, Final

UINT32: Final = Struct("<I")
PADDING: Final = tuple(bytes(n) for n in range(8))  # PADDING[-length & 7]: up to the next multiple of 8
_CACHED_BODIES: Final = 4096
_CACHED_BODY_BYTES: Final = 128

EMPTY_OPTIONS: Final = bytes(8)  # a{sv} with nothing in it: length 0, then the alignment of an entry

_body_cache: dict[tuple[str, bytes], tuple[str, ...]] = {}


def read_simple(signature: str, body: bytes) -> list[Any] | None:
    """Return the arguments of a little-endian body of strings and object paths, with empty options behind
    them.

    None means that it is another body: the library reads it, and says whether it is legal.
    """
    if not signature:
        return None if body else []
    options = signature.endswith("a{sv}")
    key = (signature, body)
    strings = _body_cache.get(key)
    if strings is None:
        strings = _read_strings(len(signature) - 5 if options else len(signature), signature, body, options)
        if strings is None:
            return None
        if len(body) <= _CACHED_BODY_BYTES:
            if len(_body_cache) >= _CACHED_BODIES:
                _body_cache.clear()
            _body_cache[key] = strings
    return [*strings, {}] if options else list(strings)


def _read_strings(count: int, signature: str, body: bytes, options: bool) -> tuple[str, ...] | None:
    values, at, size = [], 0, len(body)
    try:
        for token in signature[:count]:
            if token not in "so":
                return None
            at = at + 3 & ~3
            first = at + 4
            at = first + UINT32.unpack_from(body, at)[0]
            if body[at]:
                return None
            values.append(str(body[first:at], "utf-8"))
            at += 1
        if options:
            at = at + 3 & ~3
            if UINT32.unpack_from(body, at)[0]:
                return None
            at = at + 4 + 7 & ~7  # an empty array still has its elements' alignment
    except (StructError, IndexError, UnicodeDecodeError):
        return None
    return tuple(values) if at == size else None


def pack_string(value: str) -> bytes:
    """Marshal one string or object path, to stand at a multiple of 4. Raises ValueError on NUL or a lone
    surrogate.
    """
    raw = value.encode()
    if b"\0" in raw:
        raise ValueError("a D-Bus string cannot hold a NUL byte")
    return UINT32.pack(len(raw)) + raw + b"\0"


def pack_strings(values: Sequence[str]) -> bytes:
    """Marshal a body of strings and object paths, one after the other."""
    if len(values) == 1:
        return pack_string(values[0])
    body = b""
    for value in values:
        body += PADDING[-len(body) & 3] + pack_string(value)
    return body
