"""QueryXml among other clients: what one asks for holds up nobody else, and leaves nothing behind."""

import asyncio
import os
import resource
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.bus.test_budget import daemon_with
from tests.support.client import ROOT, SERVICE, CallFailed, Client, wait_until
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import BusDaemon
from virtbridge.wire.transport import marshal

MANAGER = f"{SERVICE}.Manager"
NAMES = ["domain", "/domain/name/text()", {}]
FOREVER = "//*"
for _ in range(40):
    FOREVER = f"//*[count({FOREVER}) > 0]"


def processor_ns(pid: int) -> int:
    """What all threads together have had of a processor so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


async def test_a_large_answer_is_not_made_by_the_service(tmp_path: Path) -> None:
    words = "".join(f"<w n='{number}'/>" for number in range(2000))
    domains = "".join(
        f"<domain type='test'><name>d{number}</name><memory>1</memory><os><type>hvm</type></os>"
        f"<metadata><m:words xmlns:m='urn:m'>{words}</m:words></metadata></domain>"
        for number in range(50)
    )
    (tmp_path / "node.xml").write_text(f"<node>{domains}</node>")
    async with daemon_with(f"test://{tmp_path / 'node.xml'}") as (daemon, client):
        query = ["domain", "//w/@n", {}]
        await client.call(ROOT, MANAGER, "QueryXml", "ssa{sv}", NAMES)  # the server is there
        call = client.message(ROOT, MANAGER, "QueryXml", "ssa{sv}", query)
        before = processor_ns(daemon.pid)
        reply = await client.bus.call(call)
        spent = processor_ns(daemon.pid) - before
        assert [len(found) for found in reply.body[0].values()] == [2000] * 50
        began = time.thread_time_ns()
        marshal("a{oas}", reply.body)
        assert spent < (time.thread_time_ns() - began) / 2  # it sends what a process of its own has made


def children(pid: int) -> list[int]:
    with suppress(OSError):  # it has ended
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def anonymous_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


async def test_four_clients_that_want_all_leave_the_service_as_it_was(bus: BusDaemon, tmp_path: Path) -> None:
    """Four bytes for each character, in replies as large as there may be."""
    domain = "<domain type='test'><name>d{}</name><memory>1</memory><os><type>hvm</type></os>{}</domain>"
    text = f"<description>{'😀' * 90_000}</description>"
    domains = "".join(domain.format(number, text) for number in range(45))
    (tmp_path / "node.xml").write_text(f"<node>{domains}</node>")
    daemon = await Daemon.start(bus.address, {"test": f"test://{tmp_path / 'node.xml'}"})
    clients = [await Client.connect(bus.address) for _ in range(4)]
    query = ["domain", "string(/domain/description)", {}]

    async def ask(client: Client) -> int:
        reply = await client.bus.call(client.message(ROOT, MANAGER, "QueryXml", "ssa{sv}", query))
        return sum(len(found[0]) for found in reply.body[0].values())

    assert await ask(clients[0]) == 45 * 90_000
    before = anonymous_kib(daemon.pid)
    peak = before
    for _ in range(3):
        waiting = asyncio.gather(*map(ask, clients))
        while not waiting.done():
            peak = max(peak, anonymous_kib(daemon.pid))
            await asyncio.sleep(0.005)
        assert await waiting == [45 * 90_000] * 4
    reply_kib = 45 * 90_000 * 4 >> 10
    assert peak - before < reply_kib / 2  # whose files hold the replies: this is what is never given back
    for client in clients:
        await client.close()
    await daemon.stop()


async def test_exslt_is_refused_before_any_process(bus: BusDaemon) -> None:
    daemon = await Daemon.start(bus.address, {"test": "test:///default"})
    client = await Client.connect(bus.address)
    options = {"namespaces": client.variant("a{ss}", {"s": "http://exslt.org/strings"})}
    padding = f"concat({','.join(['s:padding(100000, 9)'] * 40)})"
    with pytest.raises(CallFailed, match="s:padding is not a function of XPath") as caught:
        await client.call(ROOT, MANAGER, "QueryXml", "ssa{sv}", ["domain", padding, options])
    assert caught.value.name == f"{SERVICE}.Error.InvalidArgument"
    assert children(daemon.pid) == []
    await client.close()
    await daemon.stop()


async def test_without_a_free_descriptor_a_caller_is_told_so(bus: BusDaemon) -> None:
    daemon = await Daemon.start(bus.address, {"test": "test:///default"})
    client = await Client.connect(bus.address)
    limits = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    before = os.listdir(f"/proc/{daemon.pid}/fd")
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    for member, signature, body in (("QueryXml", "ssa{sv}", NAMES),) * 2:
        with pytest.raises(CallFailed, match="file descriptor") as caught:
            await client.call(ROOT, MANAGER, member, signature, body)
        assert caught.value.name == f"{SERVICE}.Error.LimitExceeded"
    with pytest.raises(CallFailed, match="file descriptor"):
        await client.call(ROOT, "org.freedesktop.DBus.Peer", "GetMachineId")
    assert os.listdir(f"/proc/{daemon.pid}/fd") == before
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, limits)
    assert await client.call(ROOT, MANAGER, "QueryXml", "ssa{sv}", NAMES)
    assert "Traceback" not in daemon.log()
    await client.close()
    await daemon.stop()


@pytest.mark.parametrize("kill", [True, False])
async def test_no_process_survives_the_service(kill: bool, bus: BusDaemon) -> None:
    daemon = await Daemon.start(bus.address, {"test": "test:///default"})
    client = await Client.connect(bus.address)
    await client.send(ROOT, MANAGER, "QueryXml", "ssa{sv}", ["domain", FOREVER, {}])
    await wait_until(lambda: children(daemon.pid) and children(children(daemon.pid)[0]), "it is worked on")
    (server,) = children(daemon.pid)
    (worker,) = children(server)
    if kill:
        daemon.kill()
    else:
        await daemon.stop()

    def is_running(pid: int) -> bool:
        with suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        return False

    await wait_until(lambda: not is_running(server) and not is_running(worker), "both have ended")
    await client.close()
