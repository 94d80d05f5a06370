"""Calls in flight: what could not be answered at once becomes a task. For each connection the numbers of
tasks of one client, of one user and of all are limited, and the other calls wait for one of them to end.

So a host that hangs does not delay calls to another. The next task of a client is not begun before the bus
has taken enough of its replies. Every call that is given here is served or answered with Cancelled, once.
Main thread only.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from virtbridge.bus.contract import Method
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.limiter import Bounds, Limiter
from virtbridge.tasks import end_all
from virtbridge.turns import Turns
from virtbridge.wire.backlog import Backlog, BacklogLimits
from virtbridge.wire.framing import Incoming

_OVERHEAD_BYTES = 2048  # what a call that waits costs beside its body
_STARTS = 8  # in a turn of the loop: the bus is read between them, since others may have called


# Compared by identity: it is the call, not what it says.
@dataclass(slots=True, eq=False)
class Job:
    """connection: "" for what belongs to none. work: brings the result. waited: it did not start at once."""

    incoming: Incoming
    connection: str
    method: Method
    work: Coroutine[Any, Any, Any]
    waited: bool = False

    @property
    def size(self) -> int:
        return len(self.incoming.body) + _OVERHEAD_BYTES


class InFlight:
    """running: the limits of each connection.
    serve: does the work of a job and answers the call, whatever happens in it.
    cancelled: is called with each call whose work did not come to its end.
    has_room: whether a client of a user may get more replies.
    """

    def __init__(
        self,
        running: Bounds,
        waiting: BacklogLimits,
        serve: Callable[[Job], Coroutine[Any, Any, None]],
        cancelled: Callable[[Incoming], None],
        has_room: Callable[[int, str], bool],
    ) -> None:
        self._bounds = running
        self._backlog = Backlog(waiting)
        self._serve = serve
        self._cancelled = cancelled
        self._has_room = has_room
        self._turns: dict[str, Turns[Job]] = {}
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}  # by client
        self._resume_due = False

    def __len__(self) -> int:
        return sum(map(len, self._tasks.values()))

    @property
    def waiting(self) -> int:
        return self._backlog.calls

    def add(self, job: Job) -> None:
        """Start it, or let it wait. Raises LimitExceeded."""
        user, client = job.incoming.user, job.incoming.sender
        turns = self._turns.get(job.connection)
        if turns is None:
            running = Limiter("calls being worked on", self._bounds)
            turns = self._turns[job.connection] = Turns(self._start, running, self._has_room)
        if not turns.free(user, client):
            if problem := self._backlog.problem(user, client, job.size):
                job.work.close()
                raise BridgeError(ErrorKind.LIMIT_EXCEEDED, f"this is above {problem}")
            self._backlog.count(user, client, job.size)
            job.waited = True
        turns.add(user, client, job)

    def resume(self) -> None:
        """Start jobs that wait: there may be room for replies where there was none."""
        if not self._resume_due:
            self._resume_due = True
            asyncio.get_running_loop().call_soon(self._resume)

    def forget(self, client: str) -> None:
        """The client has left the bus: nobody waits for its calls any more."""
        for job in self._withdraw(client):
            job.work.close()
        for task in self._tasks.get(client, ()):
            task.cancel()

    async def stop(self) -> None:
        """Answer every call with Cancelled."""
        clients = {client for turns in self._turns.values() for client in turns.clients()}
        for client in clients:
            for job in self._withdraw(client):
                self._give_up(job)
        await end_all(task for tasks in self._tasks.values() for task in tasks)

    def _resume(self) -> None:
        self._resume_due = False
        for turns in self._turns.values():
            if turns.resume(_STARTS):
                self.resume()

    def _start(self, job: Job) -> None:
        if job.waited:
            self._backlog.give_back(job.incoming.user, job.incoming.sender, job.size)
        task = asyncio.create_task(self._serve(job))
        self._tasks.setdefault(job.incoming.sender, set()).add(task)
        task.add_done_callback(partial(self._landed, job))

    def _landed(self, job: Job, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # perhaps before its first step, so it could not answer itself
            self._give_up(job)
        client = job.incoming.sender
        tasks = self._tasks[client]
        tasks.discard(task)
        if not tasks:
            del self._tasks[client]
        turns = self._turns[job.connection]
        turns.ended(job.incoming.user, client)
        if turns.idle:
            del self._turns[job.connection]
        elif self.waiting:
            self.resume()

    def _give_up(self, job: Job) -> None:
        job.work.close()
        self._cancelled(job.incoming)

    def _withdraw(self, client: str) -> list[Job]:
        jobs = [job for turns in self._turns.values() for job in turns.withdraw(client)]
        for job in jobs:
            self._backlog.give_back(job.incoming.user, client, job.size)
        return jobs
