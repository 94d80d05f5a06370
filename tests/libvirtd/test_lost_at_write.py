"""A host that is lost between libvirt's poll() and its write(), while several calls wait: CVE-2024-4418.

Without event_source_guard.c the process, whose client is libvirt 9.0, mostly ends with SIGSEGV.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.libvirtd import Libvirtd, is_available

pytestmark = pytest.mark.skipif(not is_available(), reason="needs root, libvirtd and namespaces")

SOURCE = Path(__file__).parents[1] / "support" / "lose_at_write.c"
TIMES = 3  # what is on a stack that is used anew may by chance do no harm

_PROCESS = """
import ctypes, os, socket, sys, threading
import virtbridge.source
import libvirt
from virtbridge.source.calls.eventloop import install

target, path = sys.argv[1:]
silent, near = threading.Event(), []

def carry(reader, writer, is_reply):
    while data := reader.recv(65536):
        if not (is_reply and silent.is_set()):
            writer.sendall(data)
        if silent.is_set() and not is_reply:
            arrived.release()

def relay():
    near.append(server.accept()[0])
    far = socket.socket(socket.AF_UNIX)
    far.connect(target)
    threading.Thread(target=carry, args=(far, near[0], True), daemon=True).start()
    carry(near[0], far, False)

def is_ours(fd):
    try:
        with socket.socket(fileno=os.dup(fd)) as found:
            return found.family == socket.AF_UNIX and found.getpeername() == path
    except OSError:
        return False

def turn():
    while True:
        libvirt.virEventRunDefaultImpl()

def call():
    try:
        conn.getHostname()
    except libvirt.libvirtError:
        return
    raise AssertionError("answered")

def start():
    thread = threading.Thread(target=call)
    thread.start()
    return thread

arrived = threading.Semaphore(0)
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
threading.Thread(target=relay, daemon=True).start()
install()
libvirt.virEventAddTimeout(50, lambda *_: None, None)
threading.Thread(target=turn, daemon=True).start()
conn = libvirt.open(f"test+unix:///default?socket={path}")
silent.set()
calls = []
for _ in range(2):  # the first one polls, and is woken by the second
    calls.append(start())
    assert arrived.acquire(timeout=10)
loser = ctypes.CDLL(None)
ctypes.c_int.in_dll(loser, "other_end").value = near[0].fileno()
sockets = [fd for fd in map(int, os.listdir("/proc/self/fd")) if is_ours(fd)]
assert len(sockets) == 1, sockets
ctypes.c_int.in_dll(loser, "lose_at").value = sockets[0]
calls.append(start())  # the first one writes it
for one in calls:
    one.join(10)
    assert not one.is_alive()
print("over", flush=True)
os._exit(0)  # vb-events still turns
"""


def test_a_host_lost_between_poll_and_write_harms_no_memory(host: Libvirtd, tmp_path: Path) -> None:
    library = tmp_path / "lose_at_write.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    for number in range(TIMES):
        ended = subprocess.run(
            [sys.executable, "-c", _PROCESS, host.socket, str(tmp_path / str(number))],
            env={**os.environ, "LD_PRELOAD": str(library)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout == "over\n", ended.stderr
