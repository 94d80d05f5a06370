"""A libvirtd of the test's own, with real RPC, the test driver and real QEMU domains.

It lives in mount, PID and network namespaces of its own: everything that libvirt keeps under /etc, /run and
/var is a tmpfs, bridges are nobody else's, and with the first process of the PID namespace everything ends.
Only the sockets' folder is shared with the test. Needs root.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import libvirt

from virtbridge.source.calls.eventloop import install

START_S = 20.0
_PRIVATE = ("/etc/libvirt", "/run/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt")

# Process 1 of the namespace. Without someone who reaps, an ended QEMU stays a zombie and libvirt takes it for
# alive; and when the test is gone, however it ended, so is the other end of the pipe, and all of this ends.
_REAPER = """
import os, signal, sys

def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass

signal.signal(signal.SIGCHLD, reap)
print("up", flush=True)
sys.stdin.buffer.read()
"""

_LIBVIRTD_CONF = """
unix_sock_dir = "{sockets}"
host_uuid = "{uuid}"
unix_sock_rw_perms = "0777"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:file:{sockets}/libvirtd.log"
"""

_QEMU_CONF = """
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
remember_owner = 0
"""


# The QEMU driver does not start without its user, whatever qemu.conf says. Debian makes it with a package
# that also enables the machine's own libvirtd; the namespace has it for itself.
_USER = """
id libvirt-qemu >/dev/null 2>&1 || {
    cp /etc/passwd /etc/group /run/libvirt
    echo 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin' >> /run/libvirt/passwd
    echo 'libvirt-qemu:x:64055:' >> /run/libvirt/group
    mount --bind /run/libvirt/passwd /etc/passwd
    mount --bind /run/libvirt/group /etc/group
}
"""


def is_available() -> bool:
    needed = ("libvirtd", "virtlogd", "unshare", "nsenter", "ip")
    return os.geteuid() == 0 and all(shutil.which(program) for program in needed)


class Libvirtd:
    """with Libvirtd() as host: …; kill() and start() again keep domains running, as on a real host."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vb-libvirtd-"))
        self.socket = self.folder / "libvirt-sock"
        self._config = self.folder / "libvirtd.conf"
        self._config.write_text(_LIBVIRTD_CONF.format(sockets=self.folder, uuid=uuid4()))
        self._namespace: subprocess.Popen[bytes] | None = None
        self._programs: list[subprocess.Popen[bytes]] = []
        self._daemon: subprocess.Popen[bytes] | None = None
        self.pid = 0

    def uri(self, driver: str = "test:///default", path: Path | None = None) -> str:
        """A URI for a driver behind this daemon's RPC; path: another socket, such as a slow link's."""
        scheme, _, rest = driver.partition("://")
        return f"{scheme}+unix://{rest}?socket={path or self.socket}"

    @property
    def qemu_uri(self) -> str:
        return self.uri("qemu:///system")

    def __enter__(self) -> "Libvirtd":
        install()  # a connection opened before there is an event loop crashes libvirt once there is one
        self._make_namespace()
        self._programs.append(self._inside("virtlogd", "--pid-file", "/run/libvirt/virtlogd.pid"))
        self._wait_for(self._inner("/run/libvirt/virtlogd-sock"))
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        programs = [*self._programs, *([self._daemon] if self._daemon else [])]
        for program in programs:  # nsenter stops with its child, and then would never reap it
            program.send_signal(signal.SIGCONT)
        if self._namespace is not None:
            with suppress(ProcessLookupError):
                os.kill(self._first_pid(), signal.SIGKILL)  # and with it everything in the namespace
            self._namespace.wait(START_S)
            for pipe in (self._namespace.stdin, self._namespace.stdout):
                if pipe is not None:
                    pipe.close()
        for program in programs:
            program.wait(START_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        self._daemon = self._inside(
            "libvirtd", "--config", str(self._config), "--pid-file", "/run/libvirt/libvirtd.pid"
        )
        self._wait_for(self.socket)
        self.pid = self._only_child(self._daemon.pid)

    def kill(self) -> None:
        """kill -9, as if it had crashed; its domains go on."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def qemu_pid(self, name: str) -> int:
        """The pid of a domain's QEMU as seen from here, for stopping or killing it."""
        inner = int(self._inner(f"/run/libvirt/qemu/{name}.pid").read_text())
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                line = next(x for x in status.read_text().splitlines() if x.startswith("NSpid:"))
                pids = [int(pid) for pid in line.split()[1:]]
                if len(pids) > 1 and pids[-1] == inner and self._is_ours(pids[0]):
                    return pids[0]
        raise ProcessLookupError(name)

    def pids(self) -> list[int]:
        """Everything that runs for this host: libvirtd and the guests' QEMUs."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self._is_ours(int(entry.name)):
                    found.append(int(entry.name))
        return found

    def _is_ours(self, pid: int) -> bool:
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{self._first_pid()}/ns/pid")

    def _end(self, number: signal.Signals) -> None:
        assert self._daemon is not None
        with suppress(ProcessLookupError):  # it may have crashed by itself
            os.kill(self.pid, number)
        self._daemon.wait(START_S)
        self._daemon = None
        self.socket.unlink(missing_ok=True)  # kill -9 leaves it behind, and start() waits for a new one

    def _make_namespace(self) -> None:
        mounts = "".join(f"mkdir -p {place} && mount -t tmpfs tmpfs {place} && " for place in _PRIVATE)
        files = f"cat > /etc/libvirt/qemu.conf <<'END'\n{_QEMU_CONF}END\n"
        commands = f"{mounts} true || exit 1\n{files}{_USER}ip link set lo up\n"
        script = f"{commands}exec {sys.executable} -c '{_REAPER}'"
        with (self.folder / "namespace.out").open("ab") as log:  # unshare complains when its child is killed
            self._namespace = subprocess.Popen(
                [
                    "unshare",
                    "--mount",
                    "--net",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    "--mount-proc",
                    "sh",
                    "-c",
                    script,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._namespace.stdout is not None
        if self._namespace.stdout.readline() != b"up\n":
            raise RuntimeError("no namespace for libvirtd")

    def _first_pid(self) -> int:
        assert self._namespace is not None
        return self._only_child(self._namespace.pid)

    def _inside(self, *command: str) -> "subprocess.Popen[bytes]":
        target = str(self._first_pid())
        enter = ["nsenter", "--target", target, "--mount", "--net", "--pid", "--"]
        log = (self.folder / f"{command[0]}.out").open("ab")
        with log:
            return subprocess.Popen([*enter, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _inner(self, path: str) -> Path:
        return Path(f"/proc/{self._first_pid()}/root{path}")

    def _only_child(self, pid: int) -> int:
        until = time.monotonic() + START_S
        while not (children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            if time.monotonic() > until:
                raise ProcessLookupError(pid)
            time.sleep(0.01)
        return int(children[0])

    def _wait_for(self, path: Path) -> None:
        """Until someone listens there. A bound Unix socket shows in the file system before it does."""
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
                probe.connect(str(path))
                return
            time.sleep(0.02)
        raise TimeoutError(f"nothing listens on {path}: {(self.folder / 'libvirtd.out').read_text()}")


def qemu_xml(name: str, *, uuid: str = "", devices: str = "", memory_mib: int = 32) -> str:
    """The smallest domain that QEMU emulates at once: no disk, no firmware to wait for."""
    return f"""
<domain type='qemu'>
  <name>{name}</name><uuid>{uuid or uuid4()}</uuid>
  <memory unit='MiB'>{memory_mib}</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <on_crash>preserve</on_crash>
  <devices>{devices}<memballoon model='virtio'/></devices>
</domain>"""


def start_qemu(
    conn: libvirt.virConnect, name: str, *, paused: bool = False, **more: Any
) -> libvirt.virDomain:
    domain = conn.defineXML(qemu_xml(name, **more))
    domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)
    return domain


@contextmanager
def own_domain(host: Libvirtd) -> Iterator[Any]:
    """The test driver's own, of another client, without snapshots before and after."""
    conn = libvirt.open(host.uri())
    found = conn.lookupByName("test")
    yield found
    for each in found.listAllSnapshots():
        each.delete()
        del each
    del found
    conn.close()
