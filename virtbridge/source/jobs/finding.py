"""Finds the jobs that others began, and the end of those that run in the background. Main thread.

libvirt announces the beginning of no job. What begins one pauses the domain or announces its iterations, and
then the domain is asked, once; where it was paused, only when it has been for a while, so that a pause costs
nothing that is over soon. Other jobs are found after the first sync, by an audit, or by the event of their
end.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from virtbridge.clock import moment_us, wall_us
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.changes import LIFECYCLE
from virtbridge.model.jobs import Course, is_cancellable
from virtbridge.model.keys import Key, Kind
from virtbridge.source.callbacks import Lookup
from virtbridge.source.calls.session import LibvirtEvent, Session
from virtbridge.source.jobs.job import Job, Jobs
from virtbridge.source.jobs.progress import Progress
from virtbridge.source.jobs.questions import Questions
from virtbridge.source.jobs.slots import Slots
from virtbridge.tasks import all_in_turn, end_all

log = logging.getLogger(__name__)

AT_A_TIME = 2  # questions: they are no short reads, and operations must have room

# The detail of the event `stopped`, and the kind of job that is completed with it.
_STOPPED_BY = {
    "saved": "save",
    "migrated": "migration-out",
    "crashed": "dump",
    "from-snapshot": "snapshot-revert",
}
# Those of which the event shows that there was such a job.
_SHOWS_JOB = ("saved", "migrated")
# What a domain is paused for while a job runs.
_JOB_REASONS = frozenset({"save", "dump", "migration", "snapshot", "postcopy"})
# The kinds of job whose events tell of one disk, while the job is the domain's.
_OF_DOMAIN = frozenset({"block-backup"})


class Finder:
    """Finds the jobs of one session. end: ends a job and frees its slot; error None for a success."""

    def __init__(
        self,
        session: Session,
        questions: Questions,
        jobs: Jobs,
        slots: Slots,
        progress: Progress,
        lookup: Lookup,
        end: Callable[[Job, BridgeError | None], None],
    ) -> None:
        self._session = session
        self._questions = questions
        self._jobs = jobs
        self._slots = slots
        self._progress = progress
        self._lookup = lookup
        self._end = end
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: set[Key] = set()
        self._paused: dict[Key, asyncio.TimerHandle] = {}

    def note(self, event: LibvirtEvent) -> None:
        """An event of this session has been applied."""
        if event.kind is not Kind.DOMAIN:
            return
        domain = Key(self._session.name, Kind.DOMAIN, event.handle.id)
        name, details = event.args
        if event.member == LIFECYCLE:
            if name == "stopped":
                self._note_stopped(domain, details)
            elif name == "suspended":
                self._ask_if_paused_for_a_while(domain)
        elif name == "migration-iteration":
            self._ask_soon(domain)
        elif name == "block-job":
            self._note_disk_job(domain, details)
        elif name == "job-completed":
            self._note_completed(domain, details)

    async def find(self, domains: Iterable[Key]) -> None:
        """Ask for the jobs of these domains and of their disks. A domain that is not active has none."""
        active = [key for key in domains if getattr(self._lookup(key), "active", False)]
        await all_in_turn((self._ask(key, disks=True) for key in active), AT_A_TIME)

    def suspects(self, domains: Iterable[Key]) -> list[Key]:
        """Return the domains that show, without a question, that they have a job."""
        return [key for key in domains if self._shows_job(key)]

    async def stop(self) -> None:
        for timer in self._paused.values():
            timer.cancel()
        self._paused.clear()
        await end_all(self._tasks)

    def _shows_job(self, domain: Key) -> bool:
        record: Any = self._lookup(domain)
        if record is None or not record.active:
            return False
        if record.state_reason in _JOB_REASONS and self._slots.get(domain) is None:
            return True
        mirrored = [disk.target for disk in record.definition.disks if disk.mirror]
        return any(self._slots.get(domain, disk) is None for disk in mirrored)

    def _ask_if_paused_for_a_while(self, domain: Key) -> None:
        if domain not in self._paused and self._slots.get(domain) is None:
            later = asyncio.get_running_loop().call_later
            self._paused[domain] = later(self._jobs.config.interval_ms / 1000, self._ask_if_paused, domain)

    def _ask_if_paused(self, domain: Key) -> None:
        del self._paused[domain]
        if getattr(self._lookup(domain), "state", "") == "paused":
            self._ask_soon(domain)

    def _ask_soon(self, domain: Key) -> None:
        if self._slots.get(domain) is None and domain not in self._asking:
            task = asyncio.create_task(self._tried(self._ask(domain, disks=False)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tried(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except BridgeError as error:
            log.debug("jobs not found conn=%s error=%s", self._session.name, error.message)

    async def _ask(self, domain: Key, *, disks: bool) -> None:
        handle = self._session.handles.get(domain)
        if handle is None or domain in self._asking:
            return
        self._asking.add(domain)
        try:
            await self._ask_domain(domain, handle.raw)
            for disk in self._slots.disks(domain) if disks else ():
                await self._ask_disk(domain, handle.raw, disk)
        except BridgeError as error:  # of one domain, that may have stopped or hang
            if self._session.lost.done():
                raise
            log.debug("jobs not read conn=%s domain=%s error=%s", domain[0], domain.id, error.message)
        finally:
            self._asking.discard(domain)

    async def _ask_domain(self, domain: Key, raw: object) -> None:
        if self._slots.get(domain) is not None:
            return
        asked_us = moment_us()
        found = await self._questions.domain_job(raw)
        if found is None or self._slots.get(domain) is not None:
            return
        if self._slots.has_ended(domain, "", found.kind, asked_us):
            return
        started_us = wall_us() - found.elapsed_ms * 1000
        job = self._add(found.kind, domain, "", Course.DOMAIN_IN_BACKGROUND, started_us=started_us)
        if job is not None:
            job.progress(found.done, found.total)

    async def _ask_disk(self, domain: Key, raw: object, disk: str) -> None:
        if self._slots.get(domain, disk) is not None:
            return
        asked_us = moment_us()
        found = await self._questions.disk_job(raw, disk)
        if found is None or found.kind in _OF_DOMAIN or self._slots.get(domain, disk) is not None:
            return
        if self._slots.has_ended(domain, disk, found.kind, asked_us):
            return
        job = self._add(found.kind, domain, disk, Course.DISK, ready=found.is_ready)
        if job is not None:
            job.progress(found.done, found.total)

    def _add(self, kind: str, domain: Key, disk: str, course: Course, **fields: Any) -> Job | None:
        """Show a job that somebody else began. Returns None when there are too many jobs."""
        try:
            job = self._jobs.make(kind, domain, course, disk=disk, cancellable=is_cancellable(kind), **fields)
        except BridgeError as error:
            log.warning("a job is not shown conn=%s error=%s", self._session.name, error.message)
            return None
        self._slots.claim(job)
        job.show()
        self._progress.follow()
        return job

    def _note_stopped(self, domain: Key, detail: str) -> None:
        kind = _STOPPED_BY.get(detail, "")
        is_known = self._slots.get(domain) is not None or self._slots.has_ended(domain, "", kind)
        if detail in _SHOWS_JOB and not is_known:
            self._add(kind, domain, "", Course.DOMAIN_IN_BACKGROUND)
        for job in self._slots.jobs(domain):
            if not job.is_ours:  # else the call's answer comes
                done = job.record.kind == kind
                text = f"the domain has stopped: {detail}"
                self._end(job, None if done else BridgeError(ErrorKind.OPERATION_FAILED, text))

    def _note_disk_job(self, domain: Key, details: Mapping[str, Any]) -> None:
        kind, disk, status = f"block-{details['type']}", str(details["disk"]), details["status"]
        if kind in _OF_DOMAIN:
            return
        job = self._slots.get(domain, disk)
        if job is None:
            if self._slots.has_ended(domain, disk, kind):
                return
            job = self._add(kind, domain, disk, Course.DISK)
        if job is None:
            return
        if status == "ready":
            total = job.record.bytes_total
            job.change(ready=True, progress=1.0, bytes_done=total)
        else:
            self._end(job, _disk_failure(status))

    def _note_completed(self, domain: Key, details: Mapping[str, Any]) -> None:
        kind = str(details.get("operation", "unknown"))
        job = self._slots.get(domain)
        if job is None:
            elapsed_us = details.get("time_elapsed", 0) * 1000
            if self._slots.has_ended(domain, "", kind, moment_us() - elapsed_us):
                return
            started_us = wall_us() - elapsed_us
            job = self._add(kind, domain, "", Course.DOMAIN_IN_BACKGROUND, started_us=started_us)
        if job is None or job.is_ours:
            return
        failed = details.get("success") is False
        text = str(details.get("errmsg") or "libvirt gives no reason")
        self._end(job, BridgeError(ErrorKind.OPERATION_FAILED, text) if failed else None)


def _disk_failure(status: str) -> BridgeError | None:
    """Why a job of a disk failed, by the status of its event; None for one that was completed."""
    if status == "completed":
        return None
    if status == "canceled":
        return BridgeError(ErrorKind.CANCELLED, "the job was cancelled")
    return BridgeError(ErrorKind.OPERATION_FAILED, f"libvirt calls the job {status}, and gives no reason")
