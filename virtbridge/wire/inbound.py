"""Fairness: which call is handled next, and how many are handled before the loop turns.

While there is no backlog a call is handled at once. Once a turn's budget (calls and time) is used up, calls
wait. They are taken in turn, of one user after the other and of one client of this user after the other, so a
user who sends very many calls neither keeps the loop busy nor delays another user by more than one call. The
backlog has limits, and what is above them is refused at once. A client that does not read its replies as fast
as they are made gets no further ones meanwhile: its calls wait.

The bus says only when asked which user a sender is. Until it has answered, the calls of this sender wait
apart, within the limits of one common user: whoever connects, calls and leaves all the time takes nothing
from users who are known.
Main thread only; this module knows neither the socket nor the library.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from virtbridge.limiter import ROOT
from virtbridge.round_robin import RoundRobin
from virtbridge.wire.backlog import Backlog, BacklogLimits
from virtbridge.wire.framing import Incoming

_FRAME_OVERHEAD_BYTES = 512  # what a waiting call costs beside its body


@dataclass(frozen=True, slots=True)
class InboundLimits:
    """turn_calls, turn_s: the budget of one turn.
    backlog: what may wait. Only root, or the one user of a session bus, can have nearly all of its bytes. The
    link then stops reading until half of them are handled.
    """

    turn_calls: int = 256
    turn_s: float = 0.001
    backlog: BacklogLimits = field(default_factory=BacklogLimits)


class Inbound:
    """handle: gets the calls.
    refuse: gets the calls above a limit, with the reason as text. Neither may raise.
    user_of: gives the user of a sender, or None when it is not known yet; then identified() follows.
    has_room: whether more replies may be made for a client of a user.
    """

    def __init__(
        self,
        handle: Callable[[Incoming], None],
        refuse: Callable[[Incoming, str], None],
        limits: InboundLimits = InboundLimits(),
        clock: Callable[[], float] = monotonic,
        *,
        user_of: Callable[[str], int | None] = lambda _sender: ROOT,
        has_room: Callable[[int, str], bool] = lambda _user, _sender: True,
    ) -> None:
        self._handle = handle
        self._refuse = refuse
        self._limits = limits
        self._clock = clock
        self.user_of = user_of
        self._has_room = has_room
        self._backlog = Backlog(limits.backlog)
        self._waiting: RoundRobin[Incoming] = RoundRobin()
        self._unidentified: dict[str, list[Incoming]] = {}
        self._calls_left = limits.turn_calls
        self._deadline = clock() + limits.turn_s
        self.paused = False

    @property
    def queued(self) -> int:
        return self._backlog.calls

    @property
    def queued_bytes(self) -> int:
        return self._backlog.size_bytes

    @property
    def full(self) -> bool:
        """Whether the backlog is near its limit. One more turn's calls fit, so no call is refused that could
        wait.
        """
        return self.queued_bytes > self._limits.backlog.size_bytes.total * 7 // 8

    @property
    def roomy(self) -> bool:
        return self.queued_bytes <= self._limits.backlog.size_bytes.total // 2

    def begin_turn(self) -> None:
        """Begin a new budget; this is called once per turn of the loop."""
        self._calls_left = self._limits.turn_calls
        self._deadline = self._clock() + self._limits.turn_s

    def accept(self, call: Incoming) -> None:
        """Handle the call, let it wait, or refuse it. Inbound owns its descriptors from here on."""
        if call.oversized:
            self._refuse(call, "the message is too large")
            return
        user = self.user_of(call.sender)
        if user is None:
            self._set_aside(call)
            return
        call.user = user
        if not self._waiting and not self.paused and self._has_room(user, call.sender) and self._may_go_on():
            self._handle(call)
        else:
            self._enqueue(call)

    def serve(self) -> bool:
        """Handle calls that wait, within the budget. True when it should be called again in the next turn."""
        while self._waiting and not self.paused:
            if not self._may_go_on():
                return True
            call = self._waiting.pop(self._has_room)
            if call is None:
                break
            self._backlog.give_back(call.user, call.sender, _size(call), len(call.fds))
            self._handle(call)
        return False

    def identified(self, sender: str, user: int) -> None:
        """The user of this sender is known: its calls that waited apart wait with all others from now on."""
        for call in self._take_aside(sender):
            call.user = user
            self._enqueue(call)

    def drop(self, sender: str) -> None:
        """The sender has left the bus: nobody waits for its calls any more.

        Handling them after the signal that it left would make a watch that never ends.
        """
        for call in self._take_aside(sender):
            call.discard()
        for call in self._waiting.withdraw(sender):
            self._backlog.give_back(call.user, sender, _size(call), len(call.fds))
            call.discard()

    def close(self) -> None:
        for sender in [*self._unidentified, *self._waiting.clients()]:
            self.drop(sender)

    def _may_go_on(self) -> bool:
        self._calls_left -= 1
        # The clock, each time: a call may be 20 us of work, or 80 ms (64 KiB of empty strings in dbus-next).
        return self._calls_left >= 0 and self._clock() < self._deadline

    def _enqueue(self, call: Incoming) -> None:
        if self._counted(call):
            self._waiting.push(call.user, call.sender, call)

    def _set_aside(self, call: Incoming) -> None:
        if self._counted(call):
            self._unidentified.setdefault(call.sender, []).append(call)

    def _take_aside(self, sender: str) -> list[Incoming]:
        calls = self._unidentified.pop(sender, [])
        for call in calls:
            self._backlog.give_back(call.user, sender, _size(call), len(call.fds))
        return calls

    def _counted(self, call: Incoming) -> bool:
        size = _size(call)
        if problem := self._backlog.problem(call.user, call.sender, size, len(call.fds)):
            self._refuse(call, f"this is above {problem}")
            return False
        self._backlog.count(call.user, call.sender, size, len(call.fds))
        return True


def _size(call: Incoming) -> int:
    return len(call.body) + _FRAME_OVERHEAD_BYTES
