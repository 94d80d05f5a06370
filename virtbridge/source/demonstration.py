"""A demonstration for people: it changes the objects of libvirt's in-process test driver, one by one.

`test:///default` has one state per process, so only this process can change what the service shows of it. The
demonstration is another libvirt client in the same process: it has its own connection, does not use the main
loop, and the service learns about its changes from libvirt alone. It runs in a thread of its own, `vb-demo`.
"""

import itertools
import threading
from collections.abc import Callable

import libvirt

URI = "test:///default"
_DOMAIN = "test"
_VISITOR = "visitor"
_VISITOR_XML = f"""
<domain type='test'>
  <name>{_VISITOR}</name>
  <memory unit='MiB'>512</memory>
  <vcpu>2</vcpu>
  <os><type>hvm</type></os>
</domain>
"""

_POOL = "default-pool"
_VOLUME = f"{_VISITOR}.img"
_VOLUME_XML = f"<volume><name>{_VOLUME}</name><capacity unit='MiB'>64</capacity></volume>"


def _pool(conn: libvirt.virConnect) -> libvirt.virStoragePool:
    return conn.storagePoolLookupByName(_POOL)


# The line that is shown for each step, and what the step does. After the last step everything is as before.
_STEPS: tuple[tuple[str, Callable[[libvirt.virConnect], object]], ...] = (
    (f"virDomainSuspend({_DOMAIN})", lambda conn: conn.lookupByName(_DOMAIN).suspend()),
    (f"virDomainResume({_DOMAIN})", lambda conn: conn.lookupByName(_DOMAIN).resume()),
    # libvirt has no events for volumes. Clients that have asked for volumes see this one when the pool is
    # refreshed.
    (f"virStorageVolCreateXML({_VOLUME})", lambda conn: _pool(conn).createXML(_VOLUME_XML)),
    (f"virStoragePoolRefresh({_POOL})", lambda conn: _pool(conn).refresh()),
    (f"virDomainDefineXML({_VISITOR})", lambda conn: conn.defineXML(_VISITOR_XML)),
    (f"virDomainCreate({_VISITOR})", lambda conn: conn.lookupByName(_VISITOR).create()),
    (f"virDomainShutdown({_DOMAIN})", lambda conn: conn.lookupByName(_DOMAIN).shutdown()),
    (f"virDomainCreate({_DOMAIN})", lambda conn: conn.lookupByName(_DOMAIN).create()),
    (f"virDomainDestroy({_VISITOR})", lambda conn: conn.lookupByName(_VISITOR).destroy()),
    (f"virDomainUndefine({_VISITOR})", lambda conn: conn.lookupByName(_VISITOR).undefine()),
    (f"virStorageVolDelete({_VOLUME})", lambda conn: _pool(conn).storageVolLookupByName(_VOLUME).delete()),
)


class Demonstration:
    """say: is called with a line before each step, on the demonstration's thread. pause_s: between steps."""

    def __init__(self, say: Callable[[str], None], pause_s: float) -> None:
        self._say = say
        self._pause_s = pause_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vb-demo")

    def start(self) -> None:
        """Start. libvirt's event loop must be registered before this, since a process can have only one."""
        self._thread.start()

    def stop(self) -> None:
        """Wait for the end of the current step: no call of the test driver hangs."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        conn = libvirt.open(URI)
        try:
            for words, step in itertools.cycle(_STEPS):
                if self._ended.wait(self._pause_s):
                    return
                self._say(words)
                self._try(step, conn)
        finally:
            conn.close()

    def _try(self, step: Callable[[libvirt.virConnect], object], conn: libvirt.virConnect) -> None:
        try:
            step(conn)
        except libvirt.libvirtError as error:
            # A person at another terminal may have changed the object before.
            self._say(f"… {error}")
