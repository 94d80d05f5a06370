"""A host that is lost again and again, while its domains come and go and clients watch their statistics.

The service has to connect, register its callbacks and sync in the midst of events, and to lose all of it at
any moment. What goes wrong with memory shows late and anywhere: as the end of the process, or as an error
that no code of ours can make. Both are looked for.
"""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic

import libvirt

from tests.support.client import ROOT, SERVICE, CallFailed, Client
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import dbus_daemon
from tests.support.libvirtd import Libvirtd

CONNECTIONS = [f"c{number}" for number in range(6)]  # all to one host: each loss is one of each
CLIENTS = 6
GROUPS = ["state", "cpu-total", "balloon", "vcpu", "interface", "block"]
MOST = 12  # domains
END_S = 10.0  # for the clients to leave

_XML = """
<domain type='test'>
  <name>{name}</name><memory unit='MiB'>32</memory><vcpu>2</vcpu><os><type>hvm</type></os>
  <devices>
    <disk type='file'><source file='/x'/><target dev='vda'/></disk>
    <interface type='network'><source network='default'/><target dev='vnet0'/></interface>
  </devices>
</domain>"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """fault: what went wrong, or empty; the service's log is in it."""

    seconds: float
    kills: int
    fault: str


class Domains:
    """Another client, in a thread: it defines, starts, destroys and undefines, all the time."""

    def __init__(self, uri: str, seed: int) -> None:
        self._uri = uri
        self._rng = random.Random(seed)
        self._stop = threading.Event()
        self._count = 0

    @contextmanager
    def changing(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(libvirt.libvirtError):  # the host was killed; the next one has no domains yet
                self._change(libvirt.open(self._uri))
            self._stop.wait(0.05)

    def _change(self, conn: libvirt.virConnect) -> None:
        while not self._stop.is_set():
            self._count += 1
            conn.defineXML(_XML.format(name=f"d{self._count}")).create()
            found = [domain for domain in conn.listAllDomains() if domain.name() != "test"]
            if len(found) > MOST:
                domain = self._rng.choice(found)
                if domain.isActive():
                    domain.destroy()
                domain.undefine()
            self._stop.wait(0.003)  # or hundreds of definitions are waiting to be read


async def run(seconds: float, every_s: tuple[float, float], seed: int) -> Outcome:
    """every_s: how long a host lives, from and to."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    rng = random.Random(seed)
    with Libvirtd() as host, dbus_daemon() as bus:
        daemon = await Daemon.start(bus.address, dict.fromkeys(CONNECTIONS, host.uri()))
        ended = asyncio.Event()
        watchers = [asyncio.create_task(_watch(bus.address, rng, ended)) for _ in range(CLIENTS)]
        try:
            with Domains(host.uri(), seed).changing():
                outcome = await _lose_again_and_again(host, daemon, seconds, every_s, rng)
            if not outcome.fault:
                await daemon.stop()
            return outcome
        finally:
            # A cancellation may come when a client's reply or end does, and then it is lost: so the flag ends
            # them, and without the service no call waits.
            ended.set()
            daemon.kill()
            await asyncio.wait(watchers, timeout=END_S)


async def _lose_again_and_again(
    host: Libvirtd, daemon: Daemon, seconds: float, every_s: tuple[float, float], rng: random.Random
) -> Outcome:
    began, kills = monotonic(), 0
    while not (fault := _fault(daemon)) and monotonic() < began + seconds:
        await asyncio.sleep(rng.uniform(*every_s))
        await asyncio.to_thread(host.kill)
        await asyncio.to_thread(host.start)
        kills += 1
    return Outcome(monotonic() - began, kills, fault)


async def _watch(address: str, rng: random.Random, ended: asyncio.Event) -> None:
    """A client that comes, wants statistics, and leaves; again and again."""
    while not ended.is_set():
        client = await Client.connect(address)
        try:
            with suppress(CallFailed):  # not connected at the moment
                path = f"{ROOT}/{rng.choice(CONNECTIONS)}"
                await client.call(path, f"{SERVICE}.Connection", "WatchStats", "uasa{sv}", [200, GROUPS, {}])
            await asyncio.sleep(rng.uniform(0.1, 1.0))
        finally:
            await client.close()


def _fault(daemon: Daemon) -> str:
    log = daemon.log()
    if (status := daemon.process.poll()) is not None:
        return f"the service ended with {status}\n{log}"
    lines = [line for line in log.splitlines() if " ERROR " in line or "Traceback" in line]
    return "\n".join(lines)
