"""The configuration: what can be set, its units, defaults and bounds.

These are frozen values only, and pure: files.py reads the files, and check.py compares their contents with
these classes. The fields are the tables and keys of virtbridge.toml, by the same names. A field's unit is the
end of its name, and check.py refuses what is outside its bounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

DAY_S = 24 * 60 * 60


class Bounds(NamedTuple):
    """The least and the greatest value that are allowed."""

    low: float
    high: float


def _number(default: Any, low: float, high: float) -> Any:
    """Declare a field with a default and bounds. It returns Any, as dataclasses.field() itself claims to
    return its default.
    """
    return field(default=default, metadata={"bounds": Bounds(low, high)})


@dataclass(frozen=True, slots=True)
class ConnectionConfig:
    """One libvirt connection, `[connections.NAME]` in the file.

    uri: any URI that virConnectOpen() takes; a client's URI has passed client_uri_problem() as well.
    events: False treats the driver as one without events. keepalive_interval_s: 0 turns keepalive off;
    a hung host is noticed after interval * (count + 1).
    """

    name: str
    uri: str
    read_only: bool = False
    events: bool = True
    keepalive_interval_s: int = _number(5, 0, 3600)
    keepalive_count: int = _number(3, 1, 100)


@dataclass(frozen=True, slots=True)
class BusConfig:
    """`[bus]`: where the service is found.

    address: empty for the system bus (or the session's with --session), else a D-Bus address as in
    `unix:path=/run/dbus/system_bus_socket`.
    """

    address: str = ""


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """`[limits]`: how much memory and work clients can cause.

    Whatever is limited for all clients together, one user may have user_percent of it, and root_percent is
    kept for root. A session bus has one user, who may have all.

    message_bytes: body of one call; a longer one is refused before it is decoded.
    calls_per_client, calls: calls of one client, and of all, that wait for their turn. calls_bytes: the bytes
    of all these.
    in_flight_per_client, in_flight: calls of one client, and of all, in flight on each connection.
    connections: libvirt connections, from the configuration and from clients together.
    queries: QueryXml evaluations at a time; one client has one.
    watches_per_client, watches: Watch calls that have not ended, of one client and of all.
    outgoing_high_water_bytes: above it no more calls are read, and changes are merged instead of sent.
    """

    message_bytes: int = _number(64 << 10, 4 << 10, 64 << 20)
    user_percent: int = _number(25, 1, 100)
    root_percent: int = _number(10, 0, 50)
    calls_per_client: int = _number(4096, 1, 1_000_000)
    calls: int = _number(65536, 1, 1_000_000)
    calls_bytes: int = _number(16 << 20, 64 << 10, 1 << 30)
    in_flight_per_client: int = _number(64, 1, 65536)
    in_flight: int = _number(512, 1, 65536)
    connections: int = _number(64, 1, 4096)
    queries: int = _number(4, 1, 64)
    watches_per_client: int = _number(64, 1, 65536)
    watches: int = _number(4096, 1, 1_000_000)
    outgoing_high_water_bytes: int = _number(8 << 20, 64 << 10, 1 << 30)


@dataclass(frozen=True, slots=True)
class RefreshConfig:
    """`[refresh]`: how libvirt is asked, and asked again.

    audit_interval_s: between audits of what libvirt changes silently, while a client is there; 0: no audits.
    poll_floor_s: the shortest interval of a Watch; a client that asks for less gets this.
    reconnect_min_s, reconnect_max_s: the first and the longest pause before a lost connection is tried again.
    call_timeout_s: how long anyone waits for one libvirt call.
    open_timeout_s: how long anyone waits for a connection to open.
    """

    audit_interval_s: float = _number(60.0, 0, DAY_S)
    poll_floor_s: float = _number(1.0, 0.05, DAY_S)
    reconnect_min_s: float = _number(1.0, 0.05, DAY_S)
    reconnect_max_s: float = _number(60.0, 0.05, DAY_S)
    call_timeout_s: float = _number(30.0, 0.1, DAY_S)
    open_timeout_s: float = _number(60.0, 0.1, DAY_S)


@dataclass(frozen=True, slots=True)
class StatsConfig:
    """`[stats]`: sampling of domain statistics.

    interval_min_ms: WatchStats samples no faster. deadline_ms: a guest that has not answered by then does not
    delay the others. history_samples: kept of each domain, 120 bytes each; 0 keeps none.
    always_interval_ms: samples that often with nobody watching, so that the history is always there; 0: not.
    watches_per_client, watches: WatchStats of one client, and of all.
    """

    interval_min_ms: int = _number(500, 200, 3_600_000)
    deadline_ms: int = _number(2000, 500, 60_000)
    history_samples: int = _number(120, 0, 86_400)
    always_interval_ms: int = _number(0, 0, 3_600_000)
    watches_per_client: int = _number(16, 1, 4096)
    watches: int = _number(1024, 1, 65_536)


@dataclass(frozen=True, slots=True)
class JobsConfig:
    """`[jobs]`: long work of libvirt.

    running: long calls in flight at a time, of each connection; each has a libvirt connection of its own.
    limit: jobs of a connection that have not ended. keep_s: how long one that has ended is shown. kept: of
    these, the most of a connection. interval_ms: between two readings of the progress of a job.
    """

    running: int = _number(8, 1, 64)
    limit: int = _number(256, 1, 65536)
    keep_s: float = _number(300.0, 0, DAY_S)
    kept: int = _number(256, 1, 65536)
    interval_ms: int = _number(500, 100, 60_000)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be set. connections: by name."""

    connections: Mapping[str, ConnectionConfig] = field(default_factory=lambda: MappingProxyType({}))
    bus: BusConfig = BusConfig()
    limits: LimitsConfig = LimitsConfig()
    refresh: RefreshConfig = RefreshConfig()
    stats: StatsConfig = StatsConfig()
    jobs: JobsConfig = JobsConfig()
