"""The jobs of one session: its parts joined, and what a client asks of a job. Main thread.

Jobs themselves belong to the connection (job.py), so that the end of a session is the end of its jobs, and
clients learn of it.
"""

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.metrics import Metrics
from virtbridge.model.jobs import Course
from virtbridge.model.keys import Key, Kind
from virtbridge.model.operations import Request, operation_of
from virtbridge.source.callbacks import Lookup
from virtbridge.source.calls.long_call import LongCalls
from virtbridge.source.calls.session import LibvirtEvent, Session
from virtbridge.source.jobs.begin import Beginner
from virtbridge.source.jobs.finding import Finder
from virtbridge.source.jobs.job import Job, Jobs
from virtbridge.source.jobs.progress import Progress
from virtbridge.source.jobs.questions import Questions
from virtbridge.source.jobs.slots import Slots
from virtbridge.source.reread_turns import RereadTurns
from virtbridge.source.session_work import SessionWork

_MIRRORS = ("block-copy", "block-active-commit")
_PIVOT = 2  # VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT


class JobWork:
    """uri: of the connection."""

    def __init__(
        self,
        session: Session,
        work: SessionWork,
        jobs: Jobs,
        long_calls: LongCalls,
        metrics: Metrics,
        lookup: Lookup,
        uri: str,
    ) -> None:
        self._session = session
        self._work = work
        self._jobs = jobs
        self._metrics = metrics
        self._turns = RereadTurns()
        self._slots = Slots(lookup)
        questions = Questions(session)
        interval_s = jobs.config.interval_ms / 1000
        self._progress = Progress(session, questions, self._slots, interval_s, self._end)
        self._finder = Finder(session, questions, jobs, self._slots, self._progress, lookup, self._end)
        self._beginner = Beginner(session, work, jobs, self._slots, self._progress, long_calls, uri)

    def note(self, event: LibvirtEvent) -> None:
        self._finder.note(event)

    async def find_all(self) -> None:
        """Find the jobs that ran before the session began. Raises BridgeError when the connection is lost."""
        await self._finder.find(self._work.refresher.keys(Kind.DOMAIN))
        self._metrics.add("source.job-searches")

    async def audit(self) -> None:
        """Find the jobs of which no event tells: of domains that show that they have one, and of a few more
        in turn.
        """
        domains = self._work.refresher.keys(Kind.DOMAIN)
        in_turn = self._turns.take(Kind.DOMAIN, domains)
        await self._finder.find(dict.fromkeys([*self._finder.suspects(domains), *in_turn]))

    async def operate(self, request: Request) -> Key | None:
        """Begin a job and return its key, or do what is asked of one. Raises BridgeError."""
        if operation_of(request).is_job:
            return await self._beginner.begin(request)
        (pivot,) = request.arguments
        await self._cancel(self._known(request.key), pivot)
        return None

    async def stop(self) -> None:
        await self._finder.stop()
        await self._progress.stop()
        await self._beginner.stop()

    def _known(self, key: Key) -> Job:
        job = self._jobs.get(key)
        if job is None:
            raise BridgeError(ErrorKind.NO_SUCH_OBJECT, "there is no such job")
        if job.is_over:
            raise BridgeError(ErrorKind.OPERATION_INVALID, "the job has ended")
        return job

    async def _cancel(self, job: Job, pivot: bool) -> None:
        if pivot and job.record.kind not in _MIRRORS:
            text = f"pivot: {job.record.kind} has nothing to pivot to"
            raise BridgeError(ErrorKind.INVALID_ARGUMENT, text)
        if job.on_cancel is not None:
            job.is_cancelled = True
            job.on_cancel()
            return
        handle = self._session.handles.get(job.record.object)
        if not job.record.cancellable or handle is None:
            raise BridgeError(ErrorKind.NOT_SUPPORTED, f"{job.record.kind} cannot be cancelled")
        job.is_cancelled = not pivot
        try:
            if job.course is Course.DISK:
                flags = _PIVOT if pivot else 0
                await self._session.on(handle.raw, "blockJobAbort", job.record.disk, flags)
            else:
                await self._session.on(handle.raw, "abortJob")
        except BridgeError:
            job.is_cancelled = False
            raise

    def _end(self, job: Job, error: BridgeError | None) -> None:
        self._slots.release(job)
        if error is not None:
            job.fail(error)
        elif job.is_cancelled:  # libvirt calls a copy completed that was ended without a pivot
            job.fail(BridgeError(ErrorKind.CANCELLED, "the job was cancelled"))
        else:
            job.succeed()
