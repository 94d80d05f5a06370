"""Statistics for all clients: each connection has one sampling, at the shortest interval and with all groups
that a watch has asked for.

It keeps the last samples and the history, and asks the source that it is given. A connection without a watch
is not sampled, unless the configuration demands it. Main thread only.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping
from time import monotonic, monotonic_ns
from typing import Any, NamedTuple, Protocol

from virtbridge.cache.cache import Cache
from virtbridge.cache.flight import SingleFlight
from virtbridge.cache.history import History
from virtbridge.clock import Calendar
from virtbridge.config import StatsConfig
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.metrics import Metrics
from virtbridge.model.keys import Key, Kind
from virtbridge.model.statistics import USUAL_GROUPS, Sample

log = logging.getLogger(__name__)

_SLICE = 250  # domains whose sample is kept in one turn of the loop
_ANSWERS = 4  # samples kept of a domain, each of other groups
_ALWAYS = "always"  # the watch that the configuration demands

Samples = Mapping[str, Sample]


class Listener(Protocol):
    """Both methods are called on the main thread."""

    def sampled(self, connection: str, samples: Samples) -> None:
        """One round of a connection was sampled. samples: by the domain's UUID."""

    def forgotten(self, connection: str) -> None:
        """The connection was closed for good."""


class SampleSource(Protocol):
    """The side that calls libvirt. It raises BridgeError and never blocks the loop."""

    async def sample(self, connection: str, groups: frozenset[str], only: str | None) -> Samples: ...


class Sampling(NamedTuple):
    """The interval, and the groups of statistics to sample."""

    interval_ms: int
    groups: frozenset[str]


def joined(samplings: Iterable[Sampling]) -> Sampling | None:
    """Return one sampling that serves all of these; None when there are none."""
    every = list(samplings)
    if not every:
        return None
    groups: frozenset[str] = frozenset().union(*(each.groups for each in every))
    return Sampling(min(each.interval_ms for each in every), groups)


class Statistics:
    """Samples the statistics of domains, once for all who watch or ask, and keeps their history."""

    def __init__(
        self,
        source: SampleSource,
        cache: Cache,
        metrics: Metrics,
        config: StatsConfig,
        calendar: Calendar | None = None,
    ) -> None:
        self.calendar = calendar or Calendar()
        self._source = source
        self._cache = cache
        self._metrics = metrics
        self._config = config
        self._flights = SingleFlight(metrics)
        self._rounds: dict[str, _Rounds] = {}
        self._last: dict[Key, Sample] = {}
        self._answers: dict[Key, dict[frozenset[str], Sample]] = {}
        self._history = History(config.history_samples)
        self._listeners: list[Listener] = []
        cache.listen([Kind.DOMAIN], dropped=self._domain_dropped)
        cache.listen([Kind.CONNECTION], dropped=lambda key: self._forget(key.connection))
        if config.always_interval_ms:
            cache.listen([Kind.CONNECTION], changed=self._connection_changed)
        metrics.gauge("queue.stats-history", lambda: len(self._history))

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    # -- watches --------------------------------------------------------------------------------------------

    def watch(self, connection: str, who: Hashable, sampling: Sampling) -> None:
        """Sample the connection from now on, whether it is ready or not."""
        rounds = self._rounds.get(connection)
        if rounds is None:
            rounds = self._rounds[connection] = _Rounds(connection, self._sample)
        rounds.watch(who, sampling)

    def end_watch(self, connection: str, who: Hashable) -> None:
        """End this watch. Sampling ends at once with the last watch."""
        rounds = self._rounds.get(connection)
        if rounds is None or not rounds.end_watch(who):
            return
        del self._rounds[connection]
        for key in [key for key in self._last if key.connection == connection]:
            del self._last[key]

    # -- questions ------------------------------------------------------------------------------------------

    def known(self, key: Key, groups: frozenset[str], max_age_ms: int) -> Sample | None:
        """Return the newest sample that is younger than max_age_ms and has these groups; None when there is
        none.
        """
        since_ns = monotonic_ns() - max_age_ms * 1_000_000
        candidates = [*self._answers.get(key, {}).values(), *([self._last[key]] if key in self._last else [])]
        fits = [each for each in candidates if each.at_ns > since_ns and groups <= each.groups]
        return max(fits, key=lambda each: each.at_ns, default=None)

    async def read(self, key: Key, groups: frozenset[str], max_age_ms: int = 0) -> Sample:
        """Read a new sample of one domain. Callers that ask for the same at the same time share it, unless it
        was taken too long before they asked. Raises BridgeError.
        """
        since_ns = monotonic_ns() - max_age_ms * 1_000_000
        sample = await self._flights.run((key, groups), lambda: self._read(key, groups))
        if sample.at_ns < since_ns:
            sample = await self._flights.run((key, groups), lambda: self._read(key, groups))
        return sample

    async def _read(self, key: Key, groups: frozenset[str]) -> Sample:
        samples = await self._source.sample(key.connection, groups, key.id)
        sample = samples.get(key.id)
        if sample is None:
            raise BridgeError(ErrorKind.OPERATION_FAILED, "there are no statistics of this domain")
        if self._cache.get(key) is not None:
            answers = self._answers.setdefault(key, {})
            answers.pop(groups, None)
            answers[groups] = sample
            if len(answers) > _ANSWERS:
                del answers[next(iter(answers))]
        return sample

    def history(self, key: Key, since_us: int) -> list[tuple[int, Mapping[str, object]]]:
        """Return the ring's values after since_us, the oldest first. Times are microseconds since the epoch.

        A since_us later than now was read before the clock was set back. Which samples came after it is
        unknown, so all are returned.
        """
        distance_us = self.calendar.distance_us()
        if since_us > self.calendar.now_us():
            since_us = 0
        rows = ((moment_us + distance_us, values) for moment_us, values in self._history.rows(key))
        return [row for row in rows if row[0] > since_us]

    # -- changes in the cache -------------------------------------------------------------------------------

    def _domain_dropped(self, key: Key) -> None:
        self._history.drop(key)
        self._last.pop(key, None)
        self._answers.pop(key, None)

    def _connection_changed(self, key: Key) -> None:
        if self._cache.get(key) is not None:
            self.watch(key.connection, _ALWAYS, Sampling(self._config.always_interval_ms, USUAL_GROUPS))

    def _forget(self, connection: str) -> None:
        rounds = self._rounds.pop(connection, None)
        if rounds is not None:
            rounds.stop()
        self._flights.disown(connection)
        for listener in self._listeners:
            listener.forgotten(connection)

    async def stop(self) -> None:
        for connection in list(self._rounds):
            self._forget(connection)
        await self._flights.stop()

    async def _sample(self, connection: str, groups: frozenset[str]) -> None:
        samples = await self._source.sample(connection, groups, None)
        self._metrics.add("cache.stats-rounds")
        for place, (key_id, sample) in enumerate(samples.items()):
            if place % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)  # the loop serves others between two slices
            key = Key(connection, Kind.DOMAIN, key_id)
            if self._cache.get(key) is not None:
                self._last[key] = sample
                self._history.add(key, sample)
        for listener in self._listeners:
            listener.sampled(connection, samples)


class _Rounds:
    """The samplings of one connection, while there is a watch of it."""

    def __init__(
        self, connection: str, sample: Callable[[str, frozenset[str]], Coroutine[Any, Any, None]]
    ) -> None:
        self._connection = connection
        self._sample = sample
        self._wanted: dict[Hashable, Sampling] = {}
        self._changed = asyncio.Event()
        self._failing = ""
        self._task: asyncio.Task[None] | None = None

    def watch(self, who: Hashable, sampling: Sampling) -> None:
        if self._wanted.get(who) == sampling:
            return
        self._wanted[who] = sampling
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"statistics of {self._connection}")

    def end_watch(self, who: Hashable) -> bool:
        """Return True when no watch is left."""
        self._wanted.pop(who, None)
        self._changed.set()
        if not self._wanted:
            self.stop()
        return not self._wanted

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _sampling(self) -> Sampling:
        sampling = joined(self._wanted.values())
        assert sampling is not None  # the rounds stop with the last watch
        return sampling

    async def _run(self) -> None:
        began = monotonic()
        while True:
            await self._sample_once()
            # The interval counts from beginning to beginning. After a longer round the next begins at once.
            while (left_s := began + self._sampling().interval_ms / 1000 - monotonic()) > 0:
                self._changed.clear()
                try:
                    async with asyncio.timeout(left_s):
                        await self._changed.wait()
                except TimeoutError:
                    break
            began = monotonic()

    async def _sample_once(self) -> None:
        try:
            await self._sample(self._connection, self._sampling().groups)
        except BridgeError as error:
            self._log_failure(error.message)
        except Exception:  # an edge: the top of a task, and the next round may succeed
            log.exception("statistics failed conn=%s", self._connection)
        else:
            self._log_failure("")

    def _log_failure(self, failing: str) -> None:
        """Log a failure once when it begins and once when it ends, since every round may repeat it."""
        if failing and not self._failing:
            log.info("no statistics conn=%s error=%s", self._connection, failing)
        elif self._failing and not failing:
            log.info("statistics again conn=%s", self._connection)
        self._failing = failing
