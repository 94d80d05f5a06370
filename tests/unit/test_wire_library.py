"""Our bytes against the libraries' own, in both libraries."""

import importlib
import io
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.library import LIBRARIES, load_transport
from virtbridge.wire import framing, headers

_ELEMENT = st.text("abcXYZ_09", min_size=1, max_size=12)
_NAME = st.lists(st.text("abcXYZ_", min_size=1, max_size=10), min_size=2, max_size=4).map(".".join)
_PATH = st.lists(_ELEMENT, max_size=6).map(lambda parts: "/" + "/".join(parts))
_MEMBER = st.text("abcXYZ_", min_size=1, max_size=40)
_UNIQUE = st.integers(0, 10**6).map(":1.{}".format)
_SERIAL = st.integers(1, 2**32 - 1)
_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
_BODY = st.one_of(
    st.just(("", [])),
    _TEXT.map(lambda text: ("s", [text])),
    st.tuples(_TEXT, _TEXT).map(lambda pair: ("ss", list(pair))),
    st.integers(0, 2**64 - 1).map(lambda number: ("t", [number])),
    st.lists(_TEXT, max_size=5).map(lambda texts: ("as", [texts])),
    st.just(("a{sv}", [{}])),
)
HEADERS = headers.Headers()
LOADED = {
    name: load_transport(name) for name in LIBRARIES if importlib.util.find_spec(name.replace("-", "_"))
}
every_library = pytest.mark.parametrize("library", LOADED)


def package(library: str) -> Any:
    return importlib.import_module(library.replace("-", "_"))


def library_bytes(library: str, message: Any) -> bytes:
    return bytes(message._marshall(False))


@every_library
@given(serial=_SERIAL, destination=_NAME, path=_PATH, interface=_NAME, member=_MEMBER, content=_BODY)
@settings(max_examples=60)
def test_calls_are_the_librarys(
    library: str,
    serial: int,
    destination: str,
    path: str,
    interface: str,
    member: str,
    content: tuple[str, Any],
) -> None:
    signature, values = content
    message = package(library).Message(
        destination=destination,
        path=path,
        interface=interface,
        member=member,
        signature=signature,
        body=values,
        serial=serial,
    )
    body = LOADED[library].marshal(signature, values)
    ours = HEADERS.method_call(serial, destination, path, interface, member, signature, body)
    assert ours == library_bytes(library, message)


@every_library
@given(serial=_SERIAL, reply_serial=_SERIAL, destination=_UNIQUE, name=_NAME, content=_BODY)
@settings(max_examples=60)
def test_replies_are_the_librarys(
    library: str, serial: int, reply_serial: int, destination: str, name: str, content: tuple[str, Any]
) -> None:
    lib, (signature, values) = package(library), content
    common: dict[str, Any] = {
        "flags": lib.MessageFlag.NO_REPLY_EXPECTED,
        "reply_serial": reply_serial,
        "destination": destination,
        "signature": signature,
        "body": values,
        "serial": serial,
    }
    body = LOADED[library].marshal(signature, values)
    good = lib.Message(message_type=lib.MessageType.METHOD_RETURN, **common)
    assert HEADERS.method_return(serial, reply_serial, destination, signature, body) == library_bytes(
        library, good
    )
    bad = lib.Message(message_type=lib.MessageType.ERROR, error_name=name, **common)
    assert HEADERS.error(serial, reply_serial, destination, name, signature, body) == library_bytes(
        library, bad
    )


@every_library
@given(
    serial=_SERIAL,
    path=_PATH,
    interface=_NAME,
    member=_MEMBER,
    content=_BODY,
    destination=st.none() | _UNIQUE,
)
@settings(max_examples=60)
def test_signals_are_the_librarys(
    library: str,
    serial: int,
    path: str,
    interface: str,
    member: str,
    content: tuple[str, Any],
    destination: str | None,
) -> None:
    lib, (signature, values) = package(library), content
    message = lib.Message(
        message_type=lib.MessageType.SIGNAL,
        flags=lib.MessageFlag.NO_REPLY_EXPECTED,
        path=path,
        interface=interface,
        member=member,
        signature=signature,
        body=values,
        serial=serial,
        destination=destination,
    )
    body = LOADED[library].marshal(signature, values)
    ours = HEADERS.signal(serial, path, interface, member, signature, body, destination or "")
    assert ours == library_bytes(library, message)
    read = lib._private.unmarshaller.Unmarshaller(io.BytesIO(ours)).unmarshall()
    assert (read.path, read.member, read.body) == (path, member, values)


_BASIC = {
    "y": st.integers(0, 255),
    "b": st.booleans(),
    "n": st.integers(-(2**15), 2**15 - 1),
    "u": st.integers(0, 2**32 - 1),
    "x": st.integers(-(2**63), 2**63 - 1),
    "d": st.floats(allow_nan=False),
    "s": _TEXT,
}


@every_library
@given(data=st.data())
@settings(max_examples=60)
def test_bodies_come_back(library: str, data: st.DataObject) -> None:
    module = LOADED[library]
    tokens = data.draw(st.lists(st.sampled_from(sorted(_BASIC)), min_size=1, max_size=6))
    values = [data.draw(_BASIC[token]) for token in tokens]
    signature = "".join(tokens) + "a{sv}(" + "".join(tokens) + ")"
    options = {
        f"k{n}": module.Variant(token, value)
        for n, (token, value) in enumerate(zip(tokens, values, strict=True))
    }
    body = module.marshal(signature, [*values, options, values])
    plain = module.plain(module.unmarshal(signature, body))
    assert plain == [*values, {f"k{n}": value for n, value in enumerate(values)}, values]


def test_both_libraries_marshal_the_same() -> None:
    if len(LOADED) < 2:
        pytest.skip("only one library is installed")
    bodies = [
        module.marshal(
            "sa{sv}as", ["i", {"a": module.Variant("aa{sv}", [{"x": module.Variant("b", True)}])}, []]
        )
        for module in LOADED.values()
    ]
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(
    ("signature", "values"),
    [
        ("s", [7]),
        ("s", ["a\0b"]),
        ("s", ["\ud800"]),
        ("s", []),
        ("ss", ["one"]),
        ("u", ["x"]),
        ("u", [-1]),
        ("u", [1 << 32]),
        ("u", []),
        ("u", [1, 2]),
        ("as", [["a", "b\0"]]),
        ("as", ["text", 1]),
        ("a{sv}", [{"x": "not a variant"}]),
        ("", ["x"]),
        ("a", [[]]),
        ("(s", [["x"]]),
    ],
)
def test_a_value_that_does_not_fit_is_one_kind_of_error(
    transport: ModuleType,
    signature: str,
    values: list[Any],
) -> None:
    with pytest.raises(transport.MarshalError):
        transport.marshal(signature, values)


@pytest.mark.parametrize(
    ("signature", "body"),
    [
        ("u", b"\1\2"),
        ("s", b"\xff\0\0\0abc\0"),
        ("as", b"\xff\xff\xff\x7f"),
        ("a{sv}", b"\x10\0\0\0\0\0\0\0\1\0\0\0a\0"),
        ("v", b"\1"),
        ("v" * 3, b"\1v\0" * 100),
        ("v", b"\1v\0" * 20_000),
        ("u", b""),
        ("", b"x"),
        ("e", b"abcd"),
    ],
)
def test_a_body_that_does_not_decode_is_one_kind_of_error(
    transport: ModuleType,
    signature: str,
    body: bytes,
) -> None:
    with pytest.raises(transport.BadBody):
        transport.unmarshal(signature, body)


@every_library
@given(
    body=st.binary(max_size=120),
    signature=st.sampled_from(["s", "ssv", "sa{sv}", "aas", "a{oa{sv}}", "(ub)v", "ay"]),
)
def test_any_bytes_decode_or_are_bad(library: str, body: bytes, signature: str) -> None:
    module = LOADED[library]
    try:
        values = module.unmarshal(signature, body)
    except module.BadBody:
        return
    assert isinstance(values, list)


def test_big_endian_bodies(transport: ModuleType) -> None:
    body = b"\0\0\0\2hi\0\0" + b"\0\0\1\0"
    assert transport.unmarshal("su", body, framing.BIG) == ["hi", 256]
    assert transport.unmarshal("", b"", framing.BIG) == []  # as of Ping, Introspect, GetManagedObjects
    assert transport.unmarshal("su", b"\2\0\0\0hi\0\0" + b"\0\1\0\0") == ["hi", 256]


def test_plain_is_the_same_with_either(transport: ModuleType) -> None:
    variant = transport.Variant
    body = transport.marshal("v", [variant("(sa{sv}ay)", ["x", {"k": variant("v", variant("u", 3))}, b"ab"])])
    assert transport.plain(transport.unmarshal("v", body)) == [["x", {"k": 3}, b"ab"]]
