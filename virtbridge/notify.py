"""What systemd hears of the service: readiness, status, watchdog.

Without NOTIFY_SOCKET (no systemd) every call does nothing. Nothing here blocks or raises: a service that
works must not end because systemd cannot hear its state.
Source: sd_notify(3), sd_watchdog_enabled(3). Threads: any.
"""

import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notifier:
    """environ: where systemd put the socket's address and the watchdog's interval."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        address = environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the null byte of an abstract socket.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = _watchdog_s(environ)

    def ready(self, status: str) -> bool:
        """Announce that the name is owned or, after reloading(), that the new configuration is in use. False:
        it must be announced again.
        """
        return self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, text: str) -> bool:
        """Send one line for `systemctl status`. False: it must be sent again."""
        return self._send(f"STATUS={_line(text)}")

    def reloading(self) -> None:
        """Announce a reload, which ready() ends. systemd 253 and newer wants to know when it began."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str = "Stopping") -> None:
        self._send(f"STOPPING=1\nSTATUS={_line(status)}")

    def watchdog(self) -> None:
        """Feed the watchdog. This is due every watchdog_s / 2 at least while all loops turn, and never when
        one does not.
        """
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> bool:
        """Send a message. False when systemd has not read the earlier ones yet: the kernel
        keeps ten of them.
        """
        if not self._address:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.sendto(message.encode(), self._address)
        except BlockingIOError:
            return False
        except OSError as error:
            log.debug("systemd not reached message=%s error=%s", message.partition("\n")[0], error)
        return True


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """Return the longest pause that systemd allows between watchdog() calls; None when it has no watchdog for
    us.
    """
    pid = environ.get("WATCHDOG_PID", str(os.getpid()))
    usec = environ.get("WATCHDOG_USEC", "")
    if pid != str(os.getpid()) or not (usec.isascii() and usec.isdigit()) or not int(usec):
        return None
    return int(usec) / 1e6


def _line(text: str) -> str:
    """Join the lines of a text: a line break would start another variable."""
    return " ".join(text.split())
