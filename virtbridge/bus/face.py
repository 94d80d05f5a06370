"""The bus face put together: contract, objects, handlers and routing on one link. Wiring only."""

import contextlib
from collections.abc import Iterable, Mapping

from virtbridge import __version__
from virtbridge.bus import query_server
from virtbridge.bus.access import Access
from virtbridge.bus.binding import Bound, bind
from virtbridge.bus.clients import Clients
from virtbridge.bus.contract import Interface, load_contract, load_standard
from virtbridge.bus.handlers.demand import (
    InterfaceHandlers,
    PlainHandlers,
    SnapshotHandlers,
)
from virtbridge.bus.handlers.manager import ManagerHandlers, MetricsHandlers
from virtbridge.bus.handlers.objects import (
    ConnectionHandlers,
    DomainHandlers,
    NetworkHandlers,
    NodeDeviceHandlers,
    SecretHandlers,
    StoragePoolHandlers,
)
from virtbridge.bus.handlers.standard import (
    IntrospectableHandlers,
    ObjectManagerHandlers,
    PeerHandlers,
    PropertiesHandlers,
)
from virtbridge.bus.names import INTERFACE_OF, MANAGER, METRICS, NAME
from virtbridge.bus.properties import shapes
from virtbridge.bus.publisher import Publisher
from virtbridge.bus.router import Router, face
from virtbridge.bus.stats_watches import StatsWatches
from virtbridge.bus.watches import KindWatches
from virtbridge.cache.cache import Cache
from virtbridge.cache.requests import Requests
from virtbridge.cache.statistics import Statistics
from virtbridge.cache.xpath import Queries
from virtbridge.config import Config
from virtbridge.limiter import Portions
from virtbridge.metrics import Metrics
from virtbridge.model.keys import Kind
from virtbridge.wire.backlog import BacklogLimits
from virtbridge.wire.link import BusError, Link
from virtbridge.wire.names import BUS_NAME, BUS_PATH, INTROSPECTABLE, OBJECT_MANAGER, PEER, PROPERTIES

_EVERYWHERE = (PEER, INTROSPECTABLE, PROPERTIES)
_DO_NOT_QUEUE = 4
_PRIMARY_OWNER = 1
_ANSWER_S = 25.0
_RELEASE_S = 1.0


class NameTaken(Exception):
    """Somebody else serves this bus already."""


class BusFace:
    """clients: who has called us. waiting: the calls that may wait for others to end. portions: of all
    limits, for one user. Raises BadContract when the contract and the code do not fit.
    """

    def __init__(
        self,
        link: Link,
        cache: Cache,
        requests: Requests,
        statistics: Statistics,
        clients: Clients,
        metrics: Metrics,
        config: Config,
        waiting: BacklogLimits,
        portions: Portions,
        *,
        session: bool,
    ) -> None:
        self._link = link
        contract = load_contract()
        standard = load_standard()
        shape_of = shapes(contract)
        publisher = Publisher(link, cache, shape_of, metrics, __version__)
        limits, stats = config.limits, config.stats
        watches = KindWatches(
            cache,
            requests,
            clients,
            metrics,
            portions.of(limits.watches, limits.watches_per_client),
            config.refresh,
        )
        self._stats_watches = StatsWatches(
            link,
            publisher,
            statistics,
            clients,
            metrics,
            stats,
            portions.of(stats.watches, stats.watches_per_client),
        )
        self._queries = Queries(portions.of(limits.queries, per_client=1), query_server.__name__)
        ours = {
            MANAGER: ManagerHandlers(cache, publisher, requests, shape_of, limits, self._queries),
            METRICS: MetricsHandlers(metrics),
            INTERFACE_OF[Kind.CONNECTION]: ConnectionHandlers(
                cache, publisher, requests, watches, statistics, self._stats_watches
            ),
            INTERFACE_OF[Kind.DOMAIN]: DomainHandlers(cache, publisher, requests, statistics),
            INTERFACE_OF[Kind.NETWORK]: NetworkHandlers(cache, publisher, requests),
            INTERFACE_OF[Kind.POOL]: StoragePoolHandlers(cache, publisher, requests),
            INTERFACE_OF[Kind.VOLUME]: PlainHandlers(cache, publisher, requests),
            INTERFACE_OF[Kind.NODEDEV]: NodeDeviceHandlers(cache, publisher, requests),
            INTERFACE_OF[Kind.SECRET]: SecretHandlers(cache, publisher, requests),
            INTERFACE_OF[Kind.INTERFACE]: InterfaceHandlers(cache, publisher, requests),
            INTERFACE_OF[Kind.NWFILTER]: PlainHandlers(cache, publisher, requests),
            INTERFACE_OF[Kind.NWFILTERBINDING]: PlainHandlers(cache, publisher, requests),
            INTERFACE_OF[Kind.SNAPSHOT]: SnapshotHandlers(cache, publisher, requests),
            INTERFACE_OF[Kind.CHECKPOINT]: SnapshotHandlers(cache, publisher, requests),
        }
        bound = {name: bind(contract[name], handlers) for name, handlers in ours.items()}
        # Beside its main interface: what the root has more, and what every object has.
        extra: dict[str, tuple[str, ...]] = dict.fromkeys(INTERFACE_OF.values(), _EVERYWHERE)
        extra[MANAGER] = (METRICS, OBJECT_MANAGER, *_EVERYWHERE)
        described = contract | standard
        xml = {name: _described((name, *extra[name]), described) for name in extra}
        bound |= {
            PEER: bind(standard[PEER], PeerHandlers()),
            INTROSPECTABLE: bind(
                standard[INTROSPECTABLE],
                IntrospectableHandlers(publisher, xml, _described((PEER, INTROSPECTABLE), described)),
            ),
            OBJECT_MANAGER: bind(standard[OBJECT_MANAGER], ObjectManagerHandlers(publisher)),
        }
        bound[PROPERTIES] = bind(standard[PROPERTIES], PropertiesHandlers(bound, extra))
        self._router = Router(
            link,
            publisher,
            clients,
            Access(session=session),
            metrics,
            faces={name: face(_bounds((name, *extra[name]), bound)) for name in extra},
            node=face(_bounds((PEER, INTROSPECTABLE), bound)),
            nowhere=face([bound[PEER]]),
            running=portions.of(limits.in_flight, limits.in_flight_per_client),
            waiting=waiting,
        )

    async def serve(self) -> None:
        """Answer calls, and own the name. Raises NameTaken, saying by whom, and BusError."""
        self._link.on_call = self._router.handle
        [answer] = await self._bus("RequestName", "su", NAME, _DO_NOT_QUEUE)
        if answer != _PRIMARY_OWNER:
            raise NameTaken(f"{NAME} is taken by {await self._owner()}")

    async def stop(self) -> None:
        """Every waiting call is answered, and the name is free again."""
        await self._stats_watches.stop()
        await self._router.stop()
        self._queries.close()
        # So that nobody calls any more. Leaving the bus frees the name as well, also where the bus hangs.
        with contextlib.suppress(BusError):
            await self._bus("ReleaseName", "s", NAME, timeout_s=_RELEASE_S)

    async def _owner(self) -> str:
        try:
            [owner] = await self._bus("GetNameOwner", "s", NAME)
            [pid] = await self._bus("GetConnectionUnixProcessID", "s", owner)
        except BusError as error:
            return f"someone who has gone meanwhile ({error.text})"
        return f"process {pid} ({owner})"

    async def _bus(
        self, member: str, signature: str, *body: object, timeout_s: float = _ANSWER_S
    ) -> list[object]:
        return await self._link.call(
            BUS_NAME, BUS_PATH, BUS_NAME, member, signature, body, timeout_s=timeout_s
        )


def _bounds(names: Iterable[str], bound: Mapping[str, Bound]) -> list[Bound]:
    return [bound[name] for name in names]


def _described(names: Iterable[str], interfaces: Mapping[str, Interface]) -> str:
    return "".join(interfaces[name].xml for name in names)
