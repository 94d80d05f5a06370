"""How the values of a libvirt event, other than those of the lifecycle, become details on the bus.

A row says what the event and its values are called, how they are read, and whether the XML may have changed.
Each kind's file has its rows. An event that the installed libvirt-python has but no row names is registered
as well, and its values are called `arg0`, `arg1` and so on. Pure, apart from libvirt's constants. decode()
runs on vb-events and only copies plain values. Source: virDomainEventID and the callback types in
libvirt/libvirt-domain.h; libvirt-python's dispatchers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from virtbridge.model.enum_names import enum_names, name_of
from virtbridge.source.kinds.enums import CONSTANTS, Table, table

Details = Mapping[str, Any]
Decoder = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Param:
    """One value of an event."""

    # libvirt's name of the parameter in lower case with dashes. Empty when the value is a mapping of details.
    key: str
    decode: Decoder


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event of libvirt, whether the installed libvirt has it or not."""

    # The name in the contract.
    name: str
    # None when the values are unknown, since the event is newer than this table.
    params: tuple[Param, ...] | None
    # Whether the XML may have changed, so that it is read again.
    rereads: bool = False
    # The older event for the same change. It is registered only on hosts that do not have this one.
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class EventSpec:
    """A row with its number in the installed libvirt."""

    id: int
    row: EventRow
    # The event that is registered on hosts that refuse this one.
    fallback: "EventSpec | None" = None

    @property
    def name(self) -> str:
        return self.row.name

    def decode(self, args: tuple[Any, ...]) -> Details:
        """Return the details of an event. args: what the callback got beside connection, object, opaque."""
        params = self.row.params
        if params is None or len(params) != len(args):  # the event or this version of the binding is unknown
            return {f"arg{place}": plain(value) for place, value in enumerate(args)}
        details: dict[str, Any] = {}
        for param, value in zip(params, args, strict=True):
            decoded = param.decode(value)
            details.update({param.key: decoded} if param.key else decoded)
        return details


def plain(value: Any) -> Any:
    """Turn any value that libvirt-python passes to a callback into one that the bus can carry."""
    match value:
        case bool() | int() | float() | str():
            return value
        case None:
            return ""
        case Mapping():
            return mapping(value)
        case list() | tuple() | set():
            return [str(plain(item)) for item in value]
        case bytes():
            return value.decode("utf-8", "replace")
        case _:
            return str(value)


def mapping(value: Any) -> dict[str, Any]:
    return {str(key): plain(item) for key, item in dict(value or {}).items()}


def text(value: Any) -> str:
    return "" if value is None else str(value)


def number(value: Any) -> int:
    return int(value or 0)


def word(*names: Table) -> Decoder:
    """Return a decoder to the words of an enumeration, which may be in several tables."""
    joined = {value: name for each in reversed(names) for value, name in each.items()}
    return lambda value: name_of(joined, number(value))


def flags(words: Table) -> Decoder:
    """Return a decoder to the words of the bits that are set. Unknown bits are added as a number."""

    def decode(value: Any) -> list[str]:
        bits = number(value)
        found = [name for bit, name in sorted(words.items()) if bits & bit]
        unknown = bits & ~sum(bit for bit in words)
        return [*found, str(unknown)] if unknown else found

    return decode


def params(*pairs: tuple[str, Decoder]) -> tuple[Param, ...]:
    return tuple(Param(key, decode) for key, decode in pairs)


# The parameters of the event that the metadata of a domain or a network has changed.
METADATA = params(
    ("type", word(table("VIR_DOMAIN_METADATA_"))),
    ("nsuri", text),
)


def event_specs(
    prefix: str, rows: Mapping[str, EventRow], constants: Mapping[str, object] = CONSTANTS
) -> tuple[EventSpec, ...]:
    """Return a spec for every event id with this prefix except the lifecycle, even if no row names it."""
    found = {
        name.removeprefix(prefix): value
        for name, value in constants.items()
        if name.startswith(prefix) and isinstance(value, int)
    }
    names = enum_names(constants, prefix)
    known = {
        name: rows.get(name) or EventRow(names[value], None, rereads=True) for name, value in found.items()
    }
    replaced = {row.replaces for row in known.values()}
    plainer = {name: EventSpec(found[name], known[name]) for name in replaced & found.keys()}
    return tuple(
        EventSpec(value, known[name], plainer.get(known[name].replaces))
        for name, value in sorted(found.items(), key=lambda item: item[1])
        if name not in replaced and name not in ("LIFECYCLE", "LAST")
    )
