"""Fairness: which call is handled next, and how much is done before the loop turns.

While there is no backlog a call is handled at once. Once a turn's budget (calls and time) is used up, calls
wait in one queue per sender and are taken round robin, so that one client's flood neither holds the loop nor
delays another client by more than its own share. A queue has an end: what is above it is refused at once.
Main thread only; knows neither socket nor library.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from virtbridge.wire.framing import Incoming

_FRAME_OVERHEAD_BYTES = 512  # what a waiting call costs beside its body


@dataclass(frozen=True, slots=True)
class InboundLimits:
    """turn_calls, turn_s: one turn's budget. calls_per_sender: how many may wait. queued_bytes: of all
    together; above it the link stops reading until half of them are handled."""

    turn_calls: int = 256
    turn_s: float = 0.008
    calls_per_sender: int = 8192
    queued_bytes: int = 16 * 1024 * 1024


class Inbound:
    """handle gets the calls, refuse those above a limit, with the reason as text. Neither may raise."""

    def __init__(
        self,
        handle: Callable[[Incoming], None],
        refuse: Callable[[Incoming, str], None],
        limits: InboundLimits = InboundLimits(),
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._handle = handle
        self._refuse = refuse
        self._limits = limits
        self._clock = clock
        # dicts keep their order: the first sender is the next one served.
        self._queues: dict[str, deque[Incoming]] = {}
        self._calls_left = limits.turn_calls
        self._deadline = clock() + limits.turn_s
        self.paused = False
        self.queued = 0
        self.queued_bytes = 0

    @property
    def full(self) -> bool:
        return self.queued_bytes > self._limits.queued_bytes

    @property
    def roomy(self) -> bool:
        return self.queued_bytes <= self._limits.queued_bytes // 2

    def begin_turn(self) -> None:
        """A new budget: once per turn of the loop."""
        self._calls_left = self._limits.turn_calls
        self._deadline = self._clock() + self._limits.turn_s

    def accept(self, call: Incoming) -> None:
        """Handle the call, or let it wait, or refuse it. Takes over its descriptors."""
        if call.oversized:
            self._refuse(call, "the message is too large")
        elif not self._queues and not self.paused and self._may_go_on():
            self._handle(call)
        else:
            self._enqueue(call)

    def serve(self) -> bool:
        """Handle waiting calls as the budget allows; True when it should be called again next turn."""
        queues = self._queues
        while queues and not self.paused and self._may_go_on():
            sender = next(iter(queues))
            queue = queues.pop(sender)
            call = queue.popleft()
            if queue:
                queues[sender] = queue  # behind all others
            self._forget(call)
            self._handle(call)
        return bool(queues) and not self.paused

    def drop(self, sender: str) -> None:
        """The sender has left the bus: nobody waits for its calls any more.

        Handling them after the signal that it left would make a watch that never ends.
        """
        for call in self._queues.pop(sender, ()):
            self._forget(call)
            call.discard()

    def close(self) -> None:
        for sender in list(self._queues):
            self.drop(sender)

    def _may_go_on(self) -> bool:
        self._calls_left -= 1
        # The clock, each time: a call may be 20 us of work, or 80 ms (64 KiB of empty strings in dbus-next).
        return self._calls_left >= 0 and self._clock() < self._deadline

    def _enqueue(self, call: Incoming) -> None:
        queue = self._queues.get(call.sender)
        if queue is None:
            queue = self._queues[call.sender] = deque()
        elif len(queue) >= self._limits.calls_per_sender:
            self._refuse(call, f"more than {self._limits.calls_per_sender} calls are waiting")
            return
        queue.append(call)
        self.queued += 1
        self.queued_bytes += len(call.body) + _FRAME_OVERHEAD_BYTES

    def _forget(self, call: Incoming) -> None:
        self.queued -= 1
        self.queued_bytes -= len(call.body) + _FRAME_OVERHEAD_BYTES
