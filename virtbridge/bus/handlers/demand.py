"""The methods that have something read on demand, and the XML of objects.

max-age decides whether the cache may answer. What libvirt answers without anything more is in the rows of the
operations and has no method here.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from functools import partial
from typing import Any

from virtbridge.bus import rows
from virtbridge.bus.call import Call
from virtbridge.bus.guards import unless
from virtbridge.bus.operations import Operations, request_arguments, row_of
from virtbridge.bus.options import max_age_s, timeout_s, within
from virtbridge.bus.published_object import PublishedObject
from virtbridge.bus.publisher import Publisher
from virtbridge.bus.rows import Rows
from virtbridge.cache.cache import Cache
from virtbridge.cache.requests import Requests
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import Key, Kind
from virtbridge.model.operations import MOVING_MS, SETTLED_MS
from virtbridge.model.records import OnDemand

_LOAD_MS = 60_000  # without timeout: what reads many objects


class Questions:
    """How handlers have something read, within the caller's max-age and timeout."""

    def __init__(self, cache: Cache, publisher: Publisher, requests: Requests) -> None:
        self._cache = cache
        self._publisher = publisher
        self._requests = requests
        self._operations = Operations(requests, publisher)

    def _get_xml(
        self, call: Call, options: Mapping[str, Any], cached: Callable[[Call], str]
    ) -> str | Coroutine[Any, Any, str]:
        """Answer at once with what the cache holds. With any of libvirt's flags, answer with what libvirt
        answers.
        """
        row = row_of(call, "get-xml")
        if options and any(request_arguments(row, (), options)):
            return self._operations.run(call, row, (), options)
        return cached(call)

    async def _load(self, about: Key, kind: Kind, options: Mapping[str, Any]) -> None:
        age_s = max_age_s(options, MOVING_MS)
        await self._until_known(options, partial(self._requests.load, about, kind, age_s))

    async def _until_known(self, options: Mapping[str, Any], read: Callable[[], Awaitable[None]]) -> None:
        """Wait until clients know of what was read."""

        async def work() -> None:
            await read()
            await self._publisher.until_announced()

        await within(timeout_s(options, _LOAD_MS), work)

    async def _children(self, call: Call, kind: Kind, options: Mapping[str, Any]) -> Rows[str]:
        await self._load(call.key, kind, options)
        return rows.paths(partial(self._published, call.key, kind))

    def _published(self, parent: Key, kind: Kind) -> Iterator[PublishedObject]:
        found = (self._publisher.get(key) for key in self._cache.children(parent, kind))
        return (known for known in found if known is not None)


class ConnectionQuestions(Questions):
    """What Connection has read on demand. ConnectionHandlers inherits this."""

    async def _is_listed(self, call: Call, option: str, options: Mapping[str, Any]) -> bool:
        """Return whether libvirt runs this emulator anyway. Any other would be a program of the caller's
        choice, run by libvirtd (CVE-2019-10167).

        An emulator about which nothing can be found out is not listed. The caller's max-age does not count,
        so that being refused again and again costs libvirt nothing.
        """
        if not (emulator := options[option]):
            return True
        work = partial(self._operations.ask, call, "get-emulators", SETTLED_MS / 1000)
        try:
            return emulator in await within(timeout_s(options), work)
        except BridgeError:
            return False

    @unless(emulator=_is_listed)
    async def get_domain_capabilities(self, call: Call, options: Mapping[str, Any]) -> str:
        row = row_of(call, "get-domain-capabilities")
        return str(await self._operations.run(call, row, (), options))


class DomainQuestions(Questions):
    """What Domain has read on demand. DomainHandlers inherits this."""

    async def list_snapshots(self, call: Call, options: Mapping[str, Any]) -> Rows[str]:
        return await self._children(call, Kind.SNAPSHOT, options)

    async def list_checkpoints(self, call: Call, options: Mapping[str, Any]) -> Rows[str]:
        return await self._children(call, Kind.CHECKPOINT, options)


class PoolQuestions(Questions):
    """What StoragePool has read on demand. StoragePoolHandlers inherits this."""

    async def list_volumes(self, call: Call, options: Mapping[str, Any]) -> Rows[str]:
        return await self._children(call, Kind.VOLUME, options)


class OnDemandHandlers(Questions):
    """Serves the kinds that no event announces."""

    def get_xml(self, call: Call, options: Mapping[str, Any]) -> str | Coroutine[Any, Any, str]:
        return self._get_xml(call, options, self._cached_xml)

    def _cached_xml(self, call: Call) -> str:
        record = self._cache.get(call.key)
        if not isinstance(record, OnDemand):
            raise BridgeError(ErrorKind.NO_SUCH_OBJECT, f"there is no object at {call.path}")
        return record.xml
