"""The stream of messages to and from the bus: one non-blocking socket on asyncio's loop, and its end.

The stream knows messages, not what they are about. Messages of one turn of the loop leave together, in one
write. A full socket is a reason to wait: what is queued is counted, and above the high-water mark the stream
is congested. Nothing here blocks. Main thread only.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Final

from virtbridge.wire import framing
from virtbridge.wire.errors import LinkLost
from virtbridge.wire.framing import Incoming
from virtbridge.wire.limits import LinkLimits
from virtbridge.wire.outgoing import Outgoing, Owner

log = logging.getLogger(__name__)

RECEIVE_BYTES: Final = 64 * 1024  # how much one receive() reads at most
_GATHER_BYTES: Final = 64 * 1024  # more than this leaves in the middle of a turn
_FD_BYTES: Final = 4
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(253 * _FD_BYTES)  # the most the kernel sends at once (SCM_MAX_FD)


class Stream:
    """passes_fds: whether the bus agreed to carry descriptors.
    congested: more bytes are queued than the high-water mark, and the queue has not been short since.
    lost: gets a LinkLost when the bus goes away, and None after close().
    """

    # A link has 30 attributes at most, with those of its subclasses: with more, CPython's instances share no
    # keys, and every access to an attribute becomes slower (5% of a call).

    def __init__(self, sock: socket.socket, passes_fds: bool, limits: LinkLimits) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._splitter = framing.Splitter(limits.call_bytes)
        self._outgoing = Outgoing(sock, limits.reply_bytes)
        self._last_serial = 0
        self._reading = False
        self._ended = False
        self._emptied: asyncio.Future[None] | None = None  # drain() waits for it
        self._writing = False  # the socket is full, and the loop calls when it has room
        self._gathering = False  # flush() follows in this turn
        self._flush_due = False
        self.passes_fds = passes_fds
        self.congested = False
        self.lost: asyncio.Future[None] = self._loop.create_future()

    @property
    def queued_bytes(self) -> int:
        """How many outgoing bytes the kernel has not taken yet: a gauge."""
        return self._outgoing.queued_bytes

    def start(self) -> None:
        """Begin to read; connect() does it."""
        self._read(True)

    # -- what a class on top of the stream does when something happens ---------------------------------------

    def _on_readable(self) -> None:
        """The socket has bytes: call receive()."""
        raise NotImplementedError

    def _on_room(self) -> None:
        """The bus has taken some replies that had been queued."""

    def _on_emptied(self) -> None:
        """The kernel has taken all that was queued."""

    def _on_congestion(self) -> None:
        """The stream has become congested, or is congested no longer."""

    def _on_end(self, reason: LinkLost | None) -> None:
        """The stream has ended; this is called once."""

    # -- sending --------------------------------------------------------------------------------------------

    def send(self, frame: bytes, fds: Sequence[int] = (), owner: Owner | None = None) -> None:
        """Queue a complete message. It leaves with all others of this turn. Never raises.

        The stream owns the descriptors from here on and closes them. owner: the client that a reply is for.
        """
        if self._ended:
            framing.close_all(fds)
            return
        self._outgoing.push(frame, fds, owner)
        self._after_push()

    def send_parts(self, parts: Sequence[bytes | memoryview], owner: Owner | None = None) -> None:
        """Queue one message in parts, which are not joined before the socket takes them. Never raises."""
        if not self._ended:
            self._outgoing.push_parts(parts, owner)
            self._after_push()

    def _after_push(self) -> None:
        outgoing = self._outgoing
        if self._writing:
            pass
        elif self._gathering:
            if outgoing.queued_bytes > _GATHER_BYTES:
                self._flush()
        elif not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)
        if outgoing.queued_bytes > self._limits.high_water_bytes and not self.congested:
            self.congested = True
            self._on_congestion()

    def gather(self) -> None:
        """Let what is sent from now on leave together, with flush(), which must follow in this turn."""
        self._gathering = True

    def flush(self) -> None:
        """Write what was gathered."""
        self._gathering = False
        if self._outgoing.queued_bytes and not self._writing:
            self._flush()

    def _serial(self) -> int:
        # 32 bits are used up within days, and 0 is not a legal serial.
        self._last_serial = serial = self._last_serial % 0xFFFFFFFF + 1
        return serial

    def _flush(self) -> None:
        """Write what is queued. What does not fit is written when the loop says that there is room."""
        self._flush_due = False
        if self._ended:
            return
        owed = self._outgoing.replies.taken
        try:
            done = self._outgoing.write()
        except OSError as error:
            self._end(LinkLost(f"writing to the bus failed: {error}"))
            return
        if self._outgoing.replies.taken < owed:
            self._on_room()
        if self._writing == done:
            self._writing = not done
            if done:
                self._loop.remove_writer(self._sock)
            else:
                self._loop.add_writer(self._sock, self._flush)
        if done:
            self._on_emptied()
            self._end_drain()
        if self.congested and self._outgoing.queued_bytes < self._limits.low_water_bytes:
            self.congested = False
            self._on_congestion()

    # -- receiving ------------------------------------------------------------------------------------------

    def _read(self, reading: bool) -> None:
        if reading == self._reading:
            return
        self._reading = reading
        if reading:
            self._loop.add_reader(self._sock, self._on_readable)
        else:
            self._loop.remove_reader(self._sock)

    def receive(self) -> tuple[list[Incoming], int]:
        """The messages that have arrived, in their order, and how many bytes were read for them.

        A failure ends the stream, and the result is empty.
        """
        try:
            data, ancillary, _, _ = self._sock.recvmsg(
                RECEIVE_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, InterruptedError):
            return [], 0
        except OSError as error:
            self._end(LinkLost(f"reading from the bus failed: {error}"))
            return [], 0
        if not data:
            self._end(LinkLost("the bus closed the connection"))
            return [], 0
        try:
            return self._splitter.feed(data, _descriptors(ancillary) if ancillary else ()), len(data)
        except framing.WireError as error:
            self._end(LinkLost(f"the bus sent what is not D-Bus: {error}"))
            return [], 0

    @staticmethod
    def _guard(function: Callable[..., None], *args: Incoming) -> None:
        """Call a function of somebody else: whatever it raises is logged, and the stream goes on."""
        try:
            function(*args)
        except Exception:  # an edge: the stream must go on reading
            log.exception("bus handler failed")

    # -- the end --------------------------------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> bool:
        """Wait until all that was sent has left; False when it has not left in time."""
        self._flush()
        try:
            async with asyncio.timeout(timeout_s):
                while self._outgoing.queued_bytes:
                    if self._emptied is None:
                        self._emptied = self._loop.create_future()
                    await asyncio.shield(self._emptied)
        except TimeoutError:
            return False
        return not self._ended

    def _end_drain(self) -> None:
        if self._emptied is not None:
            self._emptied.set_result(None)
            self._emptied = None

    def close(self) -> None:
        """Leave the bus, after one attempt to write what is queued. lost gets None."""
        if not self._ended:
            self._flush()
        self._end(None)

    def _end(self, reason: LinkLost | None) -> None:
        """Release everything, once, whatever the reason."""
        if self._ended:
            return
        self._ended = True
        if reason is None:
            self.lost.set_result(None)
        else:
            self.lost.set_exception(reason)
            self.lost.exception()  # whoever awaits it logs it, so asyncio shall not
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._reading = self._writing = False
        self._sock.close()
        self._outgoing.close()
        self._splitter.close()
        self._end_drain()
        self._on_end(reason)


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            complete = len(data) - len(data) % _FD_BYTES
            fds += memoryview(data)[:complete].cast("i")
    return fds
