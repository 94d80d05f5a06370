"""One configured connection, for as long as it is configured: it connects, syncs, is ready, and reconnects.

This is the state machine, and what the connection's record shows of it. Each attempt has its own session and
workers, which are given up when the host hangs. The task never ends with an exception: a failure is
published, and the connection is tried again. Main thread.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from virtbridge.clock import wall_us
from virtbridge.config import ConnectionConfig, JobsConfig, RefreshConfig, StatsConfig
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.metrics import Metrics
from virtbridge.model.changes import Forget, Patch, Put
from virtbridge.model.keys import Key, Kind, connection_key
from virtbridge.model.operations import Request, operation_of
from virtbridge.model.records import ConnectionRecord
from virtbridge.source.callbacks import Lookup, Problems, Publish
from virtbridge.source.calls.inbox import Inbox
from virtbridge.source.calls.long_call import LongCalls
from virtbridge.source.calls.opening import HUNG_LIMIT, Opener
from virtbridge.source.calls.session import LibvirtEvent, Session
from virtbridge.source.calls.uris import public_uri
from virtbridge.source.calls.workers import Workers
from virtbridge.source.effects import settle
from virtbridge.source.jobs.job import Jobs
from virtbridge.source.jobs.work import JobWork
from virtbridge.source.operations import operate
from virtbridge.source.session_work import SessionWork
from virtbridge.source.stats.drift import Drift
from virtbridge.source.stats.sampler import Sampler, Samples

log = logging.getLogger(__name__)

_FIRST_AUDIT_S = 10.0  # when the first audit follows a reconnect

# The gauges of each connection, which are called `queue.<connection>.<gauge>`.
_GAUGES: Mapping[str, Callable[[Workers], int]] = {
    "waiting": Workers.waiting,
    "running": Workers.running,
    "window": lambda workers: workers.window.size,
}


class Backoff:
    """Growing pauses. Each is shortened at random by up to a half, so that many connections do not reconnect
    at the same time.
    """

    def __init__(self, least_s: float, most_s: float) -> None:
        self._least_s = least_s
        self._most_s = max(least_s, most_s)
        self._next_s = least_s

    def next_s(self) -> float:
        pause_s = self._next_s
        self._next_s = min(self._most_s, pause_s * 2)
        return pause_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._next_s = self._least_s


class Connection:
    """watched: says whether any client is on the bus that would notice a change."""

    def __init__(
        self,
        config: ConnectionConfig,
        refresh: RefreshConfig,
        inbox: Inbox,
        metrics: Metrics,
        *,
        publish: Publish,
        lookup: Lookup,
        watched: Callable[[], bool],
        stats: StatsConfig,
        jobs: JobsConfig,
    ) -> None:
        self.config = config
        self._refresh = refresh
        self._stats = stats
        self._sampler: Sampler | None = None
        self._inbox = inbox
        self._metrics = metrics
        self._publish_all = publish
        self._lookup = lookup
        self._watched = watched
        self._key = connection_key(config.name)
        self._opener = Opener(config, inbox, metrics)
        self._jobs = Jobs(config.name, jobs, self._publish)
        self._long_calls = LongCalls(config, inbox, metrics, jobs.running)
        self._job_work: JobWork | None = None
        self._problems: Problems = {}
        self._failures: dict[str, BridgeError] = {}
        self._watched_kinds: frozenset[Kind] = frozenset()
        self._backoff = Backoff(refresh.reconnect_min_s, refresh.reconnect_max_s)
        self._attempts = 0
        self._logged = ""  # the failure that was last logged since it was ready
        self._given_up: list[Session] = []
        self._session: Session | None = None
        self._work: SessionWork | None = None
        self._ready = False
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def announce(self) -> None:
        """Publish the connection, in state `connecting`. start() follows."""
        record = ConnectionRecord(
            self.config.name, public_uri(self.config.uri), read_only=self.config.read_only
        )
        self._publish([Put(self._key, record)])
        for what, read in _GAUGES.items():
            self._metrics.gauge(f"queue.{self.config.name}.{what}", partial(self._read_gauge, read))

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"connection {self.config.name}")

    def forget(self) -> None:
        """Remove the connection from the cache at once. Nothing is published after that. finish() follows."""
        self._publish([Forget(self.config.name)])
        self._closing = True
        self._jobs.stop()
        for what in _GAUGES:
            self._metrics.drop_gauge(f"queue.{self.config.name}.{what}")

    async def finish(self) -> None:
        """End the task and the session. This takes a limited time, even if the host hangs."""
        self._closing = True
        self._jobs.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def ready(self) -> tuple[Session, SessionWork]:
        """Return the session and its work. Raises NotConnected with the last failure."""
        if self._session is None or self._work is None or not self._ready:
            known: Any = self._lookup(self._key)
            text = (known.last_error[1] if known else "") or "the connection is not ready yet"
            raise BridgeError(ErrorKind.NOT_CONNECTED, f"{self.config.name}: {text}")
        return self._session, self._work

    def watch(self, kinds: frozenset[Kind]) -> None:
        """Set the kinds that clients watch. This stays valid after a reconnect."""
        self._watched_kinds = kinds

    async def poll(self, kind: Kind) -> None:
        """Poll a kind whose events the driver does not have. Ends early when nobody watches it any more."""
        _, work = self.ready()
        await work.poll(kind, lambda: kind in self._watched_kinds)

    def show_poll_failure(self, failure: BridgeError | None) -> None:
        """Publish the failure of polls. None means that polls succeed again."""
        if self._work is not None:
            self._show_failures(self._work)
        self._show_failure("polling", failure)

    async def refresh(self, kinds: frozenset[Kind]) -> None:
        _, work = self.ready()
        try:
            everything = work.kinds.event_kinds | work.kinds.polled_kinds
            await work.refresh(kinds or everything)
            if not kinds or kinds >= everything:
                self._publish([self._patch(last_sync_us=wall_us())])
        finally:
            self._show_failures(work)

    async def load(self, about: Key, kind: Kind, everything: bool) -> bool:
        """Read the objects of a kind that is read on demand, and publish the differences.

        everything: every definition is read. Returns whether every definition was read.
        """
        _, work = self.ready()
        return await work.refresher.load(about, kind, everything=everything)

    async def operate(self, request: Request) -> Any:
        """Make a request. The fields that its operation changes are published before this returns; of a job,
        when it ends.
        """
        session, work = self.ready()
        row = operation_of(request)
        if row.is_job or request.key.kind is Kind.JOB:
            assert self._job_work is not None
            return await self._job_work.operate(request)
        with work.follower.event_waits.begin(row.events) as events:
            answer = await operate(session, work.refresher, request)
            if fields := row.changed_fields(request):
                work.newer.note(request.key)
                self._publish([Patch(request.key, fields)])
            if not row.is_reading:
                await settle(work, row, request.key, answer if row.makes else None, events)
        return answer

    async def sample(self, groups: frozenset[str], only: str | None) -> Samples:
        self.ready()
        assert self._sampler is not None
        return await self._sampler.sample(groups, only)

    def _read_gauge(self, read: Callable[[Workers], int]) -> int:
        return read(self._session.workers) if self._session else 0

    def _publish(self, changes: Any) -> None:
        if not self._closing:
            self._publish_all(changes)

    def _patch(self, **fields: Any) -> Patch:
        return Patch(self._key, fields)

    async def _run(self) -> None:
        while True:
            try:
                error = await self._connect_and_follow()
            except BridgeError as failure:
                error = failure
            except Exception as failure:
                log.exception("connection failed unexpectedly conn=%s", self.config.name)
                error = BridgeError(ErrorKind.OPERATION_FAILED, str(failure))
            pause_s = self._backoff.next_s()
            self._failed(error, pause_s)
            await asyncio.sleep(pause_s)

    def _failed(self, error: BridgeError, pause_s: float) -> None:
        self._attempts += 1
        if self._logged != error.message:  # a failure that repeats is logged once
            self._logged = error.message
            log.warning(
                "not connected conn=%s again_in_s=%.1f error=%s", self.config.name, pause_s, error.message
            )
        self._publish(
            [
                self._patch(
                    state="disconnected",
                    last_error=_shown_error(error),
                    reconnect_attempts=self._attempts,
                )
            ]
        )

    async def _connect_and_follow(self) -> BridgeError:
        """Run one session from its opening to its end. Returns why it ended."""
        self._check_given_up()
        raw = await self._opener.open_handle(self._refresh.open_timeout_s)
        session = Session(self.config, raw, self._inbox, self._metrics, self._refresh.call_timeout_s)
        del raw
        sampler = Sampler(session, self._lookup, self._stats.deadline_ms / 1000)
        drift = Drift(session, self._lookup, sampler.sample_in_bulk)
        work = SessionWork(session, self._publish, self._lookup, self._problems, drift.fetch_outdated)
        job_work = JobWork(
            session, work, self._jobs, self._long_calls, self._metrics, self._lookup, self.config.uri
        )

        def on_event(event: LibvirtEvent) -> None:
            work.follower.follow(event)
            job_work.note(event)

        session.on_event = on_event
        self._session, self._work, self._sampler, self._job_work = session, work, sampler, job_work
        task = asyncio.create_task(self._sync_and_serve(work, job_work))
        try:
            ends: list[asyncio.Future[Any]] = [task, session.lost]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not session.lost.done():
                await task
                await asyncio.wait([session.lost])
            error = session.lost.result()
            # This is published now, since ending the session of a host that hangs takes seconds.
            self._publish([self._patch(state="disconnected", last_error=_shown_error(error))])
            return error
        finally:
            self._ready = False
            self._session = self._work = self._sampler = self._job_work = None
            session.on_event = lambda _event: None
            task.cancel()
            self._end_jobs(session)
            await job_work.stop()
            await work.stop()
            await asyncio.gather(task, return_exceptions=True)
            await session.end()
            if session.hangs():
                self._given_up.append(session)

    def _end_jobs(self, session: Session) -> None:
        reason = session.lost.result().message if session.lost.done() else "the connection was closed"
        text = f"{reason}; libvirt may go on with the job"
        self._jobs.end_all(BridgeError(ErrorKind.NOT_CONNECTED, text))

    def _check_given_up(self) -> None:
        """Refuse another session while too many earlier ones hang: each costs its threads and socket."""
        self._given_up = [session for session in self._given_up if session.hangs()]
        if (count := len(self._given_up)) >= HUNG_LIMIT:
            raise BridgeError(ErrorKind.TIMEOUT, f"calls of {count} earlier sessions have not returned yet")

    async def _sync_and_serve(self, work: SessionWork, job_work: JobWork) -> None:
        await work.sync(self.config)
        again = self._attempts > 0
        self._become_ready()
        self._show_failures(work)
        async with asyncio.TaskGroup() as group:
            group.create_task(work.announce_version())
            group.create_task(self._find_jobs(job_work))
            if self._refresh.audit_interval_s > 0:
                group.create_task(self._audit_at_intervals(work, soon=again))

    async def _find_jobs(self, job_work: JobWork) -> None:
        """Find the jobs that run already. Whatever fails, the session goes on: an audit tries again."""
        try:
            await job_work.find_all()
        except BridgeError as error:
            log.debug("jobs not found conn=%s error=%s", self.config.name, error.message)

    async def _audit_at_intervals(self, work: SessionWork, *, soon: bool) -> None:
        """Audit at the configured interval, while a client is on the bus.

        soon: the first audit comes early. A libvirtd that was restarted accepts clients before it has found
        its guests again, and sends no event for those that it then gives up.
        """
        interval_s = self._refresh.audit_interval_s
        pause_s = min(_FIRST_AUDIT_S, interval_s) if soon else interval_s
        while True:
            await asyncio.sleep(pause_s)
            pause_s = interval_s
            if self._watched() and work.has_to_be_audited(self._watched_kinds):
                await self._audit(work)

    def _become_ready(self) -> None:
        log.info(
            "connection ready conn=%s uri=%s attempts=%d",
            self.config.name, public_uri(self.config.uri), self._attempts,
        )  # fmt: skip
        if self._attempts:
            self._metrics.add("source.reconnects")
        self._attempts = 0
        self._logged = ""
        self._failures.clear()
        self._backoff.reset()
        self._ready = True
        self._publish(
            [self._patch(state="ready", last_error=("", ""), last_sync_us=wall_us(), reconnect_attempts=0)]
        )

    async def _audit(self, work: SessionWork) -> None:
        """Make one audit. If it fails, the records stay as they were and the failure is shown until one
        succeeds.
        """
        self._metrics.add("source.audits")
        try:
            await work.audit(lambda kind: kind in self._watched_kinds)
            if self._job_work is not None and work is self._work:
                await self._job_work.audit()
            self._publish([self._patch(last_sync_us=wall_us())])
        except BridgeError as error:
            log.debug("audit failed conn=%s error=%s", self.config.name, error.message)
        self._show_failures(work)

    def _show_failures(self, work: SessionWork) -> None:
        """Publish the failures of kinds, while the other kinds are served."""
        if self._work is not work:
            return
        error = work.kinds.failure()
        text = error.message if error else ""
        if text != self._logged:  # a failure that repeats is logged once
            self._logged = text
            if error:
                log.warning("some kinds fail conn=%s error=%s", self.config.name, text)
            else:
                log.info("all kinds work again conn=%s", self.config.name)
        self._show_failure("kinds", error)

    def _show_failure(self, where: str, error: BridgeError | None) -> None:
        """Show a failure in LastError for as long as it lasts, although the connection is ready."""
        self._failures.pop(where, None)
        if error is not None:
            self._failures[where] = error
        if self._ready:
            last = next(reversed(self._failures.values()), None)
            self._publish([self._patch(last_error=(str(last.kind), last.message) if last else ("", ""))])


def _shown_error(error: BridgeError) -> tuple[str, str]:
    """Return the error of a lost connection as clients see it. libvirt calls a missing socket a system error,
    whose kind does not help a client.
    """
    vague = error.kind in (ErrorKind.OPERATION_FAILED, ErrorKind.LIBVIRT)
    return str(ErrorKind.NOT_CONNECTED if vague else error.kind), error.message
