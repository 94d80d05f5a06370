"""One job while it runs, and all jobs of a connection: they are published, changed, ended and forgotten.

The jobs of a connection outlive its sessions: a client finds the end of a job, and its reason, although the
connection was lost. Main thread; libvirt is not called here.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

from virtbridge.clock import moment_us, wall_us
from virtbridge.config import JobsConfig
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.changes import COMPLETED as COMPLETED_SIGNAL
from virtbridge.model.changes import Drop, Patch, Put, Signal
from virtbridge.model.jobs import (
    CANCELLED,
    COMPLETED,
    FAILED,
    RUNNING,
    WAITING,
    Course,
    Figures,
    JobRecord,
    figures_fields,
)
from virtbridge.model.keys import Key, Kind
from virtbridge.source.callbacks import Publish

log = logging.getLogger(__name__)


class Job:
    """A job of which clients know, or will as soon as it is shown.

    course: how libvirt treats it; None for a job that something else in this service follows. is_ours:
    whether a call that is in flight here tells its end.
    """

    def __init__(
        self, jobs: "Jobs", key: Key, record: JobRecord, course: Course | None, *, is_ours: bool
    ) -> None:
        self.key = key
        self.record = record
        self.course = course
        self.is_ours = is_ours
        self.is_cancelled = False  # whether a client has asked for it
        # What ends the work, where no call of libvirt does.
        self.on_cancel: Callable[[], None] | None = None
        self.is_asking = False  # whether its progress is being read
        self._jobs = jobs
        self._is_shown = False
        self._figures: Figures | None = None

    @property
    def is_over(self) -> bool:
        return self.record.is_over

    def show(self) -> None:
        """Publish it. A job whose call has failed meanwhile is never shown; one that has ended already is."""
        self._is_shown = True
        self._jobs.publish([Put(self.key, self.record)])
        if self.is_over:
            self._announce_end()

    def change(self, **fields: Any) -> None:
        if self.is_over:
            return
        self.record = replace(self.record, **fields)
        if self._is_shown:
            self._jobs.publish([Patch(self.key, fields)])

    def run(self) -> None:
        """It has waited for its turn."""
        self.on_cancel = None
        self.change(state=RUNNING)

    def progress(self, done: int, total: int) -> None:
        """So many bytes of so many are done; total is 0 when it is not known."""
        now = Figures(done, total, moment_us())
        self.change(**figures_fields(self._figures, now, wall_us()))
        self._figures = now

    def succeed(self, result: Key | None = None) -> None:
        total = self.record.bytes_total
        self._end(state=COMPLETED, progress=1.0, bytes_done=total, ready=False, result=result)

    def fail(self, error: BridgeError) -> None:
        """It has failed, or was cancelled if the error or a client says so. Cancelled is never a success."""
        cancelled = error.kind is ErrorKind.CANCELLED or (
            self.is_cancelled and error.kind is not ErrorKind.NOT_CONNECTED
        )
        kind = ErrorKind.CANCELLED if cancelled else error.kind
        self._end(state=CANCELLED if cancelled else FAILED, error=(str(kind), error.message))

    def _end(self, **fields: Any) -> None:
        if self.is_over:
            return
        self.change(**fields, cancellable=False, ended_us=wall_us(), rate_bytes_per_s=0, expected_end_us=0)
        if self._is_shown:
            self._announce_end()

    def _announce_end(self) -> None:
        record = self.record
        args = (record.state == COMPLETED, *record.error)
        self._jobs.publish([Signal(self.key, COMPLETED_SIGNAL, args)])
        log.info(
            "job ended conn=%s job=%s kind=%s object=%s uid=%d state=%s error=%s elapsed_ms=%d",
            self.key.connection, self.key.id, record.kind, record.object.id, record.started_by,
            record.state, record.error[0] or "none", (record.ended_us - record.started_us) // 1000,
        )  # fmt: skip
        self._jobs.keep(self)


class Jobs:
    """All jobs of one connection, by number. Numbers are not used again."""

    def __init__(self, connection: str, config: JobsConfig, publish: Publish) -> None:
        self.config = config
        self.publish = publish
        self._connection = connection
        self._numbers = count(1)
        self._known: dict[Key, Job] = {}
        self._kept: dict[Key, asyncio.TimerHandle] = {}  # those that have ended, the oldest first

    def make(
        self,
        kind: str,
        of: Key,
        course: Course | None = None,
        *,
        is_ours: bool = False,
        waits: bool = False,
        **fields: Any,
    ) -> Job:
        """Make a job that show() publishes. Raises LimitExceeded when too many have not ended."""
        if sum(not each.is_over for each in self._known.values()) >= self.config.limit:
            raise BridgeError(ErrorKind.LIMIT_EXCEEDED, f"{self.config.limit} jobs have not ended yet")
        key = Key(self._connection, Kind.JOB, str(next(self._numbers)))
        fields.setdefault("started_us", wall_us())
        record = JobRecord(kind, of, state=WAITING if waits else RUNNING, **fields)
        job = self._known[key] = Job(self, key, record, course, is_ours=is_ours)
        return job

    def unmake(self, job: Job) -> None:
        """Forget a job that was never shown."""
        self._known.pop(job.key, None)

    def get(self, key: Key) -> Job | None:
        return self._known.get(key)

    def unfinished(self) -> Iterator[Job]:
        return (job for job in list(self._known.values()) if not job.is_over)

    def keep(self, job: Job) -> None:
        """Keep what has ended for a while, so that those who have not heard of the end can read it."""
        later = asyncio.get_running_loop().call_later
        self._kept[job.key] = later(self.config.keep_s, self._drop, job.key)
        while len(self._kept) > self.config.kept:
            self._drop(next(iter(self._kept)))

    def end_all(self, error: BridgeError) -> None:
        """The connection is lost: what becomes of its jobs is not known."""
        for job in self.unfinished():
            if job.course is not None:
                job.fail(error)

    def stop(self) -> None:
        for timer in self._kept.values():
            timer.cancel()
        self._kept.clear()
        self._known.clear()

    def _drop(self, key: Key) -> None:
        self._kept.pop(key).cancel()
        self._known.pop(key, None)
        self.publish([Drop(key)])
