"""Begins a job for a request, and ends it with what libvirt answers. Main thread.

Where libvirt's call returns at the end of the job, it is made as a long call, and the job is there at once.
Where it returns at the beginning, its refusal is the request's, and an event tells the end of the job.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from virtbridge.config import DAY_S
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.changes import Change
from virtbridge.model.jobs import Course
from virtbridge.model.keys import Key, Kind, parent_key
from virtbridge.model.operations import Operation, Request, operation_of
from virtbridge.source.calls.errors import bridge_error
from virtbridge.source.calls.long_call import Count, LongCalls
from virtbridge.source.calls.session import Session
from virtbridge.source.calls.uris import is_in_process
from virtbridge.source.effects import settle
from virtbridge.source.jobs.job import Job, Jobs
from virtbridge.source.jobs.progress import Progress
from virtbridge.source.jobs.slots import Slots
from virtbridge.source.kinds.table import KINDS
from virtbridge.source.operations import errors_of_binding, made_key, operate
from virtbridge.source.session_work import SessionWork
from virtbridge.tasks import end_all

Publish = Callable[[list[Change]], None]


class Beginner:
    """Begins the jobs of one session. uri: of the connection."""

    def __init__(
        self,
        session: Session,
        work: SessionWork,
        jobs: Jobs,
        slots: Slots,
        progress: Progress,
        long_calls: LongCalls,
        uri: str,
    ) -> None:
        self._session = session
        self._work = work
        self._jobs = jobs
        self._slots = slots
        self._progress = progress
        self._long_calls = long_calls
        self._is_in_process = is_in_process(uri)
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    async def begin(self, request: Request) -> Key:
        """Return the key of the job. Raises BridgeError."""
        row = operation_of(request)
        assert row.course is not None
        if row.course.returns_at_end:
            return self._begin_call(row, row.course, request)
        return await self._begin_in_background(row, row.course, request)

    async def stop(self) -> None:
        """Wait for no call any more. libvirt goes on with those in flight."""
        await end_all(self._tasks.values())

    def _begin_call(self, row: Operation, course: Course, request: Request) -> Key:
        job = self._jobs.make(
            row.job,
            request.key,
            course,
            is_ours=True,
            waits=True,
            cancellable=course is Course.DOMAIN and not _is_memory_only(row, request),
            started_by=request.caller.user,
        )
        self._slots.claim(job)
        job.show()
        task = asyncio.create_task(self._finish_call(row, request, job), name=f"job {job.key.id}")
        self._tasks[job.key] = task
        job.on_cancel = partial(_withdraw, job, task)
        task.add_done_callback(lambda _task: self._tasks.pop(job.key, None))
        return job.key

    async def _finish_call(self, row: Operation, request: Request, job: Job) -> None:
        try:
            with self._work.follower.event_waits.begin(row.events) as events:
                result = await self._call(row, request, job)
                await settle(self._work, row, request.key, result, events)
        except BridgeError as error:
            job.fail(error)
        except Exception as error:  # the top of a task: the job must not run for ever
            job.fail(bridge_error(error))
        else:
            job.succeed(result)
        finally:
            self._slots.release(job)

    async def _call(self, row: Operation, request: Request, job: Job) -> Key | None:
        """Return the key of what the job made, if anything."""

        def begin() -> None:
            job.run()
            self._progress.follow()

        if not self._is_in_process:
            made: Key | None = await self._long_calls.run(partial(_calls, row, request), begin)
            return made
        begin()
        answer = await operate(self._session, self._work.refresher, request, timeout_s=DAY_S)
        return answer if row.makes else None

    async def _begin_in_background(self, row: Operation, course: Course, request: Request) -> Key:
        disk = self._slots.target(request.key, row, request) if course is Course.DISK else ""
        kind = "block-active-commit" if _is_active_commit(row, request) else row.job
        job = self._jobs.make(
            kind, request.key, course, disk=disk, cancellable=True, started_by=request.caller.user
        )
        # Before the call: what takes no time has ended, and been announced, before libvirt's answer is here.
        self._slots.claim(job)
        try:
            await operate(self._session, self._work.refresher, request)
        except BaseException:
            self._slots.release(job)
            self._jobs.unmake(job)
            raise
        job.show()
        self._progress.follow()
        return job.key


def _withdraw(job: Job, task: "asyncio.Task[None]") -> None:
    """End a job that waits for its turn."""
    task.cancel()
    job.fail(BridgeError(ErrorKind.CANCELLED, "it was cancelled before it began"))


def _has_flag(row: Operation, request: Request, flag: int) -> bool:
    return bool(request.arguments[row.argument_names.index("flags")] & flag)


def _is_active_commit(row: Operation, request: Request) -> bool:
    """VIR_DOMAIN_BLOCK_COMMIT_ACTIVE."""
    return row.job == "block-commit" and _has_flag(row, request, 4)


def _is_memory_only(row: Operation, request: Request) -> bool:
    """VIR_DUMP_MEMORY_ONLY, which libvirt cannot end."""
    return row.job == "dump" and _has_flag(row, request, 16)


def _calls(row: Operation, request: Request, handle: Any, count: Count) -> Key | None:
    """Make the request with a connection of its own. Runs in the thread of a long call."""
    found = _find(request.key, handle, count)
    given = tuple(_find(each, handle, count) if isinstance(each, Key) else each for each in request.arguments)
    with errors_of_binding(row):
        answer = count(found, row.call, *row.in_call_order(given))
    return made_key(row, request.key, answer) if row.makes else None


def _find(key: Key, handle: Any, count: Count) -> Any:
    if key.kind is Kind.CONNECTION:
        return handle
    outer = parent_key(key)
    holder = handle if outer is None else _find(outer, handle, count)
    return count(holder, KINDS[key.kind].look_up, key.id)
