"""A private message bus: dbus-daemon in a temporary directory, which ends with the block that started it."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# No service directories: nothing is started by a message. The limits are the session bus's own: those of
# dbus-daemon itself are the system bus's, too small for a listing of many domains.
_CONFIG = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
  "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  <limit name="max_incoming_bytes">1000000000</limit>
  <limit name="max_outgoing_bytes">1000000000</limit>
  <limit name="max_message_size">1000000000</limit>
  <limit name="max_match_rules_per_connection">50000</limit>
  <limit name="max_replies_per_connection">50000</limit>
</busconfig>
"""
_STOP_TIMEOUT_S = 5


class NoBus(Exception):
    """dbus-daemon is not there or does not start; the text says which."""


@contextmanager
def private_bus() -> Iterator[str]:
    """Start a bus that only this user can reach, and yield its address. Raises NoBus."""
    with tempfile.TemporaryDirectory(prefix="virtbridge-") as name:
        directory = Path(name)
        with _start(directory) as process:
            try:
                yield _address(process, directory / "log")
            finally:
                _stop(process)


def _start(directory: Path) -> subprocess.Popen[str]:
    config = directory / "bus.conf"
    config.write_text(_CONFIG.format(socket=directory / "bus"))
    # Its messages go to a file: it warns of limits that it cannot raise, which does not matter here.
    with (directory / "log").open("w") as log:
        try:
            return subprocess.Popen(
                ["dbus-daemon", "--nofork", "--nopidfile", "--print-address=1", f"--config-file={config}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # A session of its own: Ctrl-C at the terminal is for us, and the bus goes last.
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise NoBus("dbus-daemon is not installed") from error


def _address(process: subprocess.Popen[str], log: Path) -> str:
    line = process.stdout.readline().strip() if process.stdout else ""
    if not line:
        raise NoBus(f"dbus-daemon did not start: {log.read_text().strip()}")
    return line.partition(",guid=")[0]


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
