"""Limits hold for a user, however many connections to the bus he has; others do not notice him."""

import asyncio
import os
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.client import ROOT, SERVICE
from tests.support.daemon import REPOSITORY, Daemon
from tests.support.dbus_daemon import BusDaemon, dbus_daemon
from tests.support.rawbus import ERROR, METHOD_RETURN, RawBus, spin
from tests.support.until import until
from virtbridge.wire.clients import Clients
from virtbridge.wire.framing import Incoming
from virtbridge.wire.link import Link

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else as well")

GREEDY, OTHER = 65534, 1  # known to the machine, or the bus would not let them in
CONNECTIONS = 64
TIMEOUT_S = 10.0
CONNECTION = f"{SERVICE}.Connection"
NODE = Path(__file__).parents[1] / "data" / "node.xml"
# watches: as the defaults, of which one user has a quarter.
WATCHES_EACH, WATCHES_OF_A_USER = 64, 1024
STATS_EACH, STATS_OF_A_USER = 16, 256


@contextmanager
def as_user(number: int) -> Iterator[None]:
    """What connects to a bus meanwhile is this user's."""
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest_asyncio.fixture
async def daemon() -> AsyncIterator[Daemon]:
    """On a system bus, with the policy that we install."""
    with dbus_daemon(system=True, policies=[REPOSITORY / "dbus" / "org.virtbridge1.conf"]) as bus:
        running = await Daemon.start(bus.address, {"lab": f"test://{NODE}"}, session=False)
        yield running
        await running.stop()


def watch(client: RawBus) -> bytes:
    body = struct.pack("<IIII", 0, 60_000, 0, 0)  # of no options, whose length is followed by padding
    return client.frame(SERVICE, f"{ROOT}/lab", CONNECTION, "Watch", "asua{sv}", body)


def watch_stats(client: RawBus) -> bytes:
    body = struct.pack("<IIII", 60_000, 0, 0, 0)
    return client.frame(SERVICE, f"{ROOT}/lab", CONNECTION, "WatchStats", "uasa{sv}", body)


def send_all(clients: list[RawBus], frames: list[list[bytes]]) -> Counter[int]:
    """How many replies of which type came, when each call has one."""
    answers: Counter[int] = Counter()

    def take(kind: int, _serial: int, body: bytes) -> None:
        answers[kind] += 1
        assert kind != ERROR or b"the limit of one" in body, body

    for client, calls in zip(clients, frames, strict=True):
        client.on_reply = take
        client.sock.setblocking(False)
        client.send_all(calls)
    spin(clients, lambda: answers.total() == sum(map(len, frames)), 60, 0.05)
    return answers


@pytest.mark.parametrize(
    ("call", "each", "of_a_user"),
    [(watch, WATCHES_EACH, WATCHES_OF_A_USER), (watch_stats, STATS_EACH, STATS_OF_A_USER)],
)
async def test_many_connections_of_one_user_leave_watches_to_others(
    daemon: Daemon, call: Callable[[RawBus], bytes], each: int, of_a_user: int
) -> None:
    with as_user(GREEDY):
        greedy = [RawBus(daemon.address) for _ in range(CONNECTIONS)]
    with as_user(OTHER):
        other = RawBus(daemon.address)
    root = RawBus(daemon.address)
    answers = send_all(greedy, [[call(client) for _ in range(each)] for client in greedy])
    assert answers == {METHOD_RETURN: of_a_user, ERROR: CONNECTIONS * each - of_a_user}
    for client in (other, root):
        assert send_all([client], [[call(client)]]) == {METHOD_RETURN: 1}
    for client in (*greedy, other, root):
        client.close()


async def test_the_bus_is_asked_once_for_each_client(bus: BusDaemon) -> None:
    service, caller = await Link.connect(bus.address), await Link.connect(bus.address)
    clients = Clients(service, session=False)
    await clients.watch()
    handled: list[tuple[str, int]] = []
    asked: list[Any] = []
    ask = service.call

    async def counted(*args: Any, **options: Any) -> list[Any]:
        asked.append(args[3:])
        return await ask(*args, **options)

    def on_call(call: Incoming) -> None:
        handled.append((call.member, call.user))
        service.reply(call)

    service.call = counted  # type: ignore[method-assign]
    service.on_call = on_call
    members = [f"Call{number}" for number in range(20)]
    await asyncio.gather(*(caller.call(service.unique_name, "/x", "a.b", member) for member in members))
    assert handled == [(member, 0) for member in members]
    assert asked == [("GetConnectionUnixUser", "s", (caller.unique_name,))]
    gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    clients.vanished.append(gone.set_result)
    caller.close()
    assert await asyncio.wait_for(gone, TIMEOUT_S) == caller.unique_name
    assert len(clients) == 0
    await clients.stop()
    service.close()


async def test_who_calls_once_and_leaves_is_forgotten(bus: BusDaemon) -> None:
    service = await Link.connect(bus.address)
    clients = Clients(service, session=False)
    await clients.watch()
    service.on_call = service.reply
    for _ in range(200):
        caller = await Link.connect(bus.address)
        caller.send(caller._headers.method_call(2, service.unique_name, "/x", "a.b", "Do", "", b""))
        caller.close()
    last = await Link.connect(bus.address)
    await last.call(service.unique_name, "/x", "a.b", "Do")
    await until(lambda: len(clients) == 1)
    assert service.queued_calls == 0
    await clients.stop()
    last.close()
    service.close()
