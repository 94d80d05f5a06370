"""The contract: the interfaces in virtbridge/contract/*.xml, read once when the daemon starts.

These files are the source of truth: what they name is bound to a handler, and Introspect answers from them.
The standard interfaces of D-Bus that every object has are read by the same code from standard.xml.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

CONTRACT_FOLDER = Path(__file__).parent.parent / "contract"
STANDARD_FILE = Path(__file__).parent / "standard.xml"
_ACCESS = "org.virtbridge1.Access"
_EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"


class BadContract(Exception):
    """The files, and what the daemon has for them, do not fit together. The daemon must not start."""


@dataclass(frozen=True, slots=True)
class Method:
    """access: the right that a caller needs; None is refused to everyone."""

    name: str
    in_signature: str
    out_signature: str
    access: str | None


@dataclass(frozen=True, slots=True)
class Property:
    """access: the right that a writer needs; None is read-only. emits: `true`, `const`, `invalidates`,
    `false`.
    """

    name: str
    signature: str
    access: str | None
    emits: str


@dataclass(frozen=True, slots=True)
class Interface:
    """signals: name to signature. xml: the interface element, without comments, for Introspect."""

    name: str
    methods: Mapping[str, Method]
    properties: Mapping[str, Property]
    signals: Mapping[str, str]
    xml: str


def load_interfaces(*files: Path) -> dict[str, Interface]:
    """The interfaces of these files by name. Raises BadContract naming the file."""
    interfaces: dict[str, Interface] = {}
    for file in files:
        try:
            root = etree.parse(
                str(file), etree.XMLParser(remove_comments=True, remove_blank_text=True)
            ).getroot()
        except (OSError, etree.XMLSyntaxError) as error:
            raise BadContract(f"{file}: {error}") from error
        for element in root.iterfind("interface"):
            interface = _interface(element)
            if interface.name in interfaces:
                raise BadContract(f"{file}: {interface.name} stands twice")
            interfaces[interface.name] = interface
    return interfaces


def load_contract() -> dict[str, Interface]:
    """Our own interfaces."""
    files = sorted(CONTRACT_FOLDER.glob("org.virtbridge1.*.xml"))
    if not files:
        raise BadContract(f"{CONTRACT_FOLDER}: there is no contract")
    return load_interfaces(*files)


def load_standard() -> dict[str, Interface]:
    """D-Bus's own: Peer, Introspectable, Properties, ObjectManager."""
    return load_interfaces(STANDARD_FILE)


def _interface(element: etree._Element) -> Interface:
    emits = _annotation(element, _EMITS) or "true"
    return Interface(
        name=_name(element),
        methods={method.name: method for method in map(_method, element.iterfind("method"))},
        properties={_name(child): _property(child, emits) for child in element.iterfind("property")},
        signals={_name(child): _signature(child, None) for child in element.iterfind("signal")},
        xml=etree.tostring(element, encoding="unicode", with_tail=False, pretty_print=True),
    )


def _method(element: etree._Element) -> Method:
    return Method(
        name=_name(element),
        in_signature=_signature(element, "in"),
        out_signature=_signature(element, "out"),
        access=_annotation(element, _ACCESS),
    )


def _property(element: etree._Element, emits: str) -> Property:
    writable = element.get("access") in ("readwrite", "write")
    return Property(
        name=_name(element),
        signature=element.get("type", ""),
        access=_annotation(element, _ACCESS) if writable else None,
        emits=_annotation(element, _EMITS) or emits,
    )


def _signature(element: etree._Element, direction: str | None) -> str:
    default = None if direction is None else "in"
    return "".join(
        arg.get("type", "") for arg in element.iterfind("arg") if arg.get("direction", default) == direction
    )


def _annotation(element: etree._Element, name: str) -> str | None:
    return next(
        (note.get("value") for note in element.iterfind("annotation") if note.get("name") == name), None
    )


def _name(element: etree._Element) -> str:
    return element.get("name", "")
