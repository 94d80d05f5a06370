"""Follows the progress of jobs: while any runs, the statistics of some are read at an interval. Main thread.

A reading is a libvirt call of each job that runs, and at most so many at a time; more jobs are read in turn.
No timer runs while no job does. Events tell the end of a job; a reading finds it where no event came.
"""

import asyncio
import logging
from collections.abc import Callable

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.jobs import RUNNING, Course
from virtbridge.model.keys import Kind
from virtbridge.source.calls.session import Session
from virtbridge.source.jobs.job import Job
from virtbridge.source.jobs.questions import DiskJob, DomainJob, Questions
from virtbridge.source.jobs.slots import Slots
from virtbridge.tasks import all_of, end_all

log = logging.getLogger(__name__)

AT_A_TIME = 4  # readings of one interval
_LOST = "the job has ended, and libvirt does not tell how"


class Progress:
    """Reads the progress of one session's jobs. end: ends a job and frees its slot; error None for a
    success.
    """

    def __init__(
        self,
        session: Session,
        questions: Questions,
        slots: Slots,
        interval_s: float,
        end: Callable[[Job, BridgeError | None], None],
    ) -> None:
        self._session = session
        self._questions = questions
        self._slots = slots
        self._interval_s = interval_s
        self._end = end
        self._absent: set[Job] = set()  # of which the last reading has not found anything
        self._last: Job | None = None
        self._task: asyncio.Task[None] | None = None

    def follow(self) -> None:
        """A job runs: read its progress from now on."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            await end_all([self._task])

    async def _run(self) -> None:
        while jobs := [job for job in self._slots.jobs() if self._has_statistics(job)]:
            await asyncio.sleep(self._interval_s)
            await all_of(self._read(job) for job in self._in_turn(jobs))

    @staticmethod
    def _has_statistics(job: Job) -> bool:
        """A copy that is ready may stay so for days, and nothing but an event ends it."""
        record = job.record
        return record.state == RUNNING and record.object.kind is Kind.DOMAIN and not record.ready

    def _in_turn(self, jobs: list[Job]) -> list[Job]:
        start = jobs.index(self._last) + 1 if self._last in jobs else 0
        turn = (jobs[start:] + jobs[:start])[:AT_A_TIME]
        self._last = turn[-1]
        return [job for job in turn if self._has_statistics(job)]

    async def _read(self, job: Job) -> None:
        handle = self._session.handles.get(job.record.object)
        if handle is None:
            self._note_absent(job)
            return
        try:
            found = await self._fetch(job, handle.raw)
        except BridgeError as error:
            # A guest that hangs does not answer in time, which says nothing of its job.
            if error.kind is not ErrorKind.TIMEOUT:
                log.debug("progress not read conn=%s job=%s error=%s", *job.key[::2][:2], error.message)
                self._note_absent(job)
            return
        if found is None:
            await self._note_end(job, handle.raw)
            return
        self._absent.discard(job)
        if (found.done, found.total) != (job.record.bytes_done, job.record.bytes_total):
            job.progress(found.done, found.total)

    async def _fetch(self, job: Job, raw: object) -> DomainJob | DiskJob | None:
        if job.course is not Course.DISK:
            return await self._questions.domain_job(raw)
        found = await self._questions.disk_job(raw, job.record.disk)
        if found is not None and found.is_ready:
            job.change(ready=True)
        return found

    async def _note_end(self, job: Job, raw: object) -> None:
        """libvirt has no such job any more. Its end comes with the call's answer or an event; where it has
        not come by the next reading, libvirt is asked.
        """
        if job.course is Course.DISK or job.is_ours or job not in self._absent:
            self._note_absent(job)
            return
        self._absent.discard(job)
        last: DomainJob | None = None
        try:
            last = await self._questions.domain_job(raw, completed=True)
        except BridgeError as error:
            log.debug("end of job not read conn=%s job=%s error=%s", *job.key[::2][:2], error.message)
        if job.is_over:
            return
        if last is None or last.kind != job.record.kind:
            self._end(job, BridgeError(ErrorKind.OPERATION_FAILED, _LOST))
        else:
            self._end(job, failure_of(last))

    def _note_absent(self, job: Job) -> None:
        if job.is_ours or job.is_over:
            return
        if job not in self._absent:
            self._absent.add(job)
            return
        self._absent.discard(job)
        self._end(job, BridgeError(ErrorKind.OPERATION_FAILED, _LOST))


def failure_of(job: DomainJob) -> BridgeError | None:
    """Why a job that has ended failed; None for one that was completed."""
    if job.state == "completed":
        return None
    kind = ErrorKind.CANCELLED if job.state == "cancelled" else ErrorKind.OPERATION_FAILED
    return BridgeError(kind, job.message or f"libvirt calls the job {job.state}")
