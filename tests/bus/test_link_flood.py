"""A flood from one client through a real bus: the loop turns, others are answered, the cap holds."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.support.dbus_daemon import BusDaemon
from tests.support.until import until
from virtbridge.limiter import Portions
from virtbridge.wire import bodies, framing, headers
from virtbridge.wire.backlog import BacklogLimits
from virtbridge.wire.framing import Incoming
from virtbridge.wire.inbound import InboundLimits
from virtbridge.wire.link import BusError, Link, LinkLimits
from virtbridge.wire.match_rules import MatchRule
from virtbridge.wire.names import BUS_NAME

FLOOD = 20_000
HEADERS = headers.Headers()
TIMEOUT_S = 60.0


def inbound_limits(turn_calls: int, calls_per_client: int) -> InboundLimits:
    backlog = BacklogLimits(Portions().of(1_000_000, calls_per_client), Portions().of(1 << 30))
    return InboundLimits(turn_calls=turn_calls, backlog=backlog)


class Service:
    """Answers every call; remembers who was served, in order, and how many in each turn of the loop."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.served: list[str] = []
        self.turns: list[int] = []
        link.on_call = self._on_call
        self._ticker = asyncio.get_running_loop().call_soon(self._tick)

    def _on_call(self, call: Incoming) -> None:
        self.served.append(call.sender)
        self.link.reply(call)

    def _tick(self) -> None:
        self.turns.append(len(self.served))
        self._ticker = asyncio.get_running_loop().call_soon(self._tick)

    def most_in_a_turn(self) -> int:
        return max(
            (after - before for before, after in zip(self.turns, self.turns[1:], strict=False)), default=0
        )

    def stop(self) -> None:
        self._ticker.cancel()
        self.link.close()


@pytest.fixture
async def service(bus: BusDaemon) -> AsyncIterator[Service]:
    limits = LinkLimits(inbound=inbound_limits(200, FLOOD))
    running = Service(await Link.connect(bus.address, limits))
    yield running
    running.stop()


async def flood(bus: BusDaemon, name: str, calls: int = FLOOD) -> tuple[Link, "asyncio.Future[Counter[int]]"]:
    """All calls in one write (as far as the socket takes it); the future gets what kinds of answers came."""
    link = await Link.connect(bus.address)
    answers: Counter[int] = Counter()
    done: asyncio.Future[Counter[int]] = asyncio.get_running_loop().create_future()

    def on_reply(reply: Incoming) -> None:
        answers[reply.kind] += 1
        if answers.total() == calls:
            done.set_result(answers)

    link._on_reply = on_reply  # type: ignore[method-assign]
    link.send(b"".join(HEADERS.method_call(1000 + n, name, "/x", "a.b", "Do", "", b"") for n in range(calls)))
    return link, done


async def test_another_client_is_answered_in_the_middle_of_a_flood(bus: BusDaemon, service: Service) -> None:
    other = await Link.connect(bus.address)
    flooder, done = await flood(bus, service.link.unique_name)
    await until(lambda: service.served)
    gaps = []
    for _ in range(5):
        before = len(service.served)
        await other.call(service.link.unique_name, "/x", "a.b", "Do")
        gaps.append(len(service.served) - before)
    assert not done.done()
    assert len(service.served) < FLOOD
    answers = await asyncio.wait_for(done, TIMEOUT_S)
    assert answers == {framing.METHOD_RETURN: FLOOD}
    assert service.most_in_a_turn() <= 400  # one turn's reading and one turn of the queue
    for link in (flooder, other):
        link.close()


async def test_above_the_cap_calls_are_refused_by_name(bus: BusDaemon) -> None:
    limits = LinkLimits(inbound=inbound_limits(1, 50))
    service = Service(await Link.connect(bus.address, limits))
    other = await Link.connect(bus.address)
    flooder, done = await flood(bus, service.link.unique_name, 5000)
    await other.call(service.link.unique_name, "/x", "a.b", "Do")
    answers = await asyncio.wait_for(done, TIMEOUT_S)
    assert answers[framing.ERROR] > 0
    assert answers[framing.METHOD_RETURN] >= 50
    assert service.link.counts.refused == answers[framing.ERROR]
    for link in (flooder, other):
        link.close()
    service.stop()


async def test_calls_of_a_client_that_left_are_not_handled_after_the_news(bus: BusDaemon) -> None:
    limits = LinkLimits(inbound=inbound_limits(1, FLOOD))
    service = Service(await Link.connect(bus.address, limits))
    gone_at: list[int] = []

    def on_signal(signal: Incoming) -> None:
        if (bodies.read_simple("sss", signal.body) or [""])[0] == name:
            gone_at.append(service.served.count(name))

    await service.link.subscribe(MatchRule(sender=BUS_NAME, member="NameOwnerChanged"), on_signal)
    flooder, _ = await flood(bus, service.link.unique_name, 2000)
    name = flooder.unique_name
    await until(lambda: service.served)
    await flooder.drain(TIMEOUT_S)
    flooder.close()
    await until(lambda: gone_at, TIMEOUT_S)
    other = await Link.connect(bus.address)
    await other.call(service.link.unique_name, "/x", "a.b", "Do")
    assert service.served.count(name) == gone_at[0] < 2000
    with pytest.raises(BusError):
        await other.call(name, "/x", "a.b", "Do")
    other.close()
    service.stop()
