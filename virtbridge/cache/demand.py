"""What is read on demand: how old each answer is, and one reading for all who ask at the same time.

max_age_s decides whether what is known may answer, or a reading that is under way: an age counts from when
the reading began, so 0 asks for one that begins after the question. A reading that failed leaves what is
known, and its age, as they were; every waiter gets the same error, and objects say that they are stale. Asks
nobody itself: the work comes with the question. Main thread only.

Who polls a kind is content with less than who asks for it: which objects there are, and some of what they
are. Both share a reading wherever it is enough for both.
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

# Anyone may ask as often as they like. Between two readings of the same thing libvirt is left alone for PAUSE
# times as long as the last one took, at most PAUSE_MAX_S.
PAUSE, PAUSE_MAX_S = 3, 1.0
MAX_ANSWERS = 64  # of one object: who asks decides how many questions there are; the oldest goes first

Work = Callable[[], Coroutine[Any, Any, Any]]
# Reads all of it, or less where False will do; returns whether all was read.
LoadWork = Callable[[bool], Coroutine[Any, Any, bool]]


@dataclass(frozen=True, slots=True)
class _Known:
    value: Any
    began_s: float


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The last reading of which objects there are, from when to when, and when the last one of everything
    about them began.
    """

    began_s: float
    ended_s: float
    whole_s: float


@dataclass(slots=True, eq=False)
class _Reading:
    """One that is under way, or about to begin: then it can still become a whole one."""

    fly: Callable[["_Reading"], Coroutine[Any, Any, Any]]
    whole: bool
    began_s: float | None = None

    def __call__(self) -> Coroutine[Any, Any, Any]:
        return self.fly(self)

    def serves(self, since_s: float, whole: bool) -> bool:
        """Whether it answers a question to which nothing that began before since_s will do."""
        if self.began_s is None:
            self.whole = self.whole or whole
            return True
        return self.began_s > since_s and (self.whole or not whole)


class Demand:
    """When an object is dropped, what was read of it is forgotten."""

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
        """What is known of an object, no older than this; else what work brings."""
        known = self._answers.get(about, {}).get(question)
        if known is not None and _now_s() - known.began_s < max_age_s:
            self._metrics.add("cache.fresh")
            return known.value
        return await self._fly((about, question), max_age_s, lambda _: self._ask(about, question, work))

    async def load(self, about: Key, kind: Kind, max_age_s: float, work: LoadWork) -> None:
        """Have the objects of a kind, of a connection or in one object, no older than this in the cache."""
        max_age_s = min(max_age_s, self._useful_s(about, kind))
        if self._age_s(about, kind) < max_age_s:
            self._metrics.add("cache.fresh")
            return
        await self._fly((about, kind), max_age_s, lambda whole: self._load(about, kind, whole, work))

    async def poll(self, about: Key, kind: Kind, max_age_s: float, work: LoadWork) -> tuple[float, float]:
        """For whoever polls: as load(), but it is enough that it is known which objects there are.

        Returns when the reading began and when it ended, in the loop's time. A reading that nobody else waits
        for ends when this is cancelled.
        """
        max_age_s = min(max_age_s, self._useful_s(about, kind))
        known = self._loaded.get(about, {}).get(kind)
        if known is None or _now_s() - known.began_s >= max_age_s:
            known = await self._fly(
                (about, kind),
                max_age_s,
                lambda whole: self._load(about, kind, whole, work),
                whole=False,
            )
        return known.began_s, known.ended_s

    def was_asked(self, about: Key, kind: Kind) -> bool:
        """Whether somebody has had these read, or all of the connection, or is having it done."""
        places = (about, connection_key(about.connection))
        return any(
            kind in self._loaded.get(each, ()) or self._flights.under_way((each, kind)) for each in places
        )

    def outdate(self, about: Key, kind: Kind) -> None:
        """What was read until now says nothing any more, at any max-age."""
        self._outdated.setdefault(about, {})[kind] = _now_s()

    def loaded(self, connection: str) -> frozenset[Kind]:
        """The kinds of a connection of which somebody has asked for some objects."""
        return frozenset(
            kind for about, kinds in self._loaded.items() if about.connection == connection for kind in kinds
        )

    def _dropped(self, key: Key) -> None:
        self._answers.pop(key, None)
        self._loaded.pop(key, None)
        self._outdated.pop(key, None)

    def _age_s(self, about: Key, kind: Kind) -> float:
        """Those in one object are read with those of the whole connection, too."""
        known = (self._loaded.get(key, {}).get(kind) for key in (about, connection_key(about.connection)))
        return _now_s() - max((each.whole_s for each in known if each is not None), default=float("-inf"))

    def _useful_s(self, about: Key, kind: Kind) -> float:
        """How old a reading may be at most. Of what is not active libvirt says so, and nothing is kept."""
        if kind in ONLY_WHILE_PARENT_ACTIVE and not getattr(self._cache.get(about), "active", True):
            return 0
        since = (
            kinds[kind]
            for each, kinds in self._outdated.items()
            if kind in kinds and (each == about or self._is_outdated_part(each, about, kind))
        )
        return _now_s() - max(since, default=float("-inf"))

    def _is_outdated_part(self, part: Key, whole: Key, kind: Kind) -> bool:
        """Of a connection: an object whose own objects have not been read anew yet."""
        read = self._loaded.get(part, {}).get(kind)
        is_read = read is not None and read.whole_s >= self._outdated[part][kind]
        return whole == connection_key(part.connection) and not is_read

    async def _fly(
        self,
        what: What,
        max_age_s: float,
        work: Callable[[bool], Coroutine[Any, Any, Any]],
        *,
        whole: bool = True,
    ) -> Any:
        since_s = _now_s() - max_age_s

        async def fly(reading: _Reading) -> Any:
            if whole:  # else who polls keeps to an interval already
                await self._pauses.over(what)
            began_s = reading.began_s = _now_s()
            try:
                return await work(reading.whole)
            finally:
                self._pauses.begin(what, _now_s() - began_s)

        while isinstance(reading := self._flights.under_way(what), _Reading):
            if reading.serves(since_s, whole):
                break
            await self._flights.landing(what)
        return await self._flights.run(what, reading or _Reading(fly, whole), stays=whole)

    async def _ask(self, about: Key, question: Hashable, work: Work) -> Any:
        began_s = _now_s()
        value = await work()
        if self._cache.get(about) is not None:  # else it went meanwhile, and nobody would forget this
            answers = self._answers.setdefault(about, {})
            answers.pop(question, None)
            answers[question] = _Known(value, began_s)
            if len(answers) > MAX_ANSWERS:
                del answers[next(iter(answers))]
        return value

    async def _load(self, about: Key, kind: Kind, whole: bool, work: LoadWork) -> _Loaded:
        began_s, began_us = _now_s(), moment_us()
        try:
            is_whole = await work(whole)
        except BridgeError:
            self._mark_stale(about, kind, began_us)
            raise
        before = self._loaded.get(about, {}).get(kind)
        whole_s = began_s if is_whole else before.whole_s if before else float("-inf")
        loaded = _Loaded(began_s, _now_s(), whole_s)
        if self._cache.get(about) is not None:
            self._loaded.setdefault(about, {})[kind] = loaded
        return loaded

    def _mark_stale(self, about: Key, kind: Kind, began_us: int) -> None:
        """What the failed reading has not brought: with one pool that hangs, the volumes of all others are
        fresh.
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
