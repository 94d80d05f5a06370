"""The dictionaries of the contract: their listed keys are what the dataclasses have and the parsers fill, and
every member that gives an `a{sv}` follows the one rule about empty keys.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from lxml import etree

from tests.data import NODE_DEVICES, document, names
from virtbridge.bus import marshalling
from virtbridge.bus.contract import load_contract
from virtbridge.bus.names import NAME
from virtbridge.bus.properties import ObjectPath, described, device_fields
from virtbridge.bus.reference import comment_of, keys_of
from virtbridge.bus.tables import BackingEntry
from virtbridge.bus.values import dictionaries, figures
from virtbridge.model.answers import DhcpLease, GuestInterface, NetworkPort, NodeInfo, parse_port
from virtbridge.model.domain import Disk, DomainDefinition, Filesystem, Graphics, HostDevice, Interface
from virtbridge.model.domain_xml import parse_domain
from virtbridge.model.host_interface import HostAddress, parse_interface
from virtbridge.model.network import Address, NetworkDefinition, PortGroup
from virtbridge.model.network_xml import parse_network
from virtbridge.model.nodedev import Capability, NodeDeviceDefinition, OtherCapability
from virtbridge.model.nodedev_xml import _DECODERS, parse_node_device
from virtbridge.model.nwfilters import FilterRule, parse_filter
from virtbridge.model.pool import PoolDefinition
from virtbridge.model.secret import SecretDefinition
from virtbridge.model.snapshots import CheckpointDisk, SnapshotDisk, parse_checkpoint, parse_snapshot
from virtbridge.wire.transport import plain, unmarshal

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
    ("StorageVolume", "BackingChain"): BackingEntry,
    ("Connection", "GetNodeInfo"): NodeInfo,
}
DETAILS = ("NodeDevice", "Details")
# Whose dictionaries are properties by name, which never come and go.
ALL_PROPERTIES = {("Manager", "Select")}


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


# --- the rule about empty keys


def with_dictionaries() -> Iterator[Member]:
    """Every member that gives a client an `a{sv}`."""
    for interface in load_contract(NAME).values():
        signatures = (
            {name: each.signature for name, each in interface.properties.items()}
            | {name: each.out_signature for name, each in interface.methods.items()}
            | dict(interface.signals)
        )
        short = interface.name.rpartition(".")[2]
        yield from ((short, name) for name, signature in signatures.items() if "a{sv}" in signature)


@pytest.mark.parametrize("member", list(with_dictionaries()), ids=".".join)
def test_every_dictionary_is_a_description_a_report_or_properties(member: Member) -> None:
    comment = comment_of(element(member), member[0])
    kinds = (
        member in DESCRIPTIONS or member == DETAILS,
        re.search(r"\breports?\b", comment.text) is not None,
        member in ALL_PROPERTIES,
    )
    assert sum(kinds) == 1
    assert bool(keys_of(comment)) == kinds[0]


def full(record: type) -> Any:
    """One of which no field is empty, 0 or false."""

    def value(hint: Any) -> Any:
        if hint in (str, bool, int, ObjectPath):
            return {str: "x", bool: True, int: 7, ObjectPath: ObjectPath("/x")}[hint]
        inner = get_args(hint)[0]
        return ("x",) if inner is str else (full(inner),)

    return record(**{name: value(hint) for name, hint in get_type_hints(record).items()})


@dataclass(frozen=True, slots=True)
class AllEmpty:
    text: str = ""
    count: int = 0
    flag: bool = False
    texts: tuple[str, ...] = ()


@pytest.mark.parametrize(
    "record", [*DESCRIPTIONS.values(), *by_type().values(), AllEmpty], ids=lambda record: record.__name__
)
def test_a_description_has_the_keys_that_are_not_empty(record: type) -> None:
    """As a property and as an answer, which are marshalled by different code."""
    whole = record(**{each.name: type(each.default)() for each in fields(record)})
    for value, expected in ((whole, set()), (full(record), {key for _, key, _ in device_fields(whole)})):
        (answer,) = plain(dictionaries([value]))
        ((prop,),) = plain(unmarshal("v", marshalling.variant_body("aa{sv}", (value,))))
        assert set(answer) == expected
        assert answer == prop


def test_a_report_has_every_key() -> None:
    told = {"none": 0, "no": False, "empty": "", "nothing": 0.0, "list": [], "mapping": {}}
    assert plain(figures(told)) == told


def test_the_rule_is_stated_once() -> None:
    api = (CONTRACT / "API.md").read_text("utf-8")
    assert api.count("a missing key means") == 2  # of a description, and of a report
    for file in CONTRACT.glob("org.virtbridge1.*.xml"):
        assert "key is left out" not in " ".join(file.read_text("utf-8").split()), file.name


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
