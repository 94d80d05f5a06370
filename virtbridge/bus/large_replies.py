"""Large replies: one leaves at a time, in their callers' turns, and a pause for everybody else follows.

The way to the bus is one stream, and dbus-daemon checks a message of 1.5 MB in one step of 8 to 40 ms, in
which it serves nobody. A client that asks for one after the other would make every other client wait for most
of that, each time. So a large reply is made only when the one before is through the bus, which the answer to
a call to the bus, sent behind it, shows. When others have called meanwhile, the bus is left to them for a
part of the time that the reply took. The question waits, not the answer: a reply must not hold older values
than the signals that have overtaken it.
Main thread only.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.limiter import Portions
from virtbridge.round_robin import RoundRobin
from virtbridge.tasks import end_all
from virtbridge.wire.backlog import Backlog, BacklogLimits
from virtbridge.wire.framing import NO_REPLY_EXPECTED, Incoming
from virtbridge.wire.link import BusError, Link
from virtbridge.wire.names import BUS_NAME, BUS_PATH

LARGE_BYTES = 64 * 1024  # dbus-daemon takes half a millisecond for it
_STEP_S = 0.004  # of making one, in one turn of the loop
_CONGESTED_S = 0.02  # between two checks whether there is room again
# The bus is left to others for a part of the time that the large reply took, and for _PAUSE_S where that is
# more and the reply took as long: enough for a few short calls of each client that waited, one after the
# other, so that most of their calls do not wait at all.
_PAUSE, _PAUSE_S, _PAUSE_MOST_S = 0.5, 0.004, 0.05
# How many bytes of replies that are made already may wait: those of all callers, and those of one.
_WAITING_BYTES, _CALLER_BYTES = 128 << 20, 32 << 20


class Reply(Protocol):
    """A large reply. waiting_bytes: what it holds in memory before its turn."""

    waiting_bytes: int

    def prepare(self, until: float) -> bool:
        """Work on the reply until then; True when only one short step is left."""

    def parts(self) -> Sequence[bytes | memoryview]:
        """Take the last step: return the body, as it is now."""


class Made:
    """A body that was made at once, large as it is."""

    def __init__(self, body: bytes | memoryview) -> None:
        self.waiting_bytes = len(body)
        self._body = body

    def prepare(self, until: float) -> bool:
        return True

    def parts(self) -> Sequence[bytes | memoryview]:
        return (self._body,)


def limits_of(calls: BacklogLimits, portions: Portions) -> BacklogLimits:
    """Return how many large replies may wait: as many as calls, and a total of bytes that the users share."""
    return BacklogLimits(calls.calls, portions.of(_WAITING_BYTES, _CALLER_BYTES))


# Compared by identity: it is the call, not what it says.
@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """size: the bytes that it holds in memory while it waits, as they are counted."""

    call: Incoming
    signature: str
    reply: Reply
    size: int


class LargeReplies:
    """fail: answers a call with an error. limits: how many may wait."""

    def __init__(
        self, link: Link, fail: Callable[[Incoming, Exception], None], limits: BacklogLimits
    ) -> None:
        self._link = link
        self._fail = fail
        self._backlog = Backlog(limits, "large replies")
        bounds = limits.size_bytes
        # One reply of any legal size can wait where nothing else of its user does.
        self._most_size = min(bounds.per_client, bounds.per_user, bounds.total - bounds.reserve)
        self._waiting: RoundRobin[_Job] = RoundRobin()
        self._current: _Job | None = None
        self._task: asyncio.Task[None] | None = None
        self._calls = 0

    def __len__(self) -> int:
        return len(self._waiting) + (self._current is not None)

    def send(self, call: Incoming, signature: str, reply: Reply) -> None:
        """Answer the call when it is its turn. Raises LimitExceeded."""
        self._calls += 1
        if call.flags & NO_REPLY_EXPECTED:
            return
        size = min(reply.waiting_bytes, self._most_size)
        if problem := self._backlog.problem(call.user, call.sender, size):
            raise BridgeError(ErrorKind.LIMIT_EXCEEDED, f"this is above {problem}")
        self._backlog.count(call.user, call.sender, size)
        self._waiting.push(call.user, call.sender, _Job(call, signature, reply, size))
        if self._task is None:
            others = self._link.counts.calls - self._calls
            # As nearly always nothing is under way, and it leaves in this very turn.
            self._task = asyncio.create_task(self._work(self._step(), others))

    def forget(self, sender: str) -> None:
        """The client has left the bus: nobody waits for its replies any more."""
        self._withdraw(sender)
        if self._current is not None and self._current.call.sender == sender:
            self._current = None

    async def stop(self) -> None:
        """Answer every call that still waits with Cancelled."""
        waiting = [job for client in self._waiting.clients() for job in self._withdraw(client)]
        waiting += [self._current] if self._current is not None else []
        self._current = None
        for job in waiting:
            self._fail(job.call, BridgeError(ErrorKind.CANCELLED, "the call was cancelled"))
        await end_all([self._task] if self._task is not None else ())

    async def _work(self, has_sent: bool, others: int) -> None:
        """Send replies until nothing waits any more. others: how many other calls had come when it began."""
        try:
            while True:
                if has_sent:
                    others = await self._through(others)
                elif self._current is not None or self._waiting:
                    await asyncio.sleep(_CONGESTED_S if self._link.congested else 0)
                if self._current is None and not self._waiting:
                    return
                has_sent = self._step()
        finally:
            self._task = None

    def _step(self) -> bool:
        """Work on the reply whose turn it is; True when it was queued for the socket."""
        if self._link.congested:
            return False
        job, self._current = self._current or self._take(), None
        if job is None:
            return False
        try:
            if job.reply.prepare(monotonic() + _STEP_S):
                self._link.reply_in_parts(job.call, job.signature, job.reply.parts())
                return True
        except Exception as error:  # an edge: the others' replies come after it
            self._fail(job.call, error)
        else:
            self._current = job
        return False

    def _take(self) -> _Job | None:
        job = self._waiting.pop()
        if job is not None:
            self._backlog.give_back(job.call.user, job.call.sender, job.size)
        return job

    def _withdraw(self, client: str) -> list[_Job]:
        jobs = self._waiting.withdraw(client)
        for job in jobs:
            self._backlog.give_back(job.call.user, client, job.size)
        return jobs

    async def _through(self, others: int) -> int:
        """Wait until the bus has taken what was sent, and leave it to others for a while. Return how many
        other calls have come.
        """
        began = monotonic()
        with suppress(BusError):  # then the bus is gone, and this ends with the link
            await self._link.call(BUS_NAME, BUS_PATH, BUS_NAME, "GetId", timeout_s=None)
        now_others = self._link.counts.calls - self._calls
        if now_others != others:
            await asyncio.sleep(_pause_s(monotonic() - began))
        return self._link.counts.calls - self._calls


def _pause_s(took_s: float) -> float:
    return min(max(took_s * _PAUSE, min(took_s, _PAUSE_S)), _PAUSE_MOST_S)
