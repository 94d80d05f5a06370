"""A raw D-Bus client that costs as little as Python can: prebuilt frames, minimal framing, one thread.

The benchmark measures both services through it, so what it costs is the same for both; tests send with it
what no library would build. Blocking set-up, then non-blocking sockets in one selector loop. It decodes no
bodies: whoever needs a value picks it out.
Source: the D-Bus specification, "Message Format". Little endian both ways, which dbus-daemon keeps.
"""

import itertools
import os
import selectors
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

METHOD_RETURN, ERROR, SIGNAL = 2, 3, 4
BUS = "org.freedesktop.DBus"
NO_OPTIONS = b"\0" * 8  # an empty a{sv}: its length, and padding to the entries' boundary
_FIXED = struct.Struct("<4BIII")


def text(*values: str) -> bytes:
    """Marshalled strings (or object paths), one after the other from offset 0."""
    out = b""
    for value in values:
        raw = value.encode()
        out += b"\0" * (-len(out) % 4) + struct.pack("<I", len(raw)) + raw + b"\0"
    return out


def _field(code: int, signature: bytes, value: str) -> bytes:
    raw = value.encode()
    length = struct.pack("<I", len(raw)) if signature != b"g" else bytes([len(raw)])
    return bytes([code, 1]) + signature + b"\0" + length + raw + b"\0"


def serial_of(frame: bytes) -> int:
    return int.from_bytes(frame[8:12], "little")


def _reply_serial(frame: bytes) -> int:
    """Field 5 of the header. dbus-daemon's replies have it early, so this is a short walk."""
    place, end = 16, 16 + int.from_bytes(frame[12:16], "little")
    while place < end:
        code, kind = frame[place], frame[place + 2]
        if code == 5:
            return int.from_bytes(frame[place + 4 : place + 8], "little")
        if kind == ord("u"):
            place += 8
        elif kind == ord("g"):
            place += 4 + frame[place + 4] + 2
        else:
            place += 8 + int.from_bytes(frame[place + 4 : place + 8], "little") + 1
        place += -place % 8
    return 0


def _address_path(address: str) -> str:
    """The socket of the first unix: address."""
    kind, _, rest = address.split(";")[0].partition(":")
    options = dict(part.split("=", 1) for part in rest.split(","))
    if kind != "unix":
        raise ValueError(f"not a unix address: {address}")
    return options["path"] if "path" in options else "\0" + options["abstract"]


class RawBus:
    """One connection to a bus. on_signal takes whole frames; on_reply type, call's serial and body."""

    def __init__(self, address: str, *, timeout_s: float = 30) -> None:
        self._serial = itertools.count(1)
        self._buffer = bytearray()
        self.timeout_s = timeout_s
        self.on_signal: Callable[[bytes], None] | None = None
        self.on_reply: Callable[[int, int, bytes], None] | None = None
        self._outgoing: deque[bytes] = deque()
        self._unsent = b""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout_s)
        self.sock.connect(_address_path(address))
        uid = str(os.geteuid()).encode().hex().encode()
        self.sock.sendall(b"\0AUTH EXTERNAL " + uid + b"\r\n")
        if not self.sock.recv(4096).startswith(b"OK"):
            raise ConnectionError("the bus did not accept EXTERNAL")
        self.sock.sendall(b"BEGIN\r\n")
        self.call(BUS, "/org/freedesktop/DBus", BUS, "Hello")

    def frame(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", body: bytes = b""
    ) -> bytes:
        """A method call ready to be sent, with a serial of its own."""
        wanted = [(1, b"o", path), (2, b"s", interface), (3, b"s", member), (6, b"s", destination)]
        if signature:
            wanted.append((8, b"g", signature))
        fields = b""
        for code, kind, value in wanted:
            fields += b"\0" * (-len(fields) % 8) + _field(code, kind, value)
        fixed = _FIXED.pack(ord("l"), 1, 0, 1, len(body), next(self._serial), len(fields))
        return fixed + fields + b"\0" * (-len(fields) % 8) + body

    def send(self, frame: bytes) -> None:
        """Queue and write what the socket takes; the rest goes out in feed() calls of the selector loop."""
        self._outgoing.append(frame)
        self.flush()

    def send_all(self, frames: Iterable[bytes]) -> None:
        self._outgoing.extend(frames)
        self.flush()

    @property
    def writing(self) -> bool:
        return bool(self._unsent or self._outgoing)

    def flush(self) -> None:
        while self._unsent or self._outgoing:
            if not self._unsent:
                self._unsent = b"".join(self._outgoing)
                self._outgoing.clear()
            try:
                sent = self.sock.send(self._unsent)
            except BlockingIOError:
                return
            self._unsent = self._unsent[sent:]

    def feed(self) -> None:
        """Read what is there and hand out whole messages."""
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError("the bus closed the connection")
        self._buffer += data
        for frame, kind, head in self._whole_messages():
            if kind == SIGNAL:
                if self.on_signal:
                    self.on_signal(frame)
            elif self.on_reply:
                self.on_reply(kind, _reply_serial(frame), frame[head:])

    def _whole_messages(self) -> list[tuple[bytes, int, int]]:
        """(message, type, where its body begins) of all that are complete, taken out of the buffer."""
        found, at, buffer = [], 0, self._buffer
        end = len(buffer)
        while end - at >= 16:
            _, kind, _, _, body, _, fields = _FIXED.unpack_from(buffer, at)
            head = 16 + fields + (-fields % 8)
            if end - at < head + body:
                break
            found.append((bytes(buffer[at : at + head + body]), kind, head))
            at += head + body
        del buffer[:at]
        return found

    def call(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", body: bytes = b""
    ) -> bytes:
        """One blocking call; the reply's body."""
        (reply,) = pipeline(self, [self.frame(destination, path, interface, member, signature, body)])
        return reply

    def bus_pid(self) -> int:
        """The bus daemon's."""
        credentials = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(credentials[:4], sys.byteorder)

    def add_match(self, rule: str) -> None:
        self.call(BUS, "/org/freedesktop/DBus", BUS, "AddMatch", "s", text(rule))

    def close(self) -> None:
        self.sock.close()


def spin(clients: Sequence[RawBus], done: Callable[[], bool], timeout_s: float, turn_s: float = 0.5) -> None:
    """Serve all clients' sockets until done(), which is asked every turn_s; TimeoutError after timeout_s."""
    deadline = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.sock.setblocking(False)
            selector.register(client.sock, selectors.EVENT_READ, client)
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing for {timeout_s} s")
            for key, events in selector.select(turn_s):
                client = key.data
                if events & selectors.EVENT_READ:
                    client.feed()
                client.flush()
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.writing else 0)
                if key.events != wanted:
                    selector.modify(client.sock, wanted, client)
            for client in clients:
                if client.writing:
                    selector.modify(client.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, client)


class Window:
    """Frames sent by one client, at most `width` unanswered; bodies of the replies in order of arrival."""

    def __init__(
        self,
        client: RawBus,
        frames: Sequence[bytes] = (),
        width: int = 32,
        on_body: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self._client, self._width = client, width
        self.on_body = on_body
        self._waiting = deque(frames)
        self.expected = len(frames)
        self.bodies: list[bytes] = []
        client.on_reply = self._take

    def start(self) -> None:
        self._client.send_all([self._waiting.popleft() for _ in range(min(self._width, len(self._waiting)))])

    def add(self, frames: Sequence[bytes]) -> None:
        """More calls, as a client finds out what to ask next."""
        self.expected += len(frames)
        self._waiting.extend(frames)
        room = self._width - (self.expected - len(self._waiting) - len(self.bodies))
        self._client.send_all([self._waiting.popleft() for _ in range(min(room, len(self._waiting)))])

    @property
    def done(self) -> bool:
        return len(self.bodies) == self.expected

    def _take(self, kind: int, serial: int, body: bytes) -> None:
        if kind == ERROR:
            raise RuntimeError(f"error reply: {body!r}")
        self.bodies.append(body)
        if self.on_body:
            self.on_body(serial, body)
        if self._waiting:
            self._client.send(self._waiting.popleft())


def pipeline(client: RawBus, frames: Sequence[bytes], width: int = 32) -> list[bytes]:
    """All frames with `width` in flight; bodies in order of arrival. RuntimeError on an error reply."""
    return pipeline_all([(client, frames)], width)[0]


def pipeline_all(work: Sequence[tuple[RawBus, Sequence[bytes]]], width: int = 32) -> list[list[bytes]]:
    """Several clients at once, each with its own window."""
    windows = [Window(client, frames, width) for client, frames in work]
    for client, _ in work:
        client.sock.setblocking(False)
    for window in windows:
        window.start()
    spin([client for client, _ in work], lambda: all(w.done for w in windows), work[0][0].timeout_s * 10)
    return [window.bodies for window in windows]
