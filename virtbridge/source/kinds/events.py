"""How libvirt events other than those of the lifecycle become details that the bus can carry.

A row names the libvirt event, how its values are called and read, and whether the XML may differ afterwards.
Each kind's file has its rows. An event that the installed libvirt-python knows and no row names is
registered all the same, its values under `arg0`, `arg1`, … Pure but for libvirt's constants; decode runs on
vb-events and only copies plain values. Source: virDomainEventID and the callback types in
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
    # libvirt's parameter name, lower case with dashes; empty when the value is itself a mapping of details.
    key: str
    decode: Decoder


@dataclass(frozen=True, slots=True)
class EventRow:
    # The contract's name.
    name: str
    # None: the values are not known, as the event is newer than this table.
    params: tuple[Param, ...] | None
    # Whether the XML may have changed.
    rereads: bool = False
    # The plainer event for the same occurrence, which is not registered where this one can be.
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class EventSpec:
    """A row with its number in the installed libvirt."""

    id: int
    row: EventRow
    # What is registered instead on hosts that refuse this one.
    fallback: "EventSpec | None" = None

    @property
    def name(self) -> str:
        return self.row.name

    def decode(self, args: tuple[Any, ...]) -> Details:
        """The details of one event from the callback's arguments, without connection, object and opaque."""
        params = self.row.params
        if params is None or len(params) != len(args):  # unknown, or a binding that passes something else
            return {f"arg{place}": plain(value) for place, value in enumerate(args)}
        details: dict[str, Any] = {}
        for param, value in zip(params, args, strict=True):
            decoded = param.decode(value)
            details.update({param.key: decoded} if param.key else decoded)
        return details


def plain(value: Any) -> Any:
    """Any value that libvirt-python hands out, as one that the bus can carry."""
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
    """The word of an enumeration that is spread over these tables."""
    joined = {value: name for each in reversed(names) for value, name in each.items()}
    return lambda value: name_of(joined, number(value))


def flags(words: Table) -> Decoder:
    """The words of the bits that are set, and what is left over as a number."""

    def decode(value: Any) -> list[str]:
        bits = number(value)
        found = [name for bit, name in sorted(words.items()) if bits & bit]
        unknown = bits & ~sum(bit for bit in words)
        return [*found, str(unknown)] if unknown else found

    return decode


def params(*pairs: tuple[str, Decoder]) -> tuple[Param, ...]:
    return tuple(Param(key, decode) for key, decode in pairs)


# Of the metadata of a domain or a network that was changed.
METADATA = params(
    ("type", word(table("VIR_DOMAIN_METADATA_"))),
    ("nsuri", text),
)


def event_specs(
    prefix: str, rows: Mapping[str, EventRow], constants: Mapping[str, object] = CONSTANTS
) -> tuple[EventSpec, ...]:
    """One spec for every event id under the prefix, the lifecycle apart, known to the rows or not."""
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
