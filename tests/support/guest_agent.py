"""A guest's agent, played by the test, behind a real libvirtd and a real QEMU that runs no guest.

libvirt talks to the agent over a socket that it connects to itself, once QEMU tells that the guest has opened
its end of the port. So the test listens on that socket; and since there is no guest, the domain's emulator is
a program between libvirt and QEMU that passes on everything they say, and adds that one event.
"""

import json
import socket
import stat
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

QEMU = "/usr/bin/qemu-system-x86_64"
PORT = "channel0"

_EMULATOR = f'''#!{sys.executable} -ES
import ctypes, json, os, re, shutil, signal, socket, subprocess, sys, tempfile, threading

MONITOR = re.compile(r"socket,id=charmonitor,fd=(\\d+),server=on,wait=off")
words = sys.argv[1:]
places = [place for place, word in enumerate(words) if MONITOR.match(word)]
if not places:  # libvirt asks what this emulator can do
    os.execv("{QEMU}", ["{QEMU}", *words])

listener = socket.socket(fileno=int(MONITOR.match(words[places[0]])[1]))
inner = os.path.join(tempfile.mkdtemp(), "monitor")
words[places[0]] = f"socket,id=charmonitor,path={{inner}},server=on,wait=on"
PR_SET_PDEATHSIG = 1
end_with_us = lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
qemu = subprocess.Popen(["{QEMU}", *words], close_fds=False, preexec_fn=end_with_us)
libvirt, _ = listener.accept()
monitor = socket.socket(socket.AF_UNIX)
while monitor.connect_ex(inner):
    if qemu.poll() is not None:
        sys.exit(qemu.returncode)
shutil.rmtree(os.path.dirname(inner))
started = threading.Event()

def pass_on():
    for line in libvirt.makefile("rb"):
        monitor.sendall(line)
        if json.loads(line).get("execute") == "cont":
            started.set()
    monitor.shutdown(socket.SHUT_WR)

threading.Thread(target=pass_on, daemon=True).start()
opened = {{"event": "VSERPORT_CHANGE", "data": {{"open": True, "id": "{PORT}"}},
          "timestamp": {{"seconds": 1, "microseconds": 0}}}}
told = False
for line in monitor.makefile("rb"):
    libvirt.sendall(line)
    if started.is_set() and not told and b'"return"' in line:
        told = True
        libvirt.sendall(json.dumps(opened).encode() + b"\\r\\n")
sys.exit(qemu.wait())
'''


class GuestAgent:
    """with GuestAgent(folder, answers) as agent: … answers: what it returns, by command. emulator, channel:
    for the domain's XML.
    """

    def __init__(self, folder: Path, answers: Mapping[str, Any]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []
        self._emulator = folder / "qemu-with-agent"
        self._emulator.write_text(_EMULATOR)
        self._emulator.chmod(self._emulator.stat().st_mode | stat.S_IXUSR)
        self._socket = folder / "agent"
        self._listener = socket.socket(socket.AF_UNIX)

    @property
    def devices(self) -> str:
        """For the domain's XML."""
        return (
            f"<emulator>{self._emulator}</emulator><channel type='unix'>"
            f"<source mode='connect' path='{self._socket}'/>"
            "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        )

    def __enter__(self) -> "GuestAgent":
        self._listener.bind(str(self._socket))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._socket.unlink()

    def _accept(self) -> None:
        """QEMU, which has nothing to say, and libvirt."""
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, peer.makefile("rb") as lines:
            for line in lines:
                call = json.loads(line.lstrip(b"\xff"))
                peer.sendall(json.dumps(self._answer(call)).encode() + b"\n")

    def _answer(self, call: Mapping[str, Any]) -> dict[str, Any]:
        command, arguments = call["execute"], call.get("arguments", {})
        if command in ("guest-sync", "guest-sync-delimited"):
            return {"return": arguments["id"]}
        self.asked.append(command)
        if command not in self.answers:
            return {
                "error": {"class": "CommandNotFound", "desc": f"The command {command} has not been found"}
            }
        return {"return": self.answers[command]}
