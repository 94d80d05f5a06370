"""Statistics of many QEMU guests once a second, for one client and for many.

The three ways: a watch of virtbridge's; GetAllDomainStats of libvirt-dbus, called by each client; and clients
that poll libvirt on connections of their own. All ask for the CPU group and what comes with it: with all
groups, two processors are busy with the monitors of 200 QEMUs for more than a second. The guests are paused,
so that what the processor does is the asking alone.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import libvirt

from tests.bench.cases.common import DIRECT, Scale, alone, clients_of, libvirt_calls
from tests.bench.services import Bridge, Peer, Service
from tests.bench.stage import Stage, cpu_s, uri
from tests.bench.table import Row
from tests.support.libvirtd import Libvirtd, qemu_xml
from tests.support.rawbus import ERROR, RawBus, pipeline, spin
from virtbridge.model.statistics import group_flags

_GROUP = "cpu-total"
_GROUPS = group_flags(("state", "vcpu", _GROUP))  # what virtbridge asks for then
_ACTIVE = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
_CALM_S = 300.0  # how long a host may work off what clients left behind


@dataclass(frozen=True)
class _Cost:
    """What some seconds of it took. samples: that all clients had together."""

    seconds: float
    samples: int
    calls: int
    service_s: float
    host_s: float


def statistics(stage: Stage, scale: Scale) -> list[Row]:
    host = stage.host()
    _start_guests(host, scale.guests)
    rows = []
    for crowd in (1, scale.crowd):
        name = f"CPU statistics of {scale.guests} guests at 1 s, {crowd} client{'s' * (crowd > 1)}"
        had = Row(f"{name}: samples that each client had", "per s", more=True)
        calls = Row("… for one of those: libvirt calls", "calls")
        service = Row("… CPU of the service and its bus, or of the polling client", "ms")
        libvirts = Row("… CPU of libvirtd and QEMU", "ms")
        for label, cost in _costs(stage, host, crowd, scale.stats_s):
            samples = max(1, cost.samples)
            had.add(label, cost.samples / crowd / cost.seconds)
            calls.add(label, cost.calls / samples)
            service.add(label, cost.service_s * 1000 / samples)
            libvirts.add(label, cost.host_s * 1000 / samples)
        rows += [had, calls, service, libvirts]
    return rows


def _costs(stage: Stage, host: Libvirtd, crowd: int, seconds: float) -> Iterator[tuple[str, _Cost]]:
    """Each way, one after the other."""
    _calm(host)
    yield DIRECT, _polled(host, crowd, seconds)
    _calm(host)
    for service in alone(stage, host.socket, "qemu", 1):
        _calm(host)
        clients = clients_of(service, crowd)
        yield service.label, _served(service, host, clients, seconds)
        for client in clients:
            client.close()


def _start_guests(host: Libvirtd, count: int) -> None:
    conn = libvirt.open(uri(host.socket, "qemu"))

    def start(number: int) -> None:
        conn.createXML(qemu_xml(f"bench-{number}"), libvirt.VIR_DOMAIN_START_PAUSED)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(start, range(count)))
    conn.close()


def _calm(host: Libvirtd) -> None:
    """libvirtd finishes calls whose clients are gone, and those are not the next service's."""
    deadline = time.monotonic() + _CALM_S
    pids = host.pids()
    before = cpu_s(*pids)
    while time.monotonic() < deadline:
        time.sleep(1)
        now = cpu_s(*pids)
        if now - before < 0.02:
            return
        before = now
    raise TimeoutError("libvirtd does not come to rest")


class _Watchers:
    """Clients of virtbridge: each is sent every sample."""

    def __init__(self, bridge: Bridge, clients: list[RawBus]) -> None:
        self._bridge, self._clients = bridge, clients
        self.heard = [0] * len(clients)
        self._last = [b""] * len(clients)
        for number, client in enumerate(clients):
            client.on_signal = partial(self._take, number)
            bridge.watch_stats(client, 1000, _GROUP)
        spin(clients, lambda: all(self.heard), 60)

    def _take(self, number: int, frame: bytes) -> None:
        """A large sample comes in several signals of the same time, which their bodies begin with."""
        if b"StatsSampled\0" in frame:
            fields = int.from_bytes(frame[12:16], "little")
            body = 16 + fields + (-fields % 8)
            time_of = frame[body : body + 8]
            self.heard[number] += time_of != self._last[number]
            self._last[number] = time_of

    def turn(self) -> None:
        pass

    def calls(self) -> int:
        return libvirt_calls(self._bridge, self._clients[0])


class _Askers:
    """Clients of libvirt-dbus: each asks once a second, but not again before it has the answer."""

    def __init__(self, peer: Peer, clients: list[RawBus]) -> None:
        self._peer, self._clients = peer, clients
        self.heard = [0] * len(clients)
        pipeline(clients[0], [peer.stats_frame(clients[0], _GROUPS, _ACTIVE)])  # guests that slept are slow
        began = time.monotonic()
        self._due = [began + number / len(clients) for number in range(len(clients))]
        self._waiting: set[int] = set()
        for number, client in enumerate(clients):
            client.on_reply = partial(self._take, number)

    def _take(self, number: int, kind: int, _serial: int, body: bytes) -> None:
        if kind == ERROR:
            raise RuntimeError(f"error reply: {body!r}")
        self.heard[number] += 1
        self._waiting.remove(number)
        self._due[number] = max(self._due[number] + 1, time.monotonic())

    def turn(self) -> None:
        now = time.monotonic()
        for number, client in enumerate(self._clients):
            if self._due[number] <= now and number not in self._waiting:
                self._waiting.add(number)
                client.send(self._peer.stats_frame(client, _GROUPS, _ACTIVE))

    def calls(self) -> int:
        """Each is one of libvirt's."""
        return sum(self.heard)


def _served(service: Service, host: Libvirtd, clients: list[RawBus], seconds: float) -> _Cost:
    crowd: _Watchers | _Askers
    if isinstance(service, Bridge):
        crowd = _Watchers(service, clients)
    else:
        assert isinstance(service, Peer)
        crowd = _Askers(service, clients)
    services, hosts = (service.process.pid, clients[0].bus_pid()), host.pids()
    calls, samples = crowd.calls(), sum(crowd.heard)
    began, service_s, host_s = time.monotonic(), cpu_s(*services), cpu_s(*hosts)

    def over() -> bool:
        crowd.turn()
        return time.monotonic() >= began + seconds

    spin(clients, over, seconds + 60, 0.02)
    took = time.monotonic() - began
    service_s, host_s = cpu_s(*services) - service_s, cpu_s(*hosts) - host_s
    return _Cost(took, sum(crowd.heard) - samples, crowd.calls() - calls, service_s, host_s)


# Connects, waits for a line, polls, and says how many answers it had and what CPU that took.
_POLL = """
import libvirt, os, sys, threading, time
target, count, seconds, groups, flags = sys.argv[1], *map(int, sys.argv[2:])
conns = [libvirt.open(target) for _ in range(count)]
answers = [0] * count
conns[0].getAllDomainStats(groups, flags)
print("ready", flush=True)
sys.stdin.readline()
began, spent = time.monotonic(), time.process_time()

def poll(number):
    due = began + number / count
    while True:
        time.sleep(max(0, due - time.monotonic()))
        conns[number].getAllDomainStats(groups, flags)
        answers[number] += 1
        due = max(due + 1, time.monotonic())

for number in range(count):
    threading.Thread(target=poll, args=(number,), daemon=True).start()
time.sleep(began + seconds - time.monotonic())
print(sum(answers), time.process_time() - spent, flush=True)
os._exit(0)
"""


def _polled(host: Libvirtd, crowd: int, seconds: float) -> _Cost:
    """By clients of libvirt-python in a process of their own."""
    words = (uri(host.socket, "qemu"), crowd, round(seconds), _GROUPS, _ACTIVE)
    polling = subprocess.Popen(
        [sys.executable, "-c", _POLL, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert polling.stdin
    assert polling.stdout
    polling.stdout.readline()
    hosts = host.pids()
    began, host_s = time.monotonic(), cpu_s(*hosts)
    polling.stdin.write(b"go\n")
    polling.stdin.flush()
    samples, own_s = polling.stdout.readline().split()
    took, host_s = time.monotonic() - began, cpu_s(*hosts) - host_s
    polling.wait()
    polling.stdin.close()
    polling.stdout.close()
    return _Cost(took, int(samples), int(samples), float(own_s), host_s)
