"""Finding out everything about all domains: one client, one over a slow link, many at once."""

import time
from collections.abc import Sequence

from tests.bench.cases.common import FAST, LABELS, NEXT, PEER, Scale, asked_further, clients_of, measure
from tests.bench.services import Bridge, Service, start_all, start_bridge, start_peer
from tests.bench.stage import Stage, define, uri
from tests.bench.table import Row
from tests.support.rawbus import RawBus, Window, pipeline, spin


def _window(service: Service, client: RawBus) -> Window:
    """One client finding out everything about all domains: the listing, then what it asks for each."""
    return asked_further(
        client,
        service.listing_frame(client),
        lambda body: [f for path in service.paths(body) for f in service.detail_frames(client, path)],
    )


def _inventory_s(service: Service, clients: Sequence[RawBus], domains: int) -> float:
    """Seconds until all clients have everything."""
    began = time.perf_counter()
    windows = [_window(service, client) for client in clients]
    spin(clients, lambda: all(window.done for window in windows), 600)
    took = time.perf_counter() - began
    answers = {len(window.bodies) for window in windows}
    if min(answers) < 1 + domains:
        raise RuntimeError(f"{service.label} told of {answers} instead of {domains} domains")
    return took


def _selected_s(bridge: Bridge, client: RawBus, domains: int) -> float:
    """The same in two calls: GetManagedObjects, and one Select for the XML of all."""
    began = time.perf_counter()
    bodies = pipeline(client, [bridge.listing_frame(client), bridge.select_frame(client, "domain", "Xml")])
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
    client = {service.label: clients_of(service, 1)[0] for service in services}
    best = Row(f"inventory of {scale.domains} domains, with XML", "s", goals={FAST: 36, NEXT: 12})
    each = Row("… with GetXml for each domain instead of one Select", "s")
    measure(best, services, scale.runs, lambda s: _best_s(s, client[s.label], scale.domains))
    measure(each, services, scale.runs, lambda s: _inventory_s(s, [client[s.label]], scale.domains))
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
    took = _inventory_s(peer, clients_of(peer, 1), scale.far_domains) * scale.domains / scale.far_domains
    for row in (best, each):
        row.add(PEER, took)
    define(near, "qemu", scale.domains)
    bridges = [start_bridge(stage, label, label, uri(far, "qemu")) for label in LABELS]
    client = {bridge.label: clients_of(bridge, 1)[0] for bridge in bridges}
    measure(best, bridges, scale.runs, lambda s: _best_s(s, client[s.label], scale.domains))
    measure(each, bridges, scale.runs, lambda s: _inventory_s(s, [client[s.label]], scale.domains))
    return [best, each]


def crowd(stage: Stage, scale: Scale) -> list[Row]:
    """Many clients doing the inventory at once."""
    socket = stage.libvirtd()
    define(socket, "qemu", scale.crowd_domains)
    services = start_all(stage, socket, "qemu")
    clients = {service.label: clients_of(service, scale.crowd) for service in services}
    row = Row(
        f"inventory of {scale.crowd_domains} domains by {scale.crowd} clients at once", "s", goals={FAST: 18}
    )
    runs = max(1, scale.runs // 2)
    return [measure(row, services, runs, lambda s: _inventory_s(s, clients[s.label], scale.crowd_domains))]
