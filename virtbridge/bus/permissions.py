"""Permissions: libvirt's calls behind each member of the contract, and what libvirt's access control asks.

For the API reference and the tests; the daemon does not need it. The annotation `org.virtbridge1.Acl` is a
list of calls, each with libvirt's permissions, `virDomainGetXMLDesc domain:read`, or one of WORDS.
Source: @acl and @aclfilter in src/remote/remote_protocol.x of libvirt.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from virtbridge.bus.contract import ACL, BadContract, Interface, load_interfaces

WORDS = {
    "cache": "no call of its own; it shows what the calls in the first row read, or has these made again",
    "none": "no libvirt call",
    "property": "what the property's own row says",
}
PROPERTIES = "properties and signals"


@dataclass(frozen=True, slots=True)
class Permission:
    """One row. member: `PROPERTIES` for what an interface shows. option: empty for the member itself. calls:
    libvirt's functions and their permissions. word: of WORDS, where there are no calls. unless: a value of
    the option that does not need the right, in words.
    """

    interface: str
    member: str
    option: str
    calls: Mapping[str, tuple[str, ...]]
    word: str
    right: str
    unless: str = ""


def permissions(files: Iterable[Path]) -> list[Permission]:
    """In the order of the files. Raises BadContract naming a member without a row."""
    return [
        row
        for file in files
        for element in etree.parse(str(file)).iterfind("interface")
        for row in _of_interface(element, load_interfaces(file)[element.get("name", "")])
    ]


def _of_interface(element: etree._Element, interface: Interface) -> Iterator[Permission]:
    if interface.properties or interface.signals:
        yield _row(element, interface, PROPERTIES, "read")
    for child in element.iterfind("property"):
        if right := interface.properties[child.get("name", "")].access:
            yield _row(child, interface, f"{child.get('name')} (writing)", right)
    for child in element.iterfind("method"):
        method = interface.methods[child.get("name", "")]
        yield _row(child, interface, method.name, method.access or "")
        for option, stated in method.option_rights.items():
            yield _row(child, interface, method.name, stated.right, option, stated.unless)


def _row(
    element: etree._Element, interface: Interface, member: str, right: str, option: str = "", unless: str = ""
) -> Permission:
    annotation = f"{ACL}.{option}" if option else ACL
    text = next((note.get("value", "") for note in element if note.get("name") == annotation), "")
    if not text.strip():
        raise BadContract(f"{interface.name}.{member} has no {annotation}")
    word = text if text in WORDS else ""
    pairs = [] if word else [call.split() for call in text.split(",")]
    calls = {name: tuple(asked) for name, *asked in pairs}
    return Permission(interface.name, member, option, calls, word, right, unless)
