"""Incoming D-Bus messages: the stream is cut into messages, and their headers are read. Bodies stay raw
bytes.

Pure: struct and bytes only; no socket, no clock, no D-Bus library. It is built and measured for the path of
one Properties.Get: the fields of a header repeat from call to call, so they are kept in a small bounded
table.
Source: https://dbus.freedesktop.org/doc/dbus-specification.html#message-protocol-messages
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from typing import Any, Final, Literal

from virtbridge.limiter import UNKNOWN

METHOD_CALL: Final = 1
METHOD_RETURN: Final = 2
ERROR: Final = 3
SIGNAL: Final = 4

# A message's flags.
NO_REPLY_EXPECTED: Final = 1
ALLOW_INTERACTIVE_AUTHORIZATION: Final = 4  # the caller waits for a person who types a password

LITTLE: Final = 0x6C  # "l"
BIG: Final = 0x42  # "B"
MAX_FRAME_BYTES: Final = 128 * 1024 * 1024  # the specification's
MAX_ARRAY_BYTES: Final = 64 * 1024 * 1024  # the specification's

PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE, UNIX_FDS = range(1, 10)
# The type each known header field must have: a frame that says otherwise is malformed.
_FIELD_TYPES: Final = b"\0osssussgu"
_STRING_TYPES: Final = b"so"

_HEAD_LITTLE: Final = Struct("<4B3I")
_HEAD_BIG: Final = Struct(">4B3I")

_CACHED_HEADERS: Final = 4096
_CACHED_HEADER_BYTES: Final = 512  # longer ones are odd, and would make the table large


class WireError(ValueError):
    """These bytes are not D-Bus. When Splitter.feed raises it, the stream is lost: no further message can be
    found.
    """


@dataclass(slots=True)
class Incoming:
    """One received message. body is raw, and its first byte is at offset 0 of its alignment.

    oversized: header or body was above the splitter's limit. The body was thrown away unread, so it is empty.
    malformed: the header could not be read. Only kind, flags and serial can be trusted, and the message is
    dropped.
    fds: open descriptors that came with it. Whoever takes the message owns them; discard() closes them.
    user: the Unix user of the sender, in a call that the link hands out. The message itself does not contain
    it.
    """

    kind: int
    flags: int
    serial: int
    path: str
    interface: str
    member: str
    sender: str
    destination: str
    signature: str
    error_name: str
    reply_serial: int
    body: bytes
    endian: int
    fds: tuple[int, ...] = ()
    oversized: bool = False
    malformed: bool = False
    user: int = UNKNOWN

    def discard(self) -> None:
        """Close the descriptors that came with the message; a second call does nothing."""
        fds, self.fds = self.fds, ()
        close_all(fds)


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


# -- reading headers ---------------------------------------------------------------------------------------

# path, interface, member, error name, reply serial, destination, sender, signature, number of descriptors
_Fields = tuple[str, str, str, str, int, str, str, str, int]
_header_cache: dict[bytes, _Fields] = {}


_UintReader = Callable[[bytes, int], tuple[int]]
_FieldReader = Callable[[bytes, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Order:
    """How one byte order is read. A field begins with its code, 1, its type and 0; as one number this is its
    tag.
    """

    pair: _FieldReader
    uint: _UintReader
    tags: Mapping[int, int]  # of the fields that are strings or object paths: tag to code
    reply_serial: int
    signature: int
    unix_fds: int
    signature_shift: int  # a signature's length is one byte, the first of the second number


def _order(sign: str, byteorder: Literal["little", "big"]) -> _Order:
    tags = [int.from_bytes(bytes((code, 1, token, 0)), byteorder) for code, token in enumerate(_FIELD_TYPES)]
    return _Order(
        pair=Struct(sign + "II").unpack_from,
        uint=Struct(sign + "I").unpack_from,
        tags={tags[code]: code for code, token in enumerate(_FIELD_TYPES) if token in _STRING_TYPES},
        reply_serial=tags[REPLY_SERIAL],
        signature=tags[SIGNATURE],
        unix_fds=tags[UNIX_FDS],
        signature_shift=0 if byteorder == "little" else 24,
    )


_ORDERS: Final = {LITTLE: _order("<", "little"), BIG: _order(">", "big")}


def _read_fields(frame: bytes, at: int, end: int, order: _Order) -> _Fields:
    """Return the header's fields, from offset `at` to `end`. Offsets have the message's own alignment, and at
    least 8 bytes follow `end`. Raises WireError, and what indexing and unpacking raise.
    """
    values: list[Any] = [None, "", "", "", "", 0, "", "", "", 0]
    pair, tags, stop = order.pair, order.tags, at
    while at < end:
        tag, length = pair(frame, at)
        code = tags.get(tag)
        if code:
            first = at + 8
            stop = first + length + 1
            value = values[code] = frame[first : stop - 1].decode()
            if "\0" in value or frame[stop - 1]:
                raise WireError(f"header field {code} does not end with its only NUL")
        elif tag == order.signature:
            first = at + 5
            stop = first + (length >> order.signature_shift & 0xFF) + 1
            value = values[SIGNATURE] = frame[first : stop - 1].decode()
            if "\0" in value or frame[stop - 1]:
                raise WireError("the signature does not end with its only NUL")
        elif tag == order.reply_serial or tag == order.unix_fds:
            values[frame[at]] = length
            stop = at + 8
        elif 0 < frame[at] <= UNIX_FDS:
            raise WireError(f"header field {frame[at]} has a wrong type")
        else:
            stop = _skip_variant(frame, at + 1, order.uint, 0)
        if stop > end:
            raise WireError("a header field is longer than the header")
        at = stop + 7 & ~7
    return tuple(values[1:])


_MAX_DEPTH: Final = 64  # the specification's, of everything together
_FIXED_SIZES: Final = {
    ord(token): size for token, size in zip("ybnqiuxtdh", (1, 4, 2, 2, 4, 4, 8, 8, 8, 4), strict=True)
}


def _skip_variant(frame: bytes, at: int, uint: _UintReader, depth: int) -> int:
    """Return the offset behind the variant at `at`, whatever its type: unknown fields are ignored."""
    first = at + 1
    signature = frame[first : first + frame[at]]
    behind, used = _skip_value(frame, first + len(signature) + 1, signature, 0, uint, depth)
    if used != len(signature):
        raise WireError("an unknown header field is not of one type")
    return behind


def _skip_value(
    frame: bytes, at: int, signature: bytes, place: int, uint: _UintReader, depth: int
) -> tuple[int, int]:
    """Return the offset behind the value at `at`, and the place behind its type in the signature."""
    token = signature[place]
    if token in _FIXED_SIZES:
        size = _FIXED_SIZES[token]
        return (at + size - 1 & -size) + size, place + 1
    if token in _STRING_TYPES:
        at = at + 3 & ~3
        return at + 4 + uint(frame, at)[0] + 1, place + 1
    if token == ord("g"):
        return at + 1 + frame[at] + 1, place + 1
    if token == ord("a"):
        at = at + 3 & ~3
        size = uint(frame, at)[0]
        first = (at + 4 + 7 & ~7) if signature[place + 1] in b"xtd({" else at + 4
        return first + size, _behind_type(signature, place + 1)
    if depth < _MAX_DEPTH:
        if token == ord("v"):
            return _skip_variant(frame, at, uint, depth + 1), place + 1
        if token == ord("("):
            at, place = at + 7 & ~7, place + 1
            while signature[place] != ord(")"):
                at, place = _skip_value(frame, at, signature, place, uint, depth + 1)
            return at, place + 1
    raise WireError("an unknown header field has a type that cannot be skipped")


def _behind_type(signature: bytes, place: int) -> int:
    """Return the place behind the complete type that begins here."""
    while signature[place] == ord("a"):
        place += 1
    open_now = 0
    while True:
        open_now += (signature[place] in b"({") - (signature[place] in b")}")
        place += 1
        if open_now <= 0:
            return place


def _fields_of(data: bytes, at: int, fields_end: int, little: bool) -> _Fields:
    """Return the fields of the header at `at`, from the table when the same bytes were read before."""
    key = data[at + 12 : fields_end]
    if little and (known := _header_cache.get(key)) is not None:
        return known
    try:
        # Four bytes in front give offsets the message's own alignment; those behind may be read ahead.
        fields = _read_fields(
            b"\0\0\0\0" + key + bytes(8), 8, len(key) + 4, _ORDERS[LITTLE if little else BIG]
        )
    except (StructError, IndexError, UnicodeDecodeError) as error:
        raise WireError(f"unreadable header: {error}") from error
    if little and not fields[4] and len(key) <= _CACHED_HEADER_BYTES:  # replies never repeat
        if len(_header_cache) >= _CACHED_HEADERS:
            _header_cache.clear()
        _header_cache[key] = fields
    return fields


class Splitter:
    """Cuts what the socket gave into messages, and gives each the descriptors that came for it.

    A call whose header or body is above its limit is handed out at once, oversized, and its body is thrown
    away as it arrives: nobody makes us keep what will be refused. Replies may have any legal size.
    """

    def __init__(self, max_call_bytes: int = 64 * 1024) -> None:
        self.max_call_bytes = max_call_bytes
        self._incomplete = bytearray()  # the beginning of a message whose end has not come yet
        self._needed_bytes = 16  # how long _incomplete must be before it is read again
        self._skip = 0  # bytes of a refused body still to come
        self._fds: list[int] = []

    def feed(self, data: bytes, fds: Sequence[int] = ()) -> list[Incoming]:
        """Return all messages that are complete now. Raises WireError when the stream is not D-Bus."""
        if fds:
            self._fds += fds
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if self._incomplete:
            self._incomplete += data
            if len(self._incomplete) < self._needed_bytes:
                return []
            data = bytes(self._incomplete)
            self._incomplete.clear()
        found: list[Incoming] = []
        used = self._cut(data, found)
        if used < len(data):
            self._incomplete += data[used:] if used else data
        elif self._fds and not self._skip:
            # At the end of a message nothing can be left over for a message to come.
            self.close()
        return found

    def close(self) -> None:
        """Close the descriptors that no message has claimed."""
        fds, self._fds = self._fds, []
        close_all(fds)

    def _cut(self, data: bytes, found: list[Incoming]) -> int:
        """Append the complete messages in data to found, and return how many bytes they took."""
        at, size = 0, len(data)
        unpack, limit = _HEAD_LITTLE.unpack_from, self.max_call_bytes
        while size - at >= 16:
            endian, kind, flags, version, body_len, serial, fields_len = unpack(data, at)
            little = endian == LITTLE
            if not little:
                _, _, _, _, body_len, serial, fields_len = _HEAD_BIG.unpack_from(data, at)
            fields_end = at + 16 + fields_len
            body_at = at + (16 + fields_len + 7 & ~7)
            end = body_at + body_len
            if (
                (not little and endian != BIG)
                or version != 1
                or fields_len > MAX_ARRAY_BYTES
                or end - at > MAX_FRAME_BYTES
            ):
                raise WireError(f"not a D-Bus message: {data[at : at + 16].hex(' ')}")
            oversized = kind == METHOD_CALL and (body_len > limit or fields_len > limit)
            if size < (body_at if oversized else end):
                self._needed_bytes = (body_at if oversized else end) - at
                return at
            body = b"" if oversized or not body_len else data[body_at:end]
            try:
                fields = _fields_of(data, at, fields_end, little)
            except WireError:
                found.append(
                    Incoming(kind, flags, serial, "", "", "", "", "", "", "", 0, b"", endian, (), False, True)
                )
            else:
                path, interface, member, error_name, reply_serial, destination, sender, signature, count = (
                    fields
                )
                message = Incoming(
                    kind, flags, serial, path, interface, member, sender, destination, signature, error_name,
                    reply_serial, body, endian,
                )  # fmt: skip
                if oversized:
                    message.oversized = True
                if count:
                    message.fds = self._take_fds(count)
                found.append(message)
            if end > size:  # only a refused body may still be on its way
                self._skip = end - size
                return size
            at = end
        self._needed_bytes = 16
        return at

    def _take_fds(self, count: int) -> tuple[int, ...]:
        if count > len(self._fds):
            raise WireError("a message announces more descriptors than came with it")
        taken = tuple(self._fds[:count])
        del self._fds[:count]
        return taken
