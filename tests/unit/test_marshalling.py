"""Joined entries are byte for byte what the D-Bus library makes of the values, and decode to the same."""

import tracemalloc
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from virtbridge.bus import marshalling
from virtbridge.bus.names import INTERFACE_OF
from virtbridge.bus.paths import path_of
from virtbridge.bus.properties import InterfaceProperties, details_to_bus, device_fields
from virtbridge.bus.published_object import PublishedObject
from virtbridge.bus.virtbridge1 import virtbridge1
from virtbridge.errors import ErrorKind
from virtbridge.model.domain import Disk, DomainDefinition, Interface
from virtbridge.model.jobs import JobRecord
from virtbridge.model.keys import Key, Kind
from virtbridge.model.network import Address, DhcpHost, NetworkDefinition
from virtbridge.model.records import ConnectionRecord, DomainRecord, NetworkRecord, VolumeRecord
from virtbridge.model.volumes import BackingVolume, VolumeDefinition
from virtbridge.wire.transport import Variant, marshal, plain, unmarshal

INTERFACE_PROPERTIES = virtbridge1().interface_properties()
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
disks = st.builds(
    Disk, source=texts, boot_order=st.integers(0, 2**64 - 1), backing=st.lists(texts, max_size=2).map(tuple)
)
definitions = st.builds(
    DomainDefinition,
    title=texts,
    memory_current_bytes=st.integers(0, 2**64 - 1),
    disks=st.lists(disks, max_size=2).map(tuple),
    interfaces=st.lists(st.builds(Interface, mac=texts, link_down=st.booleans()), max_size=2).map(tuple),
)
domains = st.builds(
    DomainRecord,
    uuid=st.uuids().map(str),
    name=texts,
    id=st.integers(-1, 2**31 - 1),
    state=texts,
    autostart=st.booleans(),
    definition=definitions,
)
connections = st.builds(
    ConnectionRecord,
    name=texts.filter(bool),
    uri=texts,
    last_error=st.tuples(st.sampled_from(["", *ErrorKind]), texts),
    event_kinds=st.lists(texts, max_size=3).map(tuple),
    last_sync_us=st.integers(0, 2**64 - 1),
)
hosts = st.lists(st.builds(DhcpHost, name=texts), max_size=2).map(tuple)
networks = st.builds(
    NetworkRecord,
    uuid=st.uuids().map(str),
    name=texts,
    definition=st.builds(
        NetworkDefinition,
        mtu=st.integers(0, 2**32 - 1),
        addresses=st.lists(st.builds(Address, address=texts, dhcp_hosts=hosts), max_size=2).map(tuple),
    ),
)
volumes = st.builds(
    VolumeRecord,
    definition=st.builds(VolumeDefinition, path=texts, capacity_bytes=st.integers(0, 2**64 - 1)),
    chain=st.lists(
        st.builds(
            BackingVolume, path=texts, volume=st.sampled_from([None, Key("lab", Kind.VOLUME, "a", "p")])
        ),
        max_size=2,
    ).map(tuple),
)
jobs = st.builds(
    JobRecord,
    kind=texts,
    object=st.just(Key("lab", Kind.DOMAIN, "a")),
    progress=st.floats(-1, 1).map(lambda part: part + 0.0),  # -0.0 equals 0.0, and the first one stays
    bytes_done=st.integers(0, 2**64 - 1),
    error=st.tuples(st.sampled_from(["", *ErrorKind]), texts),
)
objects = st.one_of(
    st.tuples(st.builds(Key, texts.filter(bool), st.just(Kind.JOB), st.integers(1).map(str)), jobs),
    st.tuples(st.builds(Key, texts.filter(bool), st.just(Kind.VOLUME), texts, st.uuids().map(str)), volumes),
    networks.map(lambda record: (Key("lab", Kind.NETWORK, record.uuid), record)),
    domains.map(lambda record: (Key("lab", Kind.DOMAIN, record.uuid), record)),
    connections.map(lambda record: (Key(record.name, Kind.CONNECTION), record)),
)


def made(key: Key, record: Any) -> PublishedObject:
    return PublishedObject(key, path_of(key), INTERFACE_PROPERTIES[INTERFACE_OF[key.kind]], record)


def to_bus(signature: str, value: Any) -> Any:
    """What the library is given for a value: the oracle."""
    if signature == "aa{sv}":
        return [
            {
                key: Variant(inner, to_bus(inner, getattr(device, field)))
                for field, key, inner in device_fields(device)
                if getattr(device, field) not in ("", 0, False, ())
            }
            for device in value
        ]
    return list(value) if isinstance(value, tuple) else value


def variants(properties: InterfaceProperties, key: Key, record: Any) -> dict[str, Any]:
    values = zip(properties.names, properties.signatures, properties.values(key, record), strict=True)
    return {name: Variant(signature, to_bus(signature, value)) for name, signature, value in values}


@given(st.lists(objects, max_size=4, unique_by=lambda each: each[0]))
def test_managed_objects(all_of: list[tuple[Key, Any]]) -> None:
    entries = [made(*each).object_entry() for each in all_of]
    whole: dict[str, Any] = {}
    for key, record in all_of:
        properties = INTERFACE_PROPERTIES[INTERFACE_OF[key.kind]]
        whole[path_of(key)] = {properties.interface: variants(properties, key, record)}
    body = marshalling.array_body(entries)
    assert body == marshal("a{oa{sa{sv}}}", [whole])
    assert plain(unmarshal("a{oa{sa{sv}}}", body)) == plain([whole])


@given(domains, domains)
def test_one_made_like_another_is_the_same(first: DomainRecord, second: DomainRecord) -> None:
    key = Key("lab", Kind.DOMAIN, second.uuid)
    properties, path = INTERFACE_PROPERTIES[INTERFACE_OF[key.kind]], path_of(key)
    like = made(Key("lab", Kind.DOMAIN, first.uuid), first)
    before = list(like.entries)
    known = PublishedObject(key, path, properties, second, like)
    assert (known.entries, known.values) == (made(key, second).entries, made(key, second).values)
    assert known.object_entry() == made(key, second).object_entry()
    assert like.entries == before


@given(objects)
def test_get_all_interfaces_added_and_get(one: tuple[Key, Any]) -> None:
    key, record = one
    known = made(key, record)
    expected = variants(known.properties, key, record)
    assert marshalling.array_body(known.entries) == marshal("a{sv}", [expected])
    assert known.object_entry() == marshal("oa{sa{sv}}", [known.path, {known.properties.interface: expected}])
    for name, signature, value in zip(
        known.properties.names, known.properties.signatures, known.values, strict=True
    ):
        assert marshalling.variant_body(signature, value) == marshal("v", [expected[name]])


@given(domains, domains)
def test_properties_changed_holds_what_differs_and_nothing_else(
    before: DomainRecord, after: DomainRecord
) -> None:
    after = replace(after, uuid=before.uuid)
    key = Key("lab", Kind.DOMAIN, before.uuid)
    known = made(key, before)
    known.object_entry()  # kept, and so must not be served again once something changed
    old, new = variants(known.properties, key, before), variants(known.properties, key, after)
    differing = {name: new[name] for name in new if plain(new[name]) != plain(old[name])}
    changed = known.update(after)
    if differing:
        body = marshalling.properties_changed_body(known.properties.interface, changed)
        assert body == marshal("sa{sv}as", [known.properties.interface, differing, []])
    else:
        assert changed == ()
    assert known.object_entry() == made(key, after).object_entry()
    assert known.update(after) == ()


@given(
    st.dictionaries(texts, st.one_of(texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.lists(texts)))
)
def test_event_details(details: dict[str, Any]) -> None:
    body = marshalling.event_body("block-job", details)
    assert plain(unmarshal("sa{sv}", body)) == ["block-job", details]
    assert body == marshal("sa{sv}", ["block-job", details_to_bus(details)])


def test_a_number_that_an_event_cannot_carry_holds_nothing_back() -> None:
    body = marshalling.event_body("block-threshold", {"dev": "vda", "threshold": 2**64 - 1})
    details = {"dev": "vda", "threshold": 2**63 - 1}
    assert plain(unmarshal("sa{sv}", body)) == ["block-threshold", details]


def test_chosen_columns() -> None:
    record = DomainRecord("00000000-0000-0000-0000-000000000001", "a", xml="<domain/>")
    key = Key("lab", Kind.DOMAIN, record.uuid)
    known = made(key, record)
    entries = [known.entries[known.properties.indexes["Name"]], marshalling.xml_entry(record.xml)]
    row = marshalling.keyed_entry(known.path, marshalling.join(entries))
    expected = {known.path: {"Name": Variant("s", "a"), "Xml": Variant("s", "<domain/>")}}
    assert marshalling.array_body([row, row]) != marshalling.array_body([row])
    assert marshalling.array_body([row]) == marshal("a{oa{sv}}", [expected])


def test_what_is_long_is_not_kept() -> None:
    tracemalloc.start()
    try:
        for number in range(200):
            text = f"{number}" + "x" * 50_000
            entry, body = (
                marshalling.property_entry("Description", "s", text),
                marshalling.variant_body("s", text),
            )
            assert marshalling.array_body([entry]) == marshal("a{sv}", [{"Description": Variant("s", text)}])
            assert body == marshal("v", [Variant("s", text)])
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 5 << 20
