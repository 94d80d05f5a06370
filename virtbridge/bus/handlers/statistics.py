"""Statistics: what clients can ask Connection and Domain about them. Their handlers inherit this."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from virtbridge.bus.call import Call, Marshalled
from virtbridge.bus.options import check_words, timeout_s, within
from virtbridge.bus.paths import key_of
from virtbridge.bus.samples import history_body, values_body
from virtbridge.bus.stats_watches import StatsWatches
from virtbridge.cache.cache import Cache
from virtbridge.cache.statistics import Sampling, Statistics
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import Kind
from virtbridge.model.operations import MOVING_MS
from virtbridge.model.statistics import GROUPS, USUAL_GROUPS, Sample


class ConnectionStatistics:
    """The statistics members of Connection. ConnectionHandlers inherits this."""

    _cache: Cache
    _statistics: Statistics
    _stats_watches: StatsWatches

    def watch_stats(
        self, call: Call, interval_ms: int, groups: Sequence[str], options: Mapping[str, Any]
    ) -> int:
        wanted = Sampling(interval_ms, _groups(groups))
        return self._stats_watches.begin(call.user, call.sender, call.key.connection, wanted)

    def unwatch_stats(self, call: Call, watch: int, options: Mapping[str, Any]) -> None:
        self._stats_watches.end(call.sender, call.key.connection, watch)

    def get_stats_history(self, call: Call, domain: str, options: Mapping[str, Any]) -> Marshalled:
        key = key_of(domain)
        if (
            key is None
            or key.kind is not Kind.DOMAIN
            or key.connection != call.key.connection
            or self._cache.get(key) is None
        ):
            raise BridgeError(ErrorKind.NO_SUCH_OBJECT, f"{domain} is no domain of this connection")
        return Marshalled(history_body(self._statistics.history(key, options.get("since", 0))))


class DomainStatistics:
    """The statistics members of Domain. DomainHandlers inherits this."""

    _statistics: Statistics

    def get_stats(self, call: Call, groups: Sequence[str], options: Mapping[str, Any]) -> Any:
        wanted = _groups(groups)
        max_age_ms: int = options.get("max-age", MOVING_MS)
        sample = self._statistics.known(call.key, wanted, max_age_ms)
        if sample is not None:
            return Marshalled(values_body(sample.values))
        return self._read_stats(partial(self._statistics.read, call.key, wanted, max_age_ms), options)

    async def _read_stats(
        self, read: Callable[[], Awaitable[Sample]], options: Mapping[str, Any]
    ) -> Marshalled:
        sample = await within(timeout_s(options), read)
        return Marshalled(values_body(sample.values))


def _groups(names: Sequence[str]) -> frozenset[str]:
    """Return the groups to ask for; no names mean the usual ones. The state is always added, as it costs
    nothing. CPU times get the vCPUs as well, whose number cpu-guest-percent needs.
    """
    check_words(names, GROUPS, "groups")
    more = {"state", "vcpu"} if "cpu-total" in names else {"state"}
    return frozenset(more.union(names)) if names else USUAL_GROUPS
