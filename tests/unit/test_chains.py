"""Backing chains in the cache: right after every change, in whatever order the volumes came."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from virtbridge.cache.cache import Cache
from virtbridge.cache.chains import Chains
from virtbridge.model.changes import Change, Drop, Forget, Listing, Patch, Put
from virtbridge.model.keys import Key, Kind, connection_key
from virtbridge.model.records import ConnectionRecord, PoolRecord, VolumeRecord
from virtbridge.model.volumes import BackingVolume, VolumeDefinition, VolumeLink, chain_of, link_of

POOLS = [f"00000000-0000-0000-0000-00000000000{digit}" for digit in range(2)]
HOSTS = ("lab", "far")
NAMES = "abcd"


def volume(name: str, pool: str = POOLS[0], host: str = "lab") -> Key:
    return Key(host, Kind.VOLUME, name, pool)


def put(key: Key, path: str, backing: str = "", format_: str = "qcow2") -> Put:
    return Put(key, VolumeRecord(VolumeDefinition(path=path, format=format_, backing_path=backing)))


def world() -> Cache:
    cache = Cache()
    Chains(cache).attach()
    for host in HOSTS:
        cache.apply([Put(connection_key(host), ConnectionRecord(host, ""))])
        cache.apply([Put(Key(host, Kind.POOL, pool), PoolRecord(pool, pool, active=True)) for pool in POOLS])
    return cache


def chain(cache: Cache, key: Key) -> list[tuple[str, Key | None]]:
    record = cache.get(key)
    assert isinstance(record, VolumeRecord)
    return [(each.path, each.volume) for each in record.chain]


def test_a_chain_follows_what_comes_changes_and_goes_in_other_pools_too() -> None:
    cache = world()
    top, middle, base = volume("top"), volume("middle", POOLS[1]), volume("base")
    cache.apply([put(top, "/0/top", "/1/middle")])
    assert chain(cache, top) == [("/1/middle", None)]
    cache.apply([put(base, "/0/base"), put(middle, "/1/middle", "/0/base")])
    whole = [("/1/middle", middle), ("/0/base", base)]
    assert chain(cache, top) == whole
    cache.apply([put(top, "/0/top", "/1/middle")])  # read again, as it was
    assert chain(cache, top) == whole
    cache.apply([Patch(top, {"stale": True})])
    assert chain(cache, top) == whole
    cache.apply([put(middle, "/1/middle")])  # as after a commit
    assert chain(cache, top) == whole[:1]
    cache.apply([put(middle, "/1/middle", "/0/base"), Listing("lab", Kind.VOLUME, {"top"}, POOLS[0])])
    assert chain(cache, top) == [whole[0], ("/0/base", None)]
    cache.apply([Patch(Key("lab", Kind.POOL, POOLS[1]), {"active": False})])
    assert chain(cache, top) == [("/1/middle", None)]


def test_another_connection_s_volume_is_another_file() -> None:
    cache = world()
    cache.apply([put(volume("top"), "/top", "/base"), put(volume("base", host="far"), "/base")])
    assert chain(cache, volume("top")) == [("/base", None)]


KEYS = st.builds(volume, st.sampled_from(NAMES), st.sampled_from(POOLS), st.sampled_from(HOSTS))
PATHS = st.sampled_from(["/a", "/b", "//c", "/x/../d", ""])
CHANGES = st.one_of(
    st.builds(put, KEYS, PATHS, PATHS, st.sampled_from(["raw", "qcow2"])),
    st.builds(Drop, KEYS),
    st.builds(
        lambda host, pool, active: Patch(Key(host, Kind.POOL, pool), {"active": active}),
        st.sampled_from(HOSTS),
        st.sampled_from(POOLS),
        st.booleans(),
    ),
    st.builds(Forget, st.just("far")),
)


@given(st.lists(CHANGES, max_size=30))
def test_chains_never_drift_from_the_records(changes: list[Change]) -> None:
    cache = world()
    for change in changes:
        cache.apply([change])
        for host in HOSTS:
            find = finder(cache, host)
            for _, record in cache.records(Kind.VOLUME, host):
                assert isinstance(record, VolumeRecord)
                assert record.chain == chain_of(link_of(record.definition), find)


def finder(cache: Cache, host: str) -> Callable[[str], tuple[Key, VolumeLink] | None]:
    """The plain way: examine all of them."""
    spelled = {"//c": "/c", "/x/../d": "/d"}

    def find(path: str) -> tuple[Key, VolumeLink] | None:
        for key in sorted(cache.keys(Kind.VOLUME, host)):
            record = cache.get(key)
            assert isinstance(record, VolumeRecord)
            own = record.definition.path
            if spelled.get(own, own) == path:
                return key, link_of(record.definition)
        return None

    return find


def test_nothing_is_left_behind() -> None:
    cache = Cache()
    chains = Chains(cache)
    chains.attach()
    cache.apply([Put(connection_key("lab"), ConnectionRecord("lab", ""))])
    cache.apply([Put(Key("lab", Kind.POOL, POOLS[0]), PoolRecord(POOLS[0], "p", active=True))])
    cache.apply([put(volume(name), f"/{name}", "/a") for name in NAMES])
    assert BackingVolume("/a", "qcow2", volume("a")) in getattr(cache.get(volume("b")), "chain", ())
    cache.apply([Forget("lab")])
    assert not any((chains._links, chains._at, chains._above, chains._chains))
