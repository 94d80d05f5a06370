"""What is measured: one function for each bullet of "speed to reach". Each returns its rows of the table.

A case starts its own services on the stage it is given, so that cases do not disturb each other, and
measures all services in turn, run after run, so that a busy machine disturbs all of them alike.
"""

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import libvirt

from tests.bench.services import Bridge, Service, start_all, start_bridge, start_peer, starters
from tests.bench.stage import Stage, cpu_s, define, domain_xml, end, resident_mib, uri, wait_for
from tests.bench.table import Row
from tests.support.rawbus import RawBus, Window, pipeline, pipeline_all, spin

PEER, FAST, NEXT = "libvirt-dbus", "dbus-fast", "dbus-next"
LABELS = (FAST, NEXT)


@dataclass(frozen=True)
class Scale:
    """How much is measured: the issue's sizes, or a quick look at the same things."""

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
)


class _Inventory:
    """One client finding out everything about all domains: the listing, then what it asks for each."""

    def __init__(self, service: Service, client: RawBus) -> None:
        self._service, self._client = service, client
        self._listed = False
        self.window = Window(client, [service.listing_frame(client)], on_body=self._take)

    def _take(self, _serial: int, body: bytes) -> None:
        if not self._listed:
            self._listed = True
            paths = self._service.paths(body)
            self.window.add([f for path in paths for f in self._service.detail_frames(self._client, path)])


def _inventory_s(service: Service, clients: Sequence[RawBus], domains: int) -> float:
    """Seconds until all clients have everything."""
    began = time.perf_counter()
    inventories = [_Inventory(service, client) for client in clients]
    for inventory in inventories:
        inventory.window.start()
    spin(clients, lambda: all(i.window.done for i in inventories), 600)
    took = time.perf_counter() - began
    answers = {len(inventory.window.bodies) for inventory in inventories}
    if min(answers) < 1 + domains:
        raise RuntimeError(f"{service.label} told of {answers} instead of {domains} domains")
    return took


def _clients(service: Service, count: int) -> list[RawBus]:
    clients = [service.client() for _ in range(count)]
    for client in clients:
        client.sock.setblocking(False)
    return clients


def _measure(row: Row, services: Sequence[Service], runs: int, once: Callable[[Service], float]) -> Row:
    """`once` for each service in turn, `runs` times."""
    for _ in range(runs):
        for service in services:
            row.add(service.label, once(service))
    return row


def _selected_s(bridge: Bridge, client: RawBus, domains: int) -> float:
    """The same in two calls: GetManagedObjects, and one Select for the XML of all."""
    began = time.perf_counter()
    bodies = pipeline(client, [bridge.listing_frame(client), bridge.select_frame(client)])
    took = time.perf_counter() - began
    if sum(body.count(b"</domain>") for body in bodies) != domains:
        raise RuntimeError("Select left out domains")
    return took


def _best_s(service: Service, client: RawBus, domains: int) -> float:
    """As few calls as the service lets a client do with."""
    if isinstance(service, Bridge):
        return _selected_s(service, client, domains)
    return _inventory_s(service, [client], domains)


def inventory(stage: Stage, scale: Scale) -> list[Row]:
    """All domains with their XML to one client, QEMU behind a local libvirtd."""
    socket = stage.libvirtd()
    define(socket, "qemu", scale.domains)
    services = start_all(stage, socket, "qemu")
    client = {service.label: _clients(service, 1)[0] for service in services}
    best = Row(f"inventory of {scale.domains} domains, with XML", "s", goals={FAST: 36, NEXT: 12})
    each = Row("… with GetXml for each domain instead of one Select", "s")
    _measure(best, services, scale.runs, lambda s: _best_s(s, client[s.label], scale.domains))
    _measure(each, services, scale.runs, lambda s: _inventory_s(s, [client[s.label]], scale.domains))
    return [best, each]


def far_inventory(stage: Stage, scale: Scale) -> list[Row]:
    """The same over a 20 ms link; libvirt-dbus with fewer domains, scaled up, since it is linear in them."""
    near = stage.libvirtd()
    far = stage.delayed(near, 20)
    define(near, "qemu", scale.far_domains)
    peer = start_peer(stage, far, "qemu")
    best = Row(
        f"the same over a 20 ms link (libvirt-dbus: {scale.far_domains} domains, scaled)",
        "s",
        goals={FAST: 2000},
    )
    each = Row("… with GetXml for each domain instead of one Select", "s")
    took = _inventory_s(peer, _clients(peer, 1), scale.far_domains) * scale.domains / scale.far_domains
    for row in (best, each):
        row.add(PEER, took)
    define(near, "qemu", scale.domains)
    bridges = [start_bridge(stage, label, label, uri(far, "qemu")) for label in LABELS]
    client = {bridge.label: _clients(bridge, 1)[0] for bridge in bridges}
    _measure(best, bridges, scale.runs, lambda s: _best_s(s, client[s.label], scale.domains))
    _measure(each, bridges, scale.runs, lambda s: _inventory_s(s, [client[s.label]], scale.domains))
    return [best, each]


def crowd(stage: Stage, scale: Scale) -> list[Row]:
    """Many clients doing the inventory at once."""
    socket = stage.libvirtd()
    define(socket, "qemu", scale.crowd_domains)
    services = start_all(stage, socket, "qemu")
    clients = {service.label: _clients(service, scale.crowd) for service in services}
    row = Row(
        f"inventory of {scale.crowd_domains} domains by {scale.crowd} clients at once", "s", goals={FAST: 18}
    )
    runs = max(1, scale.runs // 2)
    return [_measure(row, services, runs, lambda s: _inventory_s(s, clients[s.label], scale.crowd_domains))]


def get(stage: Stage, scale: Scale) -> list[Row]:
    """One Properties.Get: its latency alone, and how many a second 8 clients get."""
    socket = stage.libvirtd()
    define(socket, "test", 100)
    services = start_all(stage, socket, "test")
    crowd = {service.label: _clients(service, 8) for service in services}
    paths = {service.label: service.domains(crowd[service.label][0])[0] for service in services}
    latency = Row("Properties.Get, one at a time: median", "µs", goals={FAST: 1 / 0.4, NEXT: 1 / 0.7})
    rate = Row("Properties.Get, 8 clients together", "calls/s", more=True, goals={FAST: 6})

    def one_at_a_time(service: Service) -> float:
        client = crowd[service.label][0]
        frames = [service.get_frame(client, paths[service.label], "Name") for _ in range(scale.gets)]
        times: list[float] = []
        window = Window(client, frames, width=1, on_body=lambda *_: times.append(time.perf_counter()))
        window.start()
        spin([client], lambda: window.done, 60)
        gaps = sorted(later - earlier for earlier, later in itertools.pairwise(times))
        return gaps[len(gaps) // 2] * 1e6

    def together(service: Service) -> float:
        work = [
            (client, [service.get_frame(client, paths[service.label], "Name") for _ in range(scale.gets)])
            for client in crowd[service.label]
        ]
        began = time.perf_counter()
        pipeline_all(work)
        return 8 * scale.gets / (time.perf_counter() - began)

    _measure(latency, services, scale.runs, one_at_a_time)
    _measure(rate, services, scale.runs, together)
    return [latency, rate]


def listing(stage: Stage, scale: Scale) -> list[Row]:
    """CPU of the service for one GetManagedObjects."""
    socket = stage.libvirtd()
    define(socket, "qemu", scale.domains)
    bridges = [start_bridge(stage, label, label, uri(socket, "qemu")) for label in LABELS]
    clients = {bridge.label: _clients(bridge, 1)[0] for bridge in bridges}
    row = Row(
        f"GetManagedObjects of {scale.domains} domains: CPU of the service",
        "ms",
        limits={FAST: 3, NEXT: 3},
    )

    def once(bridge: Service) -> float:
        client = clients[bridge.label]
        before = cpu_s(bridge.process.pid)
        pipeline(client, [bridge.listing_frame(client) for _ in range(scale.listings)], width=2)
        return (cpu_s(bridge.process.pid) - before) / scale.listings * 1000

    return [_measure(row, bridges, scale.runs, once)]


def suspend(stage: Stage, scale: Scale) -> list[Row]:
    """From virDomainSuspend by another libvirt client to a bus client that knows the new state."""
    socket = stage.libvirtd()
    conn = libvirt.open(uri(socket, "test"))
    domain = conn.lookupByName("test")
    row = Row("virDomainSuspend elsewhere to state known: median", "µs", goals={FAST: 1 / 0.7, NEXT: 1 / 0.9})
    for service in _alone(stage, socket, "test", scale.runs):
        client = _clients(service, 1)[0]
        service.watch(client)
        for _ in range(scale.suspends):
            row.add(service.label, _suspend_s(service, client, domain) * 1e6)
        client.close()
    conn.close()
    return [row]


def _alone(stage: Stage, socket: Path, kind: str, runs: int, *, timed: bool = False) -> Iterator[Service]:
    """Each service in turn, `runs` times, and no other meanwhile: they would all work on the same events."""
    for _ in range(runs):
        for start in starters(stage, socket, kind, timed=timed):
            service = start()
            yield service
            end(service.process)


def _suspend_s(service: Service, client: RawBus, domain: libvirt.virDomain) -> float:
    known: list[float] = []
    began: list[float] = []
    service.follower(client, "paused", lambda _path: known.append(time.perf_counter()))

    def act() -> None:
        began.append(time.perf_counter())
        domain.suspend()

    thread = threading.Thread(target=act)
    thread.start()
    spin([client], lambda: bool(known), 20)
    thread.join()
    domain.resume()
    _settle([client])
    return known[0] - began[0]


def _settle(clients: Sequence[RawBus], quiet_s: float = 0.03) -> None:
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
    time.sleep(1)  # it connects and starts the domains; what that sends is read here
    _settle(clients, 0.3)
    known: list[set[str]] = [set() for _ in clients]
    waiting = [service.follower(c, "shutoff", paths.add) for c, paths in zip(clients, known, strict=True)]
    began = time.perf_counter()
    storm.stdin.write(b"go\n")
    storm.stdin.flush()
    spin(clients, lambda: all(len(p) == domains for p in known) and not any(w() for w in waiting), 300)
    took = time.perf_counter() - began
    ended = float(storm.stdout.readline())
    storm.stdin.close()
    storm.stdout.close()
    storm.wait()
    return took, ended - began


def storm(stage: Stage, scale: Scale) -> list[Row]:
    """Lifecycle events by another libvirt client, as fast as it can, with 10 clients listening."""
    domains, socket = 20, stage.libvirtd()
    define(socket, "test", domains + 1)  # the driver's own `test` is one of them
    name = f"{scale.storm_events} lifecycle events, 10 clients"
    row = Row(f"{name}: until all know the last state", "s", goals={FAST: 8, NEXT: 8})
    itself = Row("… of which the storm itself took", "s")
    grown = Row("… growth of the service's memory", "MiB")
    blocked = Row("… longest block of the main loop", "ms", limits={FAST: 50, NEXT: 50})
    for service in _alone(stage, socket, "test", max(2, scale.runs // 2), timed=True):
        clients = _clients(service, 10)
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
    clients = {bridge.label: _clients(bridge, 10) for bridge in bridges}
    for bridge in bridges:
        for client in clients[bridge.label]:
            bridge.watch(client)
            bridge.domains(client)
    before = {bridge.label: _libvirt_calls(bridge, clients[bridge.label][0]) for bridge in bridges}
    spent = {bridge.label: cpu_s(bridge.process.pid) for bridge in bridges}
    time.sleep(scale.idle_s)
    for bridge in bridges:
        cpu.add(bridge.label, (cpu_s(bridge.process.pid) - spent[bridge.label]) * 1000)
        calls.add(bridge.label, _libvirt_calls(bridge, clients[bridge.label][0]) - before[bridge.label])
    return [calls, cpu]


def _libvirt_calls(bridge: Bridge, client: RawBus) -> int:
    return sum(n for name, n in bridge.counters(client).items() if name.startswith("libvirt."))


def many(stage: Stage, scale: Scale) -> list[Row]:
    """10,000 domains in the test driver behind libvirtd, whose memory is not ours: time, first listing,
    memory.
    """
    socket = stage.libvirtd()
    rows = {
        count: (
            Row(f"{count} domains: start to ready, without libvirt's own reading of its file", "s"),
            Row(f"{count} domains: first GetManagedObjects", "s"),
            Row(
                f"{count} domains: memory",
                "MiB",
                limits={FAST: 200, NEXT: 200} if count == scale.many else {},
            ),
        )
        for count in (scale.many // 10, scale.many)
    }
    for count, (ready, listed, memory) in rows.items():
        node = stage.fresh("node") / "node.xml"
        node.write_text("<node>" + "".join(domain_xml("test", number) for number in range(count)) + "</node>")
        began = time.perf_counter()
        target = f"test+unix://{node}?socket={socket}"
        libvirt.open(target).close()  # reading the file grows with the square of its domains, and is not ours
        opening_s = time.perf_counter() - began
        for label in LABELS:
            began = time.perf_counter()
            bridge = start_bridge(stage, label, label, target, timeout_s=300)
            ready.add(label, time.perf_counter() - began - opening_s)
            client = bridge.client()
            began = time.perf_counter()
            found = len(bridge.domains(client))
            listed.add(label, time.perf_counter() - began)
            memory.add(label, resident_mib(bridge.process.pid))
            client.close()
            end(bridge.process)
            if found != count:
                raise RuntimeError(f"{found} of {count} domains")
    return [row for group in rows.values() for row in group]


def far_sync(stage: Stage, scale: Scale) -> list[Row]:
    """First sync over slow links, in round trips from the moment the connection reached the other end."""
    near = stage.libvirtd()
    define(near, "qemu", scale.domains)
    rows = []
    for delay_ms in (20, 100):
        states = Row(
            f"{delay_ms} ms link, {scale.domains} domains: all states known after",
            "round trips",
            limits={FAST: 10},
        )
        ready = Row(
            f"{delay_ms} ms link, {scale.domains} domains: all definitions after",
            "round trips",
            limits={FAST: 30},
        )
        for _ in range(max(1, scale.runs // 2)):
            for label in LABELS:
                far = stage.delayed(near, delay_ms)
                bridge = start_bridge(stage, label, label, uri(far, "qemu"), ready=False)
                client = bridge.client()
                syncing_at = _when(bridge, client, ("syncing", "ready"))
                ready_at = _when(bridge, client, ("ready",))
                client.close()
                began = float(far.with_name("sock.accepted").read_text().split()[0])
                states.add(label, (syncing_at - began) * 1000 / delay_ms)
                ready.add(label, (ready_at - began) * 1000 / delay_ms)
        rows += [states, ready]
    return rows


def _when(bridge: Bridge, client: RawBus, states: tuple[str, ...]) -> float:
    """The monotonic time at which Connection.State was first seen to be one of these."""
    wait_for(lambda: bridge.connection_state(client) in states, f"{bridge.label} is {states}", 120)
    return time.monotonic()


CASES: dict[str, Callable[[Stage, Scale], list[Row]]] = {
    case.__name__.replace("_", "-"): case
    for case in (inventory, far_inventory, crowd, get, listing, suspend, storm, idle, many, far_sync)
}
