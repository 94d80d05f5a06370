"""A booted Debian with systemd as PID 1, for what only shows there: units, activation, watchdog, hardening.

The system is built once, with debootstrap, and kept; each boot works on an overlay that is thrown away.
Its network is its own, so that nothing in it can reach, or be taken for, what runs on this machine.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SYSTEM = Path(os.environ.get("VIRTBRIDGE_TEST_ROOT", "/var/tmp/virtbridge-test-system"))
SOURCE = Path(__file__).parents[2]
_SUITE = "bookworm"
_FIRST = "systemd,systemd-sysv,dbus"
_THEN = (
    "libpam-systemd",  # polkitd wants a logind; debootstrap does not find the one that fits
    "polkitd",
    "python3-libvirt",
    "python3-dbus-next",
    "python3-lxml",
    "libvirt-daemon-system",
    "libvirt-daemon-driver-qemu",
    "libvirt-clients",
    "qemu-system-x86",
    "openssh-server",
    "openssl",
    "netcat-openbsd",
)
# Not registered, and in our own control group: this machine's systemd, if it has one, is not asked.
_NSPAWN = (
    *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"),
    *("--private-network", "--volatile=overlay", "--machine=virtbridge-test"),
)
_BUILD_TIMEOUT_S = 1200
_BOOT_TIMEOUT_S = 60


def build_system() -> None:
    """Debian with libvirt, as SYSTEM; nothing if it is there. Needs root and the network; takes minutes."""
    if SYSTEM.exists():
        return
    half = SYSTEM.with_name(SYSTEM.name + ".new")  # renamed when complete: an interrupted one is not taken
    shutil.rmtree(half, ignore_errors=True)
    _run("debootstrap", "--variant=minbase", f"--include={_FIRST}", _SUITE, str(half))
    shutil.copy("/etc/resolv.conf", half / "etc/resolv.conf")
    install = ("apt-get", "-qq", "-y", "install", "--no-install-recommends", *_THEN)
    _run("chroot", str(half), "env", "DEBIAN_FRONTEND=noninteractive", *install)
    half.rename(SYSTEM)


def _run(*arguments: str) -> None:
    done = subprocess.run(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_BUILD_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{arguments[0]}: {done.stdout[-2000:]}"


class Container:
    """Commands in a running container. leader: its PID 1, as this machine counts."""

    def __init__(self, leader: int) -> None:
        self._leader = leader

    def run(
        self, *arguments: str, user: str = "root", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        switch = ("runuser", "-u", user, "--") if user != "root" else ()
        enter = (
            "nsenter",
            "-t",
            str(self._leader),
            "-a",
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin",
            "HOME=/root",
        )
        done = subprocess.run(
            [*enter, *switch, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stderr}{done.stdout}"
        return done

    def write(self, path: str, text: str) -> None:
        """A file of the container's, with the directories above it."""
        self.run("sh", "-c", 'mkdir -p "${1%/*}" && printf %s "$2" > "$1"', "sh", path, text)

    def until(self, holds: Callable[[], bool], timeout_s: float = 30) -> None:
        """Looked at again and again: what happens in there has no event out here."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, self.journal()
            time.sleep(0.1)

    def journal(self) -> str:
        return self.run("journalctl", "--unit=virtbridge", "--output=cat", "--no-pager", "--lines=40").stdout


@contextmanager
def booted() -> Iterator[Container]:
    """The system with virtbridge installed in it, running until the block ends."""
    _run("make", "-C", str(SOURCE), "install", f"DESTDIR={SYSTEM}", "PREFIX=/usr")
    process = subprocess.Popen(
        [*_NSPAWN, f"--directory={SYSTEM}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        container = Container(_leader(process))
        container.until(lambda: _is_up(container), _BOOT_TIMEOUT_S)
        yield container
    finally:
        _power_off(process)


def _leader(nspawn: subprocess.Popen[bytes]) -> int:
    children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")
    deadline = time.monotonic() + _BOOT_TIMEOUT_S
    while time.monotonic() < deadline:
        assert nspawn.poll() is None, "systemd-nspawn ended"
        for child in map(int, children.read_text().split()):
            if "systemd" in Path(f"/proc/{child}/comm").read_text():
                return child
        time.sleep(0.1)
    raise AssertionError("the container has no first process")


def _is_up(container: Container) -> bool:
    state = container.run("systemctl", "is-system-running", check=False).stdout.strip()
    return state in ("running", "degraded")


def _power_off(nspawn: subprocess.Popen[bytes]) -> None:
    nspawn.send_signal(signal.SIGTERM)
    try:
        nspawn.wait(30)
    except subprocess.TimeoutExpired:
        nspawn.kill()
        nspawn.wait()
