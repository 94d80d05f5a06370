"""The API org.virtbridge1: its names and tables as one value, and the handlers of its interfaces."""

from collections.abc import Mapping

from virtbridge.bus import marshalling, query_server
from virtbridge.bus.api import Api, Emitted
from virtbridge.bus.contract import load_contract
from virtbridge.bus.errors import NAME_OF_KIND
from virtbridge.bus.handlers.demand import OnDemandHandlers
from virtbridge.bus.handlers.manager import ManagerHandlers, MetricsHandlers
from virtbridge.bus.handlers.objects import (
    ConnectionHandlers,
    DefinedHandlers,
    DomainHandlers,
    JobHandlers,
    StoragePoolHandlers,
)
from virtbridge.bus.names import INTERFACE_OF, MANAGER, METRICS, NAME
from virtbridge.bus.paths import ROOT, path_of
from virtbridge.bus.service import Parts
from virtbridge.bus.stats_watches import StatsWatches
from virtbridge.bus.tables import TABLES
from virtbridge.bus.watches import KindWatches
from virtbridge.cache.xpath import Queries
from virtbridge.errors import ErrorKind
from virtbridge.model.changes import COMPLETED, EVENT, LIFECYCLE
from virtbridge.model.keys import Kind
from virtbridge.model.operations import OPERATIONS, Operation


def virtbridge1() -> Api:
    """Return the API. Raises BadContract when the contract's files cannot be read."""
    return Api(
        name=NAME,
        root=ROOT,
        root_interface=MANAGER,
        root_also=(METRICS,),
        contract=load_contract(NAME),
        tables=TABLES,
        interface_of=INTERFACE_OF,
        path_of=path_of,
        error_names=NAME_OF_KIND,
        operations={
            kind: {_member(row): row for row in rows.values() if not row.internal}
            for kind, rows in OPERATIONS.items()
        },
        signals={
            LIFECYCLE: Emitted(LIFECYCLE, marshalling.lifecycle_body),
            EVENT: Emitted(EVENT, marshalling.event_body),
            COMPLETED: Emitted(COMPLETED, _completed_body),
        },
    )


def _completed_body(success: bool, error: str, message: str) -> bytes:
    return marshalling.completed_body(success, NAME_OF_KIND[ErrorKind(error)] if error else "", message)


_WORDS = {"nwfilter": "NWFilter"}


def _member(row: Operation) -> str:
    return "".join(_WORDS.get(word) or word.capitalize() for word in row.name.split("-"))


def handlers(parts: Parts) -> Mapping[str, object]:
    """Return the API's handlers by interface."""
    core, publisher, clients = parts.core, parts.publisher, parts.clients
    cache, requests, statistics, metrics = core.cache, core.requests, core.statistics, core.metrics
    limits, stats, portions = core.config.limits, core.config.stats, core.portions
    bounds = portions.of(limits.watches, limits.watches_per_client)
    watches = KindWatches(cache, requests, clients, metrics, bounds, core.config.refresh)
    bounds = portions.of(stats.watches, stats.watches_per_client)
    stats_watches = StatsWatches(parts.link, publisher, statistics, clients, metrics, stats, bounds)
    parts.at_stop.push_async_callback(stats_watches.stop)
    queries = Queries(portions.of(limits.queries, per_client=1), query_server.__name__)
    parts.at_stop.callback(queries.close)
    defined = DefinedHandlers(cache, publisher, requests)
    on_demand = OnDemandHandlers(cache, publisher, requests)
    objects = {
        Kind.CONNECTION: ConnectionHandlers(cache, publisher, requests, watches, statistics, stats_watches),
        Kind.DOMAIN: DomainHandlers(cache, publisher, requests, statistics),
        Kind.NETWORK: defined,
        Kind.POOL: StoragePoolHandlers(cache, publisher, requests),
        Kind.VOLUME: on_demand,
        Kind.NODEDEV: defined,
        Kind.SECRET: defined,
        Kind.INTERFACE: on_demand,
        Kind.NWFILTER: on_demand,
        Kind.NWFILTERBINDING: on_demand,
        Kind.SNAPSHOT: on_demand,
        Kind.CHECKPOINT: on_demand,
        Kind.JOB: JobHandlers(),
    }
    return {
        MANAGER: ManagerHandlers(cache, publisher, requests, parts.properties, limits, queries),
        METRICS: MetricsHandlers(metrics),
        **{INTERFACE_OF[kind]: each for kind, each in objects.items()},
    }
