"""The worker threads of one libvirt connection. They make every blocking call on it.

The workers belong to one opened connection and are given up together with it. They are daemon threads of our
own, so a host that hangs blocks only them: neither the end of the process nor another connection. The window
limits the short reads in flight; single reads and reads of a batch take turns in it. Of all other calls at
most SLOW_LIMIT run at a time. This module does not know what a call means. Threads: call() and abandon() run
on the main thread; the workers `vb-<name>-N` share the lock of one condition.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar, cast

import libvirt

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.memory import end_if_exhausted, need_room
from virtbridge.metrics import Metrics
from virtbridge.source.calls.batch import Batch, Item, Read, Settle
from virtbridge.source.calls.errors import MAYBE_LOST, bridge_error, not_connected
from virtbridge.source.calls.inbox import Inbox
from virtbridge.source.calls.window import Window

log = logging.getLogger(__name__)

T = TypeVar("T")

SLOW_LIMIT = 4  # libvirtd serves 5 calls of a client at a time: one stays free for keepalive and short reads
IDLE_S = 10.0  # an idle thread ends after this: only the first sync needs so many of them


@dataclass(slots=True, eq=False)
class _Job:
    name: str
    function: Callable[[], Any]
    answer: "asyncio.Future[Any] | Item"
    short: bool
    counter: str


class Workers:
    """alive: virConnectIsAlive() of the connection; a worker calls it after an error that may mean a lost
    connection. on_lost: is called on the main thread when the connection is not alive.
    """

    def __init__(
        self,
        name: str,
        inbox: Inbox,
        metrics: Metrics,
        timeout_s: float,
        *,
        alive: Callable[[], bool],
        on_lost: Callable[[BridgeError], None],
    ) -> None:
        self._name = name[:8]  # the name of a thread has 15 characters at most: vb-, this, -999
        self._inbox = inbox
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._alive = alive
        self._on_lost = on_lost
        self._changed = threading.Condition()
        self._short: deque[_Job] = deque()
        self._batch: deque[_Job] = deque()  # short as well: the reads of read_many()
        self._batch_was_last = False
        self._slow: deque[_Job] = deque()
        self._urgent: deque[_Job] = deque()
        self._short_running = 0
        self._slow_running = 0
        self._running: set[_Job] = set()
        self._threads = 0
        self._idle = 0
        self._threads_started = 0
        self._ended = False
        self._on_ended: Callable[[], None] = lambda: None
        self.answered_at = monotonic()
        self._answers: set[asyncio.Future[Any]] = set()
        self.window = Window()

    def waiting(self) -> int:
        return len(self._short) + len(self._batch) + len(self._slow)

    def running(self) -> int:
        return self._short_running + self._slow_running

    def hung(self) -> int:
        """Return the number of calls that have not returned and for which nobody waits any more."""
        with self._changed:
            return sum(job.answer.done() for job in self._running)

    async def call(
        self,
        name: str,
        function: Callable[[], T],
        *,
        short: bool = False,
        urgent: bool = False,
        timeout_s: float | None = None,
    ) -> T:
        """Make one libvirt call in a worker, and return what it returns. name: its name in the counters.

        short: libvirt answers this read at once. urgent: the call does not wait for others here; while it
        runs, one slow call less may run, so only one caller at a time may use this. Raises BridgeError;
        Timeout after timeout_s, although the call still runs then and its thread stays busy.
        """
        queue = self._urgent if urgent else self._short if short else self._slow
        return cast(T, await self._wait(name, function, queue, short, f"libvirt.{name}", timeout_s))

    async def read_many(self, name: str, reads: Iterator[Read], settle: Settle) -> None:
        """Make any number of short reads, which are all counted under this name; see batch.py.

        settle: is called on the main thread with each answer. Raises BridgeError when the batch ends before
        all reads have settled.
        """
        counter = f"libvirt.{name}"

        def submit(items: list[Item]) -> None:
            self._submit([_Job(name, item.work, item, True, counter) for item in items], self._batch)

        finished = self._answer()
        self._answers.add(finished)
        try:
            await Batch(reads, submit, settle, finished).run(self._timeout_s)
        finally:
            self._answers.discard(finished)

    async def probe(self, name: str, function: Callable[[], T], timeout_s: float) -> bool:
        """Make an urgent call, and return whether the host answered it or any other call meanwhile."""
        began = monotonic()
        try:
            await self._wait(name, function, self._urgent, False, "source.keepalives", timeout_s)
        except BridgeError as error:
            return error.kind is not ErrorKind.TIMEOUT or self.answered_at >= began
        return True

    def _answer(self) -> "asyncio.Future[Any]":
        if self._ended:
            raise not_connected("the connection was closed")
        return asyncio.get_running_loop().create_future()

    async def _wait(
        self,
        name: str,
        function: Callable[[], Any],
        queue: deque[_Job],
        short: bool,
        counter: str,
        timeout_s: float | None,
    ) -> Any:
        """Queue a job and wait for its answer.

        The arguments are the parts of a job: if the job were a variable of this frame, the traceback that
        its answer keeps would refer to it.
        """
        answer = self._answer()
        self._answers.add(answer)
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit_s):
                self._submit([_Job(name, function, answer, short, counter)], queue)
                return await answer
        except TimeoutError:
            raise BridgeError(ErrorKind.TIMEOUT, f"libvirt did not answer within {limit_s:g} s") from None
        finally:
            self._answers.discard(answer)
            answer.cancel()  # nobody waits for it any more
            # The answer refers to the error, and the error's traceback to this frame. This cycle would keep a
            # handle, and through it the connection, until the garbage collector finds it.
            del answer, function

    def abandon(self, on_ended: Callable[[], None] = lambda: None) -> None:
        """Answer all pending calls with NotConnected, and end each thread as soon as its call returns.

        on_ended: is called on the main thread when the last thread has ended and its answer was delivered.
        """
        with self._changed:
            self._ended = True
            self._on_ended = on_ended
            self._short.clear()
            self._batch.clear()
            self._slow.clear()
            self._urgent.clear()
            self._changed.notify_all()
            self._post_if_ended()
        for answer in self._answers:
            if not answer.done():
                answer.set_exception(not_connected("the connection was closed"))

    def _submit(self, jobs: Sequence[_Job], queue: deque[_Job]) -> None:
        """Queue jobs. This starts or wakes one thread, which does the same for the next one."""
        with self._changed:
            queue.extend(jobs)
            self._wake_or_start_thread()

    def _wake_or_start_thread(self) -> None:
        if self._idle:
            self._changed.notify()
        elif self._urgent or self._threads < self.window.size + SLOW_LIMIT:
            self._start_thread()

    def _start_thread(self) -> None:
        self._threads += 1
        self._threads_started += 1
        name = f"vb-{self._name}-{self._threads_started % 1000}"
        need_room()
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except RuntimeError as error:  # the system has no room for another thread: the existing ones must do
            self._threads -= 1
            if not self._threads:
                raise bridge_error(error) from None

    def _work(self) -> None:
        while (job := self._take()) is not None:
            started = monotonic()
            self._metrics.add(job.counter)
            try:
                self._inbox.post(_answer, job.answer, job.function())
            except libvirt.libvirtError as error:
                self._failed(job, error)
            except Exception as error:  # a text is not UTF-8, or XML cannot be read: the caller handles that
                end_if_exhausted(error)
                self._inbox.post(_refuse, job.answer, error)
            self._done(job, monotonic() - started)
            del job  # an idle thread must not keep a handle, and through it the connection

    def _failed(self, job: _Job, error: libvirt.libvirtError) -> None:
        failure = bridge_error(error)
        if failure.code in MAYBE_LOST and not self._is_alive():
            failure = BridgeError(ErrorKind.NOT_CONNECTED, failure.message, failure.code)
            self._inbox.post(self._on_lost, failure)
        self._inbox.post(_refuse, job.answer, failure)

    def _is_alive(self) -> bool:
        try:
            return self._alive()
        except libvirt.libvirtError:
            return False

    def _take(self) -> _Job | None:
        """Wait for the next job. Returns None when this thread has to end."""
        with self._changed:
            while True:
                if self._ended:
                    break
                if (job := self._next()) is not None:
                    self._running.add(job)
                    # _submit() starts or wakes one thread only, and the window may have grown since.
                    if self._has_work():
                        self._wake_or_start_thread()
                    return job
                self._idle += 1
                woken = self._changed.wait(IDLE_S)
                self._idle -= 1
                if not woken and not self._has_work():
                    break
            self._threads -= 1
            self._post_if_ended()
            return None

    def _has_work(self) -> bool:
        return bool(
            self._urgent
            or (self._slow and self._slow_running < SLOW_LIMIT)
            or ((self._short or self._batch) and self._short_running < self.window.size)
        )

    def _next(self) -> _Job | None:
        if self._urgent:
            self._slow_running += 1
            return self._urgent.popleft()
        while (self._short or self._batch) and self._short_running < self.window.size:
            job = self._next_short()
            if not job.answer.done():  # its caller may have stopped waiting
                self._short_running += 1
                return job
        while self._slow and self._slow_running < SLOW_LIMIT:
            job = self._slow.popleft()
            if not job.answer.done():
                self._slow_running += 1
                return job
        return None

    def _next_short(self) -> _Job:
        """Take single calls and reads of a batch in turn: a single call must not wait for the hundreds of
        reads that a batch has queued, nor a batch for an endless sequence of single calls.
        """
        is_single = bool(self._short) and (self._batch_was_last or not self._batch)
        self._batch_was_last = not is_single
        return (self._short if is_single else self._batch).popleft()

    def _done(self, job: _Job, elapsed_s: float) -> None:
        with self._changed:
            self.answered_at = monotonic()
            self._running.discard(job)
            if job.short:
                self.window.finished(job.name, elapsed_s, self._short_running)
                self._short_running -= 1
            else:
                self._slow_running -= 1

    def _post_if_ended(self) -> None:
        if self._ended and not self._threads:
            self._inbox.post(self._on_ended)


def _answer(answer: "asyncio.Future[Any] | Item", value: Any) -> None:
    if not answer.done():
        answer.set_result(value)


def _refuse(answer: "asyncio.Future[Any] | Item", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error.with_traceback(None))  # the frames of the worker refer to handles too
