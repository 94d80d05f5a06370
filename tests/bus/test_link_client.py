"""The link as a client, on a real bus: calls, subscriptions, owners of names, descriptors, two links."""

import asyncio
import os
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.bus.conftest import Connect
from tests.support.dbus_broker import dbus_broker
from tests.support.dbus_daemon import BusDaemon, dbus_daemon
from tests.support.descriptors import open_fds
from tests.support.until import until
from virtbridge.wire import framing
from virtbridge.wire.framing import Incoming
from virtbridge.wire.link import BusError, Link
from virtbridge.wire.match_rules import MatchRule
from virtbridge.wire.names import BUS_NAME, BUS_PATH, LIMITS_EXCEEDED

pytestmark = pytest.mark.usefixtures("transport")
NAME = "org.example.Service"
_REPLACE, _DO_NOT_QUEUE, _ALLOW_REPLACEMENT = 2, 4, 1


@pytest.fixture(params=[dbus_daemon, dbus_broker], ids=["daemon", "broker"])
def bus(request: pytest.FixtureRequest) -> Iterator[BusDaemon]:
    with request.param() as running:
        yield running


async def own(link: Link, name: str = NAME, flags: int = _DO_NOT_QUEUE) -> None:
    assert await link.call(BUS_NAME, BUS_PATH, BUS_NAME, "RequestName", "su", [name, flags]) == [1]


def null() -> int:
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


class Heard:
    """The members of the signals that a subscription has brought."""

    def __init__(self) -> None:
        self.members: list[str] = []

    def __call__(self, signal: Incoming) -> None:
        self.members.append(signal.member)

    async def wait_for(self, *members: str) -> None:
        await until(lambda: len(self.members) >= len(members))
        assert self.members == list(members)


async def pass_through(sender: Link, receiver: Link) -> None:
    """All that the sender has sent so far has reached the receiver: the bus has answered both after it."""
    await sender.ask_bus("GetId")
    await receiver.ask_bus("GetId")


async def test_a_call_by_a_well_known_name(links: Connect) -> None:
    service, client = await links(), await links()
    await own(service)
    service.on_call = service.reply
    assert await client.call(NAME, "/x", "a.b", "Do") == []


async def test_a_call_carries_its_flags(links: Connect) -> None:
    service, client = await links(), await links()
    flags: list[int] = []

    def on_call(call: Incoming) -> None:
        flags.append(call.flags)
        service.reply(call)

    service.on_call = on_call
    await client.call(service.unique_name, "/x", "a.b", "Do", flags=framing.ALLOW_INTERACTIVE_AUTHORIZATION)
    client.call_without_reply(service.unique_name, "/x", "a.b", "Do", "s", ["text"])
    await client.call(service.unique_name, "/x", "a.b", "Do")
    assert flags == [framing.ALLOW_INTERACTIVE_AUTHORIZATION, framing.NO_REPLY_EXPECTED, 0]
    assert service.counts.replies == 2


async def test_a_call_that_the_bus_would_not_carry_is_not_sent(links: Connect) -> None:
    client = await links()
    before = open_fds()
    with pytest.raises(BusError) as caught:
        await client.call_with_fds(NAME, "/x", "a.b", "Do", "ay", [bytes(33 << 20)], [null()])
    assert caught.value.name == LIMITS_EXCEEDED
    client.passes_fds = False
    with pytest.raises(BusError, match="cannot carry descriptors"):
        await client.call_with_fds(NAME, "/x", "a.b", "Do", "h", [0], [null()])
    assert open_fds() == before
    assert await client.ask_bus("GetId")


async def test_a_reply_after_the_deadline_is_thrown_away(links: Connect, transport: ModuleType) -> None:
    service, client = await links(), await links()
    calls: list[Incoming] = []
    service.on_call = calls.append
    with pytest.raises(BusError, match="did not answer Do in"):
        await client.call_with_fds(service.unique_name, "/x", "a.b", "Do", timeout_s=0.01)
    before = open_fds()
    service.reply(calls[0], "h", transport.marshal("h", [0]), [null()])
    await pass_through(service, client)
    assert open_fds() == before


async def test_a_reply_that_comes_as_its_caller_gives_up_loses_no_descriptor(
    links: Connect, transport: ModuleType
) -> None:
    service, client = await links(), await links()
    before = open_fds()
    service.on_call = lambda call: service.reply(call, "h", transport.marshal("h", [0]), [null()])
    waiting = asyncio.create_task(client.call_with_fds(service.unique_name, "/x", "a.b", "Do"))
    take = client._on_reply

    def take_and_cancel(reply: Incoming) -> None:
        take(reply)
        waiting.cancel()

    client._on_reply = take_and_cancel  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert open_fds() == before


async def test_descriptors_of_an_error_are_closed(links: Connect) -> None:
    service, client = await links(), await links()

    def on_call(call: Incoming) -> None:
        call.discard()
        service.error(call, "a.b.No", "no")

    service.on_call = on_call
    before = open_fds()
    with pytest.raises(BusError, match=r"a\.b\.No: no"):
        await client.call_with_fds(service.unique_name, "/x", "a.b", "Do", "h", [0], [null()])
    assert open_fds() == before


async def test_each_listener_hears_what_its_own_rule_fits(links: Connect) -> None:
    service, client = await links(), await links()
    everything, below, one = Heard(), Heard(), Heard()
    await client.subscribe(MatchRule(sender=service.unique_name), everything)
    await client.subscribe(MatchRule(interface="a.b", path_namespace="/x"), below)
    subscription = await client.subscribe(MatchRule(path="/x/y", member="Two", args={0: "it's"}), one)
    service.signal("/x", "a.b", "One", "", b"")
    service.signal("/x/y", "a.b", "Two", "s", b"\4\0\0\0it's\0")
    service.signal("/x/y", "a.b", "Two", "s", b"\4\0\0\0that\0")
    service.signal("/xy", "a.b", "Three", "", b"")
    await everything.wait_for("One", "Two", "Two", "Three")
    await below.wait_for("One", "Two", "Two")
    await one.wait_for("Two")
    await client.unsubscribe(subscription)
    await client.unsubscribe(subscription)
    service.signal("/x/y", "a.b", "Two", "s", b"\4\0\0\0it's\0")
    await pass_through(service, client)
    assert one.members == ["Two"]
    assert len(everything.members) == 5


async def test_a_listener_that_fails_takes_nothing_from_the_others(
    links: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    service, client = await links(), await links()
    heard = Heard()

    def fail(_signal: Incoming) -> None:
        raise KeyError("x")

    await client.subscribe(MatchRule(interface="a.b"), fail)
    await client.subscribe(MatchRule(interface="a.b"), heard)
    service.signal("/x", "a.b", "One", "", b"")
    await heard.wait_for("One")
    assert "bus handler failed" in caplog.text


async def test_a_rule_that_the_bus_refuses_leaves_no_listener(links: Connect) -> None:
    client = await links()
    with pytest.raises(BusError):
        await client.subscribe(MatchRule(path="not a path"), Heard())
    assert not client._subscriptions._subscriptions


async def test_a_well_known_sender_is_whoever_owns_the_name(links: Connect) -> None:
    first, second, client = await links(), await links(), await links()
    heard, changes = Heard(), []
    await client.subscribe(MatchRule(sender=NAME), heard)
    # Its signals come as well, and are not the service's.
    await client.subscribe(MatchRule(sender=second.unique_name), Heard())
    client.owners.on_change.append(lambda name, owner: changes.append((name, owner)))
    assert client.owners.owner(NAME) == ""
    await own(first, flags=_ALLOW_REPLACEMENT)
    second.signal("/x", "a.b", "NotYet", "", b"")
    await pass_through(second, client)
    first.signal("/x", "a.b", "OfTheFirst", "", b"")
    await heard.wait_for("OfTheFirst")
    await own(second, flags=_REPLACE)
    second.signal("/x", "a.b", "OfTheSecond", "", b"")
    await heard.wait_for("OfTheFirst", "OfTheSecond")
    second.close()
    await until(lambda: len(changes) == 3)
    assert changes == [(NAME, first.unique_name), (NAME, second.unique_name), (NAME, first.unique_name)]


async def test_a_client_that_leaves_loses_its_unique_name(links: Connect) -> None:
    other, client = await links(), await links()
    assert await client.owners.follow(other.unique_name) == other.unique_name
    other.close()
    await until(lambda: client.owners.owner(other.unique_name) == "")
    assert await client.owners.follow(other.unique_name) == ""


async def test_two_links_of_one_process_have_names_of_their_own(links: Connect) -> None:
    one, two, client = await links(), await links(), await links()
    await own(one, "org.example.One")
    await own(two, "org.example.Two")
    await own(two, "org.example.Three")
    one.on_call = lambda call: one.error(call, "a.b.One", "one")
    two.on_call = two.reply
    with pytest.raises(BusError, match="one"):
        await client.call("org.example.One", "/x", "a.b", "Do")
    for name in ("org.example.Two", "org.example.Three"):
        await client.call(name, "/x", "a.b", "Do")
    one.close()
    await client.call("org.example.Two", "/x", "a.b", "Do")
