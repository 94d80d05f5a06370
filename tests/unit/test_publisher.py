"""The publisher: what a client that applies the signals knows is exactly what is published, whatever happens.

The link is a stand-in here, as a full outgoing queue cannot be had at will on a real bus.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from virtbridge.bus import marshalling, publisher
from virtbridge.bus.paths import ROOT, path_of
from virtbridge.bus.publisher import Publisher
from virtbridge.bus.virtbridge1 import virtbridge1
from virtbridge.cache.cache import Cache
from virtbridge.metrics import Metrics
from virtbridge.model.changes import Change, Drop, Forget, Listing, Patch, Put, Signal
from virtbridge.model.keys import Key, Kind, connection_key
from virtbridge.model.records import ConnectionRecord, DomainRecord
from virtbridge.wire.transport import plain, unmarshal

API = virtbridge1()
INTERFACE_PROPERTIES = API.interface_properties()
UUIDS = [f"00000000-0000-0000-0000-00000000000{digit}" for digit in range(3)]
DOMAIN = "org.virtbridge1.Domain"


class Link:
    """Keeps what would be sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, list[Any]]] = []
        self.congested = False
        self.flushed = False
        self.on_drained: Callable[[], None] | None = None

    def signal(self, path: str, _interface: str, member: str, signature: str, body: bytes) -> None:
        self.sent.append((path, member, plain(unmarshal(signature, body))))

    def gather(self) -> None:
        self.flushed = False

    def flush(self) -> None:
        self.flushed = True

    def drain(self) -> None:
        self.congested = False
        assert self.on_drained is not None
        self.on_drained()

    def taken(self) -> list[tuple[str, str, list[Any]]]:
        sent, self.sent = self.sent, []
        return sent


class Bench:
    """A cache, a publisher and a link; must be made inside a loop."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.link = Link()
        self.metrics = Metrics()
        link: Any = self.link
        self.publisher = Publisher(link, self.cache, API, INTERFACE_PROPERTIES, self.metrics, "1")

    async def turns(self, count: int = 4) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    def managed(self) -> dict[str, Any]:
        entries = [known.object_entry() for known in self.publisher.managed()]
        [objects] = plain(unmarshal("a{oa{sa{sv}}}", marshalling.array_body(entries)))
        return dict(objects)


class Mirror:
    """A client that knows only what the signals said."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}

    def apply(self, sent: list[tuple[str, str, list[Any]]]) -> None:
        for path, member, body in sent:
            if member == "InterfacesAdded":
                assert body[0] not in self.objects
                self.objects[body[0]] = body[1]
            elif member == "InterfacesRemoved":
                del self.objects[body[0]]
            elif member == "PropertiesChanged" and path != ROOT:
                known = self.objects[path][body[0]]
                assert all(known[name] != value for name, value in body[1].items()), "told what was known"
                known.update(body[1])
            elif path != ROOT:
                assert path in self.objects, "an event of an object that nobody knows"


def key(uuid: str = UUIDS[0]) -> Key:
    return Key("lab", Kind.DOMAIN, uuid)


def domain(uuid: str = UUIDS[0], **fields: Any) -> DomainRecord:
    return DomainRecord(uuid, fields.pop("name", "a"), **fields)


def lifecycle(event: str, uuid: str = UUIDS[0]) -> Signal:
    return Signal(key(uuid), "Lifecycle", (event, "x"))


async def test_changes_of_one_turn_are_one_signal_and_come_before_the_events() -> None:
    bench = Bench()
    bench.cache.apply([Put(key(), domain())])
    await bench.turns()
    bench.link.taken()
    bench.cache.apply([Patch(key(), {"state": "running"}), lifecycle("started"), Patch(key(), {"id": 3})])
    bench.cache.apply([Patch(key(), {"state": "paused"}), lifecycle("suspended")])
    await bench.turns()
    path = path_of(key())
    assert bench.link.taken() == [
        (path, "PropertiesChanged", [DOMAIN, {"Id": 3, "State": "paused", "Active": True}, []]),
        (path, "Lifecycle", ["started", "x"]),
        (path, "Lifecycle", ["suspended", "x"]),
    ]


async def test_the_last_event_comes_before_the_removal() -> None:
    bench = Bench()
    bench.cache.apply([Put(key(), domain())])
    await bench.turns()
    bench.link.taken()
    bench.cache.apply([lifecycle("undefined"), Drop(key())])
    await bench.turns()
    assert [member for _, member, _ in bench.link.taken()] == ["Lifecycle", "InterfacesRemoved"]


async def test_what_comes_and_goes_in_one_turn_and_what_ends_as_it_was_is_not_told() -> None:
    bench = Bench()
    bench.cache.apply([Put(key(), domain()), lifecycle("defined"), Drop(key())])
    await bench.turns()
    assert bench.link.taken() == []
    bench.cache.apply([Put(key(), domain())])
    await bench.turns()
    bench.link.taken()
    bench.cache.apply([Patch(key(), {"state": "paused"}), Patch(key(), {"state": "nostate"})])
    bench.cache.apply([Drop(key()), Put(key(), domain())])
    await bench.turns()
    assert bench.link.taken() == []


async def test_a_full_queue_holds_states_back_merged_and_loses_no_event() -> None:
    bench = Bench()
    bench.cache.apply([Put(key(), domain())])
    await bench.turns()
    bench.link.taken()
    bench.link.congested = True
    for number in range(500):
        bench.cache.apply([Patch(key(), {"id": number}), lifecycle("started")])
        await bench.turns(1)
    assert bench.link.taken() == []
    bench.link.drain()
    await bench.turns()
    members = [member for _, member, _ in bench.link.taken()]
    assert (members.count("PropertiesChanged"), members.count("Lifecycle")) == (1, 500)


async def test_events_that_nobody_takes_are_bounded_and_counted(monkeypatch: Any) -> None:
    monkeypatch.setattr(publisher, "_MAX_WAITING", 10)
    bench = Bench()
    bench.cache.apply([Put(key(), domain())])
    await bench.turns()
    bench.link.taken()
    bench.link.congested = True
    bench.cache.apply([Signal(key(), "Lifecycle", (str(number), "x")) for number in range(25)])
    bench.link.drain()
    await bench.turns()
    assert [body[0] for _, _, body in bench.link.taken()] == [str(number) for number in range(15, 25)]
    assert bench.metrics.snapshot()["bus.signals.dropped"] == 15


async def test_what_comes_in_a_batch_goes_out_at_its_end() -> None:
    bench = Bench()
    bench.cache.apply([Put(key(), domain())])
    await bench.turns()
    bench.link.taken()
    with bench.cache.batch:
        for state in ("running", "paused"):
            bench.cache.apply([Patch(key(), {"state": state}), lifecycle(state)])
        assert bench.link.taken() == []
    assert [member for _, member, _ in bench.link.taken()] == ["PropertiesChanged", "Lifecycle", "Lifecycle"]
    assert bench.link.flushed
    await bench.turns()
    assert bench.link.taken() == []


async def test_many_removals_take_bounded_turns_and_do_not_wait_for_ever(monkeypatch: Any) -> None:
    """A turn that is over before all of them were looked at must not begin with them anew."""
    uuids = [f"00000000-0000-0000-0000-{number:012}" for number in range(500)]
    bench = Bench()
    bench.cache.apply([Put(key(uuid), domain(uuid)) for uuid in uuids])
    await bench.turns(50)
    bench.link.taken()
    now = itertools.count(step=publisher._TURN_S / 20)  # each look at the clock is a twentieth of a turn
    monkeypatch.setattr(publisher, "monotonic", lambda: next(now))
    bench.cache.apply([lifecycle("stopped", uuids[0]), Listing("lab", Kind.DOMAIN, frozenset())])
    most, members = 0, []
    for _ in range(200):
        await bench.turns(1)
        sent = [member for _, member, _ in bench.link.taken()]
        most, members = max(most, len(sent)), members + sent
    assert members == ["Lifecycle"] + ["InterfacesRemoved"] * 500
    assert most < 50
    assert bench.managed() == {}


async def test_a_value_that_cannot_travel_holds_nothing_back(caplog: Any) -> None:
    bench = Bench()
    bench.cache.apply([Put(key(), domain())])
    await bench.turns()
    bench.link.taken()
    bench.cache.apply([Signal(key(), "Event", ("odd", {"value": b""})), lifecycle("started")])
    await bench.turns()
    assert [member for _, member, _ in bench.link.taken()] == ["Lifecycle"]
    assert "publishing failed" in caplog.text


async def test_the_root_names_its_connections() -> None:
    bench = Bench()
    bench.cache.apply([Put(connection_key(name), ConnectionRecord(name, "test:///default")) for name in "ba"])
    await bench.turns()
    changed = [
        body[1]["Connections"]
        for path, member, body in bench.link.taken()
        if path == ROOT and "Prop" in member
    ]
    assert changed[-1] == [f"{ROOT}/a", f"{ROOT}/b"]
    bench.cache.apply([Forget("a")])
    await bench.turns()
    last = bench.link.taken()[-1]
    assert last == (
        ROOT,
        "PropertiesChanged",
        ["org.virtbridge1.Manager", {"Connections": [f"{ROOT}/b"]}, []],
    )


records = st.builds(domain, st.sampled_from(UUIDS), name=st.sampled_from("ab"), id=st.integers(-1, 1))
changes = st.one_of(
    records.map(lambda record: Put(key(record.uuid), record)),
    st.sampled_from(UUIDS).map(lambda uuid: Drop(key(uuid))),
    st.builds(
        lambda uuid, number: Patch(key(uuid), {"id": number}), st.sampled_from(UUIDS), st.integers(-1, 1)
    ),
    st.frozensets(st.sampled_from(UUIDS)).map(lambda ids: Listing("lab", Kind.DOMAIN, ids)),
    st.sampled_from(UUIDS).map(lambda uuid: lifecycle("started", uuid)),
    st.just(Put(connection_key("lab"), ConnectionRecord("lab", "test:///default"))),
    st.just(Forget("lab")),
)
steps = st.one_of(changes, st.sampled_from(["turn", "full", "drained"]))


@given(st.lists(steps, max_size=40))
def test_a_client_mirror_never_drifts(script: list[Change | str]) -> None:
    async def play() -> None:
        bench, mirror = Bench(), Mirror()
        for step in script:
            match step:
                case "turn":
                    await bench.turns(1)
                case "full":
                    bench.link.congested = True
                case "drained":
                    bench.link.drain()
                case _:
                    bench.cache.apply([step])
            mirror.apply(bench.link.taken())
            # Whoever asks now gets exactly what the signals before the reply have said.
            assert mirror.objects == bench.managed()
        bench.link.drain()
        await bench.turns()
        mirror.apply(bench.link.taken())
        cached = {path_of(each) for kind in Kind for each in bench.cache.keys(kind)}
        assert mirror.objects.keys() == cached
        for each, record in bench.cache.records(Kind.DOMAIN):
            known = mirror.objects[path_of(each)][DOMAIN]
            assert isinstance(record, DomainRecord)
            assert (known["Id"], known["Name"]) == (record.id, record.name)

    asyncio.run(play())


async def test_caught_up_waits_for_removals_too() -> None:
    bench = Bench()
    key = connection_key("c")
    bench.cache.apply([Put(key, ConnectionRecord("c", "u"))])
    await bench.turns()
    bench.link.taken()
    bench.link.congested = True
    bench.cache.apply([Drop(key)])
    bench.publisher._changed.clear()
    bench.publisher._removed[key] = None  # as when there are more of them than fit into a turn
    waiting = asyncio.create_task(bench.publisher.until_announced())
    await bench.turns()
    assert not waiting.done()
    bench.link.drain()
    await asyncio.wait_for(waiting, 1)
    assert "InterfacesRemoved" in [member for _, member, _ in bench.link.taken()]
