"""What serves calls: each is handed out exactly once, in the order of the callers' turns, and answered.

One turn of the loop first reads and sorts what has arrived, then serves calls within a budget (inbound.py),
and ends with one write for all that was answered. Nothing that on_call raises gets out. Main thread only.
"""

import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from virtbridge.wire import bodies, framing
from virtbridge.wire.errors import ErrorNames, LinkLost
from virtbridge.wire.framing import Incoming
from virtbridge.wire.headers import Headers
from virtbridge.wire.inbound import Inbound
from virtbridge.wire.limits import LinkCounts, LinkLimits
from virtbridge.wire.stream import Stream

log = logging.getLogger(__name__)

# How many refusals wait for the bus to take everything else. Further ones do not wait.
_REFUSALS: Final = 16384
_REFUSALS_AT_A_TIME: Final = 64


class CallServer(Stream):
    """on_call: gets every method call. It, or a task that it starts, answers exactly once with reply() or
    error(), and owns the call's descriptors (call.discard() closes them).
    on_drained: is called when congestion ends. While it lasts no call is handled, and whoever makes signals
    should keep them back, as state and not as messages.
    on_room: is called when has_room() may have become true for a client for which it was not.
    """

    def __init__(self, sock: socket.socket, passes_fds: bool, limits: LinkLimits, names: ErrorNames) -> None:
        super().__init__(sock, passes_fds, limits)
        self._names = names
        self._headers = Headers()
        self._inbound = Inbound(self._handle_call, self._refuse, limits.inbound, has_room=self.has_room)
        self._most_body = limits.body_bytes
        self._refusals: deque[tuple[Incoming, str]] = deque()
        self._turn_due = False
        self.counts = LinkCounts()
        self.on_call: Callable[[Incoming], None] | None = None
        self.on_drained: Callable[[], None] | None = None
        self.on_room: Callable[[], None] | None = None

    @property
    def queued_calls(self) -> int:
        """How many calls wait for their turn: a gauge."""
        return self._inbound.queued

    def has_room(self, user: int, client: str) -> bool:
        """Whether the bus has taken enough of this client's replies for more to be made."""
        replies = self._outgoing.replies
        return not replies.taken or replies.free(user, client)

    # -- answers --------------------------------------------------------------------------------------------

    def reply(self, call: Incoming, signature: str = "", body: bytes = b"", fds: Sequence[int] = ()) -> None:
        """Answer a call with body bytes that are already marshalled. A call that wants no reply gets none."""
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
        """Answer a call with a large body. Its parts are not joined before the socket takes them.

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
        self.send_parts((head, *parts), (call.user, call.sender))

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

    # -- who calls ------------------------------------------------------------------------------------------

    def find_users_with(self, user_of: Callable[[str], int | None]) -> None:
        """user_of: gives the user of a sender, or None when it is not known yet; the sender's calls then wait
        until identified() is called for it. Without this, all senders count as root.
        """
        self._inbound.user_of = user_of

    def identified(self, sender: str, user: int) -> None:
        """The user of this sender is known: its calls that waited for it are served like all others."""
        self._inbound.identified(sender, user)
        self._schedule_turn()

    def drop_calls(self, sender: str) -> None:
        """The sender has left the bus: nobody waits for answers to its calls any more."""
        self._inbound.drop(sender)

    # -- turns ----------------------------------------------------------------------------------------------

    def _begin_turn(self) -> None:
        self._inbound.begin_turn()
        self.gather()

    def _end_turn(self, more: bool) -> None:
        """more: calls wait that the budget of this turn did not reach."""
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

    def _turn(self) -> None:
        """Serve calls that wait, within one turn's budget."""
        self._turn_due = False
        if self._ended:
            return
        self._begin_turn()
        more = self._inbound.serve()
        self._send_some_refusals()
        self._end_turn(more)

    def _handle_call(self, call: Incoming) -> None:
        try:
            if self.on_call is None:
                raise RuntimeError("no handler")
            self.on_call(call)
        except Exception:  # an edge: a caller must get an answer, and never our traceback
            log.exception("call failed: member=%s sender=%s", call.member, call.sender)
            call.discard()
            self.error(call, self._names.failed, "internal error")

    # -- refusals -------------------------------------------------------------------------------------------

    def _refuse(self, call: Incoming, reason: str) -> None:
        self.counts.refused += 1
        call.discard()
        if call.flags & framing.NO_REPLY_EXPECTED:
            return
        call.body = b""
        self._refusals.append((call, reason))
        if len(self._refusals) > _REFUSALS:
            self._send_refusal()
        elif not self._writing:
            self._schedule_turn()

    def _send_refusal(self) -> None:
        call, reason = self._refusals.popleft()
        self.error(call, self._names.limit_exceeded, reason)

    def _send_some_refusals(self) -> None:
        """Send some when there is nothing else to send: it does no harm when a refusal comes late."""
        if self._writing:
            return
        for _ in range(min(_REFUSALS_AT_A_TIME, len(self._refusals))):
            self._send_refusal()

    # -- what the stream announces --------------------------------------------------------------------------

    def _on_room(self) -> None:
        if self._inbound.queued:
            self._schedule_turn()
        if self.on_room is not None:
            self._guard(self.on_room)

    def _on_emptied(self) -> None:
        if self._refusals:
            self._schedule_turn()

    def _on_congestion(self) -> None:
        self._inbound.paused = self.congested
        if self.congested:
            return
        self._schedule_turn()
        if self.on_drained is not None:
            self._guard(self.on_drained)

    async def drain(self, timeout_s: float) -> bool:
        while self._refusals:
            self._send_refusal()
        return await super().drain(timeout_s)

    def _on_end(self, reason: LinkLost | None) -> None:
        self._inbound.close()
        self._refusals.clear()
