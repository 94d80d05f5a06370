"""Finding out everything about all domains: one client, one over a slow link, many at once."""

import time
from collections.abc import Sequence
from functools import partial

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


# What libvirt-dbus tells of a domain by GetAll and GetState, and the XML.
_COLUMNS = (
    "Name", "Uuid", "Id", "State", "StateReason", "Active", "Persistent", "Autostart", "OsType", "Xml"
)  # fmt: skip


def _selected_s(bridge: Bridge, client: RawBus, domains: int, *, whole: bool) -> float:
    """The same in one call, a Select of those columns; whole: all properties, by GetManagedObjects, and one
    Select for the XML.
    """
    columns = ("Xml",) if whole else _COLUMNS
    frames = [bridge.select_frame(client, "domain", *columns)]
    if whole:
        frames.insert(0, bridge.listing_frame(client))
    began = time.perf_counter()
    bodies = pipeline(client, frames)
    took = time.perf_counter() - began
    if sum(body.count(b"</domain>") for body in bodies) != domains:
        raise RuntimeError("Select left out domains")
    return took


class _Ways:
    """The rows of an inventory, and what is measured for each."""

    def __init__(self, name: str, **goals: float) -> None:
        self.rows = [
            Row(name, "s", goals=goals),
            Row("… all properties: GetManagedObjects, and one Select for the XML", "s"),
            Row("… all properties, and GetXml for each domain", "s"),
        ]

    def measure(self, services: Sequence[Service], scale: Scale) -> list[Row]:
        client = {service.label: clients_of(service, 1)[0] for service in services}

        def took_s(service: Service, way: int) -> float:
            if way == 2 or not isinstance(service, Bridge):
                return _inventory_s(service, [client[service.label]], scale.domains)
            return _selected_s(service, client[service.label], scale.domains, whole=way == 1)

        for way, row in enumerate(self.rows):
            measure(row, services, scale.runs, partial(took_s, way=way))
        return self.rows


def inventory(stage: Stage, scale: Scale) -> list[Row]:
    """All domains with their XML to one client, QEMU behind a local libvirtd."""
    socket = stage.libvirtd()
    define(socket, "qemu", scale.domains)
    ways = _Ways(f"inventory of {scale.domains} domains, with XML", **{FAST: 36, NEXT: 12})
    return ways.measure(start_all(stage, socket, "qemu"), scale)


def far_inventory(stage: Stage, scale: Scale) -> list[Row]:
    """The same over a 20 ms link; libvirt-dbus with fewer domains, scaled up, since it is linear in them."""
    near = stage.libvirtd()
    far = stage.delayed(near, 20)
    define(near, "qemu", scale.far_domains)
    peer = start_peer(stage, far, "qemu")
    ways = _Ways(
        f"the same over a 20 ms link (libvirt-dbus: {scale.far_domains} domains, scaled)", **{FAST: 2000}
    )
    took = _inventory_s(peer, clients_of(peer, 1), scale.far_domains) * scale.domains / scale.far_domains
    for row in ways.rows:
        row.add(PEER, took)
    define(near, "qemu", scale.domains)
    return ways.measure([start_bridge(stage, label, label, uri(far, "qemu")) for label in LABELS], scale)


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
