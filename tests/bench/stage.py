"""What the benchmark runs on: private buses, a private libvirtd, both services, and a link with a delay.

Every service gets a bus of its own and they share one libvirtd. libvirt-dbus opens fixed URIs only, so it
runs in a mount namespace in which /run/libvirt/libvirt-sock is ours, and from a copy in which an unused URI
is replaced, so that it reaches the test driver behind that libvirtd as well. Needs root for the namespaces.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt

from tests.support.libvirtd import Libvirtd, is_available

REPOSITORY = Path(__file__).resolve().parents[2]
PEER = "/usr/sbin/libvirt-dbus"
_UNUSED_URI, _TEST_URI = b"vmwarefusion:///session", b"test+unix:///default"
_TICKS = os.sysconf("SC_CLK_TCK")

_IN_NAMESPACE = 'mount --make-rprivate / && mount --bind "$1" /run && shift && exec "$@"'


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.01)


def cpu_s(*pids: int) -> float:
    """Seconds of CPU that all threads of these processes have used."""
    spent = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        spent += int(fields[11]) + int(fields[12])
    return spent / _TICKS


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _listens(path: Path) -> bool:
    """The file is there a moment before anybody listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def answer_keepalives() -> None:
    """libvirtd drops a client that answers nothing for 30 s; its own loop does it. Call this once."""
    libvirt.virEventRegisterDefaultImpl()

    def turn() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=turn, daemon=True).start()


class Stage:
    """Everything started here ends with close(), newest first."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="vb-bench-")))
        self._count = 0

    def close(self) -> None:
        self._stack.close()

    def fresh(self, name: str) -> Path:
        """A new directory of this stage."""
        self._count += 1
        path = self.directory / f"{name}{self._count}"
        path.mkdir()
        return path

    def run(self, *words: str | Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        log = (self.directory / "log").open("ab")
        process = subprocess.Popen(
            [str(word) for word in words],
            env=dict(os.environ, **(env or {})),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        self._stack.callback(end, process)
        return process

    def log(self) -> str:
        path = self.directory / "log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def bus(self) -> str:
        """The address of a new private bus."""
        path = self.fresh("bus") / "socket"
        self.run("dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address=unix:path={path}")
        wait_for(lambda: _listens(path), "dbus-daemon listens")
        return f"unix:path={path}"

    def host(self) -> Libvirtd:
        """A new private libvirtd with nothing defined."""
        host = self._stack.enter_context(Libvirtd())
        # The test driver's default state lives as long as somebody has it open.
        self._stack.callback(libvirt.open(uri(host.socket, "test")).close)
        return host

    def libvirtd(self) -> Path:
        """The socket of one."""
        return self.host().socket

    def run_directory(self, socket: Path) -> Path:
        """A stand-in for /run in which libvirt's default socket is this one."""
        run = self.fresh("run")
        (run / "libvirt").mkdir()
        (run / "libvirt/libvirt-sock").symlink_to(socket)
        return run

    def peer_binary(self) -> Path:
        """libvirt-dbus with one of its unused URIs replaced by the test driver behind libvirtd."""
        target = self.directory / "libvirt-dbus"
        if not target.exists():
            binary = Path(PEER).read_bytes()
            old = _UNUSED_URI + b"\0"
            if binary.count(old) != 1:
                raise RuntimeError("this libvirt-dbus cannot be pointed at the test driver")
            target.write_bytes(binary.replace(old, _TEST_URI.ljust(len(old), b"\0")))
            target.chmod(0o755)
        return target

    def peer(self, bus: str, socket: Path) -> subprocess.Popen[bytes]:
        command = ("unshare", "-m", "sh", "-c", _IN_NAMESPACE, "sh", self.run_directory(socket))
        return self.run(*command, self.peer_binary(), "--session", env={"DBUS_SESSION_BUS_ADDRESS": bus})

    def block_file(self, library: str) -> Path:
        """Where the timed daemon with this library notes the longest block of its loop."""
        return self.directory / f"block-{library}"

    def bridge(
        self, bus: str, library: str, *connect: str, timed: bool = False, settings: str = ""
    ) -> subprocess.Popen[bytes]:
        """virtbridge with this D-Bus library; timed: through the launcher that times the loop's callbacks.

        settings: a configuration file's text.
        """
        module = "tests.bench.timed_daemon" if timed else "virtbridge"
        words = [word for item in connect for word in ("--connect", item)]
        if settings:
            file = self.fresh("config") / "virtbridge.toml"
            file.write_text(settings)
            words += ["--config", str(file)]
        env = {
            "DBUS_SESSION_BUS_ADDRESS": bus,
            "VIRTBRIDGE_DBUS_LIBRARY": library,
            "PYTHONPATH": str(REPOSITORY),
            "VIRTBRIDGE_BENCH_BLOCK": str(self.block_file(library)),
        }
        return self.run(sys.executable, "-m", module, "--session", *words, env=env)

    def delayed(self, socket: Path, delay_ms: float) -> Path:
        """A socket in front of this one that adds half of delay_ms each way."""
        front = self.fresh("link") / "sock"
        self.run(
            sys.executable,
            "-m",
            "tests.bench.link",
            front,
            socket,
            str(delay_ms / 2),
            env={"PYTHONPATH": str(REPOSITORY)},
        )
        wait_for(lambda: _listens(front), "the slow link listens")
        return front


def missing() -> str:
    """What this machine lacks for the comparison; empty when nothing."""
    lacking = [program for program in ("dbus-daemon", "nsenter", PEER) if not shutil.which(program)]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    return "" if is_available() else "a private libvirtd needs libvirtd, virtlogd and root"


@contextlib.contextmanager
def staged() -> Iterator[Stage]:
    stage = Stage()
    try:
        yield stage
    except BaseException:
        print(stage.log(), file=sys.stderr)
        raise
    finally:
        stage.close()


DISK = (
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    "<source file='/var/lib/libvirt/images/{name}-{target}.qcow2'/>"
    "<target dev='{target}' bus='virtio'/></disk>"
)


def domain_xml(kind: str, number: int) -> str:
    """A domain with two disks and an interface; kind: qemu or test."""
    name = f"bench-{number}"
    disks = "".join(DISK.format(name=name, target=target) for target in ("vda", "vdb"))
    return (
        f"<domain type='{kind}'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
        f"<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{disks}"
        "<interface type='network'><source network='default'/><model type='virtio'/></interface>"
        "</devices></domain>"
    )


def define(socket: Path, kind: str, count: int) -> None:
    """Exactly `count` domains in this libvirtd's driver `kind`."""
    conn = libvirt.open(uri(socket, kind))
    present = conn.listAllDomains()
    for domain in present[count:]:
        if domain.isActive():
            domain.destroy()
        domain.undefine()
    for number in range(len(present), count):
        conn.defineXML(domain_xml(kind, number))
    conn.close()


def uri(socket: Path, kind: str) -> str:
    path = "system" if kind == "qemu" else "default"
    return f"{kind}+unix:///{path}?socket={socket}"
