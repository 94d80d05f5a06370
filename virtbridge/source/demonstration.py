"""Something that happens, for people to watch: changes to libvirt's in-process test driver, one by one.

`test:///default` is one state per process, so only this process can change what the service shows of it.
This is another libvirt client that happens to live here: it has its own connection, uses the main loop for
nothing, and the service hears of what it does from libvirt alone. Threads: one of its own, `vb-demo`.
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


# What is said, and what is done. A whole round leaves everything as it was.
_STEPS: tuple[tuple[str, Callable[[libvirt.virConnect], object]], ...] = (
    (f"virDomainSuspend({_DOMAIN})", lambda conn: conn.lookupByName(_DOMAIN).suspend()),
    (f"virDomainResume({_DOMAIN})", lambda conn: conn.lookupByName(_DOMAIN).resume()),
    # Of a volume libvirt says nothing; whoever has asked for volumes hears of it with the pool's refresh.
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
    """say gets a line before each step, on this thread. pause_s: between steps."""

    def __init__(self, say: Callable[[str], None], pause_s: float) -> None:
        self._say = say
        self._pause_s = pause_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vb-demo")

    def start(self) -> None:
        """The event loop of libvirt must be registered by now: libvirt takes the first that a process has."""
        self._thread.start()

    def stop(self) -> None:
        """Waits for the step in hand; the test driver has no call that hangs."""
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
            # Someone at the other terminal may have been quicker.
            self._say(f"… {error}")
