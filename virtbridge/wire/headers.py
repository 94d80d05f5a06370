"""Outgoing messages: headers for bodies that are marshalled already.

Pure: struct and bytes only. It is built and measured for the path of one Properties.Get: what repeats (the
fields of a reply to the same sender, of a signal of the same object) is kept in small bounded tables.
Source: https://dbus.freedesktop.org/doc/dbus-specification.html#message-protocol-messages
"""

from collections.abc import Iterable
from struct import Struct
from typing import Any, Final, TypeVar

from virtbridge.wire.bodies import PADDING, UINT32
from virtbridge.wire.framing import (
    DESTINATION,
    ERROR_NAME,
    INTERFACE,
    LITTLE,
    MEMBER,
    PATH,
    SIGNATURE,
)

_CALL_HEAD: Final = Struct("<4B3I")
_REPLY_HEAD: Final = Struct("<4B3III")  # with the first field, REPLY_SERIAL, which alone changes per reply
_REPLY_SERIAL_FIELD: Final = 0x00750105  # bytes 05 01 'u' 00, as every reply's first field begins
_PAIR: Final = Struct("<II")
_CACHED_HEADERS: Final = 4096


def _field(code: int, token: str, value: str) -> bytes:
    raw = value.encode()
    if b"\0" in raw:
        raise ValueError("a header field cannot hold a NUL byte")
    length = bytes((len(raw),)) if token == "g" else UINT32.pack(len(raw))
    return bytes((code, 1, ord(token), 0)) + length + raw + b"\0"


def _join_fields(fields: Iterable[bytes]) -> tuple[bytes, int]:
    """Return the fields, each at a multiple of 8 and padded behind, and their length without the last
    padding.
    """
    joined, length = b"", 0
    for field in fields:
        joined += field
        length = len(joined)
        joined += PADDING[-length & 7]
    return joined, length


_K = TypeVar("_K")
_Tail = tuple[bytes, int]


class Headers:
    """Builds headers with the fields in the order that both libraries use, so that a test can compare the
    bytes.

    fds: how many descriptors will travel with the message.
    """

    def __init__(self) -> None:
        self._replies: dict[tuple[str, str, int], _Tail] = {}
        self._paths: dict[str, _Tail] = {}
        self._messages: dict[tuple[Any, ...], _Tail] = {}
        self._names: dict[str, _Tail] = {}

    def method_return(
        self, serial: int, reply_serial: int, destination: str, signature: str, body: bytes, fds: int = 0
    ) -> bytes:
        return self.return_head(serial, reply_serial, destination, signature, len(body), fds) + body

    def return_head(
        self, serial: int, reply_serial: int, destination: str, signature: str, size: int, fds: int = 0
    ) -> bytes:
        """Return what stands before the body of a method return. A large body is not copied behind it."""
        tail, length = self._reply_tail(destination, signature, fds)
        # Endianness, type, flags, version; body's length, serial, fields' length; the first field.
        return (
            _REPLY_HEAD.pack(LITTLE, 2, 1, 1, size, serial, length, _REPLY_SERIAL_FIELD, reply_serial) + tail
        )

    def error(
        self, serial: int, reply_serial: int, destination: str, name: str, signature: str, body: bytes
    ) -> bytes:
        first = self._names.get(name)
        if first is None:
            first = self._remember(self._names, name, _join_fields([_field(ERROR_NAME, "s", name)]))
        tail, length = self._reply_tail(destination, signature, 0)
        return (
            _CALL_HEAD.pack(LITTLE, 3, 1, 1, len(body), serial, len(first[0]) + length)
            + first[0]
            + _PAIR.pack(_REPLY_SERIAL_FIELD, reply_serial)
            + tail
            + body
        )

    def signal(
        self,
        serial: int,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: bytes,
        destination: str = "",
    ) -> bytes:
        joined, length = self._message(path, interface, member, destination, signature, 0)
        return _CALL_HEAD.pack(LITTLE, 4, 1, 1, len(body), serial, length) + joined + body

    def method_call(
        self,
        serial: int,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: bytes,
        flags: int = 0,
        fds: int = 0,
    ) -> bytes:
        joined, length = self._message(path, interface, member, destination, signature, fds)
        return _CALL_HEAD.pack(LITTLE, 1, flags, 1, len(body), serial, length) + joined + body

    def _message(
        self, path: str, interface: str, member: str, destination: str, signature: str, fds: int
    ) -> tuple[bytes, int]:
        """Return all fields, the path's first: it alone differs between the signals of a thousand objects."""
        first = self._paths.get(path)
        if first is None:
            first = self._remember(self._paths, path, _join_fields([_field(PATH, "o", path)]))
        key = (interface, member, destination, signature, fds)
        tail = self._messages.get(key)
        if tail is None:
            fields = [_field(INTERFACE, "s", interface)] if interface else []
            fields += [_field(MEMBER, "s", member), *self._ends(destination, signature, fds)]
            tail = self._remember(self._messages, key, _join_fields(fields))
        return first[0] + tail[0], len(first[0]) + tail[1]

    def _reply_tail(self, destination: str, signature: str, fds: int) -> _Tail:
        """Return what follows REPLY_SERIAL, and the length of all fields from REPLY_SERIAL on."""
        key = (destination, signature, fds)
        known = self._replies.get(key)
        if known is not None:
            return known
        joined, length = _join_fields(self._ends(destination, signature, fds))
        return self._remember(self._replies, key, (joined, length + 8))

    @staticmethod
    def _ends(destination: str, signature: str, fds: int) -> list[bytes]:
        fields = []
        if destination:
            fields.append(_field(DESTINATION, "s", destination))
        if signature:
            fields.append(_field(SIGNATURE, "g", signature))
        if fds:
            fields.append(b"\x09\1u\0" + UINT32.pack(fds))
        return fields

    @staticmethod
    def _remember(table: dict[_K, _Tail], key: _K, value: _Tail) -> _Tail:
        if len(table) >= _CACHED_HEADERS:
            table.clear()
        table[key] = value
        return value
