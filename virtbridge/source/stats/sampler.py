"""Samples the domain statistics of one connection with one bulk call, also while some guests do not answer.

QEMU's driver asks the emulator's monitor for most groups, and a stopped emulator delays the whole bulk call
until it continues. VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT alone does not prevent that: it only leaves out
what needs the monitor of a domain on which another call is working. But a call that hangs is such a call. So
after a deadline the sampler gives up a call and leaves it hanging, and libvirt then leaves that one guest out
of the next calls. Each stuck guest costs one hanging call, so their number is limited; when it is reached,
only groups that never wait for a guest are sampled.

The worker that gets an answer also reads it and computes the rates. Everything else runs on the main thread.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from time import monotonic, monotonic_ns
from typing import Any

import libvirt

from virtbridge.clock import moment_us
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import Key, Kind
from virtbridge.model.records import DomainRecord
from virtbridge.model.statistics import Sample, Track, Values, flatten, group_flags, rated
from virtbridge.pauses import Pauses
from virtbridge.source.callbacks import Lookup
from virtbridge.source.calls.errors import is_unsupported
from virtbridge.source.calls.session import Session
from virtbridge.source.domain_states import STATS_CHUNK
from virtbridge.source.kinds.enums import state_words
from virtbridge.source.kinds.row import Handle
from virtbridge.source.stats.per_domain import PerDomain
from virtbridge.tasks import all_in_turn, all_of

log = logging.getLogger(__name__)

HANGING_LIMIT = 3  # hanging calls; libvirtd serves 5 calls of a client at a time, so others still have room
DEADLINE_FACTOR = 3  # on a slow or large host the deadline is the time of the last good call, times this
DEADLINE_MOST_S = 10.0
PAUSE_MAX_S = 0.1
_SINGLE = "single"  # samples of single domains pause together, whichever domains they are
DOMAINS_AT_A_TIME = 8  # domains that are asked in parallel when there are no bulk statistics
PROBES_AT_A_TIME = 64  # domains whose state of the monitor is read in parallel
STUCK_MS = 300  # an emulator that takes longer for one monitor command does not answer

_ACTIVE = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
_NOWAIT = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
_NEVER_WAIT = frozenset({"state", "interface", "perf", "memory"})

Raw = tuple[str, int, dict[str, Any]]  # a domain's UUID, its id and libvirt's dictionary
Samples = dict[str, Sample]


@dataclass(slots=True, eq=False)
class _Call:
    """One bulk call."""

    began_ns: int
    # Its worker writes this; it is 0 until then.
    ended_ns: int = 0
    # Whether it has missed its deadline.
    given_up: bool = False

    def returned(self) -> None:
        self.ended_ns = monotonic_ns()

    @property
    def took_s(self) -> float:
        return (self.ended_ns - self.began_ns) / 1e9


@dataclass(slots=True)
class _Tracks:
    """The values with which the next sample of each domain is compared. Workers share them."""

    host_cpus: int = 0
    by_id: dict[str, Track] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def rate(self, raw: Raw, at_ns: int, sampled_us: int, groups: frozenset[str], stuck: bool) -> Sample:
        key_id, number, numbers = raw
        values = _named(numbers, active=number >= 0)
        with self.lock:
            values, self.by_id[key_id] = rated(
                values, self.by_id.get(key_id), run=number, at_ns=at_ns, host_cpus=self.host_cpus
            )
        values["stuck"] = stuck
        return Sample(at_ns, sampled_us, groups, values)

    def rate_now(self, key_id: str, number: int, groups: frozenset[str], numbers: dict[str, Any]) -> Sample:
        raw = (key_id, number, numbers)
        return self.rate(raw, monotonic_ns(), moment_us(), groups, stuck=False)

    def keep(self, samples: Samples) -> None:
        """Keep the tracks of these domains only: the others have ended."""
        with self.lock:
            self.by_id = {key_id: track for key_id, track in self.by_id.items() if key_id in samples}

    def reader(
        self, call: _Call, groups: frozenset[str], stuck: frozenset[str]
    ) -> Callable[[list[tuple[Any, dict[str, Any]]]], Samples]:
        """Return the function that turns a bulk answer into samples, in a worker. An answer that is too late
        is ignored, since its values are of different moments.
        """

        def read(answer: list[tuple[Any, dict[str, Any]]]) -> Samples:
            if call.given_up:
                return {}
            at_ns, sampled_us = (call.began_ns + call.ended_ns) // 2, moment_us()
            # All calls of libvirt come first: a thread that releases the interpreter's lock for a moment many
            # times gets it back before the main thread does, however long it computes in between.
            raws = [(raw.UUIDString(), raw.ID(), numbers) for raw, numbers in answer]
            return {raw[0]: self.rate(raw, at_ns, sampled_us, groups, raw[0] in stuck) for raw in raws}

        return read


def _named(numbers: dict[str, Any], *, active: bool) -> Values:
    if not active:  # libvirt 9.0 reports its own CPU time for an inactive domain
        numbers = {name: value for name, value in numbers.items() if not name.startswith("cpu.")}
    values = flatten(numbers)
    state = numbers.get("state.state")
    if state is not None:
        values["state"], values["state-reason"] = state_words(state, numbers.get("state.reason", 0))
    return values


class Sampler:
    """deadline_s: the time after which a guest counts as stuck. It is longer where good calls took longer."""

    def __init__(self, session: Session, lookup: Lookup, deadline_s: float) -> None:
        self._session = session
        self._lookup = lookup
        self._least_s = deadline_s
        self._usual_s = 0.0
        self._tracks = _Tracks()
        self._per_domain = PerDomain(session, deadline_s)
        self._hanging: list[_Call] = []
        self._stuck: frozenset[str] = frozenset()
        self._probed_for: list[_Call] = []  # the calls that hung when stuck guests were last searched
        self._late = 0  # the number of calls that were ever given up
        self._bulk = True
        self._chunks = False
        self._limited = False
        self._one_at_a_time = asyncio.Lock()
        self._one_domain_at_a_time = asyncio.Lock()
        self._pauses = Pauses(1, PAUSE_MAX_S)  # between samples of single domains

    async def sample(self, groups: frozenset[str], only: str | None = None) -> Samples:
        """Sample each active domain, or one domain, active or not. Returns samples by UUID. Raises
        BridgeError.

        A client may ask for one domain at any rate. So after each such sample there is a pause as long as it
        took, and a sample of all domains never waits for more than two of them.
        """
        if only is None:
            return await self._sample_without_stuck(groups)
        async with self._one_domain_at_a_time:
            await self._pauses.wait(_SINGLE)
            began = monotonic()
            try:
                return await self._sample_without_stuck(groups, only)
            finally:
                self._pauses.begin(_SINGLE, monotonic() - began)

    async def sample_in_bulk(self, groups: frozenset[str]) -> Samples:
        """Sample each active domain; return none where that would cost a call for each of them."""
        return await self._sample_without_stuck(groups, per_domain=False)

    async def _sample_without_stuck(
        self, groups: frozenset[str], only: str | None = None, *, per_domain: bool = True
    ) -> Samples:
        attempts_left = HANGING_LIMIT
        while True:
            # The number of hanging calls is only known when none is in flight.
            async with self._one_at_a_time:
                await self._fetch_host_cpus()
                self._drop_returned()
                if len(self._hanging) > HANGING_LIMIT:
                    raise BridgeError(
                        ErrorKind.TIMEOUT, "the host does not answer calls that need no guest either"
                    )
                await self._find_stuck()
                late = self._late
                try:
                    return await self._sample(self._askable(groups), only, per_domain)
                except BridgeError:
                    # One more guest is stuck. Since one of our calls hangs on it, libvirt now leaves it out.
                    if self._late == late or not attempts_left:
                        raise
                    attempts_left -= 1

    async def _sample(self, groups: frozenset[str], only: str | None, per_domain: bool) -> Samples:
        handles = self._handles(only) if only is not None or self._chunks else None
        if only is not None and not handles:
            raise BridgeError(ErrorKind.NO_SUCH_OBJECT, f"{self._session.name} has no domain {only}")
        answer = await self._fetch(groups, handles)
        if answer is None and not per_domain:
            return {}
        if answer is None:
            answer = await self._fetch_per_domain(groups, handles or self._handles(None))
        if only is None:
            self._tracks.keep(answer)
        return answer

    def _handles(self, only: str | None) -> list[Handle]:
        """Return the handle of this domain, or those of all active ones."""
        name, handles = self._session.name, self._session.handles
        if only is not None:
            handle = handles.get(Key(name, Kind.DOMAIN, only))
            return [handle] if handle is not None else []
        domains = [handle for key, handle in handles.items() if key.kind is Kind.DOMAIN]
        return [handle for handle in domains if (record := self._record(handle)) and record.active]

    def _record(self, handle: Handle) -> DomainRecord | None:
        record = self._lookup(Key(self._session.name, Kind.DOMAIN, handle.id))
        return record if isinstance(record, DomainRecord) else None

    async def _fetch_host_cpus(self) -> None:
        """Read the number of the host's CPUs, once per session: that many are 100 % of the host."""
        if self._tracks.host_cpus:
            return
        try:
            info = await self._session.call("getInfo", urgent=True)
            self._tracks.host_cpus = max(1, int(info[2]))
        except BridgeError as error:
            if not is_unsupported(error):
                raise
            self._tracks.host_cpus = 1

    # -- guests that do not answer --------------------------------------------------------------------------

    def _drop_returned(self) -> None:
        """Drop the calls that have returned. They show how long a call takes when no guest delays it."""
        for call in [call for call in self._hanging if call.ended_ns]:
            self._hanging.remove(call)
            self._usual_s = max(self._usual_s, call.took_s)

    def _askable(self, groups: frozenset[str]) -> frozenset[str]:
        limited = len(self._hanging) >= HANGING_LIMIT
        if limited != self._limited:
            self._limited = limited
            log.warning(
                "%s conn=%s", "too many guests do not answer; only groups that need no guest are sampled"
                if limited else "all statistics are sampled again", self._session.name,
            )  # fmt: skip
        return (groups & _NEVER_WAIT or frozenset({"state"})) if limited else groups

    async def _find_stuck(self) -> None:
        """Find the guests for which the hanging calls wait, when these calls are not the same as before.

        virDomainGetControlInfo() shows them: it asks the driver and never waits for a guest.
        """
        if self._hanging == self._probed_for:
            return
        probed_for = list(self._hanging)
        stuck: frozenset[str] = frozenset()
        if probed_for:
            answers = await all_in_turn(map(self._is_stuck, self._handles(None)), PROBES_AT_A_TIME)
            stuck = frozenset(key_id for key_id in answers if key_id)
        for key_id in stuck - self._stuck:
            log.warning("guest does not answer conn=%s uuid=%s", self._session.name, key_id)
        for key_id in self._stuck - stuck:
            log.info("guest answers again conn=%s uuid=%s", self._session.name, key_id)
        self._stuck, self._probed_for = stuck, probed_for

    async def _is_stuck(self, handle: Handle) -> str:
        try:
            state, _, for_ms = await self._session.on(handle.raw, "controlInfo", short=True)
        except BridgeError:
            if self._session.lost.done():
                raise
            return ""  # the domain was stopped meanwhile, or the driver does not have the call
        return handle.id if state == libvirt.VIR_DOMAIN_CONTROL_OCCUPIED and for_ms >= STUCK_MS else ""

    # -- asking ---------------------------------------------------------------------------------------------

    async def _fetch(self, groups: frozenset[str], handles: list[Handle] | None) -> Samples | None:
        """Sample in bulk. handles: None for all active domains. Returns None when the driver has no bulk
        statistics, or only the state in them.
        """
        if not self._bulk:
            return None
        try:
            answer = await self._fetch_bulk(groups, handles)
        except BridgeError as error:
            if error.code == libvirt.VIR_ERR_RPC and handles is None and not self._session.lost.done():
                self._chunks = True  # there are more domains than one answer can have
                return await self._fetch(groups, self._handles(None))
            if not is_unsupported(error):
                raise
            self._bulk = False
            return None
        if groups & {"cpu-total", "balloon", "vcpu"} and any(map(_is_bare, answer.values())):
            self._bulk = False
            return None
        return answer

    async def _fetch_bulk(self, groups: frozenset[str], handles: list[Handle] | None) -> Samples:
        flags = group_flags(groups)
        if handles is None:
            return await self._call(groups, "getAllDomainStats", flags, _ACTIVE | _NOWAIT)
        answer: Samples = {}
        for at in range(0, len(handles), STATS_CHUNK):
            raws = [handle.raw for handle in handles[at : at + STATS_CHUNK]]
            answer |= await self._call(groups, "domainListGetStats", raws, flags, _NOWAIT)
        return answer

    async def _call(self, groups: frozenset[str], name: str, *args: Any) -> Samples:
        """Make one bulk call. If it misses the deadline it is given up and continues to hang."""
        call = _Call(monotonic_ns())
        deadline_s = max(self._least_s, min(DEADLINE_FACTOR * self._usual_s, DEADLINE_MOST_S))
        try:
            answer = await self._session.call(
                name, *args, then=self._tracks.reader(call, groups, self._stuck),
                urgent=True, timeout_s=deadline_s, on_returned=call.returned,
            )  # fmt: skip
        finally:
            if not call.ended_ns:  # it is too late, or nobody waits for it any more
                call.given_up = True
                self._late += 1
                self._hanging.append(call)
        self._usual_s = call.took_s
        return answer

    async def _fetch_per_domain(self, groups: frozenset[str], handles: list[Handle]) -> Samples:
        """Sample domain by domain, a few at a time. A domain that fails is left out."""
        left = iter(handles)
        answer: Samples = {}

        async def one_after_the_other() -> None:
            for handle in left:
                record = self._record(handle)
                if record is None:
                    continue
                try:
                    then = partial(self._tracks.rate_now, handle.id, record.id, groups)
                    answer[handle.id] = await self._per_domain.fetch(handle.raw, record, groups, then)
                except BridgeError as error:
                    if len(handles) == 1 or self._session.lost.done():
                        raise
                    log.debug("no statistics conn=%s uuid=%s error=%s", self._session.name, handle.id, error)

        await all_of(one_after_the_other() for _ in range(min(DOMAINS_AT_A_TIME, len(handles))))
        return answer


def _is_bare(sample: Sample) -> bool:
    """Return whether a sample has only the state, as in the test driver's answer to the bulk call."""
    return sample.values.get("state") in _AT_WORK and sample.values.keys() <= _BARE


_AT_WORK = {"running", "blocked", "paused"}
_BARE = {"state", "state-reason", "stuck"}
