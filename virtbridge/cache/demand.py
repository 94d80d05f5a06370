"""Objects and answers that are read on demand: their age, and one reading for all callers at the same time.

max_age_s decides whether a known value, or a reading in flight, may serve as the answer. The age counts from
when the reading began, so max-age 0 asks for a reading that begins after the question. A reading that failed
leaves the known values and their age unchanged; every waiter gets the same error, and the objects are marked
stale. Nothing here calls libvirt: the caller passes the work. Main thread only.

A poll needs less than a client's read: it must know which objects exist and some of their properties. Both
share a reading when it serves both.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any

from virtbridge.cache.cache import Cache
from virtbridge.cache.flight import SingleFlight, What
from virtbridge.clock import moment_us
from virtbridge.errors import BridgeError
from virtbridge.metrics import Metrics
from virtbridge.model.changes import Change, Patch
from virtbridge.model.keys import ONLY_WHILE_PARENT_ACTIVE, Key, Kind, connection_key
from virtbridge.model.records import OnDemand
from virtbridge.pauses import Pauses

# A client may ask without a pause, which would keep libvirt busy. So between two readings of the same thing
# there is a pause of PAUSE times what the last one took, at most PAUSE_MAX_S.
PAUSE, PAUSE_MAX_S = 3, 1.0
MAX_ANSWERS = 64  # of one object; clients could ask any number of questions, so the oldest answer is removed

Work = Callable[[], Coroutine[Any, Any, Any]]
# With True it must read everything, with False it may read less. It returns whether everything was read.
LoadWork = Callable[[bool], Coroutine[Any, Any, bool]]


@dataclass(frozen=True, slots=True)
class _Known:
    value: Any
    began_s: float


@dataclass(frozen=True, slots=True)
class _Loaded:
    """When the last reading of the list of objects began and ended, and when the last complete reading began,
    which is one that read all their properties.
    """

    began_s: float
    ended_s: float
    complete_s: float


@dataclass(slots=True, eq=False)
class _Reading:
    """A reading that is in flight or about to begin. Until it begins it can still become a complete one."""

    read: Callable[["_Reading"], Coroutine[Any, Any, Any]]
    complete: bool
    began_s: float | None = None

    def __call__(self) -> Coroutine[Any, Any, Any]:
        return self.read(self)

    def serves(self, since_s: float, complete: bool) -> bool:
        """Return whether it serves a question that needs a reading that began after since_s."""
        if self.began_s is None:
            self.complete = self.complete or complete
            return True
        return self.began_s > since_s and (self.complete or not complete)


class Demand:
    """The registry of readings. When an object is removed, the readings about it are removed too."""

    def __init__(self, cache: Cache, flights: SingleFlight, metrics: Metrics) -> None:
        self._cache = cache
        self._flights = flights
        self._metrics = metrics
        self._answers: dict[Key, dict[Hashable, _Known]] = {}
        self._loaded: dict[Key, dict[Kind, _Loaded]] = {}
        self._outdated: dict[Key, dict[Kind, float]] = {}
        self._pauses = Pauses(PAUSE, PAUSE_MAX_S)
        cache.listen(dropped=self._dropped)

    async def answer(self, about: Key, question: Hashable, max_age_s: float, work: Work) -> Any:
        """Return the known answer if it is no older than max_age_s; otherwise do the work and return its
        result.
        """
        known = self._answers.get(about, {}).get(question)
        if known is not None and _now_s() - known.began_s < max_age_s:
            self._metrics.add("cache.fresh")
            return known.value
        return await self._share_reading(
            (about, question), max_age_s, lambda _: self._ask(about, question, work)
        )

    async def load(self, about: Key, kind: Kind, max_age_s: float, work: LoadWork) -> None:
        """Bring the objects of a kind, of a connection or of one parent, into the cache, no older than
        max_age_s.
        """
        max_age_s = min(max_age_s, self._useful_s(about, kind))
        if self._age_s(about, kind) < max_age_s:
            self._metrics.add("cache.fresh")
            return
        await self._share_reading(
            (about, kind), max_age_s, lambda complete: self._load(about, kind, complete, work)
        )

    async def poll(self, about: Key, kind: Kind, max_age_s: float, work: LoadWork) -> tuple[float, float]:
        """Bring the list of objects into the cache as load() does, with some of their properties.

        Returns when the reading began and when it ended, in the loop's time. When the caller is cancelled and
        nobody else waits for the reading, the reading ends too.
        """
        max_age_s = min(max_age_s, self._useful_s(about, kind))
        known = self._loaded.get(about, {}).get(kind)
        if known is None or _now_s() - known.began_s >= max_age_s:
            known = await self._share_reading(
                (about, kind),
                max_age_s,
                lambda complete: self._load(about, kind, complete, work),
                complete=False,
            )
        return known.began_s, known.ended_s

    def was_asked(self, about: Key, kind: Kind) -> bool:
        """Return whether a caller has loaded, or is loading, these objects or
        those of the entire connection.
        """
        places = (about, connection_key(about.connection))
        return any(
            kind in self._loaded.get(each, ()) or self._flights.under_way((each, kind)) for each in places
        )

    def outdate(self, about: Key, kind: Kind) -> None:
        """Make every earlier reading too old, at any max-age."""
        self._outdated.setdefault(about, {})[kind] = _now_s()

    def loaded(self, connection: str) -> frozenset[Kind]:
        """Return the kinds of a connection of which some objects were loaded."""
        return frozenset(
            kind for about, kinds in self._loaded.items() if about.connection == connection for kind in kinds
        )

    def _dropped(self, key: Key) -> None:
        self._answers.pop(key, None)
        self._loaded.pop(key, None)
        self._outdated.pop(key, None)

    def _age_s(self, about: Key, kind: Kind) -> float:
        """Return the age of the last complete reading. Objects of one parent are also read with those of the
        connection.
        """
        known = (self._loaded.get(key, {}).get(kind) for key in (about, connection_key(about.connection)))
        return _now_s() - max((each.complete_s for each in known if each is not None), default=float("-inf"))

    def _useful_s(self, about: Key, kind: Kind) -> float:
        """Return the highest useful age. Nothing is kept for an inactive parent, since libvirt itself refuses
        the call.
        """
        if kind in ONLY_WHILE_PARENT_ACTIVE and not getattr(self._cache.get(about), "active", True):
            return 0
        since = (
            kinds[kind]
            for each, kinds in self._outdated.items()
            if kind in kinds and (each == about or self._is_outdated_child(each, about, kind))
        )
        return _now_s() - max(since, default=float("-inf"))

    def _is_outdated_child(self, part: Key, about: Key, kind: Kind) -> bool:
        """Return whether part is an object of the connection `about` whose
        children have not been reread yet.
        """
        read = self._loaded.get(part, {}).get(kind)
        is_read = read is not None and read.complete_s >= self._outdated[part][kind]
        return about == connection_key(part.connection) and not is_read

    async def _share_reading(
        self,
        what: What,
        max_age_s: float,
        work: Callable[[bool], Coroutine[Any, Any, Any]],
        *,
        complete: bool = True,
    ) -> Any:
        since_s = _now_s() - max_age_s

        async def read(reading: _Reading) -> Any:
            if complete:  # a poll has an interval of its own
                await self._pauses.wait(what)
            began_s = reading.began_s = _now_s()
            try:
                return await work(reading.complete)
            finally:
                self._pauses.begin(what, _now_s() - began_s)

        while isinstance(reading := self._flights.under_way(what), _Reading):
            if reading.serves(since_s, complete):
                break
            await self._flights.wait_for_end(what)
        return await self._flights.run(what, reading or _Reading(read, complete), stays=complete)

    async def _ask(self, about: Key, question: Hashable, work: Work) -> Any:
        began_s = _now_s()
        value = await work()
        if self._cache.get(about) is not None:  # otherwise nothing would ever remove this answer
            answers = self._answers.setdefault(about, {})
            answers.pop(question, None)
            answers[question] = _Known(value, began_s)
            if len(answers) > MAX_ANSWERS:
                del answers[next(iter(answers))]
        return value

    async def _load(self, about: Key, kind: Kind, complete: bool, work: LoadWork) -> _Loaded:
        began_s, began_us = _now_s(), moment_us()
        try:
            is_complete = await work(complete)
        except BridgeError:
            self._mark_stale(about, kind, began_us)
            raise
        before = self._loaded.get(about, {}).get(kind)
        complete_s = began_s if is_complete else before.complete_s if before else float("-inf")
        loaded = _Loaded(began_s, _now_s(), complete_s)
        if self._cache.get(about) is not None:
            self._loaded.setdefault(about, {})[kind] = loaded
        return loaded

    def _mark_stale(self, about: Key, kind: Kind, began_us: int) -> None:
        """Mark the objects that the failed reading did not bring. When one pool hangs, the volumes of all
        other pools are fresh.
        """
        keys = (
            self._cache.keys(kind, about.connection)
            if about.kind is Kind.CONNECTION
            else self._cache.children(about, kind)
        )
        records = ((key, self._cache.get(key)) for key in keys)
        changes: list[Change] = [
            Patch(key, {"stale": True})
            for key, record in records
            if isinstance(record, OnDemand) and record.read_us < began_us
        ]
        self._cache.apply(changes)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
