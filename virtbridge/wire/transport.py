"""The D-Bus library, used for one thing only: to turn values into body bytes and back.

This is the one module that imports it: dbus-fast where it is installed, else dbus-next (the same API).
VIRTBRIDGE_DBUS_LIBRARY=dbus-next or dbus-fast forces one. Signatures and Variants are the library's.

Their message buses, readers and writers are not used. dbus-next's writer takes a full socket (EAGAIN) for a
lost connection, and dbus-fast was seen to fail likewise under larger bursts. Both leak the descriptors that
come with refused messages, and very many calls of one client block their reader for seconds. So the socket is
ours (stream.py), and so are the headers (framing.py, headers.py): dbus-next needs 160 us to read a small
message and 50 us to build one.

Values are dbus-next's: structs and arrays are lists (not tuples), `ay` is bytes, `v` is a Variant.
"""

import importlib
import io
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

from virtbridge.wire import bodies, framing, validity

_PACKAGES = {"dbus-fast": "dbus_fast", "dbus-next": "dbus_next"}


def _choose() -> tuple[str, Any]:
    forced = os.environ.get("VIRTBRIDGE_DBUS_LIBRARY")
    if forced:
        if forced not in _PACKAGES:
            raise ImportError(f"VIRTBRIDGE_DBUS_LIBRARY is {forced}: expected dbus-fast or dbus-next")
        return forced, importlib.import_module(_PACKAGES[forced])
    try:
        return "dbus-fast", importlib.import_module("dbus_fast")
    except ImportError:
        return "dbus-next", importlib.import_module("dbus_next")


LIBRARY, _library = _choose()
_private = f"{_library.__name__}._private"
_Marshaller: Any = importlib.import_module(f"{_private}.marshaller").Marshaller
_Unmarshaller: Any = importlib.import_module(f"{_private}.unmarshaller").Unmarshaller
Variant: Any = _library.Variant
SignatureTree: Any = _library.SignatureTree


class MarshalError(ValueError):
    """A value does not fit its signature, or cannot travel. This is our mistake, never the caller's."""


class BadBody(ValueError):
    """A received body does not decode. This is the sender's mistake."""


def marshal(signature: str, body: Sequence[Any] = ()) -> bytes:
    """Return little-endian body bytes, as they stand at offset 0 of a body. Raises MarshalError."""
    if not signature:
        if body:
            raise MarshalError(f"{len(body)} values for an empty signature")
        return b""
    try:
        simple = _marshal_simple(signature, body)
        return _marshal(signature, body) if simple is None else simple
    except (MarshalError, MemoryError):
        raise
    # An edge: the libraries raise their own errors, struct.error, TypeError, AttributeError, KeyError, ...
    except Exception as error:
        raise MarshalError(f"cannot marshal as {signature}: {error}") from error


def _marshal_simple(signature: str, body: Sequence[Any]) -> bytes | None:
    """Marshal strings, and empty options, without the library; None for anything else."""
    if signature in ("s", "ss"):
        if len(body) != len(signature):
            raise MarshalError(f"{len(body)} values for {signature}")
        return bodies.pack_strings(body)
    if signature == "a{sv}" and len(body) == 1 and not body[0]:
        return bodies.EMPTY_OPTIONS
    return None


def _marshal(signature: str, body: Sequence[Any]) -> bytes:
    values = list(body)
    if LIBRARY == "dbus-next":
        # It lets a NUL through, and the bus would cut our connection for it.
        _check_strings(values)
    elif len(values) != len(SignatureTree(signature).types):
        raise MarshalError(f"{len(values)} values for {signature}")
    return bytes(_Marshaller(signature, values).marshall())


def _check_strings(value: Any) -> None:
    kind = type(value)
    if kind is str:
        if "\0" in value:
            raise MarshalError("a D-Bus string cannot hold a NUL byte")
    elif kind is list:
        for item in value:
            _check_strings(item)
    elif kind is dict:
        for key, item in value.items():
            _check_strings(key)
            _check_strings(item)
    elif kind is Variant:
        _check_strings(value.value)


def unmarshal(signature: str, body: bytes, endian: int = framing.LITTLE) -> list[Any]:
    """Return the values of a body, Variants kept. Raises BadBody."""
    if not (signature or body):
        return []
    if endian == framing.LITTLE:
        simple = bodies.read_simple(signature, body)
        if simple is not None:
            return simple
    if not body or not signature:
        raise BadBody("the body does not fit its signature")
    try:
        validity.check(signature, body, little=endian == framing.LITTLE)
        return _decode(signature, body, endian)
    except (BadBody, MemoryError):
        raise
    # An edge: a strange body makes the libraries raise anything, RecursionError included.
    except Exception as error:
        raise BadBody(f"the body does not decode as {signature}") from error


def _decode_next(signature: str, body: bytes, endian: int) -> list[Any]:
    reader = _Unmarshaller(io.BytesIO())
    reader.buf = bytearray(body)
    reader.endian = endian
    values = [reader.read_argument(type_) for type_ in SignatureTree(signature).types]
    if reader.offset != len(body):
        raise BadBody("bytes are left over behind the arguments")
    return values


def _decode_fast(signature: str, body: bytes, endian: int) -> list[Any]:
    # It reads complete messages only, so it gets the shortest legal header. Padding and text are the same in
    # both byte orders, numbers are not.
    order: Literal["little", "big"] = "little" if endian == framing.LITTLE else "big"
    raw = signature.encode()
    fields = b"\5\1u\0" + (1).to_bytes(4, order) + b"\x08\1g\0" + bytes((len(raw),)) + raw + b"\0"
    head = bytes((endian, framing.METHOD_RETURN, 1, 1))
    numbers = b"".join(number.to_bytes(4, order) for number in (len(body), 1, len(fields)))
    frame = head + numbers + fields + bytes(-len(fields) & 7) + body
    message = _Unmarshaller(io.BytesIO(frame)).unmarshall()
    if message is None:
        raise BadBody("the body is cut off")
    return list(message.body)


_decode: Callable[[str, bytes, int], list[Any]] = _decode_next if LIBRARY == "dbus-next" else _decode_fast


def arguments(message: framing.Incoming) -> list[Any]:
    """Return the message's arguments, Variants kept. Raises BadBody."""
    return unmarshal(message.signature, message.body, message.endian)


def plain(value: Any) -> Any:
    """Replace every Variant by the value in it; structs are lists with either library."""
    kind = type(value)
    if kind is Variant:
        return plain(value.value)
    if kind is dict:
        return {plain(key): plain(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [plain(item) for item in value]
    if kind is bytearray:
        return bytes(value)
    return value
