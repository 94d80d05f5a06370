"""org.virtbridge1.Manager and Metrics: the service itself, and queries over all of its connections."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from virtbridge.bus import marshalling, rows
from virtbridge.bus.call import Call, Marshalled
from virtbridge.bus.names import INTERFACE_OF
from virtbridge.bus.options import check_words, timeout_s
from virtbridge.bus.paths import ROOT, connection_path, key_of, path_of
from virtbridge.bus.properties import InterfaceProperties
from virtbridge.bus.published_object import PublishedObject
from virtbridge.bus.publisher import Publisher
from virtbridge.bus.rows import Rows
from virtbridge.cache import queries
from virtbridge.cache.cache import Cache
from virtbridge.cache.evaluation import Query
from virtbridge.cache.requests import Requests
from virtbridge.cache.xpath import Queries
from virtbridge.config import ConnectionConfig, LimitsConfig
from virtbridge.config.check import connection_name_problem
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.metrics import Metrics
from virtbridge.model.keys import Key, Kind, connection_key, xml_root
from virtbridge.model.macs import normal_mac
from virtbridge.model.records import ConnectionRecord
from virtbridge.uri_checks import client_uri_problem

_QUERY_MS = 5000
_QUERY_MAX_MS = 30_000
_WITHOUT_XML = (Kind.CONNECTION, Kind.JOB)

Found = TypeVar("Found", bound=tuple[Any, ...])


class ManagerHandlers:
    """Serves org.virtbridge1.Manager."""

    def __init__(
        self,
        cache: Cache,
        publisher: Publisher,
        requests: Requests,
        interfaces: Mapping[str, InterfaceProperties],
        limits: LimitsConfig,
        queries: Queries,
    ) -> None:
        self._cache = cache
        self._publisher = publisher
        self._requests = requests
        self._interfaces = interfaces
        self._limits = limits
        self._queries = queries

    async def open_connection(self, call: Call, name: str, uri: str, options: Mapping[str, Any]) -> str:
        if problem := connection_name_problem(name):
            raise BridgeError(ErrorKind.INVALID_ARGUMENT, problem)
        if problem := client_uri_problem(uri):
            raise BridgeError(ErrorKind.INVALID_ARGUMENT, f"uri: {problem}")
        if len(self._cache.connections()) >= self._limits.connections:
            raise BridgeError(
                ErrorKind.LIMIT_EXCEEDED, f"{self._limits.connections} connections are open already"
            )
        self._requests.open(ConnectionConfig(name, uri, read_only=options.get("read-only", False)))
        await self._publisher.until_announced()
        return connection_path(name)

    async def close_connection(self, call: Call, connection: str, options: Mapping[str, Any]) -> None:
        await self._requests.close(self._connection(connection))
        await self._publisher.until_announced()

    def find_domains(self, call: Call, text: str, options: Mapping[str, Any]) -> list[str]:
        found = ((key,) for key in queries.find_domains(self._cache, text))
        return [path for (path,) in self._paths(found, options)]

    def find_disk_users(self, call: Call, source: str, options: Mapping[str, Any]) -> list[list[str]]:
        if not source:
            raise BridgeError(ErrorKind.INVALID_ARGUMENT, "the source is empty")
        self._refuse_unread(options)
        return self._paths(queries.find_disk_users(self._cache, source), options)

    def find_mac_users(self, call: Call, mac: str, options: Mapping[str, Any]) -> list[list[str]]:
        normal = normal_mac(mac)
        if normal is None:
            raise BridgeError(ErrorKind.INVALID_ARGUMENT, f"{mac!r} is not a MAC address")
        return self._paths(queries.find_mac_users(self._cache, normal), options)

    def select(
        self, call: Call, kind: str, properties: list[str], options: Mapping[str, Any]
    ) -> Rows[PublishedObject]:
        chosen_kind = _kind(kind)
        connection = self._chosen(options)
        known = self._interfaces[INTERFACE_OF[chosen_kind]]
        columns = dict.fromkeys(properties or known.names)
        unknown = [name for name in columns if name not in known.indexes and not _is_xml(name, chosen_kind)]
        if unknown:
            raise BridgeError(ErrorKind.INVALID_ARGUMENT, f"{kind} has no property {', '.join(unknown)}")
        indexes = [known.indexes[name] for name in columns if name in known.indexes]

        def row(each: PublishedObject) -> bytes:
            entries = [each.entries[index] for index in indexes]
            if "Xml" in columns:
                entries.append(marshalling.xml_entry(self._xml(each.key)))
            return marshalling.keyed_entry(each.path, marshalling.join(entries))

        objects = partial(self._publisher.objects, chosen_kind, connection)
        if "Xml" not in columns:
            return rows.entries(objects, row)
        get = self._cache.get
        return Rows(objects, row, lambda known: (known.changes, get(known.key)))

    async def query_xml(
        self, call: Call, kind: str, expression: str, options: Mapping[str, Any]
    ) -> Marshalled:
        chosen_kind = _kind(kind)
        if chosen_kind in _WITHOUT_XML:
            raise BridgeError(ErrorKind.INVALID_ARGUMENT, f"{kind}s have no XML")
        query = Query(xml_root(chosen_kind), expression, options.get("namespaces", {}))
        query.compiled()  # to refuse what is none at once
        connection = self._chosen(options)

        def documents() -> dict[str, str]:
            objects = self._publisher.objects(chosen_kind, connection)
            return {known.path: self._xml(known.key) for known in objects}

        limit_s = timeout_s(options, _QUERY_MS, _QUERY_MAX_MS)
        return Marshalled(await self._queries.run(call.user, call.sender, query, documents, limit_s))

    def _xml(self, key: Key) -> str:
        return getattr(self._cache.get(key), "xml", "")

    def _paths(self, found: Iterable[Found], options: Mapping[str, Any]) -> list[list[Any]]:
        """Return rows with their key as a path, of the option's connection, sorted; only of what clients can
        see already.
        """
        connection = self._chosen(options)
        return sorted(
            [path_of(row[0]), *row[1:]]
            for row in found
            if connection in (None, row[0].connection) and self._publisher.get(row[0]) is not None
        )

    def _refuse_unread(self, options: Mapping[str, Any]) -> None:
        """That nobody uses it is no answer about a host that was never read. Among several hosts such are
        left out.
        """
        if (connection := self._chosen(options)) is not None:
            record = self._cache.get(connection_key(connection))
            if isinstance(record, ConnectionRecord) and not record.last_sync_us:
                raise BridgeError(ErrorKind.NOT_CONNECTED, f"{connection} has not been read yet")

    def _chosen(self, options: Mapping[str, Any]) -> str | None:
        """Return the name that the option `connection`, a name or a path, stands for; None without it."""
        text = options.get("connection")
        return None if text is None else self._connection(text)

    def _connection(self, text: str) -> str:
        key = key_of(text) if text.startswith(ROOT) else connection_key(text)
        if key is None or key.kind is not Kind.CONNECTION or self._cache.get(key) is None:
            raise BridgeError(ErrorKind.NO_SUCH_OBJECT, f"there is no connection {text!r}")
        return key.connection


class MetricsHandlers:
    """Serves org.virtbridge1.Metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def get_counters(self, call: Call, options: Mapping[str, Any]) -> dict[str, int]:
        return dict(sorted(self._metrics.snapshot().items()))


def _kind(text: str) -> Kind:
    check_words([text], INTERFACE_OF, "kinds")
    return Kind(text)


def _is_xml(name: str, kind: Kind) -> bool:
    return name == "Xml" and kind not in _WITHOUT_XML
