"""The command `virtbridge`: flags, configuration, and exit status (0 ended cleanly, 1 failed, 2
misconfigured).
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

from virtbridge import __version__, memory
from virtbridge.config.files import BadConfig, load_config
from virtbridge.daemon import serve
from virtbridge.logs import LEVELS, report_failure, set_up_logging

_SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"


def main(arguments: list[str] | None = None) -> int:
    """Run the service, and return the exit status."""
    _fill_standard_streams()
    options = _parse(arguments)
    memory.limit_address_space()
    set_up_logging(options.log_level)
    memory.end_on_memory_errors()
    read = partial(load_config, options.config, options.connect)
    try:
        config = read()
    except BadConfig as error:
        report_failure(error)
        return 2
    address = config.bus.address or _standard_address(session=options.session)
    status = asyncio.run(serve(config, address, session=options.session, reload=read))
    _leave_hung_threads(status)
    return status


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="virtbridge", description="libvirt on D-Bus, from one shared cache."
    )
    parser.add_argument(
        "--session", action="store_true", help="serve the session bus instead of the system bus"
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="read FILE and conf.d/*.toml beside it (default: /etc/virtbridge/virtbridge.toml)",
    )
    parser.add_argument(
        "--connect",
        action="append",
        default=[],
        metavar="NAME=URI",
        help="open this libvirt connection; may be repeated",
    )
    parser.add_argument("--log-level", choices=list(LEVELS), default="info", help="default: %(default)s")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser.parse_args(arguments)


def _standard_address(*, session: bool) -> str:
    if not session:
        return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", _SYSTEM_BUS)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return os.environ.get("DBUS_SESSION_BUS_ADDRESS", f"unix:path={runtime}/bus" if runtime else "")


def _fill_standard_streams() -> None:
    """Open standard streams that whoever started us has closed: the next socket would take their numbers, and
    libvirt and ssh write to these.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 (for as long as we live)


def _leave_hung_threads(status: int) -> None:
    """Leave without waiting for libvirt calls that never return: the interpreter's own end would wait for
    them.

    ssh, which such calls have started, would wait for its host for ever, so it is ended too.
    """
    if any(thread.name.startswith("vb-") for thread in threading.enumerate()):
        for children in Path("/proc/self/task").glob("*/children"):
            with suppress(OSError):
                for pid in children.read_text().split():
                    os.kill(int(pid), signal.SIGTERM)
        logging.shutdown()
        os._exit(status)
