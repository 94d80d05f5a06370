"""The outgoing queue on a real socket: what overtakes what while the bus is behind, and whose bytes wait."""

import os
import socket
from collections.abc import Iterator

import pytest

from virtbridge.limiter import Portions
from virtbridge.wire.outgoing import Outgoing

BOUNDS = Portions().of(1 << 30)
FLOODER = (1000, ":1.1")
OTHER = (1001, ":1.2")
MUCH = 64 * 1024  # more than a socket of a link takes at once


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours, and the bus's end."""
    ours, bus = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, bus:
        ours.setblocking(False)
        bus.setblocking(False)
        yield ours, bus


@pytest.fixture
def outgoing(sockets: tuple[socket.socket, socket.socket]) -> Outgoing:
    return Outgoing(sockets[0], BOUNDS)


@pytest.fixture
def bus(sockets: tuple[socket.socket, socket.socket]) -> socket.socket:
    return sockets[1]


def read(bus: socket.socket) -> bytes:
    """What is in the socket."""
    data = b""
    while True:
        try:
            data += bus.recv(1 << 20)
        except BlockingIOError:
            return data


def read_all(outgoing: Outgoing, bus: socket.socket) -> bytes:
    """Everything that leaves until the queue is empty."""
    data = b""
    while not outgoing.write():
        data += read(bus)
    return data + read(bus)


def fill(outgoing: Outgoing) -> None:
    """Bring the queue behind: the bus reads nothing of a message that it cannot take at once."""
    outgoing.push(b"." * MUCH)
    assert not outgoing.write()


def test_messages_leave_in_their_order_while_the_bus_keeps_up(outgoing: Outgoing, bus: socket.socket) -> None:
    for frame, owner in ((b"a", FLOODER), (b"b", None), (b"c", OTHER), (b"d", FLOODER)):
        outgoing.push(frame, owner=owner)
    outgoing.push_parts([b"e", b"", b"f"], OTHER)
    assert outgoing.queued_bytes == 6
    assert outgoing.write()
    assert read(bus) == b"abcdef"
    assert outgoing.queued_bytes == 0


def test_replies_leave_in_the_turns_of_their_clients(outgoing: Outgoing, bus: socket.socket) -> None:
    fill(outgoing)
    for _ in range(100):
        outgoing.push(b"f" * 1024, owner=FLOODER)
    outgoing.push(b"o", owner=OTHER)
    sent = read_all(outgoing, bus).lstrip(b".")
    assert len(sent) == 100 * 1024 + 1
    assert sent.index(b"o") <= 1024


def test_what_one_client_gets_keeps_its_order(outgoing: Outgoing, bus: socket.socket) -> None:
    fill(outgoing)
    for number in range(64):
        outgoing.push(bytes([number]) * 512, owner=FLOODER)
        outgoing.push_parts([bytes([100 + number]), bytes([100 + number])], OTHER)
    sent = read_all(outgoing, bus).lstrip(b".")
    assert bytes(byte for byte in sent if byte < 64) == b"".join(bytes([n]) * 512 for n in range(64))
    assert bytes(byte for byte in sent if byte >= 100) == b"".join(bytes([100 + n] * 2) for n in range(64))


def test_a_reply_overtakes_no_signal(outgoing: Outgoing, bus: socket.socket) -> None:
    fill(outgoing)
    for _ in range(20):
        outgoing.push(b"f" * 1024, owner=FLOODER)
    outgoing.push(b"S")
    outgoing.push(b"o", owner=OTHER)
    sent = read_all(outgoing, bus)
    assert sent.index(b"S") < sent.index(b"o")
    assert sent.rindex(b"f") < sent.index(b"S"), "a signal overtakes no reply either"


def test_descriptors_leave_with_their_message(outgoing: Outgoing, bus: socket.socket) -> None:
    fill(outgoing)
    reader, writer = os.pipe()
    outgoing.push(b"f" * 1024, owner=FLOODER)
    outgoing.push(b"D", [writer], OTHER)
    outgoing.push(b"o", owner=OTHER)
    received = b""
    got: list[int] = []
    done = False
    while not done:
        done = outgoing.write()
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(bus, 1 << 20, 4)
            except BlockingIOError:
                break
            if fds:
                assert data.endswith(b"D"), "the kernel ends a piece where descriptors come"
            got += fds
            received += data
    assert received == b"." * MUCH + b"f" * 1024 + b"Do"
    assert len(got) == 1
    os.write(got[0], b"x")
    assert os.read(reader, 1) == b"x"
    os.close(got[0])
    assert os.read(reader, 1) == b"", "the queue has closed its own copy"
    os.close(reader)


def test_bytes_of_replies_count_for_their_client_until_they_have_left(
    outgoing: Outgoing, bus: socket.socket
) -> None:
    outgoing.push(b"f" * MUCH, owner=FLOODER)
    assert outgoing.replies.taken == 0, "nothing waits yet"
    assert not outgoing.write()
    waiting = outgoing.queued_bytes
    assert 0 < outgoing.replies.taken == waiting < MUCH
    outgoing.push(b"o" * 10, owner=OTHER)
    outgoing.push(b"signal")
    assert outgoing.replies.taken == waiting + 10
    assert outgoing.queued_bytes == waiting + 16
    read_all(outgoing, bus)
    assert outgoing.replies.taken == outgoing.queued_bytes == 0


def test_the_sockets_buffer_is_large_only_while_a_large_message_leaves(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, bus = sockets
    outgoing = Outgoing(ours, BOUNDS)

    def buffer() -> int:
        return ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

    small = buffer()
    outgoing.push_parts([b"x" * 1024] * 512, OTHER)
    assert buffer() > small
    assert len(read_all(outgoing, bus)) == 512 * 1024
    assert buffer() == small


def test_closing_closes_the_descriptors_that_have_not_left(outgoing: Outgoing) -> None:
    fill(outgoing)
    reader, writer = os.pipe()
    outgoing.push(b"D", [writer])
    outgoing.close()
    assert os.read(reader, 1) == b""
    assert outgoing.queued_bytes == 0
    os.close(reader)
