"""Registrations that a host refuses while it delivers events: libvirt's own fault, in a process that may die.

Without guard_registrations() that process ends with SIGSEGV within a second.
"""

import subprocess
import sys
import threading

import libvirt
import pytest

from tests.support.libvirtd import Libvirtd, is_available

pytestmark = pytest.mark.skipif(not is_available(), reason="needs root, libvirtd and namespaces")

TIMES = 5000  # it ended after 400 to 1700

_PROCESS = f"""
import os, sys, threading
import libvirt
from virtbridge.source.calls.eventloop import install

def turn():
    while True:
        libvirt.virEventRunDefaultImpl()

install()
libvirt.virEventAddTimeout(50, lambda *_: None, None)
threading.Thread(target=turn, daemon=True).start()
conn = libvirt.open(sys.argv[1])
conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lambda *_: None, None)
made, refused = [], 0
for number in range({TIMES}):
    try:
        conn.secretEventRegisterAny(None, libvirt.VIR_SECRET_EVENT_ID_LIFECYCLE, lambda *_: None, None)
    except libvirt.libvirtError:
        refused += 1
    made = [*made[-200:], {{"number": number}}]
    assert all(isinstance(one, dict) and "number" in one for one in made), made
print(refused, flush=True)
os._exit(0)  # vb-events still turns
"""


class Restless:
    """Another client, in whose thread a domain of the host starts and ends all the time."""

    def __init__(self, host: Libvirtd) -> None:
        self._conn = libvirt.open(host.uri())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Restless":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._conn.close()

    def _run(self) -> None:
        domain = self._conn.lookupByName("test")
        while not self._over.is_set():
            domain.destroy()
            domain.create()


def test_registrations_refused_while_events_are_delivered_release_nothing_twice(host: Libvirtd) -> None:
    with Restless(host):
        ended = subprocess.run(
            [sys.executable, "-c", _PROCESS, host.uri()], capture_output=True, text=True, timeout=120
        )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) == TIMES
