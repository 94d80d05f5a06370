"""Framing and headers: in parts of any size, the same messages come out, or one clear error."""

import os
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtbridge.wire import bodies, framing
from virtbridge.wire.framing import Incoming, Splitter, WireError
from virtbridge.wire.headers import Headers
from virtbridge.wire.transport import Variant, marshal

HEADERS = Headers()


def call_frame(
    serial: int = 7, body: bytes = b"", signature: str = "", path: str = "/a/b", fds: int = 0
) -> bytes:
    return HEADERS.method_call(serial, ":1.1", path, "a.b", "Do", signature, body, 0, fds)


def big_endian(
    kind: int, serial: int, fields: Sequence[tuple[int, str, str | int]], body: bytes = b""
) -> bytes:
    """A message in the other byte order; built here, since nothing of ours sends one."""
    packed = b""
    for code, token, value in fields:
        packed += bytes(-len(packed) % 8) + bytes((code, 1, ord(token), 0))
        if isinstance(value, int):
            packed += struct.pack(">I", value)
        elif token == "g":
            packed += bytes((len(value),)) + value.encode() + b"\0"
        else:
            packed += struct.pack(">I", len(value)) + value.encode() + b"\0"
    head = b"B" + bytes((kind, 0, 1)) + struct.pack(">III", len(body), serial, len(packed))
    return head + packed + bytes(-len(packed) % 8) + body


def with_field(frame: bytes, field: bytes) -> bytes:
    """The frame with one more header field behind the others."""
    length = struct.unpack_from("<I", frame, 12)[0]
    fields = frame[16 : 16 + length] + bytes(-length % 8) + field
    body = frame[16 + length + -length % 8 :]
    return frame[:12] + struct.pack("<I", len(fields)) + fields + bytes(-len(fields) % 8) + body


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_every_split_gives_the_same_messages() -> None:
    stream = (
        call_frame(1, bodies.pack_strings(["x", "yz"]), "ss")
        + HEADERS.method_return(2, 1, ":1.5", "s", bodies.pack_string("hello"))
        + HEADERS.error(3, 2, ":1.5", "a.b.Bad", "s", bodies.pack_string("no"))
        + HEADERS.signal(4, "/p", "a.b", "Sig", "", b"")
    )
    whole = Splitter().feed(stream)
    assert [message.serial for message in whole] == [1, 2, 3, 4]
    for at in range(1, len(stream)):
        splitter = Splitter()
        assert splitter.feed(stream[:at]) + splitter.feed(stream[at:]) == whole
    bytewise = Splitter()
    assert [m for i in range(len(stream)) for m in bytewise.feed(stream[i : i + 1])] == whole


@pytest.mark.parametrize("piece", [1, 7, 8, 15, 16, 17, 63, 64, 1000])
def test_pieces_of_any_size(piece: int) -> None:
    stream = b"".join(call_frame(n, bytes(n % 50), "ay") for n in range(1, 40))
    splitter = Splitter()
    found = [m for i in range(0, len(stream), piece) for m in splitter.feed(stream[i : i + piece])]
    assert [m.serial for m in found] == list(range(1, 40))
    assert [len(m.body) for m in found] == [n % 50 for n in range(1, 40)]


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        bytes(16),
        b"l\1\0\2" + bytes(12),  # protocol version 2
        b"l\1\0\1" + struct.pack("<III", 1 << 31, 1, 8),  # a body of 2 GiB
        b"l\1\0\1" + struct.pack("<III", 0, 1, 65 << 20),  # a header above 64 MiB
        b"B\1\0\1" + struct.pack("<III", 0, 1, 16),  # little-endian numbers behind a big-endian mark
    ],
)
def test_garbage_is_one_error(garbage: bytes) -> None:
    splitter = Splitter()
    assert [m.serial for m in splitter.feed(call_frame(9))] == [9]
    with pytest.raises(WireError):
        splitter.feed(garbage)


@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        found = Splitter().feed(data)
    except WireError:
        return
    assert all(isinstance(message, Incoming) for message in found)


@given(st.binary(max_size=200), st.integers(0, 1 << 16))
def test_a_bad_header_with_good_framing_loses_one_message_only(fields: bytes, serial: int) -> None:
    bad = b"l\1\0\1" + struct.pack("<III", 0, serial, len(fields)) + fields + bytes(-len(fields) % 8)
    try:
        found = Splitter().feed(bad + call_frame(77))
    except WireError as error:  # the only framing that is lost: it promised descriptors that did not come
        assert "descriptors" in str(error)  # noqa: PT017
        return
    assert [m.serial for m in found] == [serial, 77]


@pytest.mark.parametrize(
    "field",
    [
        b"\1\1s\0\1\0\0\0/\0",  # PATH is no string
        b"\1\2oo\0\0\0\0\0",
        b"\3\1s\0\xff\0\0\0x\0",  # longer than the header
        b"\3\1s\0\xff\xff\xff\xffx\0",
        b"\7\1s\0\1\0\0\0\xff\0",  # not UTF-8
        b"\7\1s\0\5\0\0\0:1\0.7\0",  # a NUL in the sender: what answers it would be malformed, too
        b"\7\1s\0\1\0\0\0xx",
        b"\x08\1g\0\2s\0\0",
        b"\x08\1g\0\xffs\0",
        b"\5\1u\0\1\0",  # cut off
    ],
)
def test_malformed_fields(field: bytes) -> None:
    (message, following) = Splitter().feed(with_field(call_frame(5), field) + call_frame(6))
    assert message.malformed
    assert message.serial == 5
    assert not following.malformed


@pytest.mark.parametrize(
    "variant",
    [
        b"\1y\0\7",
        b"\1t\0" + bytes(12),
        b"\1s\0\2\0\0\0hi\0",
        b"\1g\0\1s\0",
        b"\2ay\0" + struct.pack("<I", 3) + b"abc",
        b"\1v\0\1y\0\1",
    ],
)
def test_unknown_fields_are_skipped(variant: bytes) -> None:
    # The code stands at a multiple of 8; what the variant aligns to is counted from there.
    frame = with_field(call_frame(5), b"\x0a" + _aligned(variant))
    (message,) = Splitter().feed(with_field(frame, b"\7\1s\0\4\0\0\0:1.9\0"))
    assert not message.malformed
    assert message.sender == ":1.9"


@pytest.mark.parametrize(
    ("signature", "value"),
    [
        ("(ii)", [1, 2]),
        ("(y(ts)ay)", [1, [2, "three"], b"four"]),
        ("(a(sv)b)", [[["a", Variant("(t)", [1])]], True]),
        ("a{s(yt)}", {"a": [1, 2]}),
        ("aas", [["a"], []]),
        ("(aa{ss}u)", [[{"a": "b"}], 7]),
        ("v", Variant("(av)", [[Variant("g", "a{sv}")]])),
    ],
)
def test_unknown_fields_of_any_type_are_skipped(signature: str, value: Any) -> None:
    """dbus-broker hands them on; a call with one would never be answered."""
    field = marshal("(yv)", [[0x22, Variant(signature, value)]])
    (message,) = Splitter().feed(with_field(with_field(call_frame(5), field), b"\7\1s\0\4\0\0\0:1.9\0"))
    assert not message.malformed
    assert message.sender == ":1.9"


def _aligned(variant: bytes) -> bytes:
    """With the padding that its value needs behind a one-byte code."""
    head, value = variant[: variant[0] + 2], variant[variant[0] + 2 :]
    align = {ord("t"): 8, ord("s"): 4, ord("a"): 4}.get(variant[1], 1)
    if variant[1] == ord("t"):
        value = bytes(8)
    return head + bytes(-(len(head) + 1) % align) + value


def test_big_endian() -> None:
    body = struct.pack(">I", 5) + b"hello\0"
    frame = big_endian(
        framing.METHOD_CALL,
        9,
        [(1, "o", "/a"), (3, "s", "Do"), (5, "u", 3), (7, "s", ":1.2"), (8, "g", "s")],
        body,
    )
    (message, following) = Splitter().feed(frame + call_frame(2))
    assert (message.path, message.member, message.sender, message.signature) == ("/a", "Do", ":1.2", "s")
    assert (message.serial, message.reply_serial, message.body, message.endian) == (9, 3, body, framing.BIG)
    assert following.serial == 2


def test_an_oversized_call_is_handed_out_at_once_and_its_body_never_kept() -> None:
    splitter = Splitter(max_call_bytes=1000)
    big = call_frame(1, bytes(5_000_000), "ay")
    (refused,) = splitter.feed(big[:3000])
    assert refused.oversized
    assert (refused.member, refused.body) == ("Do", b"")
    found = []
    for at in range(3000, len(big), 65536):
        found += splitter.feed(big[at : at + 65536])
        assert len(splitter._incomplete) < 65536
    assert not found
    assert [m.serial for m in splitter.feed(call_frame(2))] == [2]


def test_an_oversized_call_in_one_piece_with_others() -> None:
    stream = call_frame(1) + call_frame(2, bytes(2000), "ay") + call_frame(3)
    found = Splitter(max_call_bytes=1000).feed(stream)
    assert [(m.serial, m.oversized) for m in found] == [(1, False), (2, True), (3, False)]


def test_a_huge_header_is_oversized_too() -> None:
    (message,) = Splitter(max_call_bytes=1000).feed(call_frame(1, path="/" + "a" * 5000))
    assert message.oversized
    assert len(message.path) == 5001


def test_large_replies_are_whole() -> None:
    frame = HEADERS.method_return(2, 1, ":1.5", "ay", bytes(3_000_000))
    splitter = Splitter(max_call_bytes=1000)
    found = [m for at in range(0, len(frame), 65536) for m in splitter.feed(frame[at : at + 65536])]
    assert [len(m.body) for m in found] == [3_000_000]


def test_descriptors_go_to_the_messages_that_announce_them() -> None:
    before = open_fds()
    first, second, third = (os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(3))
    splitter = Splitter()
    one = call_frame(1, fds=2)
    assert splitter.feed(one[:20], [first, second]) == []
    found = splitter.feed(one[20:] + call_frame(2) + call_frame(3, fds=1), [third])
    assert [m.fds for m in found] == [(first, second), (), (third,)]
    for message in found:
        message.discard()
        message.discard()
    assert open_fds() == before


def test_descriptors_nobody_announced_are_closed() -> None:
    before = open_fds()
    splitter = Splitter()
    splitter.feed(call_frame(1), [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)])
    assert open_fds() == before


def test_descriptors_of_an_oversized_call_come_with_it() -> None:
    before = open_fds()
    fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    (message,) = Splitter(1000).feed(call_frame(1, bytes(2000), "ay", fds=1)[:1500], [fd])
    assert (message.oversized, message.fds) == (True, (fd,))
    message.discard()
    assert open_fds() == before


def test_announced_descriptors_that_did_not_come_end_the_stream() -> None:
    with pytest.raises(WireError, match="descriptors"):
        Splitter().feed(call_frame(1, fds=1))


@given(
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=5),
    st.booleans(),
)
def test_strings_and_empty_options_come_back(values: list[str], options: bool) -> None:
    body = bodies.pack_strings(values)
    signature = "s" * len(values)
    expected: list[object] = list(values)
    if options:
        body += bytes(-len(body) % 4) + bytes(4)
        body += bytes(-len(body) % 8)
        signature += "a{sv}"
        expected.append({})
    assert bodies.read_simple(signature, body) == expected


def test_what_is_not_simple_is_left_to_the_library() -> None:
    assert bodies.read_simple("u", bytes(4)) is None
    assert bodies.read_simple("s", b"") is None
    assert bodies.read_simple("s", bodies.pack_string("x") + b"\0") is None
    assert bodies.read_simple("s", b"\xff\xff\xff\xffx\0") is None
    assert bodies.read_simple("s", b"\1\0\0\0\xff\0") is None
    assert bodies.read_simple("", b"x") is None


def test_options_are_a_new_dict_each_time() -> None:
    first = bodies.read_simple("a{sv}", bytes(8))
    assert first == [{}]
    first[0]["x"] = 1
    assert bodies.read_simple("a{sv}", bytes(8)) == [{}]


def test_the_tables_are_bounded() -> None:
    splitter = Splitter()
    for number in range(10_000):
        splitter.feed(call_frame(1, path=f"/n{number}"))
        bodies.read_simple("s", bodies.pack_string(f"n{number}"))
        HEADERS.method_return(1, 1, f":1.{number}", "s", b"")
    for table in (framing._header_cache, bodies._body_cache, HEADERS._messages, HEADERS._replies):
        assert len(table) <= 4096
