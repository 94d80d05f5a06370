"""What is read on demand: the methods that have it read (lists of objects, and answers that are no objects),
and the interfaces of the objects themselves. max-age decides whether the cache may answer.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from functools import partial
from typing import Any

from virtbridge.bus import rows
from virtbridge.bus.call import Call
from virtbridge.bus.guards import one_of, unless
from virtbridge.bus.options import MOVING_MS, check_words, max_age_s, timeout_s, within
from virtbridge.bus.pieces import Pieces
from virtbridge.bus.publisher import Publisher
from virtbridge.bus.rows import Rows
from virtbridge.bus.values import dictionaries, dictionary, figures, sizes
from virtbridge.cache.cache import Cache
from virtbridge.cache.requests import Requests
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import Key, Kind
from virtbridge.model.records import OnDemand

_SETTLED_MS = 60_000  # without max-age: what changes when somebody rebuilds the host
_LOAD_MS = 60_000  # without timeout: what reads many objects

# VIR_DOMAIN_SNAPSHOT_XML_SECURE, VIR_DOMAIN_CHECKPOINT_XML_SECURE: 1. VIR_INTERFACE_XML_INACTIVE: 1.
_SECURE = 1
_INACTIVE = 1

# virDomainGuestInfoTypes, by the words of the contract.
_GUEST_INFO = {
    "users": 1,
    "os": 2,
    "timezone": 4,
    "hostname": 8,
    "filesystem": 16,
    "disks": 32,
    "interfaces": 64,
}
_ADDRESS_SOURCES = ("lease", "agent", "arp")
_SORT_OF_DOMAIN = ("emulator", "arch", "machine", "type")


class Questions:
    """How handlers have something read, within the caller's max-age and timeout."""

    def __init__(self, cache: Cache, publisher: Publisher, requests: Requests) -> None:
        self._cache = cache
        self._publisher = publisher
        self._requests = requests

    async def _ask(
        self, call: Call, what: str, options: Mapping[str, Any], default_ms: int, **args: Any
    ) -> Any:
        work = partial(self._requests.ask, call.key, what, max_age_s(options, default_ms), **args)
        return await within(timeout_s(options), work)

    async def _ask_xml(self, call: Call, flags: int, options: Mapping[str, Any]) -> str:
        read = partial(self._requests.read_xml, call.key, flags)
        return await within(timeout_s(options), read)

    async def _load(self, about: Key, kind: Kind, options: Mapping[str, Any]) -> None:
        age_s = max_age_s(options, MOVING_MS)
        await self._until_known(options, partial(self._requests.load, about, kind, age_s))

    async def _until_known(self, options: Mapping[str, Any], read: Callable[[], Awaitable[None]]) -> None:
        """Until clients know of what was read."""

        async def work() -> None:
            await read()
            await self._publisher.caught_up()

        await within(timeout_s(options, _LOAD_MS), work)

    async def _children(self, call: Call, kind: Kind, options: Mapping[str, Any]) -> Rows[str]:
        await self._load(call.key, kind, options)
        return rows.paths(partial(self._published, call.key, kind))

    def _published(self, parent: Key, kind: Kind) -> Iterator[Pieces]:
        found = (self._publisher.get(key) for key in self._cache.children(parent, kind))
        return (known for known in found if known is not None)


class ConnectionQuestions(Questions):
    async def get_capabilities(self, call: Call, options: Mapping[str, Any]) -> str:
        return str(await self._ask(call, "capabilities", options, _SETTLED_MS))

    async def _is_listed(self, call: Call, option: str, options: Mapping[str, Any]) -> bool:
        """Whether libvirt runs this emulator anyway: any other would be a program of the caller's choice, run
        by libvirtd (CVE-2019-10167). What cannot be found out is not listed. The caller's max-age does not
        count, so that being refused again and again costs libvirt nothing.
        """
        if not (emulator := options[option]):
            return True
        work = partial(self._requests.ask, call.key, "emulators", _SETTLED_MS / 1000)
        try:
            return emulator in await within(timeout_s(options), work)
        except BridgeError:
            return False

    @unless(emulator=_is_listed)
    async def get_domain_capabilities(self, call: Call, options: Mapping[str, Any]) -> str:
        args = {name: options[name] for name in _SORT_OF_DOMAIN if options.get(name)}
        return str(await self._ask(call, "domain-capabilities", options, _SETTLED_MS, **args))

    async def get_sysinfo(self, call: Call, options: Mapping[str, Any]) -> str:
        return str(await self._ask(call, "sysinfo", options, _SETTLED_MS))

    async def get_node_info(self, call: Call, options: Mapping[str, Any]) -> dict[str, Any]:
        return dictionary(await self._ask(call, "node-info", options, _SETTLED_MS))

    async def get_node_stats(self, call: Call, options: Mapping[str, Any]) -> dict[str, Any]:
        return sizes(await self._ask(call, "node-stats", options, MOVING_MS))


class DomainQuestions(Questions):
    @unless(source=one_of("lease", "arp"))
    async def get_interface_addresses(self, call: Call, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        source = options.get("source", "lease")
        check_words([source], _ADDRESS_SOURCES, "sources")
        return dictionaries(await self._ask(call, "interface-addresses", options, MOVING_MS, source=source))

    async def get_guest_info(self, call: Call, options: Mapping[str, Any]) -> dict[str, Any]:
        names = options.get("types", ())
        check_words(names, _GUEST_INFO, "types")
        types = sum({_GUEST_INFO[name] for name in names})
        return figures(await self._ask(call, "guest-info", options, MOVING_MS, types=types))

    async def get_job_info(self, call: Call, options: Mapping[str, Any]) -> dict[str, Any]:
        completed = options.get("completed", False)
        return figures(await self._ask(call, "job-info", options, MOVING_MS, completed=completed))

    async def list_snapshots(self, call: Call, options: Mapping[str, Any]) -> Rows[str]:
        return await self._children(call, Kind.SNAPSHOT, options)

    async def list_checkpoints(self, call: Call, options: Mapping[str, Any]) -> Rows[str]:
        return await self._children(call, Kind.CHECKPOINT, options)


class NetworkQuestions(Questions):
    async def get_dhcp_leases(self, call: Call, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        return dictionaries(await self._ask(call, "dhcp-leases", options, MOVING_MS))

    async def list_ports(self, call: Call, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        return dictionaries(await self._ask(call, "ports", options, MOVING_MS))


class PoolQuestions(Questions):
    async def list_volumes(self, call: Call, options: Mapping[str, Any]) -> Rows[str]:
        return await self._children(call, Kind.VOLUME, options)


class _OnDemandHandlers(Questions):
    def _xml(self, call: Call) -> str:
        record = self._cache.get(call.key)
        if not isinstance(record, OnDemand):
            raise BridgeError(ErrorKind.NO_SUCH_OBJECT, f"there is no object at {call.path}")
        return record.xml


class PlainHandlers(_OnDemandHandlers):
    """Of volumes, filters and bindings."""

    def get_xml(self, call: Call, options: Mapping[str, Any]) -> str:
        return self._xml(call)


class InterfaceHandlers(_OnDemandHandlers):
    def get_xml(self, call: Call, options: Mapping[str, Any]) -> str | Coroutine[Any, Any, str]:
        return self._ask_xml(call, _INACTIVE, options) if options.get("inactive") else self._xml(call)


class SnapshotHandlers(_OnDemandHandlers):
    """Of snapshots and checkpoints, which hold the XML of domains."""

    @unless(secure=one_of(False))
    def get_xml(self, call: Call, options: Mapping[str, Any]) -> str | Coroutine[Any, Any, str]:
        return self._ask_xml(call, _SECURE, options) if options.get("secure") else self._xml(call)
