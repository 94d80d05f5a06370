"""The link against a peer that misbehaves, or is slow, in ways no bus daemon can be made to."""

import asyncio
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.support.descriptors import open_fds
from tests.support.until import until
from virtbridge.limiter import Portions
from virtbridge.wire import bodies, headers
from virtbridge.wire.backlog import BacklogLimits
from virtbridge.wire.framing import Incoming, Splitter
from virtbridge.wire.inbound import InboundLimits
from virtbridge.wire.link import BusError, Link, LinkLimits, LinkLost

TIMEOUT_S = 10.0
UNBOUNDED = Portions().of(1 << 30)
HEADERS = headers.Headers()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end (small buffer, so that it fills up soon) and the peer's."""
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    peer.settimeout(TIMEOUT_S)
    yield ours, peer
    ours.close()
    peer.close()


def call_frame(serial: int, sender: str = ":1.7", body: bytes = b"") -> bytes:
    """A call as the bus would deliver it: with its sender."""
    frame = HEADERS.method_call(serial, "", "/x", "a.b", "Do", "ay" if body else "", body)
    length = struct.unpack_from("<I", frame, 12)[0]
    fields = frame[16 : 16 + length] + bytes(-length % 8) + headers._field(7, "s", sender)
    return frame[:12] + struct.pack("<I", len(fields)) + fields + bytes(-len(fields) % 8) + body


async def read_messages(peer: socket.socket, count: int, piece: int = 65536) -> list[Incoming]:
    """The next messages on the peer's end, read in parts of this size."""
    peer.setblocking(False)
    splitter, readable = Splitter(), asyncio.Event()
    found: list[Incoming] = []
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(TIMEOUT_S):
        while len(found) < count:
            readable.clear()
            loop.add_reader(peer, readable.set)
            await readable.wait()
            loop.remove_reader(peer)
            data, fds, _, _ = socket.recv_fds(peer, piece, 100)
            assert data
            found += splitter.feed(data, fds)
    return found


async def test_a_link_has_no_more_attributes_than_instances_share(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    link = Link(pair[0], True, LinkLimits())
    assert len(vars(link)) <= 30
    link.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"this is not D-Bus at all",
        bytes(100),
        b"l\1\0\1" + struct.pack("<III", 0xFFFFFFF0, 1, 8),
        b"l\1\0\1" + struct.pack("<III", 0, 1, 0xFFFFFFF0),
        HEADERS.method_call(1, "", "/x", "a.b", "Do", "h", bytes(4), fds=3),  # descriptors that did not come
    ],
)
async def test_garbage_ends_the_link_once_and_cleanly(
    pair: tuple[socket.socket, socket.socket], garbage: bytes
) -> None:
    ours, peer = pair
    before = open_fds()
    link = Link(ours, True, LinkLimits())
    link.start()
    waiting = asyncio.create_task(link.call("x.y", "/x", "a.b", "Do"))
    await read_messages(peer, 1)
    peer.sendall(garbage)
    with pytest.raises(LinkLost, match="not D-Bus"):
        await asyncio.wait_for(asyncio.shield(link.lost), TIMEOUT_S)
    with pytest.raises(BusError):
        await waiting
    link.close()
    link.close()
    assert open_fds() == before - 1
    assert peer.recv(10) == b""


async def test_partial_writes_keep_frames_whole_and_descriptors_with_them(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, peer = pair
    before = open_fds()
    link = Link(ours, True, LinkLimits())
    link.start()
    sizes = [0, 1, 10_000, 3, 200_000, 7, 7, 50_000, 600_000, 2] * 3
    for number, size in enumerate(sizes):
        fds = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)] if number % 3 == 0 else []
        body = struct.pack("<I", size) + bytes(size)
        link.send(HEADERS.method_call(number + 1, "", "/x", "a.b", "Do", "ay", body, fds=len(fds)), fds)
    found = await read_messages(peer, len(sizes), piece=30_000)
    assert [message.serial for message in found] == list(range(1, len(sizes) + 1))
    assert [len(message.fds) for message in found] == [int(number % 3 == 0) for number in range(len(sizes))]
    assert [
        message.oversized or len(message.body) - 4 == size for message, size in zip(found, sizes, strict=True)
    ]
    for message in found:
        message.discard()
    assert link.queued_bytes == 0
    assert open_fds() == before
    link.close()


async def test_descriptors_still_queued_are_closed_at_the_end(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, _ = pair
    before = open_fds()
    link = Link(ours, True, LinkLimits())
    link.send(bytes(500_000))
    for number in range(1, 5):
        fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        link.send(HEADERS.method_call(number, "", "/x", "a.b", "Do", "", b"", fds=1), [fd])
    link.close()
    assert open_fds() == before - 1


async def test_while_congested_calls_wait_and_our_own_replies_get_through(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, peer = pair
    link = Link(
        ours, True, LinkLimits(high_water_bytes=300_000, low_water_bytes=100_000, reply_bytes=UNBOUNDED)
    )
    handled: list[int] = []

    def on_call(call: Incoming) -> None:
        handled.append(call.serial)
        link.reply(call, "ay", struct.pack("<I", 100_000) + bytes(100_000))

    link.on_call = on_call
    link.start()
    own = asyncio.create_task(link.call("x.y", "/x", "a.b", "Mine"))
    (mine,) = await read_messages(peer, 1)
    peer.setblocking(True)
    for serial in range(1, 101):
        peer.sendall(call_frame(serial))
    peer.sendall(HEADERS.method_return(1, mine.serial, "", "s", bodies.pack_string("answer")))
    assert await asyncio.wait_for(own, TIMEOUT_S) == ["answer"]
    assert link.congested
    assert len(handled) < 10
    assert link.queued_bytes < 500_000
    assert link.queued_calls == 100 - len(handled)
    replies = await read_messages(peer, 100)
    assert [message.reply_serial for message in replies] == list(range(1, 101))
    assert handled == list(range(1, 101))
    assert not link.congested
    link.close()


MANY = 12_000


async def test_waiting_calls_are_bounded_too(pair: tuple[socket.socket, socket.socket]) -> None:
    """A peer that writes calls and reads no answer: we stop reading, and go on once it reads."""
    ours, peer = pair
    limits = LinkLimits(
        high_water_bytes=50_000,
        low_water_bytes=10_000,
        reply_bytes=UNBOUNDED,
        inbound=InboundLimits(
            backlog=BacklogLimits(Portions().of(65536), size_bytes=Portions().of(4_000_000))
        ),
    )
    link = Link(ours, True, limits)
    link.on_call = lambda call: link.reply(call, "ay", struct.pack("<I", 1000) + bytes(1000))
    link.start()
    peer.setblocking(False)
    stream = memoryview(b"".join(call_frame(serial) for serial in range(1, MANY + 1)))
    sent = 0
    idle = 0
    while sent < len(stream) and idle < 200:
        try:
            sent += peer.send(stream[sent:])
            idle = 0
        except BlockingIOError:
            idle += 1
        await asyncio.sleep(0)
    assert sent < len(stream)
    assert link._inbound.queued_bytes < 4_000_000
    assert link.counts.refused == 0
    assert link.congested
    writer = asyncio.create_task(asyncio.get_running_loop().sock_sendall(peer, bytes(stream[sent:])))
    replies = await read_messages(peer, MANY)
    await writer
    assert [message.reply_serial for message in replies] == list(range(1, MANY + 1))
    link.close()


async def test_a_forged_answer_is_not_taken(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, peer = pair
    link = Link(ours, True, LinkLimits())
    link.start()
    own = asyncio.create_task(link.call(":1.5", "/x", "a.b", "Mine"))
    (mine,) = await read_messages(peer, 1)
    for sender, text in ((":1.66", "forged"), (":1.5", "true"), (":1.5", "twice")):
        frame = HEADERS.method_return(1, mine.serial, "", "s", bodies.pack_string(text))
        length = struct.unpack_from("<I", frame, 12)[0]
        body = frame[16 + length + -length % 8 :]
        fields = frame[16 : 16 + length] + bytes(-length % 8) + headers._field(7, "s", sender)
        peer.sendall(frame[:12] + struct.pack("<I", len(fields)) + fields + bytes(-len(fields) % 8) + body)
    assert await asyncio.wait_for(own, TIMEOUT_S) == ["true"]
    link.close()


def big_endian_signal(sender: str, member: str, *texts: str) -> bytes:
    """As the bus of a big-endian machine sends it."""

    def packed(text: str) -> bytes:
        return struct.pack(">I", len(text)) + text.encode() + b"\0"

    body = b""
    for text in texts:
        body += bytes(-len(body) % 4) + packed(text)
    given = [(1, "o", "/x"), (2, "s", sender), (3, "s", member), (7, "s", sender)]
    fields = b""
    for code, kind, text in given:
        fields += bytes(-len(fields) % 8) + bytes((code, 1, ord(kind), 0)) + packed(text)
    fields += bytes(-len(fields) % 8) + b"\x08\1g\0\3sss\0"
    head = struct.pack(">4BIII", ord("B"), 4, 1, 1, len(body), 1, len(fields))
    return head + fields + bytes(-len(fields) % 8) + body


async def test_who_leaves_a_big_endian_bus_has_left(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, peer = pair
    link = Link(ours, True, LinkLimits(inbound=InboundLimits(turn_calls=1)))
    handled: list[str] = []
    link.on_call = lambda call: handled.append(call.sender)
    link.start()
    left = big_endian_signal("org.freedesktop.DBus", "NameOwnerChanged", ":1.7", ":1.7", "")
    peer.sendall(b"".join(call_frame(serial) for serial in range(1, 9)) + left)
    await until(lambda: handled and not link.queued_calls)
    assert handled == [":1.7"]
    link.close()
