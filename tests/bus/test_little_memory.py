"""The daemon where there is little memory: it takes little, and where that is too much it ends by itself."""

import asyncio
import resource
import signal
import sys
from pathlib import Path

import pytest

from tests.support.client import ROOT, SERVICE, CallFailed, Client
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import BusDaemon

DOMAINS = 2000
ENOUGH_MIB = 300  # it took 1,244
# By exit status. libvirt allocates with GLib, which aborts the process when it gets no memory.
LAST_WORDS = {1: "virtbridge: out of memory, ending\n", -signal.SIGABRT: "failed to allocate"}


@pytest.fixture
def uri(tmp_path: Path) -> str:
    domain = "<domain type='test'><name>d{}</name><memory>8192</memory><os><type>hvm</type></os></domain>"
    path = tmp_path / "node.xml"
    path.write_text(f"<node>{''.join(domain.format(number) for number in range(DOMAINS))}</node>")
    return f"test://{path}"


async def start(bus: BusDaemon, uri: str, limit_mib: int, *, ready: bool) -> Daemon:
    command = (f"--as={limit_mib << 20}", sys.executable, "-m", "virtbridge")
    return await Daemon.start(bus.address, {"t": uri}, python="prlimit", command=command, ready=ready)


async def test_two_thousand_domains_in_little_memory(bus: BusDaemon, uri: str) -> None:
    daemon = await start(bus, uri, ENOUGH_MIB, ready=True)
    client = await Client.connect(bus.address)
    found = await client.call(f"{ROOT}/t", f"{SERVICE}.Connection", "List", "sa{sv}", ["domain", {}])
    assert len(found) == DOMAINS
    await client.close()
    await daemon.stop()


def limit_memory(pid: int, limit_bytes: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_AS, (limit_bytes, ENOUGH_MIB << 20))


def address_space(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


async def test_the_last_memory_is_taken_while_it_serves(bus: BusDaemon, uri: str) -> None:
    """It ends by itself where its main thread has no memory. Where only a call of libvirt has none, its
    caller gets an error and the service goes on.
    """
    daemon = await start(bus, uri, ENOUGH_MIB, ready=True)
    client = await Client.connect(bus.address)
    refresh = (f"{ROOT}/t", f"{SERVICE}.Connection", "Refresh", "asa{sv}", [["domain"], {}])
    limit_memory(daemon.pid, address_space(daemon.pid))
    with pytest.raises(CallFailed) as failed:
        await client.call(*refresh)
    if failed.value.name == "org.freedesktop.DBus.Error.NoReply":
        status = await asyncio.to_thread(daemon.process.wait, 20)
        assert LAST_WORDS[status] in daemon.log()
        await client.close()
        daemon.kill()
        return
    assert failed.value.name == f"{SERVICE}.Error.LimitExceeded"
    limit_memory(daemon.pid, ENOUGH_MIB << 20)
    await client.call(*refresh)
    await client.close()
    await daemon.stop()
