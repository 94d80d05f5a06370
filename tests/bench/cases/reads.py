"""Reading what is known: one property, and the listing of everything."""

import itertools
import time

from tests.bench.cases.common import FAST, LABELS, NEXT, Scale, clients_of, measure
from tests.bench.services import Service, start_all, start_bridge
from tests.bench.stage import Stage, cpu_s, define, uri
from tests.bench.table import Row
from tests.support.rawbus import Window, pipeline, pipeline_all, spin


def get(stage: Stage, scale: Scale) -> list[Row]:
    """One Properties.Get: its latency alone, and how many a second 8 clients get."""
    socket = stage.libvirtd()
    define(socket, "test", 100)
    services = start_all(stage, socket, "test")
    crowd = {service.label: clients_of(service, 8) for service in services}
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

    measure(latency, services, scale.runs, one_at_a_time)
    measure(rate, services, scale.runs, together)
    return [latency, rate]


def listing(stage: Stage, scale: Scale) -> list[Row]:
    """CPU of the service for one GetManagedObjects."""
    socket = stage.libvirtd()
    define(socket, "qemu", scale.domains)
    bridges = [start_bridge(stage, label, label, uri(socket, "qemu")) for label in LABELS]
    clients = {bridge.label: clients_of(bridge, 1)[0] for bridge in bridges}
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

    return [measure(row, bridges, scale.runs, once)]
