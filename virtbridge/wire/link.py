"""The link to the bus: our own socket, reading and writing, calls of our own, and the link's end.

It knows messages, not what they are about: a call goes to on_call, a signal to on_signal, each exactly once
and on the main thread. Nothing here blocks, and nothing that on_call or on_signal raises gets out.
What the libraries' own buses do wrong, and why they are not used, is told in transport.py.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from virtbridge.limiter import Bounds, Portions
from virtbridge.wire import bodies, framing, transport
from virtbridge.wire.dial import dial
from virtbridge.wire.framing import Incoming
from virtbridge.wire.headers import Headers
from virtbridge.wire.inbound import Inbound, InboundLimits
from virtbridge.wire.names import (
    BUS_NAME,
    BUS_PATH,
    DISCONNECTED,
    FAILED,
    LIMITS_EXCEEDED,
    NO_REPLY,
    NOT_SUPPORTED,
)
from virtbridge.wire.outgoing import Outgoing, Owner

log = logging.getLogger(__name__)

_HEADER_ROOM_BYTES: Final = 4096  # what a header of ours, with the sender the bus adds, never exceeds
_RECEIVE_BYTES: Final = 64 * 1024
_RECEIVES: Final = 4  # in a turn, while each gets as much as it can: what is behind a flood is soon reached
_GATHER_BYTES: Final = 64 * 1024  # of replies; then they leave in the middle of a turn
# What is in the kernel's hands waits behind nothing of ours any more, and the bus takes 2 KiB at a time.
_SEND_BUFFER_BYTES: Final = 64 * 1024
_REFUSALS: Final = 16384  # that wait for the bus to take everything else; further ones do not wait
_REFUSALS_AT_A_TIME: Final = 64
_FD_BYTES: Final = 4
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(253 * _FD_BYTES)  # the most the kernel sends at once (SCM_MAX_FD)


class BusError(Exception):
    """An error reply to a call of ours; name is the D-Bus error name."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text


class LinkLost(ConnectionError):
    """The bus went away. The process ends with it: systemd starts it anew."""


@dataclass(frozen=True, slots=True)
class ErrorNames:
    """The D-Bus error names of what the link refuses by itself; an API may have names of its own."""

    failed: str = FAILED
    limit_exceeded: str = LIMITS_EXCEEDED
    not_supported: str = NOT_SUPPORTED


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """call_bytes: header or body of a call above it is refused unread. message_bytes: what the bus takes from
    us (the system bus: 32 MiB); more would make it hang up. high/low water: outgoing bytes. reply_bytes:
    above it a client, a user, or all of them, are made no more replies until the bus has taken some."""

    call_bytes: int = 64 * 1024
    message_bytes: int = 32 * 1024 * 1024
    high_water_bytes: int = 8 * 1024 * 1024
    low_water_bytes: int = 2 * 1024 * 1024
    reply_bytes: Bounds = field(default_factory=lambda: Portions().of(1 << 20, per_client=32 << 10))
    inbound: InboundLimits = field(default_factory=InboundLimits)


@dataclass(slots=True)
class LinkCounts:
    """Totals since the link began. refused: calls above a limit."""

    calls: int = 0
    replies: int = 0
    errors: int = 0
    signals: int = 0
    refused: int = 0


class Link:
    """A connection to a message bus, made by `await Link.connect(address)`.

    on_call: gets every method call; it, or a task it starts, answers exactly once with reply() or error(),
    and owns the call's descriptors (call.discard() closes them). Calls of a sender that has left the bus
    meanwhile are dropped, if the sender is watched by a match rule for NameOwnerChanged.
    on_signal: every signal; its descriptors are closed when it returns.
    on_drained: called when `congested` ends. While it lasts no call is handled: signals of our own should be
    held back by whoever makes them, as state and not as messages.
    on_room: called when has_room() may be true for a client for which it was not.
    lost: gets a LinkLost when the bus goes away, None after close().
    """

    def __init__(
        self, sock: socket.socket, passes_fds: bool, limits: LinkLimits, names: ErrorNames = ErrorNames()
    ) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._names = names
        self._splitter = framing.Splitter(limits.call_bytes)
        self._outgoing = Outgoing(sock, limits.reply_bytes)
        self._headers = Headers()
        self._inbound = Inbound(
            self._handle_call,
            self._refuse,
            limits.inbound,
            has_room=self.has_room,
        )
        self._most_body = limits.message_bytes - _HEADER_ROOM_BYTES
        self._high_water_bytes = limits.high_water_bytes
        self._refusals: deque[tuple[Incoming, str]] = deque()
        self._last_serial = 0
        self._pending: dict[int, tuple[str, asyncio.Future[Incoming]]] = {}
        self._reading = False
        self._ended = False
        self._emptied: asyncio.Future[None] | None = None  # someone waits in drain()
        self._writing = False  # the socket is full: the loop tells when it is not
        self._gathering = False  # inside a turn that ends with a write
        self._flush_due = False
        self._turn_due = False
        self.passes_fds = passes_fds
        self.unique_name = ""
        self.congested = False
        self.counts = LinkCounts()
        self.on_call: Callable[[Incoming], None] | None = None
        self.on_signal: Callable[[Incoming], None] | None = None
        self.on_drained: Callable[[], None] | None = None
        self.on_room: Callable[[], None] | None = None
        self.lost: asyncio.Future[None] = self._loop.create_future()

    @classmethod
    async def connect(
        cls, address: str, limits: LinkLimits = LinkLimits(), names: ErrorNames = ErrorNames()
    ) -> "Link":
        """Raises DialError when no bus answers at the address, BusError when it refuses us."""
        sock, passes_fds = await dial(address)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        link = cls(sock, passes_fds, limits, names)
        link.start()
        try:
            (link.unique_name,) = await link.call(BUS_NAME, BUS_PATH, BUS_NAME, "Hello")
        except BaseException:
            link.close()
            raise
        return link

    def start(self) -> None:
        """Begin to read; connect() does it."""
        self._read(True)

    @property
    def queued_bytes(self) -> int:
        """Outgoing bytes that the kernel has not taken yet: a gauge."""
        return self._outgoing.queued_bytes

    @property
    def queued_calls(self) -> int:
        """Calls that wait for their turn: a gauge."""
        return self._inbound.queued

    def has_room(self, user: int, client: str) -> bool:
        """Whether the bus has taken enough of this client's replies for more to be made."""
        replies = self._outgoing.replies
        return not replies.taken or replies.free(user, client)

    # -- sending --------------------------------------------------------------------------------------------

    def send(self, frame: bytes, fds: Sequence[int] = (), owner: Owner | None = None) -> None:
        """Queue a whole message. Never raises.

        It leaves with all others of this turn. The descriptors are the link's from here on: it closes them.
        owner: whose reply it is.
        """
        if self._ended:
            framing.close_all(fds)
            return
        self._outgoing.push(frame, fds, owner)
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
        if outgoing.queued_bytes > self._high_water_bytes and not self.congested:
            self._set_congested(True)

    def gather(self) -> None:
        """What is sent from now on leaves together, with flush(), which must follow in this turn."""
        self._gathering = True

    def flush(self) -> None:
        self._gathering = False
        if self._outgoing.queued_bytes and not self._writing:
            self._flush()

    def reply(self, call: Incoming, signature: str = "", body: bytes = b"", fds: Sequence[int] = ()) -> None:
        """Answer a call with body bytes that are already marshalled. Nothing is sent if it wants no reply."""
        if call.flags & framing.NO_REPLY_EXPECTED:
            framing.close_all(fds)
            return
        if len(body) > self._most_body or (fds and not self.passes_fds):
            framing.close_all(fds)
            reason = "the bus cannot carry descriptors" if fds else f"the reply has {len(body)} bytes"
            self.error(call, self._names.not_supported if fds else self._names.limit_exceeded, reason)
            return
        self.counts.replies += 1
        frame = self._headers.method_return(
            self._serial(), call.serial, call.sender, signature, body, len(fds)
        )
        self.send(frame, fds, (call.user, call.sender))

    def reply_in_parts(self, call: Incoming, signature: str, parts: Sequence[bytes | memoryview]) -> None:
        """Answer a call with a large body; its parts are not joined before the socket takes them.

        A view is sent from where it is: the largest bodies are files in memory.
        """
        if call.flags & framing.NO_REPLY_EXPECTED:
            return
        size = sum(map(len, parts))
        if size > self._most_body:
            self.error(call, self._names.limit_exceeded, f"the reply has {size} bytes")
            return
        self.counts.replies += 1
        head = self._headers.return_head(self._serial(), call.serial, call.sender, signature, size)
        if not self._ended:
            self._outgoing.push_parts((head, *parts), (call.user, call.sender))
            self._after_push()

    def error(self, call: Incoming, name: str, text: str) -> None:
        """Answer a call with an error. Whatever the text holds, what is sent is a legal string."""
        if call.flags & framing.NO_REPLY_EXPECTED:
            return
        self.counts.errors += 1
        clean = text.encode("utf-8", "replace").decode().replace("\0", "")
        frame = self._headers.error(
            self._serial(), call.serial, call.sender, name, "s", bodies.pack_string(clean)
        )
        self.send(frame, owner=(call.user, call.sender))

    def signal(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: bytes,
        destination: str | None = None,
    ) -> None:
        """Broadcast, or to one destination. One that the bus would hang up for is dropped and logged."""
        if len(body) > self._most_body:
            log.error("signal too large, not sent: member=%s bytes=%d", member, len(body))
            return
        self.counts.signals += 1
        self.send(
            self._headers.signal(self._serial(), path, interface, member, signature, body, destination or "")
        )

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        *,
        timeout_s: float | None = 25.0,
    ) -> list[Any]:
        """The reply's arguments, Variants kept. Raises BusError: an error reply, no reply in time, no bus."""
        marshalled = transport.marshal(signature, body)
        serial = self._serial()
        frame = self._headers.method_call(serial, destination, path, interface, member, signature, marshalled)
        reply = await self._ask(frame, serial, destination, member, timeout_s)
        reply.discard()
        try:
            values = transport.arguments(reply)
        except transport.BadBody as error:
            raise BusError(FAILED, str(error)) from error
        if reply.kind == framing.ERROR:
            raise BusError(reply.error_name, values[0] if values and isinstance(values[0], str) else "")
        return values

    def tell(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
    ) -> None:
        """A call that wants no reply and starts nobody; nothing is learnt of what becomes of it."""
        frame = self._headers.method_call(
            self._serial(),
            destination,
            path,
            interface,
            member,
            signature,
            transport.marshal(signature, body),
            framing.NO_REPLY_EXPECTED | framing.NO_AUTO_START,
        )
        self.send(frame)

    async def _ask(
        self, frame: bytes, serial: int, destination: str, member: str, timeout_s: float | None
    ) -> Incoming:
        if self._ended:
            raise BusError(DISCONNECTED, "the bus is gone")
        future: asyncio.Future[Incoming] = self._loop.create_future()
        self._pending[serial] = destination, future
        self.send(frame)
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError as error:
            raise BusError(NO_REPLY, f"{destination} did not answer {member} in {timeout_s} s") from error
        finally:
            del self._pending[serial]

    def _serial(self) -> int:
        # 32 bits are used up within days; 0 is not a legal serial.
        self._last_serial = serial = self._last_serial % 0xFFFFFFFF + 1
        return serial

    def _flush(self) -> None:
        """Write what is queued; what does not fit goes when the loop says that there is room."""
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
            self._tell_room()
        if self._writing == done:
            self._writing = not done
            if done:
                self._loop.remove_writer(self._sock)
            else:
                self._loop.add_writer(self._sock, self._flush)
        if done:
            if self._refusals:
                self._schedule_turn()
            self._tell_emptied()
        if self.congested and self._outgoing.queued_bytes < self._limits.low_water_bytes:
            self._set_congested(False)

    def _tell_room(self) -> None:
        if self._inbound.queued:
            self._schedule_turn()
        if self.on_room is not None:
            self._guard(self.on_room)

    def _tell_emptied(self) -> None:
        if self._emptied is not None:
            self._emptied.set_result(None)
            self._emptied = None

    def _set_congested(self, congested: bool) -> None:
        self.congested = self._inbound.paused = congested
        if congested:
            return
        self._schedule_turn()
        if self.on_drained is not None:
            self._guard(self.on_drained)

    # -- receiving ------------------------------------------------------------------------------------------

    def _read(self, reading: bool) -> None:
        if reading == self._reading:
            return
        self._reading = reading
        if reading:
            self._loop.add_reader(self._sock, self._on_readable)
        else:
            self._loop.remove_reader(self._sock)

    def _on_readable(self) -> None:
        """All that is there, sorted, before anything is served of what waits; then one write for all that was
        answered.
        """
        self._inbound.begin_turn()
        self.gather()
        for _ in range(_RECEIVES):
            if self._receive() < _RECEIVE_BYTES or self._ended or self._inbound.full:
                break
        self._after_turn(bool(self._inbound.queued))

    def _receive(self) -> int:
        """Deal with the messages that have arrived, in their order; returns how many bytes these were."""
        try:
            data, ancillary, _, _ = self._sock.recvmsg(
                _RECEIVE_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._end(LinkLost(f"reading from the bus failed: {error}"))
            return 0
        if not data:
            self._end(LinkLost("the bus closed the connection"))
            return 0
        try:
            messages = self._splitter.feed(data, _descriptors(ancillary) if ancillary else ())
        except framing.WireError as error:
            self._end(LinkLost(f"the bus sent what is not D-Bus: {error}"))
            return 0
        for message in messages:
            if self._ended:
                message.discard()
            elif message.kind == framing.METHOD_CALL and not message.malformed:
                self.counts.calls += 1
                self._inbound.accept(message)
            else:
                self._dispatch(message)
        return len(data)

    def _dispatch(self, message: Incoming) -> None:
        """Anything but a call."""
        if message.malformed:
            message.discard()
        elif message.kind == framing.SIGNAL:
            if message.member == "NameOwnerChanged" and message.sender == BUS_NAME:
                self._drop_calls_of_departed(message)
            if self.on_signal is not None:
                self._guard(self.on_signal, message)
            message.discard()
        else:
            self._on_reply(message)

    def _on_reply(self, reply: Incoming) -> None:
        destination, future = self._pending.get(reply.reply_serial, ("", None))
        # Serials can be guessed: only who was asked may answer, and the bus itself in its place. A well-known
        # name answers under a unique one, which is for the bus to check.
        asked = reply.sender in (destination, BUS_NAME) or not (destination.startswith(":") and reply.sender)
        if future is None or future.done() or not asked:
            reply.discard()
            return
        future.set_result(reply)

    def _drop_calls_of_departed(self, signal: Incoming) -> None:
        if signal.signature != "sss":
            return
        try:
            name, _old, new = transport.arguments(signal)
        except transport.BadBody:
            return
        if not new:
            self._inbound.drop(name)

    def find_users_with(self, user_of: Callable[[str], int | None]) -> None:
        """user_of: the user of a sender. None: not known yet; its calls wait until identified() is called for
        it. Without this, all are root.
        """
        self._inbound.user_of = user_of

    def identified(self, sender: str, user: int) -> None:
        """The calls of this sender that waited for this are served like all others."""
        self._inbound.identified(sender, user)
        self._schedule_turn()

    def _turn(self) -> None:
        """Go on with the calls that wait, one budget's worth."""
        self._turn_due = False
        if self._ended:
            return
        self._inbound.begin_turn()
        self.gather()
        more = self._inbound.serve()
        self._answer_refused()
        self._after_turn(more)

    def _answer_refusal(self) -> None:
        call, reason = self._refusals.popleft()
        self.error(call, self._names.limit_exceeded, reason)

    def _answer_refused(self) -> None:
        """Some, when there is nothing else to send: they say nothing that could be late."""
        if self._writing:
            return
        for _ in range(min(_REFUSALS_AT_A_TIME, len(self._refusals))):
            self._answer_refusal()

    def _after_turn(self, more: bool) -> None:
        self.flush()
        if (more or (self._refusals and not self._writing)) and not self.congested:
            self._schedule_turn()
        if self._ended:
            return
        if self._inbound.full:
            self._read(False)
        elif self._inbound.roomy:
            self._read(True)

    def _schedule_turn(self) -> None:
        if not self._turn_due and not self._ended:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _handle_call(self, call: Incoming) -> None:
        try:
            if self.on_call is None:
                raise RuntimeError("no handler")
            self.on_call(call)
        except Exception:  # an edge: a caller must get an answer, and never our traceback
            log.exception("call failed: member=%s sender=%s", call.member, call.sender)
            call.discard()
            self.error(call, self._names.failed, "internal error")

    def _refuse(self, call: Incoming, reason: str) -> None:
        self.counts.refused += 1
        call.discard()
        if call.flags & framing.NO_REPLY_EXPECTED:
            return
        call.body = b""
        self._refusals.append((call, reason))
        if len(self._refusals) > _REFUSALS:
            self._answer_refusal()
        elif not self._writing:
            self._schedule_turn()

    @staticmethod
    def _guard(function: Callable[..., None], *args: Incoming) -> None:
        try:
            function(*args)
        except Exception:  # an edge: the link must go on reading
            log.exception("bus handler failed")

    # -- the end --------------------------------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> bool:
        """Wait until all that was sent has left; False when it did not in time."""
        while self._refusals:
            self._answer_refusal()
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

    def close(self) -> None:
        """Leave the bus, after one attempt to write what is queued. lost gets None."""
        if not self._ended:
            self._flush()
        self._end(None)

    def _end(self, reason: LinkLost | None) -> None:
        """Once, whatever the reason: everything is released, and every waiting call fails."""
        if self._ended:
            return
        self._ended = True
        if reason is None:
            self.lost.set_result(None)
        else:
            self.lost.set_exception(reason)
            self.lost.exception()  # seen: it is logged by whoever awaits it, not by asyncio
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._reading = self._writing = False
        self._sock.close()
        self._outgoing.close()
        self._tell_emptied()
        self._inbound.close()
        self._refusals.clear()
        self._splitter.close()
        for _, future in self._pending.values():
            if not future.done():
                future.set_exception(BusError(DISCONNECTED, str(reason or "the link was closed")))


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = len(data) - len(data) % _FD_BYTES
            fds += memoryview(data)[:whole].cast("i")
    return fds
