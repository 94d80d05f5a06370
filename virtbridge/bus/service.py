"""The bus service: one API, its objects, handlers and routing on one D-Bus connection.

Several APIs are several services on the same cache and the same requests, each on a D-Bus connection of its
own: then a slow reader of one congests no other, and each has its own tree of paths and its own limits.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from virtbridge import __version__
from virtbridge.bus.access import Access
from virtbridge.bus.api import Api
from virtbridge.bus.binding import Bound, bind
from virtbridge.bus.contract import BadContract, Interface, load_standard
from virtbridge.bus.handlers.standard import (
    IntrospectableHandlers,
    ObjectManagerHandlers,
    PeerHandlers,
    PropertiesHandlers,
)
from virtbridge.bus.large_replies import limits_of
from virtbridge.bus.operations import Operations
from virtbridge.bus.polkit import Polkit
from virtbridge.bus.properties import InterfaceProperties
from virtbridge.bus.publisher import Publisher
from virtbridge.bus.router import Router, routes_of
from virtbridge.cache.cache import Cache
from virtbridge.cache.requests import Requests
from virtbridge.cache.statistics import Statistics
from virtbridge.config import Config
from virtbridge.limiter import Portions
from virtbridge.metrics import Metrics
from virtbridge.wire.backlog import BacklogLimits
from virtbridge.wire.clients import Clients
from virtbridge.wire.link import BusError, Link
from virtbridge.wire.names import BUS_NAME, BUS_PATH, INTROSPECTABLE, OBJECT_MANAGER, PEER, PROPERTIES

_OF_A_NODE = (PEER, INTROSPECTABLE)  # a path that only leads to objects
_OF_AN_OBJECT = (*_OF_A_NODE, PROPERTIES)
_DO_NOT_QUEUE = 4
_PRIMARY_OWNER = 1
_ANSWER_S = 25.0
_RELEASE_S = 1.0
# To polkit, in flight. Some of them wait for a person, and further calls of the same caller wait for them.
_QUESTIONS = 256
_QUESTIONS_PER_CLIENT = 16


class NameTaken(Exception):
    """Another process serves this bus already."""


@dataclass(frozen=True, slots=True)
class Core:
    """What all APIs share: the records, the way to libvirt, the counters and the configuration.

    portions: of all limits, for one user. waiting: the calls that may wait for others to end.
    """

    cache: Cache
    requests: Requests
    statistics: Statistics
    metrics: Metrics
    config: Config
    portions: Portions
    waiting: BacklogLimits


@dataclass(frozen=True, slots=True)
class Parts:
    """What an API's handlers are made from. properties: by interface. at_stop: what ends with the service."""

    link: Link
    clients: Clients
    core: Core
    publisher: Publisher
    properties: Mapping[str, InterfaceProperties]
    at_stop: AsyncExitStack = field(default_factory=AsyncExitStack)


HandlersOf = Callable[[Parts], Mapping[str, object]]


class BusService:
    """clients: who has called on this connection. handlers_of: makes the API's handlers, by interface.

    Raises BadContract when the API and its handlers do not fit together.
    """

    def __init__(
        self, api: Api, handlers_of: HandlersOf, link: Link, clients: Clients, core: Core, *, session: bool
    ) -> None:
        self._api = api
        self._link = link
        properties = api.interface_properties()
        publisher = Publisher(link, core.cache, api, properties, core.metrics, __version__)
        self._parts = Parts(link, clients, core, publisher, properties)
        bound = _bind_own(api, handlers_of(self._parts), Operations(core.requests, publisher))
        beside = _interfaces_beside(api)
        bound |= _bind_standard(api.contract, bound, beside, publisher)
        limits = core.config.limits
        self._router = Router(
            link,
            publisher,
            core.cache.get,
            clients,
            Access(None if session else Polkit(link)),
            core.metrics,
            objects={name: routes_of(bound[each] for each in (name, *beside[name])) for name in beside},
            node=routes_of(bound[name] for name in _OF_A_NODE),
            nowhere=routes_of([bound[PEER]]),
            error_names=api.error_names,
            running=core.portions.of(limits.in_flight, limits.in_flight_per_client),
            authorizing=core.portions.of(_QUESTIONS, _QUESTIONS_PER_CLIENT),
            waiting=core.waiting,
            large=limits_of(core.waiting, core.portions),
        )

    async def serve(self) -> None:
        """Answer calls, and own the name. Raises NameTaken, saying by whom, and BusError."""
        self._link.on_call = self._router.handle
        [answer] = await self._bus("RequestName", "su", self._api.name, _DO_NOT_QUEUE)
        if answer != _PRIMARY_OWNER:
            raise NameTaken(f"{self._api.name} is taken by {await self._owner()}")

    async def stop(self) -> None:
        """Answer every call that waits, and give up the name."""
        await self._router.stop()
        await self._parts.at_stop.aclose()
        # So that nobody calls any more. Leaving the bus frees the name as well, also where the bus hangs.
        with contextlib.suppress(BusError):
            await self._bus("ReleaseName", "s", self._api.name, timeout_s=_RELEASE_S)

    async def _owner(self) -> str:
        try:
            [owner] = await self._bus("GetNameOwner", "s", self._api.name)
            [pid] = await self._bus("GetConnectionUnixProcessID", "s", owner)
        except BusError as error:
            return f"someone who has left meanwhile ({error.text})"
        return f"process {pid} ({owner})"

    async def _bus(
        self, member: str, signature: str, *body: object, timeout_s: float = _ANSWER_S
    ) -> list[object]:
        return await self._link.call(
            BUS_NAME, BUS_PATH, BUS_NAME, member, signature, body, timeout_s=timeout_s
        )


def _bind_own(api: Api, handlers: Mapping[str, object], operations: Operations) -> dict[str, Bound]:
    """Bind the API's own interfaces. Raises BadContract."""
    contract = api.contract
    if odd := handlers.keys() ^ contract.keys():
        raise BadContract(f"interfaces without handlers or contract: {sorted(odd)}")
    rows = {api.interface_of[kind]: operations.handlers(each) for kind, each in api.operations.items()}
    return {name: bind(contract[name], each, rows.get(name, {})) for name, each in handlers.items()}


def _interfaces_beside(api: Api) -> dict[str, tuple[str, ...]]:
    """Return, by an object's main interface, what every object has beside it and what the root has in
    addition.
    """
    beside: dict[str, tuple[str, ...]] = dict.fromkeys(api.interface_of.values(), _OF_AN_OBJECT)
    beside[api.root_interface] = (*api.root_also, OBJECT_MANAGER, *_OF_AN_OBJECT)
    return beside


def _bind_standard(
    contract: Mapping[str, Interface],
    own: Mapping[str, Bound],
    beside: Mapping[str, tuple[str, ...]],
    publisher: Publisher,
) -> dict[str, Bound]:
    """Bind D-Bus's own interfaces: they describe, read and list what the API's own interfaces are."""
    standard = load_standard()
    described = {**contract, **standard}
    objects = {name: _joined_xml((name, *beside[name]), described) for name in beside}
    handlers = {
        PEER: PeerHandlers(),
        INTROSPECTABLE: IntrospectableHandlers(publisher, objects, _joined_xml(_OF_A_NODE, described)),
        OBJECT_MANAGER: ObjectManagerHandlers(publisher),
        PROPERTIES: PropertiesHandlers(own, beside),
    }
    return {name: bind(standard[name], each) for name, each in handlers.items()}


def _joined_xml(names: Iterable[str], interfaces: Mapping[str, Interface]) -> str:
    return "".join(interfaces[name].xml for name in names)
