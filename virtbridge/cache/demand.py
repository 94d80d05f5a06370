"""What is read on demand: how old each answer is, and one reading for all who ask at the same time.

max_age_s decides whether what is known may answer, or a reading that is under way: an age counts from when
the reading began, so 0 asks for one that begins after the question. A reading that failed leaves what is
known, and its age, as they were; every waiter gets the same error, and objects say that they are stale. Asks
nobody itself: the work comes with the question. Main thread only.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from time import time_ns
from typing import Any

from virtbridge.cache.cache import Cache
from virtbridge.cache.flight import SingleFlight
from virtbridge.errors import BridgeError
from virtbridge.metrics import Metrics
from virtbridge.model.changes import Change, Patch, Signal
from virtbridge.model.keys import IN_ACTIVE, Key, Kind, connection_key
from virtbridge.model.records import OnDemand

# Anyone may ask as often as they like: between two readings of the same libvirt gets so many times as long as
# the last one took, but no more than this.
REST, REST_MAX_S = 3, 1.0
MAX_ANSWERS = 64  # of one object: who asks decides how many questions there are; the oldest goes first

Work = Callable[[], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
class _Known:
    value: Any
    began_s: float


class Demand:
    """A Cache's listener: what was known of an object goes with it."""

    def __init__(self, cache: Cache, flights: SingleFlight, metrics: Metrics) -> None:
        self._cache = cache
        self._flights = flights
        self._metrics = metrics
        self._answers: dict[Key, dict[Hashable, _Known]] = {}
        self._loaded: dict[Key, dict[Kind, float]] = {}
        self._outdated: dict[Key, dict[Kind, float]] = {}
        self._began_s: dict[Hashable, float] = {}  # of the readings under way
        self._rest_until_s: dict[Hashable, float] = {}
        cache.listen(self)

    async def answer(self, about: Key, question: Hashable, max_age_s: float, work: Work) -> Any:
        """What is known of an object, no older than this; else what work brings."""
        known = self._answers.get(about, {}).get(question)
        if known is not None and _now_s() - known.began_s < max_age_s:
            self._metrics.add("cache.fresh")
            return known.value
        return await self._fly((about, question), max_age_s, lambda: self._ask(about, question, work))

    async def load(self, about: Key, kind: Kind, max_age_s: float, work: Work) -> None:
        """Have the objects of a kind, of a connection or in one object, no older than this in the cache."""
        max_age_s = min(max_age_s, self._useful_s(about, kind))
        if self._age_s(about, kind) < max_age_s:
            self._metrics.add("cache.fresh")
            return
        await self._fly(("load", about, kind), max_age_s, lambda: self._load(about, kind, work))

    def was_asked(self, about: Key, kind: Kind) -> bool:
        """Whether somebody has had these read, or all of the connection, or is having it done."""
        places = (about, connection_key(about.connection))
        return any(
            kind in self._loaded.get(each, ()) or ("load", each, kind) in self._began_s for each in places
        )

    def outdate(self, about: Key, kind: Kind) -> None:
        """What was read until now says nothing any more, at any max-age."""
        self._outdated.setdefault(about, {})[kind] = _now_s()

    def loaded(self, connection: str) -> frozenset[Kind]:
        """The kinds of a connection of which somebody has asked for some objects."""
        return frozenset(
            kind for about, kinds in self._loaded.items() if about.connection == connection for kind in kinds
        )

    def touched(self, key: Key) -> None:
        if self._cache.get(key) is None:
            self._answers.pop(key, None)
            self._loaded.pop(key, None)
            self._outdated.pop(key, None)

    def happened(self, signal: Signal) -> None:
        pass

    def _age_s(self, about: Key, kind: Kind) -> float:
        """Those in one object are read with those of the whole connection, too."""
        times = (self._loaded.get(key, {}).get(kind) for key in (about, connection_key(about.connection)))
        return _now_s() - max((time for time in times if time is not None), default=float("-inf"))

    def _useful_s(self, about: Key, kind: Kind) -> float:
        """How old a reading may be at most. Of what is not active libvirt says so, and nothing is kept."""
        if kind in IN_ACTIVE and not getattr(self._cache.get(about), "active", True):
            return 0
        since = (
            kinds[kind]
            for each, kinds in self._outdated.items()
            if kind in kinds and (each == about or self._is_outdated_part(each, about, kind))
        )
        return _now_s() - max(since, default=float("-inf"))

    def _is_outdated_part(self, part: Key, whole: Key, kind: Kind) -> bool:
        """Of a connection: an object whose own objects have not been read anew yet."""
        read_s = self._loaded.get(part, {}).get(kind, float("-inf"))
        return whole == connection_key(part.connection) and read_s < self._outdated[part][kind]

    async def _fly(self, what: Hashable, max_age_s: float, work: Work) -> Any:
        began_s = self._began_s.get(what)
        young = began_s is None or _now_s() - began_s < max_age_s
        run = self._flights.run if young else self._flights.run_anew

        async def timed() -> Any:
            await asyncio.sleep(self._rest_until_s.get(what, 0.0) - _now_s())
            began_s = self._began_s[what] = _now_s()
            try:
                return await work()
            finally:
                del self._began_s[what]
                self._rest(what, _now_s() - began_s)

        return await run(what, timed)

    def _rest(self, what: Hashable, took_s: float) -> None:
        rest_s = min(REST_MAX_S, REST * took_s)
        self._rest_until_s[what] = _now_s() + rest_s
        asyncio.get_running_loop().call_later(rest_s, self._rest_until_s.pop, what, None)

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

    async def _load(self, about: Key, kind: Kind, work: Work) -> None:
        began_s, began_us = _now_s(), time_ns() // 1000
        try:
            await work()
        except BridgeError:
            self._mark_stale(about, kind, began_us)
            raise
        if self._cache.get(about) is not None:
            self._loaded.setdefault(about, {})[kind] = began_s

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
            if isinstance(record, OnDemand) and record.last_refresh_us < began_us
        ]
        self._cache.apply(changes)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
