"""The cache: changes in, changed keys out, and indexes that never drift from the records."""

import asyncio
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from virtbridge.cache import queries
from virtbridge.cache.cache import REMOVED_AT_ONCE, Cache
from virtbridge.cache.indexes import _TERMS
from virtbridge.model.changes import Change, Drop, Forget, Listing, Patch, Put, Signal
from virtbridge.model.domain import Disk, DomainDefinition, Interface
from virtbridge.model.keys import Key, Kind, connection_key
from virtbridge.model.network import NetworkDefinition
from virtbridge.model.records import (
    ConnectionRecord,
    DomainRecord,
    NetworkRecord,
    PoolRecord,
    Record,
    SnapshotRecord,
    VolumeRecord,
)
from virtbridge.model.snapshots import SnapshotDefinition
from virtbridge.model.volumes import VolumeDefinition

UUIDS = [f"00000000-0000-0000-0000-00000000000{digit}" for digit in range(4)]


class Notes:
    """A listener that keeps what it hears, and what the cache held at that moment."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.heard: list[tuple[str, object, Record | None]] = []
        cache.listen(changed=self._changed, happened=self._happened)

    def _changed(self, key: Key) -> None:
        self.heard.append(("changed", key, self.cache.get(key)))

    def _happened(self, signal: Signal) -> None:
        self.heard.append(("happened", signal, None))


def test_who_asks_for_some_kinds_hears_of_no_others_and_of_ends_apart() -> None:
    cache = Cache()
    heard: list[tuple[str, object]] = []
    cache.listen([Kind.DOMAIN], dropped=lambda key: heard.append(("dropped", key)))
    cache.listen([Kind.NETWORK], changed=lambda key: heard.append(("changed", key)))
    network = Key("lab", Kind.NETWORK, UUIDS[0])
    cache.apply([Put(key(), domain()), Put(network, NetworkRecord(UUIDS[0], "n"))])
    assert heard == [("changed", network)]
    cache.apply([Drop(key()), Drop(key())])
    assert heard == [("changed", network), ("dropped", key())]


def domain(uuid: str = UUIDS[0], name: str = "a", **fields: object) -> DomainRecord:
    return replace(DomainRecord(uuid, name), **fields)


def key(uuid: str = UUIDS[0], connection: str = "lab") -> Key:
    return Key(connection, Kind.DOMAIN, uuid)


def test_who_hears_of_a_change_finds_at_least_that() -> None:
    cache = Cache()
    notes = Notes(cache)
    signal = Signal(key(), "Lifecycle", ("started", "booted"))
    cache.apply([Put(key(), domain()), Patch(key(), {"state": "running", "id": 1}), signal])
    running = domain(state="running", id=1)
    assert notes.heard == [
        ("changed", key(), domain()),
        ("changed", key(), running),
        ("happened", signal, None),
    ]


def test_what_is_equal_touches_nobody() -> None:
    cache = Cache()
    cache.apply([Put(key(), domain())])
    notes = Notes(cache)
    cache.apply([Put(key(), domain()), Patch(key(), {"name": "a"}), Listing("lab", Kind.DOMAIN, {UUIDS[0]})])
    assert notes.heard == []


def test_a_patch_for_an_unknown_object_is_ignored() -> None:
    cache = Cache()
    notes = Notes(cache)
    cache.apply([Patch(key(), {"state": "running"}), Drop(key())])
    assert notes.heard == []
    assert len(cache) == 0


def test_a_listing_takes_away_what_is_not_in_it_on_its_connection_only() -> None:
    cache = Cache()
    cache.apply(
        [
            Put(key(), domain()),
            Put(key(UUIDS[1]), domain(UUIDS[1], "b")),
            Put(key(connection="far"), domain()),
        ]
    )
    cache.apply([Listing("lab", Kind.DOMAIN, {UUIDS[1], UUIDS[2]})])
    assert cache.get(key()) is None
    assert cache.get(key(UUIDS[1])) == domain(UUIDS[1], "b")
    assert cache.get(key(connection="far")) == domain()
    assert len(cache) == 2


def test_forgetting_a_connection_takes_its_objects_before_itself() -> None:
    cache = Cache()
    lab = connection_key("lab")
    cache.apply([Put(lab, ConnectionRecord("lab", "test:///default")), Put(key(), domain())])
    notes = Notes(cache)
    cache.apply([Forget("lab")])
    assert notes.heard == [("changed", key(), None), ("changed", lab, None)]
    assert (len(cache), cache.connections()) == (0, [])


def test_domains_are_found_by_name_uuid_and_id() -> None:
    cache = Cache()
    cache.apply([Put(key(), domain(name="7", id=-1)), Put(key(UUIDS[1]), domain(UUIDS[1], "b", id=7))])
    assert queries.find_domains(cache, "7") == {key(), key(UUIDS[1])}
    assert queries.find_domains(cache, UUIDS[1].replace("-", "").upper()) == {key(UUIDS[1])}
    assert queries.find_domains(cache, "-1") == set()
    assert queries.find_domains(cache, "07") == set()
    assert queries.find_domains(cache, "nobody") == set()
    cache.apply([Patch(key(UUIDS[1]), {"id": -1})])
    assert queries.find_domains(cache, "7") == {key()}


def test_disk_users_by_every_spelling_and_down_the_chain() -> None:
    top = Disk(type="file", target="vda", source="/images/top.qcow2", backing=("/images/base.qcow2",))
    shared = Disk(type="file", target="vdb", source="/images/shared.raw", shareable=True)
    cdrom = Disk(type="file", target="sda", source="/images/base.qcow2", read_only=True)
    volume = Disk(type="volume", target="vdc", pool="default", volume="disk one")
    remote = Disk(type="network", target="vdd", protocol="rbd", source="pool/image", hosts=("mon:6789",))
    cache = Cache()
    cache.apply([Put(key(), domain(definition=DomainDefinition(disks=(top, shared, cdrom, volume, remote))))])

    def users(source: str) -> list[tuple[str, str]]:
        return [(target, how) for _, target, how in queries.find_disk_users(cache, source)]

    assert users("//images/../images/./top.qcow2") == [("vda", "rw")]
    assert users("/images/base.qcow2") == [("vda", "ro"), ("sda", "ro")]
    assert users("/images/shared.raw") == [("vdb", "shared")]
    assert users("default/disk one") == [("vdc", "rw")]
    assert users("rbd:pool/image") == [("vdd", "rw")]
    assert users("rbd://MON:6789/pool/image") == [("vdd", "rw")]
    assert users("rbd://other:6789/pool/image") == []
    assert users("/images") == []


def test_mac_users_are_interfaces_and_networks() -> None:
    mac = "52:54:00:00:00:01"
    cache = Cache()
    bridge = Key("lab", Kind.NETWORK, UUIDS[2])
    network = NetworkRecord(UUIDS[2], "default", definition=NetworkDefinition(bridge="virbr0", mac=mac))
    interfaces = (Interface(mac=mac, target="vnet0"), Interface(mac="52:54:00:00:00:02", target="vnet1"))
    cache.apply(
        [Put(key(), domain(definition=DomainDefinition(interfaces=interfaces))), Put(bridge, network)]
    )
    assert set(queries.find_mac_users(cache, mac)) == {(key(), "vnet0"), (bridge, "virbr0")}


records = st.builds(
    lambda uuid, name, number, disks: domain(
        uuid, name, id=number, definition=DomainDefinition(disks=tuple(disks))
    ),
    st.sampled_from(UUIDS),
    st.sampled_from("abc"),
    st.integers(-1, 3),
    st.lists(
        st.sampled_from([Disk(type="file", source="/x"), Disk(type="file", source="/y", backing=("/x",))]),
        max_size=2,
    ),
)
changes = st.one_of(
    records.map(lambda record: Put(key(record.uuid), record)),
    st.builds(lambda uuid: Drop(key(uuid)), st.sampled_from(UUIDS)),
    st.builds(
        lambda uuid, number: Patch(key(uuid), {"id": number}), st.sampled_from(UUIDS), st.integers(-1, 3)
    ),
    st.frozensets(st.sampled_from(UUIDS)).map(lambda ids: Listing("lab", Kind.DOMAIN, ids)),
    st.just(Forget("lab")),
)


@given(st.lists(changes, max_size=30))
def test_indexes_hold_exactly_what_the_records_say(steps: list[Change]) -> None:
    cache = Cache()
    notes = Notes(cache)
    cache.apply(steps)
    expected: dict[str, dict[object, set[Key]]] = {index: {} for index in _TERMS[DomainRecord]}
    for each, record in cache.records(Kind.DOMAIN):
        for index, (field, terms) in _TERMS[DomainRecord].items():
            for term in terms(field(record)):
                expected[index].setdefault(term, set()).add(each)
    held = {
        index: {term: set(keys) for term, keys in cache._indexes._keys[index].items()} for index in expected
    }
    assert held == expected
    # A mirror that only looks where it was told to look has it all.
    mirror = {each: record for _, each, record in notes.heard}
    assert {each: record for each, record in mirror.items() if record} == dict(cache.records(Kind.DOMAIN))


def test_volumes_go_when_their_pool_stops_and_snapshots_stay_when_their_domain_does() -> None:
    cache = Cache()
    pool, uuid = Key("lab", Kind.POOL, UUIDS[1]), UUIDS[0]
    volume = Key("lab", Kind.VOLUME, "a", UUIDS[1])
    snapshot = Key("lab", Kind.SNAPSHOT, "a", uuid)
    cache.apply([Put(key(), domain(id=1)), Put(pool, PoolRecord(UUIDS[1], "p", active=True))])
    cache.apply([Put(snapshot, SnapshotRecord(SnapshotDefinition("a")))])
    cache.apply([Put(volume, VolumeRecord(VolumeDefinition("a")))])
    notes = Notes(cache)
    cache.apply([Patch(key(), {"id": -1}), Patch(pool, {"active": False})])
    assert [what for _, what, _ in notes.heard] == [key(), volume, pool]
    assert cache.get(snapshot) is not None
    assert list(cache.children(pool, Kind.VOLUME)) == []


async def test_of_thousands_that_go_the_records_go_at_once_and_the_listeners_hear_in_steps() -> None:
    cache, count = Cache(), 4 * REMOVED_AT_ONCE
    pool = Key("lab", Kind.POOL, UUIDS[0])
    volumes = [Key("lab", Kind.VOLUME, f"{n}.img", UUIDS[0]) for n in range(count)]
    cache.apply([Put(connection_key("lab"), ConnectionRecord("lab", "test:///default"))])
    cache.apply([Put(pool, PoolRecord(UUIDS[0], "p", active=True))])
    cache.apply([Put(each, VolumeRecord(VolumeDefinition(name=each.id))) for each in volumes])
    told: list[Key] = []
    cache.listen([Kind.VOLUME], dropped=told.append)
    cache.apply([Patch(pool, {"active": False})])
    assert list(cache.children(pool, Kind.VOLUME)) == []
    assert not any(map(cache.get, volumes))
    assert (told, set(cache.pending_removals)) == ([], set(volumes))
    cache.apply([Patch(pool, {"active": True}), Put(volumes[-1], VolumeRecord(VolumeDefinition(name="x")))])
    assert told == [volumes[-1]], "of the one that is back the listeners have heard before"
    steps = []
    while cache.pending_removals:
        before = len(told)
        await asyncio.sleep(0)
        steps.append(len(told) - before)
    assert max(steps) <= REMOVED_AT_ONCE
    assert told == [volumes[-1], *volumes[:-1]]
    assert list(cache.children(pool, Kind.VOLUME)) == [volumes[-1]]


async def test_a_closed_connection_of_thousands_goes_last() -> None:
    cache, count = Cache(), 2 * REMOVED_AT_ONCE
    domains = [Key("lab", Kind.DOMAIN, f"{n}") for n in range(count)]
    cache.apply([Put(connection_key("lab"), ConnectionRecord("lab", "test:///default"))])
    cache.apply([Put(each, DomainRecord(each.id, f"name-{each.id}")) for each in domains])
    told: list[Key] = []
    cache.listen(dropped=told.append)
    cache.apply([Forget("lab")])
    assert (len(cache), told) == (0, [])
    while cache.pending_removals:  # noqa: ASYNC110 (each turn tells some)
        await asyncio.sleep(0)
    assert told == [*domains, connection_key("lab")]
    assert not any(cache._indexes._keys.values())
