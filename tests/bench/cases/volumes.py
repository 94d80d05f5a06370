"""A pool of many volumes, read anew by one client and by many at once.

The three ways: ListVolumes of virtbridge and one Select; ListStorageVolumes of libvirt-dbus, and GetXMLDesc
for each volume; and clients that ask libvirt the same on connections of their own.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import libvirt

from tests.bench.cases.common import DIRECT, Scale, asked_further, clients_of, libvirt_calls, measure
from tests.bench.services import Bridge, Peer, Service, start_all
from tests.bench.stage import Stage, uri
from tests.bench.table import Row
from tests.support.rawbus import RawBus, spin

_MAX_AGE_S = 1.1  # after it virtbridge reads anew
_COLUMNS = ("Name", "Path", "Format", "Capacity", "Allocation")


def volumes(stage: Stage, scale: Scale) -> list[Row]:
    host = stage.host()
    conn = libvirt.open(uri(host.socket, "qemu"))
    pool = _pool(conn, host.folder / "images", scale.volumes)
    services = start_all(stage, host.socket, "qemu")
    crowds = {service.label: clients_of(service, scale.crowd) for service in services}
    again = Row("… asked again at once", "s")
    rows = []
    for crowd, runs in ((1, scale.runs), (scale.crowd, max(1, scale.runs // 2))):
        name = f"a pool of {scale.volumes} volumes, {crowd} client{'s at once' * (crowd > 1)}"
        took = Row(f"{name}: until all have all", "s")
        calls = Row("… libvirt calls", "calls")

        def once(service: Service, crowd: int = crowd, calls: Row = calls) -> float:
            clients = crowds[service.label][:crowd]
            time.sleep(_MAX_AGE_S)
            before = _calls(service, clients)
            seconds = _read_s(service, pool, clients, scale.volumes)
            calls.add(service.label, _calls(service, clients) - before or crowd * (1 + scale.volumes))
            if crowd == 1:
                again.add(service.label, _read_s(service, pool, clients, scale.volumes))
            return seconds

        measure(took, services, runs, once)
        for _ in range(runs):
            seconds = _polled_s(host.socket, pool, crowd, scale.volumes)
            took.add(DIRECT, seconds)
            if crowd == 1:
                again.add(DIRECT, seconds)  # it has no memory
            calls.add(DIRECT, crowd * (2 + scale.volumes))  # and the look for the pool
        rows += [took, calls, *([again] if crowd == 1 else [])]
    conn.close()
    return rows


def _pool(conn: libvirt.virConnect, folder: Path, count: int) -> str:
    """The UUID of a started pool of this directory with so many sparse files."""
    folder.mkdir()
    for number in range(count):
        with (folder / f"disk-{number:04}.img").open("wb") as file:
            file.truncate(1 << 30)
    pool = conn.storagePoolDefineXML(
        f"<pool type='dir'><name>bench</name><target><path>{folder}</path></target></pool>"
    )
    pool.create()
    return str(pool.UUIDString())


def _calls(service: Service, clients: Sequence[RawBus]) -> int:
    """0 for libvirt-dbus: each call of it is one of libvirt's."""
    return libvirt_calls(service, clients[0]) if isinstance(service, Bridge) else 0


def _read_s(service: Service, pool: str, clients: Sequence[RawBus], count: int) -> float:
    began = time.perf_counter()
    windows = [asked_further(client, *_questions(service, client, pool)) for client in clients]
    spin(clients, lambda: all(window.done for window in windows), 600)
    took = time.perf_counter() - began
    mark = b"Capacity\0" if isinstance(service, Bridge) else b"</volume>"
    told = {sum(body.count(mark) for body in window.bodies) for window in windows}
    if told != {count}:
        raise RuntimeError(f"{service.label} told of {told} instead of {count} volumes")
    return took


def _questions(
    service: Service, client: RawBus, pool: str
) -> tuple[bytes, Callable[[bytes], Sequence[bytes]]]:
    if isinstance(service, Bridge):
        first = service.volumes_frame(client, pool)
        return first, lambda _listed: [service.select_frame(client, "volume", *_COLUMNS)]
    assert isinstance(service, Peer)
    peer = service
    return peer.volumes_frame(client, pool), lambda listed: [
        peer.volume_frame(client, path) for path in peer.volumes(listed)
    ]


# Connects, has each client read the pool in a thread of its own, and says how long it took.
_POLL = """
import libvirt, sys, threading, time
target, pool, crowd, count = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
conns = [libvirt.open(target) for _ in range(crowd)]

def read(conn):
    found = [each.XMLDesc() for each in conn.storagePoolLookupByUUIDString(pool).listAllVolumes()]
    assert len(found) == count

threads = [threading.Thread(target=read, args=(conn,)) for conn in conns]
began = time.perf_counter()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(time.perf_counter() - began, flush=True)
"""


def _polled_s(socket: Path, pool: str, crowd: int, count: int) -> float:
    words = [sys.executable, "-c", _POLL, uri(socket, "qemu"), pool, str(crowd), str(count)]
    return float(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)
