"""The contract of an API: its interfaces in virtbridge/contract/*.xml, read once when the daemon starts.

These files are the source of truth: what they name is bound to a handler, and Introspect answers from them.
The standard interfaces of D-Bus that every object has are read by the same code from standard.xml.

Our annotations, of methods where nothing else is said:
  org.virtbridge1.Access         the right that a caller needs; of a property: to write it
  org.virtbridge1.Options        its options with their types: `connection s, timeout t`
  org.virtbridge1.Access.OPTION  the right that this option needs as well: `read-secrets unless false`. What
                                 stands after `unless` is for people; the handler has it as code.
  org.virtbridge1.Acl            libvirt's calls behind it (permissions.py); of interfaces and properties too
  org.virtbridge1.Acl.OPTION     libvirt's calls behind this option
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

CONTRACT_FOLDER = Path(__file__).parent.parent / "contract"
STANDARD_FILE = Path(__file__).parent / "standard.xml"
_ACCESS = "org.virtbridge1.Access"
_OPTIONS = "org.virtbridge1.Options"
ACL = "org.virtbridge1.Acl"
_EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"


class BadContract(Exception):
    """The files, and what the daemon has for them, do not fit together. The daemon must not start."""


@dataclass(frozen=True, slots=True)
class OptionRight:
    """right: what a caller needs who gives this option. unless: a value that needs none, in words."""

    right: str
    unless: str


@dataclass(frozen=True, slots=True)
class Method:
    """access: the right that a caller needs; None is refused to everyone. options: name to type; None for a
    method that does not end with options. option_rights: by the names of options.
    """

    name: str
    in_signature: str
    out_signature: str
    access: str | None
    options: Mapping[str, str] | None
    option_rights: Mapping[str, OptionRight]


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
    """signals: name to signature. xml: the interface element for Introspect, without comments and libvirt's
    permissions.
    """

    name: str
    methods: Mapping[str, Method]
    properties: Mapping[str, Property]
    signals: Mapping[str, str]
    xml: str


def load_interfaces(*files: Path) -> dict[str, Interface]:
    """Return the interfaces in these files by name. Raises BadContract naming the file."""
    interfaces: dict[str, Interface] = {}
    for file in files:
        try:
            root = etree.parse(
                str(file), etree.XMLParser(remove_comments=True, remove_blank_text=True)
            ).getroot()
        except (OSError, etree.XMLSyntaxError) as error:
            raise BadContract(f"{file}: {error}") from error
        for element in root.iterfind("interface"):
            try:
                interface = _interface(element)
            except BadContract as error:
                raise BadContract(f"{file}: {error}") from error
            if interface.name in interfaces:
                raise BadContract(f"{file}: {interface.name} stands twice")
            interfaces[interface.name] = interface
    return interfaces


def contract_files(api: str) -> list[Path]:
    """api: the bus name, with which its interfaces and the names of these files begin. Raises BadContract."""
    files = sorted(CONTRACT_FOLDER.glob(f"{api}.*.xml"))
    if not files:
        raise BadContract(f"{CONTRACT_FOLDER}: there is no contract of {api}")
    return files


def load_contract(api: str) -> dict[str, Interface]:
    """Return an API's own interfaces."""
    return load_interfaces(*contract_files(api))


def load_standard() -> dict[str, Interface]:
    """Return D-Bus's own interfaces: Peer, Introspectable, Properties, ObjectManager."""
    return load_interfaces(STANDARD_FILE)


def _interface(element: etree._Element) -> Interface:
    emits = _annotation(element, _EMITS) or "true"
    return Interface(
        name=_name(element),
        methods={method.name: method for method in map(_method, element.iterfind("method"))},
        properties={_name(child): _property(child, emits) for child in element.iterfind("property")},
        signals={_name(child): _signature(child, None) for child in element.iterfind("signal")},
        xml=_introspected(element),
    )


def _introspected(element: etree._Element) -> str:
    """Every object answers Introspect with it, so what is written about libvirt for people is left out."""
    shown = deepcopy(element)
    for note in list(shown.iter("annotation")):
        parent = note.getparent()
        if parent is not None and note.get("name", "").startswith(ACL):
            parent.remove(note)
    return etree.tostring(shown, encoding="unicode", with_tail=False, pretty_print=True)


def _method(element: etree._Element) -> Method:
    method = Method(
        name=_name(element),
        in_signature=_signature(element, "in"),
        out_signature=_signature(element, "out"),
        access=_annotation(element, _ACCESS),
        options=_options(element),
        option_rights={name: _option_right(value) for name, value in _of_options(element, _ACCESS)},
    )
    if strangers := method.option_rights.keys() - (method.options or {}).keys():
        raise BadContract(f"{method.name} has rights for options that it does not have: {sorted(strangers)}")
    return method


def _options(element: etree._Element) -> Mapping[str, str] | None:
    ends_with_them = _signature(element, "in").endswith("a{sv}")
    text = _annotation(element, _OPTIONS)
    if ends_with_them != (text is not None):
        raise BadContract(f"{_name(element)}: it ends with options, or it states them, but not both")
    if text is None:
        return None
    pairs = [each.split() for each in text.split(",") if each.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise BadContract(f"{_name(element)}: its options are no list of names and types: {text!r}")
    return {pair[0]: pair[1] for pair in pairs}


def _option_right(text: str) -> OptionRight:
    right, _, unless = text.partition(" unless ")
    return OptionRight(right.strip(), " ".join(unless.split()))


def _of_options(element: etree._Element, annotation: str) -> Iterator[tuple[str, str]]:
    """Return the options that have such an annotation of their own, with its value."""
    for note in element.iterfind("annotation"):
        name = note.get("name", "")
        if name.startswith(f"{annotation}."):
            yield name.removeprefix(f"{annotation}."), note.get("value", "")


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
