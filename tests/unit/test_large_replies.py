"""Large replies: their order, their bounds, and that each equals what the signals before it said.

The link is a stand-in that keeps the stream: what stands where in it is what matters here.
"""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.test_publisher import Mirror
from virtbridge.bus import large_replies, marshalling, rows
from virtbridge.bus.large_replies import LargeReplies, Made, limits_of
from virtbridge.bus.published_object import PublishedObject
from virtbridge.bus.publisher import Publisher
from virtbridge.bus.rows import Rows
from virtbridge.bus.virtbridge1 import virtbridge1
from virtbridge.cache.cache import Cache
from virtbridge.errors import BridgeError
from virtbridge.limiter import Portions
from virtbridge.metrics import Metrics
from virtbridge.model.changes import Change, Drop, Patch, Put
from virtbridge.model.keys import Key, Kind, connection_key
from virtbridge.model.records import ConnectionRecord, DomainRecord
from virtbridge.wire.backlog import BacklogLimits
from virtbridge.wire.framing import LITTLE, METHOD_CALL, Incoming
from virtbridge.wire.transport import marshal, plain, unmarshal

API = virtbridge1()
INTERFACE_PROPERTIES = API.interface_properties()
MANAGED = "a{oa{sa{sv}}}"


def call(sender: str = ":1.1", serial: int = 1) -> Incoming:
    return Incoming(METHOD_CALL, 0, serial, "/", "a.b", "Do", sender, "", "", "", 0, b"", LITTLE)


class Link:
    """The stream, and the bus, which is through with what it was sent when `bus` is set."""

    def __init__(self) -> None:
        self.stream: list[tuple[str, Any]] = []
        self.errors: list[tuple[Incoming, str]] = []
        self.congested = False
        self.counts = SimpleNamespace(calls=0)
        self.bus = asyncio.Event()
        self.asked = 0
        self.on_drained: Any = None

    def reply_in_parts(self, incoming: Incoming, _signature: str, parts: Any) -> None:
        self.stream.append(("reply", (incoming.sender, incoming.serial, b"".join(parts))))

    def signal(self, path: str, _interface: str, member: str, signature: str, body: bytes) -> None:
        self.stream.append(("signal", (path, member, plain(unmarshal(signature, body)))))

    async def call(self, *_call: Any, timeout_s: float | None) -> list[Any]:
        self.asked += 1
        await self.bus.wait()
        return []

    def gather(self) -> None:
        pass

    def flush(self) -> None:
        pass

    def fail(self, incoming: Incoming, error: Exception) -> None:
        self.errors.append((incoming, str(error)))

    @property
    def replies(self) -> list[tuple[str, int, bytes]]:
        return [value for what, value in self.stream if what == "reply"]


class Bench:
    def __init__(self, calls_per_client: int = 1000, portions: Portions = Portions()) -> None:  # noqa: B008
        self.link = Link()
        link: Any = self.link
        calls = BacklogLimits(portions.of(65536, calls_per_client))
        self.large = LargeReplies(link, self.link.fail, limits_of(calls, portions))

    def send(self, sender: str, serial: int, body: bytes = b"x", user: int = 0) -> None:
        self.link.counts.calls += 1
        self.large.send(replace(call(sender, serial), user=user), "s", Made(body))

    async def settled(self) -> None:
        while len(self.large):  # noqa: ASYNC110 (each turn sends one)
            await asyncio.sleep(0)

    def order(self) -> list[tuple[str, int]]:
        return [(sender, serial) for sender, serial, _ in self.link.replies]


async def turns(count: int = 8) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_the_next_one_leaves_when_the_bus_is_through_with_the_last() -> None:
    bench = Bench()
    for serial in range(3):
        bench.send(":1.1", serial)
    await turns()
    assert bench.order() == [(":1.1", 0)]
    assert (bench.link.asked, len(bench.large)) == (1, 2)
    bench.link.bus.set()
    await bench.settled()
    assert bench.order() == [(":1.1", 0), (":1.1", 1), (":1.1", 2)]


async def test_callers_take_turns() -> None:
    bench = Bench()
    for serial in range(3):
        bench.send(":1.1", serial)
    for serial in range(2):
        bench.send(":1.2", serial)
    bench.link.bus.set()
    await bench.settled()
    assert bench.order() == [(":1.1", 0), (":1.1", 1), (":1.2", 0), (":1.1", 2), (":1.2", 1)]


async def test_the_bus_is_left_to_others_only_where_others_have_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(large_replies, "_pause_s", lambda took_s: pauses.append(took_s) or 0.0)
    bench = Bench()
    bench.link.bus.set()
    for serial in range(3):
        bench.send(":1.1", serial)
    await bench.settled()
    await turns()
    assert pauses == []
    bench.send(":1.1", 3)
    bench.link.counts.calls += 1
    await turns()
    assert len(pauses) == 1


def test_a_pause_is_a_part_of_what_the_bus_took() -> None:
    assert large_replies._pause_s(0.001) == 0.001
    assert large_replies._pause_s(0.006) == 0.004
    assert large_replies._pause_s(0.02) == 0.01
    assert large_replies._pause_s(10) == 0.05


async def test_too_many_and_too_large_ones_are_refused() -> None:
    bench = Bench(calls_per_client=2)
    for serial in range(3):  # the first one has left
        bench.send(":1.1", serial)
    with pytest.raises(BridgeError, match="the limit of one client, 2 large replies that wait"):
        bench.send(":1.1", 3)
    bench.send(":1.2", 0, bytes(20 << 20))
    with pytest.raises(BridgeError, match="the limit of one client, 33554432 bytes of large replies"):
        bench.send(":1.2", 1, bytes(20 << 20))
    await bench.large.stop()


async def test_one_user_does_not_take_the_memory_of_all_with_many_connections() -> None:
    bench = Bench(portions=Portions(user_percent=25, root_percent=10))
    bench.send(":1.0", 0, user=1000)  # it leaves at once, and all others wait
    bench.send(":1.1", 1, bytes(20 << 20), user=1000)
    with pytest.raises(BridgeError, match="the limit of one user, 33554432 bytes"):
        bench.send(":1.2", 2, bytes(20 << 20), user=1000)
    bench.send(":1.3", 3, bytes(20 << 20), user=1001)
    bench.large.forget(":1.1")  # what a client that left would have got is given back
    bench.send(":1.2", 4, bytes(20 << 20), user=1000)
    await bench.large.stop()
    assert [failed.serial for failed, _ in bench.link.errors] == [3, 4]


async def test_a_reply_above_the_limit_waits_where_nothing_else_of_its_user_does() -> None:
    bench = Bench(portions=Portions(user_percent=25, root_percent=10))
    bench.send(":1.0", 0, user=1000)
    bench.send(":1.1", 1, bytes(40 << 20), user=1000)
    with pytest.raises(BridgeError, match="the limit of one user"):
        bench.send(":1.2", 2, user=1000)
    await bench.large.stop()


async def test_one_that_cannot_be_made_is_answered_and_the_next_one_leaves() -> None:
    def broken() -> Iterator[PublishedObject]:
        raise ValueError("broken")

    bench = Bench()
    bench.large.send(call(serial=1), "s", Rows(broken, PublishedObject.object_entry, len))
    bench.send(":1.1", 2)
    bench.link.bus.set()
    await bench.settled()
    assert [(failed.serial, text) for failed, text in bench.link.errors] == [(1, "broken")]
    assert bench.order() == [(":1.1", 2)]


async def test_who_left_gets_none_and_at_the_end_all_get_an_error() -> None:
    bench = Bench()
    for serial in range(3):
        bench.send(":1.1", serial)
        bench.send(":1.2", serial)
    bench.large.forget(":1.1")
    await bench.large.stop()
    assert bench.order() == [(":1.1", 0)]
    assert [(each.sender, each.serial) for each, _ in bench.link.errors] == [(":1.2", n) for n in range(3)]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_while_the_socket_is_full_none_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_replies, "_CONGESTED_S", 0)
    bench = Bench()
    bench.link.congested = True
    bench.send(":1.1", 0)
    await turns()
    assert bench.order() == []
    bench.link.congested = False
    await turns()
    assert bench.order() == [(":1.1", 0)]
    await bench.large.stop()


# -- what they hold ---


@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_paths_are_what_the_library_makes_of_them(count: int) -> None:
    objects: Any = [SimpleNamespace(path=f"/x/{'y' * (n % 5)}{n}") for n in range(count)]
    found = rows.paths(lambda: objects)
    expected = marshal("ao", [sorted(known.path for known in objects)])
    assert b"".join(found.parts()) == expected
    assert found.at_once() == (expected if count <= 32 else None)


def _key(number: int) -> Key:
    return Key("lab", Kind.DOMAIN, f"00000000-0000-0000-0000-{number:012}")


def _record(number: int, **fields: Any) -> DomainRecord:
    return DomainRecord(_key(number).id, "x" * (number % 9) + str(number), **fields)


async def test_one_step_makes_a_bounded_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    def row(number: int) -> bytes:
        nonlocal made
        made += 1
        return bytes(8)

    found = Rows(lambda: range(5000), row, lambda _: 0)
    steps = []
    while not found.prepare(0):
        steps.append(made)
        made = 0
    assert max(steps) <= 16
    assert made == 0
    assert len(b"".join(found.parts())) == 8 + 5000 * 8
    assert made <= 256


@pytest.mark.parametrize("seed", range(3))
async def test_each_reply_is_what_the_signals_before_it_told(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand objects that change, come and go while replies are made, 16 rows in a turn."""
    monkeypatch.setattr(large_replies, "_STEP_S", 0)
    rng = random.Random(seed)
    bench, cache = Bench(), Cache()
    link: Any = bench.link
    publisher = Publisher(link, cache, API, INTERFACE_PROPERTIES, Metrics(), "1")
    link.bus.set()
    cache.apply([Put(connection_key("lab"), ConnectionRecord("lab", "test:///default"))])
    cache.apply([Put(_key(n), _record(n)) for n in range(1000)])
    await publisher.until_announced()
    changed_while_made = 0
    kept_or_made = rows.Kept, partial(rows.entries, row=PublishedObject.object_entry)
    for serial in range(5):
        bench.large.send(call(serial=serial), MANAGED, kept_or_made[serial % 2](publisher.managed))
        while len(bench.large):
            cache.apply(_some_changes(rng, cache))
            changed_while_made += 1
            await asyncio.sleep(0)
    assert changed_while_made > 100
    mirror, compared = Mirror(), 0
    for what, value in bench.link.stream:
        if what == "signal":
            mirror.apply([value])
        else:
            [objects] = plain(unmarshal(MANAGED, value[2]))
            assert objects == mirror.objects
            compared += 1
    assert compared == 5
    await bench.large.stop()


def _some_changes(rng: random.Random, cache: Cache) -> list[Change]:
    changes: list[Change] = []
    for _ in range(rng.randrange(4)):
        number = rng.randrange(1100)
        known = cache.get(_key(number))
        if known is None:
            changes.append(Put(_key(number), _record(number)))
        elif rng.random() < 0.3:
            changes.append(Drop(_key(number)))
        else:
            changes.append(Patch(_key(number), {"state": rng.choice(("running", "paused", "shutoff"))}))
    return changes


def test_an_entry_that_is_kept_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_JOINED_BYTES", 0)
    known = PublishedObject(_key(1), "/x", INTERFACE_PROPERTIES["org.virtbridge1.Domain"], _record(1))
    parts = rows.Kept(lambda: [known]).parts()
    assert any(part is known.object_entry() for part in parts)
    assert b"".join(parts) == marshalling.array_body([known.object_entry()])
