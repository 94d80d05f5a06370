"""What the cases share: sizes, labels, and how services are measured in turn.

A case starts its own services on the stage it is given, so that cases do not disturb each other, and
measures all services in turn, run after run, so that a busy machine disturbs all of them alike.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.services import Bridge, Service, starters
from tests.bench.stage import Stage, end
from tests.bench.table import Row
from tests.support.rawbus import RawBus, Window

PEER, FAST, NEXT = "libvirt-dbus", "dbus-fast", "dbus-next"
LABELS = (FAST, NEXT)
# No service at all: each client polls libvirt on a connection of its own.
DIRECT = "libvirt-python"


@dataclass(frozen=True)
class Scale:
    """How much is measured: the issue's sizes, or a quick run of the same."""

    runs: int = 5
    domains: int = 1000
    crowd: int = 50
    crowd_domains: int = 100
    far_domains: int = 100
    gets: int = 2000
    listings: int = 100
    suspends: int = 60
    storm_events: int = 2000
    idle_s: float = 60
    many: int = 10_000
    volumes: int = 1000
    guests: int = 200
    stats_s: float = 20


QUICK = Scale(
    runs=2,
    domains=300,
    far_domains=20,
    gets=500,
    listings=40,
    suspends=20,
    storm_events=800,
    idle_s=8,
    many=2000,
    volumes=200,
    guests=30,
    stats_s=4,
)


def clients_of(service: Service, count: int) -> list[RawBus]:
    clients = [service.client() for _ in range(count)]
    for client in clients:
        client.sock.setblocking(False)
    return clients


def asked_further(client: RawBus, first: bytes, then: Callable[[bytes], Sequence[bytes]]) -> Window:
    """Under way: what a client asks after the first answer depends on it."""

    def take(_serial: int, body: bytes) -> None:
        if len(window.bodies) == 1:
            window.add(then(body))

    window = Window(client, [first], on_body=take)
    window.start()
    return window


def measure(row: Row, services: Sequence[Service], runs: int, once: Callable[[Service], float]) -> Row:
    """`once` for each service in turn, `runs` times."""
    for _ in range(runs):
        for service in services:
            row.add(service.label, once(service))
    return row


def alone(stage: Stage, socket: Path, kind: str, runs: int, *, timed: bool = False) -> Iterator[Service]:
    """Each service in turn, `runs` times, and no other meanwhile: they would all work on the same events."""
    for _ in range(runs):
        for start in starters(stage, socket, kind, timed=timed):
            service = start()
            yield service
            end(service.process)


def settle(clients: Sequence[RawBus], quiet_s: float = 0.03) -> None:
    """Read what is still under way until nothing came for a while."""
    heard = time.monotonic()

    def note(_frame: bytes) -> None:
        nonlocal heard
        heard = time.monotonic()

    for client in clients:
        client.on_signal = note
    deadline = time.monotonic() + 20
    while time.monotonic() - heard < quiet_s and time.monotonic() < deadline:
        for client in clients:
            client.sock.setblocking(False)
            client.feed()
        time.sleep(0.001)
    for client in clients:
        client.on_signal = None


def libvirt_calls(bridge: Bridge, client: RawBus) -> int:
    return sum(n for name, n in bridge.counters(client).items() if name.startswith("libvirt."))
