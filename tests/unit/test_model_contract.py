"""The dictionaries of the contract: their listed keys are what the dataclasses have and the parsers fill."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from lxml import etree

from tests.data import NODE_DEVICES, document, names
from virtbridge.bus.properties import described, device_fields
from virtbridge.bus.reference import comment_of, keys_of
from virtbridge.model.answers import DhcpLease, GuestInterface, NetworkPort, parse_port
from virtbridge.model.domain import Disk, DomainDefinition, Filesystem, Graphics, HostDevice, Interface
from virtbridge.model.domain_xml import parse_domain
from virtbridge.model.host_interface import HostAddress, parse_interface
from virtbridge.model.network import Address, NetworkDefinition, PortGroup
from virtbridge.model.network_xml import parse_network
from virtbridge.model.nodedev import Capability, NodeDeviceDefinition, OtherCapability
from virtbridge.model.nodedev_xml import _DECODERS, parse_node_device
from virtbridge.model.nwfilters import FilterRule, parse_filter
from virtbridge.model.paths import ObjectPath
from virtbridge.model.pool import PoolDefinition
from virtbridge.model.secret import SecretDefinition
from virtbridge.model.snapshots import CheckpointDisk, SnapshotDisk, parse_checkpoint, parse_snapshot
from virtbridge.model.volumes import BackingVolume

CONTRACT = Path(__file__).parents[2] / "dbus"
Keys = list[tuple[str, str]]
Member = tuple[str, str]

# Each member whose dictionaries describe something, and what they are made of. Details has one for each type
# of capability.
DESCRIPTIONS: Mapping[Member, type] = {
    ("Domain", "Disks"): Disk,
    ("Domain", "Interfaces"): Interface,
    ("Domain", "Graphics"): Graphics,
    ("Domain", "HostDevices"): HostDevice,
    ("Domain", "Filesystems"): Filesystem,
    ("Domain", "GetInterfaceAddresses"): GuestInterface,
    ("Network", "Addresses"): Address,
    ("Network", "PortGroups"): PortGroup,
    ("Network", "GetDhcpLeases"): DhcpLease,
    ("Network", "ListPorts"): NetworkPort,
    ("Interface", "Addresses"): HostAddress,
    ("NWFilter", "Rules"): FilterRule,
    ("Snapshot", "Disks"): SnapshotDisk,
    ("Checkpoint", "Disks"): CheckpointDisk,
    ("StorageVolume", "BackingChain"): BackingVolume,
}
DETAILS = ("NodeDevice", "Details")


def by_type() -> dict[str, type]:
    """The dataclass of each type of capability."""
    return {
        kind: type(parse_node_device(f"<device><capability type='{kind}'/></device>").details[0])
        for kind in _DECODERS
    }


def element(member: Member) -> etree._Element:
    """The property, method or signal."""
    tree = etree.parse(CONTRACT / f"org.virtbridge1.{member[0]}.xml")
    (found,) = (each for each in tree.find("interface").iterchildren() if each.get("name") == member[1])
    return found


def listed(member: Member) -> dict[tuple[str, ...], Keys]:
    """The documented keys with their signatures, by the types that have them; () where all have the same."""
    groups = keys_of(comment_of(element(member), member[0]))
    return {group.of: [(key.name, key.signature) for key in group.keys] for group in groups}


def keys(record: type) -> Keys:
    """A dataclass's keys in order, those of inner dictionaries behind their outer key."""
    found: Keys = []
    for (name, key, signature), hint in zip(
        device_fields(record()), get_type_hints(record).values(), strict=True
    ):
        found.append((key, signature))
        if signature == "aa{sv}":
            inner = get_args(hint)[0]
            assert is_dataclass(inner), name
            found += [(f"{key}.{each}", kind) for each, kind in keys(inner)]  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("member", DESCRIPTIONS, ids=".".join)
def test_the_listed_keys_are_the_dataclass_s(member: Member) -> None:
    assert listed(member) == {(): keys(DESCRIPTIONS[member])}


def test_the_listed_keys_of_each_capability_are_its_dataclass_s() -> None:
    groups = listed(DETAILS)
    assert {kind for kinds in groups for kind in kinds} == set(_DECODERS)
    for kinds, found in groups.items():
        for kind in kinds:
            assert found == keys(by_type()[kind]), kind
    assert keys(OtherCapability) == [("type", "s")]
    assert set(by_type().values()) | {OtherCapability} == set(get_args(Capability))


# --- what the parsers fill


def filled(record: Any) -> Iterator[str]:
    """The keys that a record has on the bus."""
    for key, signature, value in described(record):
        yield key
        if signature == "aa{sv}":
            yield from (f"{key}.{inner}" for each in value for inner in filled(each))


def seen(records: Iterable[Any]) -> set[str]:
    return {key for record in records for key in filled(record)}


# What comes from XML: the folder of documents, the parser, and where the dictionaries are in its record.
PARSED: Mapping[Member, tuple[str, Callable[[str], Any], Callable[[Any], tuple[Any, ...]]]] = {
    ("Domain", "Disks"): ("domains", parse_domain, attrgetter("disks")),
    ("Domain", "Interfaces"): ("domains", parse_domain, attrgetter("interfaces")),
    ("Domain", "Graphics"): ("domains", parse_domain, attrgetter("graphics")),
    ("Domain", "HostDevices"): ("domains", parse_domain, attrgetter("host_devices")),
    ("Domain", "Filesystems"): ("domains", parse_domain, attrgetter("filesystems")),
    ("Network", "Addresses"): ("networks", parse_network, attrgetter("addresses")),
    ("Network", "PortGroups"): ("networks", parse_network, attrgetter("port_groups")),
    ("Network", "ListPorts"): ("ports", parse_port, lambda port: (port,)),
    ("Interface", "Addresses"): ("interfaces", parse_interface, attrgetter("addresses")),
    ("NWFilter", "Rules"): ("filters", parse_filter, attrgetter("rules")),
    ("Snapshot", "Disks"): ("snapshots", parse_snapshot, attrgetter("disks")),
    ("Checkpoint", "Disks"): ("checkpoints", parse_checkpoint, attrgetter("disks")),
}


@pytest.mark.parametrize("member", PARSED, ids=".".join)
def test_every_listed_key_is_filled_from_some_document(member: Member) -> None:
    folder, parse, records_of = PARSED[member]
    records = [each for name in names(folder) for each in records_of(parse(document(folder, name)))]
    assert seen(records) == {key for key, _ in listed(member)[()]}


def test_every_listed_key_of_a_capability_is_filled_from_some_document() -> None:
    details = [
        each for name in NODE_DEVICES for each in parse_node_device(document("nodedevs", name)).details
    ]
    for kinds, expected in listed(DETAILS).items():
        found = seen(each for each in details if each.type in kinds)
        assert found == {key for key, _ in expected}, kinds


# --- definitions


def signature(hint: Any) -> str:
    simple = {str: "s", bool: "b", int: "t", ObjectPath: "o"}
    return simple.get(hint) or ("as" if get_args(hint)[0] is str else "aa{sv}")


@pytest.mark.parametrize(
    ("thing", "record"),
    [
        ("Domain", DomainDefinition),
        ("Network", NetworkDefinition),
        ("StoragePool", PoolDefinition),
        ("NodeDevice", NodeDeviceDefinition),
        ("Secret", SecretDefinition),
    ],
)
def test_every_field_of_a_definition_has_its_property(thing: str, record: type) -> None:
    tree = etree.parse(CONTRACT / f"org.virtbridge1.{thing}.xml")
    properties = {element.get("name"): element.get("type") for element in tree.iterfind(".//property")}
    for name, hint in get_type_hints(record).items():
        camel = "".join(part.capitalize() for part in name.removesuffix("_bytes").split("_"))
        expected = signature(hint)
        assert properties[camel] in ((expected, "u") if hint is int else (expected,)), name
