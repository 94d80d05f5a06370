"""A bus of the test's own: a dbus-daemon with its own configuration, on a socket in a directory of its own.

Never the machine's. Started and ended by pid; waits for the daemon's own word that it listens, with a bound.
"""

import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 10.0

_SESSION_POLICY = """
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>"""

# What Debian's system.conf allows before any service's own file is read.
_SYSTEM_POLICY = """
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
    <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"
          send_member="UpdateActivationEnvironment"/>
  </policy>
  <policy user="root">
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Monitoring"/>
  </policy>"""

# As a session bus has them: the daemon's own defaults stop a client at 128 open calls.
SESSION_LIMITS: Mapping[str, int] = {
    "max_incoming_bytes": 1_000_000_000,
    "max_outgoing_bytes": 1_000_000_000,
    "max_message_size": 1_000_000_000,
    "max_connections_per_user": 10_000,
    "max_completed_connections": 10_000,
    "max_match_rules_per_connection": 50_000,
    "max_replies_per_connection": 50_000,
}

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
  "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>{type}</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
{service_directories}{policy}
{includes}{limits}
</busconfig>
"""


@dataclass(slots=True)
class BusDaemon:
    address: str
    directory: Path
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """As a crash: its clients find their sockets closed."""
        self.process.kill()
        self.process.wait(_STOP_TIMEOUT_S)

    def pause(self) -> None:
        """It neither reads nor writes until resume()."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.resume()
            self.process.terminate()
            try:
                self.process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()


def write_config(
    directory: Path,
    *,
    system: bool = False,
    policies: Sequence[Path] = (),
    limits: Mapping[str, int] | None = None,
    service_directories: Sequence[Path] = (),
) -> Path:
    """system: the system bus's default policy and the daemon's own limits; policies: files included last."""
    if limits is None:
        limits = {} if system else SESSION_LIMITS
    config = directory / "bus.conf"
    config.write_text(
        _CONFIG.format(
            type="system" if system else "session",
            socket=directory / "bus",
            service_directories="".join(
                f"  <servicedir>{path}</servicedir>\n" for path in service_directories
            ),
            policy=_SYSTEM_POLICY if system else _SESSION_POLICY,
            includes="".join(f"  <include>{path}</include>\n" for path in policies),
            limits="".join(f'  <limit name="{name}">{value}</limit>\n' for name, value in limits.items()),
        )
    )
    return config


@contextmanager
def dbus_daemon(
    *,
    system: bool = False,
    policies: Sequence[Path] = (),
    limits: Mapping[str, int] | None = None,
    service_directories: Sequence[Path] = (),
) -> Iterator[BusDaemon]:
    """A running private bus. Its log goes to the test's stderr."""
    # Not under pytest's tmp_path: a socket's path may have 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="virtbridge-bus-"))
    directory.chmod(0o755)  # for clients with another uid
    config = write_config(
        directory, system=system, policies=policies, limits=limits, service_directories=service_directories
    )
    process = subprocess.Popen(
        ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address=1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    bus = BusDaemon("", directory, process)
    try:
        bus.address = _first_line(process)
        yield bus
    finally:
        bus.stop()
        if process.stdout is not None:
            process.stdout.close()
        shutil.rmtree(directory, ignore_errors=True)


def _first_line(process: subprocess.Popen[bytes]) -> str:
    """The address, printed once the daemon listens."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _START_TIMEOUT_S)
    line = process.stdout.readline().decode().strip() if ready else ""
    if not line:
        raise RuntimeError(f"dbus-daemon did not start: exit status {process.poll()}")
    return line


@pytest.fixture
def bus() -> Iterator[BusDaemon]:
    """A private bus with a session's policy."""
    with dbus_daemon() as running:
        yield running


@pytest.fixture
def system_bus() -> Iterator[BusDaemon]:
    """A private bus with the system bus's policy and limits."""
    with dbus_daemon(system=True) as running:
        yield running
