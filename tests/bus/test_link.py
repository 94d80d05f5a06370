"""The link on a real bus, dbus-daemon and dbus-broker: calls, signals, descriptors, limits, the end."""

import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.bus.conftest import Connect
from tests.support.dbus_broker import dbus_broker
from tests.support.dbus_daemon import BusDaemon, dbus_daemon
from tests.support.descriptors import open_fds
from tests.support.until import until
from virtbridge.wire import dial, framing, headers
from virtbridge.wire.dial import DialError
from virtbridge.wire.framing import Incoming
from virtbridge.wire.link import BusError, Link, LinkLimits, LinkLost
from virtbridge.wire.match_rules import MatchRule
from virtbridge.wire.names import BUS_NAME, BUS_PATH, FAILED, LIMITS_EXCEEDED

pytestmark = pytest.mark.usefixtures("transport")
TIMEOUT_S = 10.0
HEADERS = headers.Headers()


@pytest.fixture(params=[dbus_daemon, dbus_broker], ids=["daemon", "broker"])
def bus(request: pytest.FixtureRequest) -> Iterator[BusDaemon]:
    with request.param() as running:
        yield running


def echo(link: Link, transport: ModuleType) -> None:
    """Answer every call with its own arguments, as a list of their texts."""

    def on_call(call: Incoming) -> None:
        values = [str(value) for value in transport.plain(transport.arguments(call))]
        call.discard()
        link.reply(call, "as", transport.marshal("as", [values]))

    link.on_call = on_call


async def listen(link: Link, interface: str) -> list[Incoming]:
    heard: list[Incoming] = []
    await link.subscribe(MatchRule(interface=interface), heard.append)
    return heard


async def test_a_call_and_its_reply(links: Connect, transport: ModuleType) -> None:
    service, client = await links(), await links()
    assert service.unique_name.startswith(":")
    echo(service, transport)
    options = {"flags": transport.Variant("u", 3)}
    reply = await client.call(service.unique_name, "/x", "a.b", "Do", "sua{sv}", ["text", 7, options])
    assert reply == [["text", "7", "{'flags': 3}"]]
    assert await client.call(service.unique_name, "/x", "", "NoInterface") == [[]]


async def test_errors_have_names_and_legal_texts(links: Connect) -> None:
    service, client = await links(), await links()
    service.on_call = lambda call: service.error(call, "a.b.Bad", "not \0this \ud800 way")
    with pytest.raises(BusError, match=r"a\.b\.Bad: not this \? way"):
        await client.call(service.unique_name, "/x", "a.b", "Do")


async def test_what_a_handler_raises_stays_inside(links: Connect, caplog: pytest.LogCaptureFixture) -> None:
    service, client = await links(), await links()

    def on_call(call: Incoming) -> None:
        raise KeyError("a secret")

    service.on_call = on_call
    for _ in range(3):
        with pytest.raises(BusError) as caught:
            await client.call(service.unique_name, "/x", "a.b", "Do")
        assert caught.value.name == FAILED
        assert "secret" not in caught.value.text
    assert "call failed" in caplog.text


async def test_no_reply_means_no_reply(links: Connect, transport: ModuleType) -> None:
    service, client = await links(), await links()
    echo(service, transport)
    heard: list[int] = []
    client.on_call = lambda call: heard.append(call.serial)
    frame = HEADERS.method_call(
        900, service.unique_name, "/x", "a.b", "Do", "", b"", flags=framing.NO_REPLY_EXPECTED
    )
    client.send(frame)
    await client.call(service.unique_name, "/x", "a.b", "Do")
    assert (service.counts.calls, service.counts.replies) == (2, 1)


async def test_a_call_in_the_other_byte_order(links: Connect, transport: ModuleType) -> None:
    service, client = await links(), await links()
    echo(service, transport)
    fields = b""
    for code, token, value in ((1, "o", "/x"), (3, "s", "Do"), (6, "s", service.unique_name), (8, "g", "su")):
        fields += bytes(-len(fields) % 8) + bytes((code, 1, ord(token), 0))
        length = bytes((len(value),)) if token == "g" else struct.pack(">I", len(value))
        fields += length + value.encode() + b"\0"
    body = struct.pack(">I", 2) + b"hi\0\0" + struct.pack(">I", 258)
    head = b"B\1\0\1" + struct.pack(">III", len(body), 901, len(fields))
    frame = head + fields + bytes(-len(fields) % 8) + body
    reply = await client.exchange(frame, 901, service.unique_name, "Do")
    assert transport.arguments(reply) == [["hi", "258"]]


async def test_nobody_there_is_an_error_by_name(links: Connect) -> None:
    client = await links()
    with pytest.raises(BusError) as caught:
        await client.call("org.nobody", "/", "a.b", "Do")
    assert caught.value.name == "org.freedesktop.DBus.Error.ServiceUnknown"


async def test_a_silent_service_is_an_error_in_time(links: Connect) -> None:
    service, client = await links(), await links()
    service.on_call = lambda call: None
    with pytest.raises(BusError) as caught:
        await client.call(service.unique_name, "/x", "a.b", "Do", timeout_s=0.05)
    assert caught.value.name == "org.freedesktop.DBus.Error.NoReply"
    assert not client._pending


async def test_a_bus_that_accepts_and_says_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "HANDSHAKE_TIMEOUT_S", 0.05)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "bus"))
        listener.listen()
        with pytest.raises(DialError, match=r"/bus: no answer$"):
            await Link.connect(f"unix:path={tmp_path}/bus")


async def test_signals_broadcast_and_unicast(links: Connect, transport: ModuleType) -> None:
    service, one, two = await links(), await links(), await links()
    heard_one, heard_two = await listen(one, "a.b"), await listen(two, "a.b")
    service.signal("/x", "a.b", "All", "s", transport.marshal("s", ["x"]))
    service.signal("/x", "a.b", "Only", "", b"", destination=one.unique_name)
    service.signal("/x", "a.b", "All", "s", transport.marshal("s", ["y"]))
    await until(lambda: len(heard_one) == 3 and len(heard_two) == 2)
    assert [(s.member, *transport.arguments(s)) for s in heard_one] == [("All", "x"), ("Only",), ("All", "y")]
    assert {s.member for s in heard_two} == {"All"}


async def test_20000_signals_in_one_go(links: Connect, transport: ModuleType) -> None:
    service, client = await links(), await links()
    heard = await listen(client, "a.b")
    for number in range(20_000):
        service.signal("/x", "a.b", "Tick", "u", transport.marshal("u", [number]))
    await until(lambda: len(heard) == 20_000, timeout_s=60)
    assert [struct.unpack("<I", signal.body)[0] for signal in heard] == list(range(20_000))
    assert not service.lost.done()
    assert not client.lost.done()


async def test_descriptors_in_and_out(links: Connect, transport: ModuleType) -> None:
    before = open_fds()
    service, client = await links(), await links()
    connected = open_fds()

    def on_call(call: Incoming) -> None:
        (fd,) = call.fds
        assert not os.get_inheritable(fd)
        with os.fdopen(fd, "rb") as received:
            call.fds = ()
            text = received.read()
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.write(writer, text.upper())
        os.close(writer)
        service.reply(call, "h", transport.marshal("h", [0]), [reader])

    service.on_call = on_call
    for text in (b"one", b"two", b"three"):
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.write(writer, text)
        os.close(writer)
        values, fds = await client.call_with_fds(service.unique_name, "/x", "a.b", "Do", "h", [0], [reader])
        assert values == [0]
        assert os.read(fds[0], 100) == text.upper()
        framing.close_all(fds)
    assert open_fds() == connected
    service.close()
    client.close()
    assert open_fds() < before + 2


async def test_unwanted_descriptors_are_closed(links: Connect) -> None:
    service, client = await links(), await links()
    before = open_fds()

    def on_call(call: Incoming) -> None:
        if call.member == "Raise":
            raise ValueError("no")
        call.discard()
        service.reply(call)

    service.on_call = on_call
    name = service.unique_name
    for member, body in (("Raise", b""), ("Oversized", bytes(100_000)), ("Fine", b"")):
        fds = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(3)]
        body = len(body).to_bytes(4, "little") + body
        client.send(HEADERS.method_call(client._serial(), name, "/x", "a.b", member, "ay", body, fds=3), fds)
    # A signal with a descriptor: nobody takes it.
    fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    signal = bytearray(HEADERS.method_call(client._serial(), name, "/x", "a.b", "Sig", "", b"", fds=1))
    signal[1] = framing.SIGNAL
    client.send(bytes(signal), [fd])
    await client.call(name, "/x", "a.b", "Fine")
    assert service.counts.refused == 1
    assert open_fds() == before


async def test_an_oversized_call_is_refused_and_nothing_else(links: Connect, transport: ModuleType) -> None:
    service, client = await links(), await links()
    echo(service, transport)
    with pytest.raises(BusError) as caught:
        await client.call(service.unique_name, "/x", "a.b", "Do", "s", ["x" * 5_000_000])
    assert caught.value.name == LIMITS_EXCEEDED
    assert await client.call(service.unique_name, "/x", "a.b", "Do", "s", ["y"]) == [["y"]]


async def test_a_reply_the_bus_would_not_carry(links: Connect) -> None:
    service, client = await links(), await links()
    service.on_call = lambda call: service.reply(call, "ay", bytes(33 << 20))
    with pytest.raises(BusError) as caught:
        await client.call(service.unique_name, "/x", "a.b", "Do")
    assert caught.value.name == LIMITS_EXCEEDED


async def test_a_large_reply_arrives_whole(links: Connect) -> None:
    service, client = await links(), await links()
    content = os.urandom(6_000_000)
    body = len(content).to_bytes(4, "little") + content
    service.on_call = lambda call: service.reply(call, "ay", body)
    assert await client.call(service.unique_name, "/x", "a.b", "Do") == [content]


async def test_the_end_of_the_bus(links: Connect, bus: BusDaemon, transport: ModuleType) -> None:
    service, client = await links(), await links()
    service.on_call = lambda call: None
    waiting = asyncio.create_task(client.call(service.unique_name, "/x", "a.b", "Do"))
    await until(lambda: service.counts.calls == 1)
    before = open_fds()
    bus.kill()
    for link in (service, client):
        with pytest.raises(LinkLost):
            await asyncio.wait_for(asyncio.shield(link.lost), TIMEOUT_S)
    with pytest.raises(BusError) as caught:
        await waiting
    assert caught.value.name == "org.freedesktop.DBus.Error.Disconnected"
    service.signal("/x", "a.b", "Sig", "", b"")
    service.send(b"x", [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)])
    with pytest.raises(BusError):
        await service.call(BUS_NAME, BUS_PATH, BUS_NAME, "GetId")
    assert open_fds() == before - 2  # both sockets, and nothing new


async def test_close_sends_what_was_queued(links: Connect) -> None:
    service, client = await links(), await links()
    heard = await listen(client, "a.b")
    service.signal("/x", "a.b", "Bye", "", b"")
    service.close()
    await until(lambda: len(heard) == 1)
    assert service.lost.done()
    assert service.lost.exception() is None


async def test_a_stopped_bus_makes_congestion_not_memory(
    links: Connect, bus: BusDaemon, transport: ModuleType
) -> None:
    service, client = (
        await links(LinkLimits(high_water_bytes=400_000, low_water_bytes=100_000)),
        await links(),
    )
    heard = await listen(client, "a.b")
    drained: list[int] = []
    service.on_drained = lambda: drained.append(service.queued_bytes)
    body = transport.marshal("s", ["x" * 1000])
    bus.pause()
    sent = 0
    while not service.congested:
        service.signal("/x", "a.b", "Tick", "s", body)
        sent += 1
        if sent % 100 == 0:
            await asyncio.sleep(0)
    assert 400_000 < service.queued_bytes < 500_000
    assert not drained
    bus.resume()
    await until(lambda: len(heard) == sent)
    assert len(drained) == 1
    assert drained[0] < 100_000
    assert not service.congested
    assert await service.drain(TIMEOUT_S)
    assert service.queued_bytes == 0


async def test_drain_gives_up_in_time(links: Connect, bus: BusDaemon, transport: ModuleType) -> None:
    service = await links()
    bus.pause()
    for _ in range(1000):
        service.signal("/x", "a.b", "Tick", "s", transport.marshal("s", ["x" * 1000]))
    assert not await service.drain(0.05)
    bus.resume()
    assert await service.drain(TIMEOUT_S)


async def test_addresses(bus: BusDaemon, tmp_path: Path) -> None:
    path = bus.address.removeprefix("unix:path=").split(",")[0].replace("/", "%2f")
    link = await Link.connect(f"unixexec:path=x;unix:path={tmp_path}/none;unix:path={path},guid=00")
    link.close()
    with pytest.raises(DialError, match=r"unixexec:path=x: not an address we can use.*none: .*No such file"):
        await Link.connect(f"unixexec:path=x;unix:path={tmp_path}/none")
    with pytest.raises(DialError, match="the address is empty"):
        await Link.connect("")


async def test_the_system_buss_policy_holds(system_bus: BusDaemon, transport: ModuleType) -> None:
    service, client = await Link.connect(system_bus.address), await Link.connect(system_bus.address)
    echo(service, transport)
    with pytest.raises(BusError) as caught:
        await client.call(service.unique_name, "/x", "a.b", "Do")
    assert caught.value.name == "org.freedesktop.DBus.Error.AccessDenied"
    service.close()
    client.close()


@pytest.mark.parametrize(
    "address",
    [
        "tcp:host=127.0.0.1,port=99999",
        "tcp:host=a..b,port=1",
        "tcp:host=%ff,port=1",
        f"tcp:host={'a' * 70},port=1",
    ],
)
async def test_a_host_or_port_that_cannot_be_is_no_bus(address: str) -> None:
    with pytest.raises(DialError, match="cannot reach the bus: "):
        await dial.dial(address)
