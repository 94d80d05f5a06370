"""What happens elsewhere: one change, a storm of them, and none at all."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import libvirt

from tests.bench.cases.common import FAST, LABELS, NEXT, Scale, alone, clients_of, libvirt_calls, settle
from tests.bench.services import Bridge, Service, start_bridge
from tests.bench.stage import Stage, cpu_s, define, resident_mib, uri
from tests.bench.table import Row
from tests.support.rawbus import RawBus, spin

_HEARD_S = 120  # a bound only: on a machine as busy as can be


def suspend(stage: Stage, scale: Scale) -> list[Row]:
    """From virDomainSuspend by another libvirt client to a bus client that knows the new state."""
    socket = stage.libvirtd()
    conn = libvirt.open(uri(socket, "test"))
    domain = conn.lookupByName("test")
    row = Row("virDomainSuspend elsewhere to state known: median", "µs", goals={FAST: 1 / 0.7, NEXT: 1 / 0.9})
    for service in alone(stage, socket, "test", scale.runs):
        client = clients_of(service, 1)[0]
        service.watch(client)
        for _ in range(scale.suspends):
            row.add(service.label, _suspend_s(service, client, domain) * 1e6)
        client.close()
    conn.close()
    return [row]


def _suspend_s(service: Service, client: RawBus, domain: libvirt.virDomain) -> float:
    took_s = _known_after_s(service, client, "paused", domain.suspend)
    # Heard of as well: on a busy machine this and the next round would merge, and nothing has changed then.
    _known_after_s(service, client, "running", domain.resume)
    settle([client])
    return took_s


def _known_after_s(service: Service, client: RawBus, state: str, change: Callable[[], object]) -> float:
    """From the change to when the client knows this state."""
    known: list[float] = []
    began: list[float] = []
    waiting = service.follower(client, state, lambda _path: known.append(time.perf_counter()))

    def act() -> None:
        began.append(time.perf_counter())
        change()

    thread = threading.Thread(target=act)
    thread.start()
    spin([client], lambda: bool(known) and not waiting(), _HEARD_S)
    thread.join()
    return known[0] - began[0]


_STORM = """
import libvirt, sys, time
conn = libvirt.open(sys.argv[1])
domains = [d for d in conn.listAllDomains() if d.name().startswith("bench-")]
turns = int(sys.argv[2]) // len(domains) - 1
for domain in domains:
    if not domain.isActive():
        domain.create()
sys.stdin.readline()
for turn in range(turns):
    for domain in domains:
        domain.resume() if turn % 2 else domain.suspend()
for domain in domains:
    domain.destroy()
print(time.perf_counter(), flush=True)
"""


def _storm_s(
    service: Service, clients: list[RawBus], storm_uri: str, events: int, domains: int
) -> tuple[float, float]:
    """Seconds until the slowest client knows that all domains are off; seconds the storm itself took."""
    storm = subprocess.Popen(
        [sys.executable, "-c", _STORM, storm_uri, str(events)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert storm.stdin
    assert storm.stdout
    _hear_of_all(service, clients, "running", domains)  # it connects and starts them
    settle(clients, 0.3)
    began = time.perf_counter()
    storm.stdin.write(b"go\n")
    storm.stdin.flush()
    _hear_of_all(service, clients, "shutoff", domains)
    took = time.perf_counter() - began
    ended = float(storm.stdout.readline())
    storm.stdin.close()
    storm.stdout.close()
    storm.wait()
    return took, ended - began


def _hear_of_all(service: Service, clients: list[RawBus], state: str, domains: int) -> None:
    """Until each client knows that so many domains are in this state."""
    known: list[set[str]] = [set() for _ in clients]
    waiting = [service.follower(c, state, paths.add) for c, paths in zip(clients, known, strict=True)]
    spin(clients, lambda: all(len(p) == domains for p in known) and not any(w() for w in waiting), 300)


def storm(stage: Stage, scale: Scale) -> list[Row]:
    """Lifecycle events by another libvirt client, as fast as it can, with 10 clients listening."""
    domains, socket = 20, stage.libvirtd()
    define(socket, "test", domains + 1)  # the driver's own `test` is one of them
    name = f"{scale.storm_events} lifecycle events, 10 clients"
    row = Row(f"{name}: until all know the last state", "s", goals={FAST: 8, NEXT: 8})
    itself = Row("… of which the storm itself took", "s")
    grown = Row("… growth of the service's memory", "MiB")
    blocked = Row("… longest block of the main loop", "ms", limits={FAST: 50, NEXT: 50})
    for service in alone(stage, socket, "test", max(2, scale.runs // 2), timed=True):
        clients = clients_of(service, 10)
        for client in clients:
            service.watch(client)
        before = resident_mib(service.process.pid)
        if isinstance(service, Bridge):
            service.process.send_signal(signal.SIGUSR2)  # the timing starts anew
        took, own = _storm_s(service, clients, uri(socket, "test"), scale.storm_events, domains)
        row.add(service.label, took)
        itself.add(service.label, own)
        grown.add(service.label, resident_mib(service.process.pid) - before)
        if isinstance(service, Bridge):
            blocked.add(service.label, float(stage.block_file(service.label).read_text().split()[0]))
        for client in clients:
            client.close()
    return [row, itself, grown, blocked]


def idle(stage: Stage, scale: Scale) -> list[Row]:
    """Nothing happens: what it costs, with 100 domains and 10 clients that have called and listen."""
    socket = stage.libvirtd()
    define(socket, "qemu", 100)
    # The audit would fall into this minute or not, by chance; what it costs has a test of its own.
    settings = "[refresh]\naudit_interval_s = 0\n"
    target = uri(socket, "qemu")
    bridges = [start_bridge(stage, label, label, target, settings=settings) for label in LABELS]
    name = f"idle for {scale.idle_s:.0f} s, 10 clients, no audit"
    calls = Row(f"{name}: libvirt calls", "calls", limits={FAST: 0, NEXT: 0})
    cpu = Row(f"{name}: CPU", "ms")
    clients = {bridge.label: clients_of(bridge, 10) for bridge in bridges}
    for bridge in bridges:
        for client in clients[bridge.label]:
            bridge.watch(client)
            bridge.domains(client)
    before = {bridge.label: libvirt_calls(bridge, clients[bridge.label][0]) for bridge in bridges}
    spent = {bridge.label: cpu_s(bridge.process.pid) for bridge in bridges}
    time.sleep(scale.idle_s)
    for bridge in bridges:
        cpu.add(bridge.label, (cpu_s(bridge.process.pid) - spent[bridge.label]) * 1000)
        calls.add(bridge.label, libvirt_calls(bridge, clients[bridge.label][0]) - before[bridge.label])
    return [calls, cpu]
