"""The device dictionaries of the contract and the dataclasses they are made from are one list of keys."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from lxml import etree

from virtbridge.model.domain import Disk, DomainDefinition, Filesystem, Graphics, HostDevice, Interface
from virtbridge.model.network import Address, DhcpHost, NetworkDefinition, PortGroup
from virtbridge.model.nodedev import NodeDeviceDefinition
from virtbridge.model.paths import ObjectPath
from virtbridge.model.pool import PoolDefinition
from virtbridge.model.secret import SecretDefinition
from virtbridge.model.volumes import BackingVolume

CONTRACT = Path(__file__).parents[2] / "dbus"
KINDS = {str: "s", bool: "b", int: "t", ObjectPath: "o"}


def signature(hint: Any) -> str:
    if hint in KINDS:
        return KINDS[hint]
    assert get_origin(hint) is tuple
    item, dots = get_args(hint)
    assert dots is ...
    assert item is str or all(map(is_dataclass, get_args(item) or (item,)))
    return "as" if item is str else "aa{sv}"


def documented(thing: str, name: str) -> tuple[str, str]:
    """A property's comment, in one line, and its type."""
    tree = etree.parse(CONTRACT / f"org.virtbridge1.{thing}.xml")
    (element,) = tree.iterfind(f".//property[@name='{name}']")
    comment = element.getprevious()
    assert comment.tag is etree.Comment
    return " ".join(comment.text.split()), element.get("type")


def documented_keys(comment: str) -> list[tuple[str, str]]:
    """Key and signature of each documented key, in order: from `Keys:` to the end of the sentence."""
    notes = re.sub(r"\(([^()]*)\)", lambda match: "<" + match[1].split(",")[0].split(":")[0] + ">", comment)
    listed = re.split(r"[Kk]eys(?: <[^>]*>)?:", notes)[1].split(". ")[0]
    keys = []
    for entry in listed.split(","):
        key, _, note = entry.strip().partition(" <")
        kind = note.rstrip(">").split(" ")[0]
        keys.append((key, kind if kind in ("t", "b", "o", "as", "aa{sv}") else "s"))
    return keys


@pytest.mark.parametrize(
    ("thing", "name", "record"),
    [
        ("Domain", "Disks", Disk),
        ("Domain", "Interfaces", Interface),
        ("Domain", "Graphics", Graphics),
        ("Domain", "HostDevices", HostDevice),
        ("Domain", "Filesystems", Filesystem),
        ("StorageVolume", "BackingChain", BackingVolume),
        ("Network", "Addresses", Address),
        ("Network", "PortGroups", PortGroup),
    ],
)
def test_fields_are_the_documented_keys(thing: str, name: str, record: type) -> None:
    comment, kind = documented(thing, name)
    hints = get_type_hints(record)
    assert kind == "aa{sv}"
    assert documented_keys(comment) == [(key.replace("_", "-"), signature(hints[key])) for key in hints]


def test_fixed_leases_have_the_documented_keys() -> None:
    comment, _ = documented("Network", "Addresses")
    keys = [field.name for field in fields(DhcpHost)]
    assert f"dhcp-hosts (aa{{sv}} with {', '.join(keys)})" in comment


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
