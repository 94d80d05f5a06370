"""What `make run` runs: a private bus, the service on libvirt's test driver, and a log of all that changes.

It ends with Ctrl-C, SIGTERM, or the terminal or pipe that it writes to, and leaves nothing behind.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from types import MappingProxyType

from virtbridge.bus.paths import ROOT, connection_path, path_of
from virtbridge.config import Config, ConnectionConfig
from virtbridge.daemon import serve
from virtbridge.logs import set_up_logging
from virtbridge.model.keys import Key, Kind
from virtbridge.source.demonstration import URI, Demonstration
from virtbridge.tour.narrator import Narrator
from virtbridge.tour.private_bus import NoBus, private_bus
from virtbridge.wire.link import BusError

LIBVIRT_SOCKET = "/run/libvirt/libvirt-sock"
_PAUSE_S = 4.0
_END_S = 10.0  # a service that leaves the bus has ended by then
_TEST_UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"  # of the one domain that every test:///default has

_GUIDE = """
virtbridge is on a bus of its own, with {connections}. Try this in another terminal:

  export DBUS_SESSION_BUS_ADDRESS='{address}'

  busctl --user tree org.virtbridge1
  busctl --user introspect org.virtbridge1 {domain}
  busctl --user get-property org.virtbridge1 {domain} org.virtbridge1.Domain State
  busctl --user monitor org.virtbridge1
  busctl --user call org.virtbridge1 {root} org.virtbridge1.Manager FindDomains 'sa{{sv}}' test 0
  busctl --user set-property org.virtbridge1 {domain} org.virtbridge1.Domain Autostart b true
  busctl --user call org.virtbridge1 {connection} org.virtbridge1.Connection List 'sa{{sv}}' volume 0
  gdbus call --session -d org.virtbridge1 -o {root} \\
      -m org.virtbridge1.Manager.Select domain "['Name', 'State']" '{{}}'

Every {pause:.0f} seconds another libvirt client (->) does something to the test driver's objects; what stands
below it is what a D-Bus client heard. Nothing polls. Ctrl-C ends it all.
"""


def main() -> int:
    # Until the service takes the signal over: the bus must not be left behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    set_up_logging("warning")
    try:
        with private_bus() as address:
            return asyncio.run(_tour(address))
    except NoBus as error:
        print(f"virtbridge tour: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


async def _tour(address: str) -> int:
    config = Config(MappingProxyType({each.name: each for each in _connections()}))
    ready = asyncio.Event()
    service = asyncio.create_task(serve(config, address, session=True, ready=ready.set))
    started = asyncio.create_task(ready.wait())
    await asyncio.wait({service, started}, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if not service.done():
        _say(_guide(config, address))
        await _show(service, address)
    return await service


async def _show(service: "asyncio.Task[int]", address: str) -> None:
    """Show what happens, until the service ends."""
    try:
        narrator = await Narrator.start(address, _say)
    except BusError:
        # A reader that goes away during the guide ends the service while the narrator still asks it.
        await asyncio.wait({service}, timeout=_END_S)
        if not service.done():
            raise
        return
    demonstration = Demonstration(lambda words: _say(f"-> {words}"), _PAUSE_S)
    demonstration.start()
    try:
        await asyncio.wait({service})
    finally:
        demonstration.stop()
        narrator.close()


def _connections() -> Iterator[ConnectionConfig]:
    yield ConnectionConfig("test", URI)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        if probe.connect_ex(LIBVIRT_SOCKET) == 0:
            yield ConnectionConfig("system", "qemu:///system")


def _guide(config: Config, address: str) -> str:
    return _GUIDE.format(
        connections=" and ".join(each.uri for each in config.connections.values()),
        address=address,
        domain=path_of(Key("test", Kind.DOMAIN, _TEST_UUID)),
        connection=connection_path("test"),
        root=ROOT,
        pause=_PAUSE_S,
    )


def _say(line: str) -> None:
    """Print a line, from any thread. It is flushed, as the reader may be a pipe. Without a reader the tour
    ends.
    """
    try:
        print(line, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
