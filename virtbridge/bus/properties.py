"""Properties: an interface's values, read from a record by the API's table, in the contract's order.

Values stay plain and hashable here (str, bool, int, tuples, device dataclasses), so that two can be
compared; what the D-Bus library wants is made from them by to_bus(). Signatures come from the contract,
never from here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, NewType, get_args

from virtbridge.bus.contract import BadContract, Interface
from virtbridge.model.keys import Key
from virtbridge.wire.transport import Variant

Getter = Callable[[Key, Any], Any]

ObjectPath = NewType("ObjectPath", str)  # in a dictionary: its signature is o
NO_PATH = ObjectPath("")  # as with all that is empty, the dictionary does not have the key


@dataclass(frozen=True, slots=True)
class RootRecord:
    """The values of the root object's properties. connections: those that clients know."""

    version: str
    connections: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """A record's field by its dotted name: those of one interface are all read together."""

    name: str


Table = Mapping[str, Field | Getter]  # by the names of properties


@dataclass(frozen=True, slots=True)
class InterfaceProperties:
    """One interface's properties, in the contract's order: names, signatures and where the values come from.

    fields: what gives all that are a record's fields, in order. others: the places of all others, ascending,
    and what gives each. places: each name's index in the tuples. silent: the places of those whose changes
    are not announced.
    """

    interface: str
    names: tuple[str, ...]
    signatures: tuple[str, ...]
    fields: Callable[[Any], tuple[Any, ...]]
    computed: tuple[tuple[int, Getter], ...]
    indexes: Mapping[str, int]
    unannounced: frozenset[int] = frozenset()

    def values(self, key: Key, record: Any) -> tuple[Any, ...]:
        values = list(self.fields(record))
        for index, get in self.computed:
            values.insert(index, get(key, record))
        return tuple(values)


def interface_properties(
    contract: Mapping[str, Interface], tables: Mapping[str, Table]
) -> dict[str, InterfaceProperties]:
    """Return the properties by interface. Raises BadContract when a property is not in its table, or a row
    has no property.
    """
    if contract.keys() != tables.keys():
        raise BadContract(
            f"interfaces without properties or contract: {sorted(contract.keys() ^ tables.keys())}"
        )
    return {name: _shape(interface, tables[name]) for name, interface in contract.items()}


def _shape(interface: Interface, getters: Table) -> InterfaceProperties:
    if interface.properties.keys() != getters.keys():
        odd = sorted(interface.properties.keys() ^ getters.keys())
        raise BadContract(f"{interface.name}: in the contract or in the table, but not in both: {odd}")
    sources = [getters[name] for name in interface.properties]
    return InterfaceProperties(
        interface=interface.name,
        names=tuple(interface.properties),
        signatures=tuple(each.signature for each in interface.properties.values()),
        fields=_getter([each.name for each in sources if isinstance(each, Field)]),
        computed=tuple((index, each) for index, each in enumerate(sources) if not isinstance(each, Field)),
        indexes={name: index for index, name in enumerate(interface.properties)},
        unannounced=frozenset(
            index for index, each in enumerate(interface.properties.values()) if each.emits == "false"
        ),
    )


def _getter(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what reads these fields. An attrgetter() of less than two fields returns no tuple."""
    return (
        attrgetter(*names)
        if len(names) > 1
        else lambda record: tuple(getattr(record, name) for name in names)
    )


DeviceFields = tuple[tuple[str, str, str], ...]


def device_fields(device: Any) -> DeviceFields:
    """Describe a device dataclass as a{sv}: each field's name in Python, its key on the bus (`-` for `_`) and
    its signature.

    str is s, bool is b, int is t, an object path o, a tuple of str as, a tuple of dataclasses aa{sv}.
    """
    return _reading(device)[0]


def _reading(device: Any) -> tuple[DeviceFields, Callable[[Any], tuple[Any, ...]]]:
    """The fields of a device dataclass, and what reads the values of all of them."""
    known = _READINGS.get(type(device))
    if known is None:
        names = tuple(
            (each.name, each.name.replace("_", "-"), _device_signature(each.type)) for each in fields(device)
        )
        known = _READINGS[type(device)] = names, _getter([name for name, _, _ in names])
    return known


# fields() and one getattr() for each field are too slow: a thousand domains have 100,000 fields of devices.
_READINGS: dict[type, tuple[DeviceFields, Callable[[Any], tuple[Any, ...]]]] = {}


def described(device: Any) -> list[tuple[str, str, Any]]:
    """Return what a device dataclass is on the bus, wherever it is shown: key, signature and value of each
    field that is not empty, 0 or false.

    This is the contract's one rule for all dictionaries that have listed keys. It leaves out all but five of
    a disk's three dozen keys, and a bus daemon checks each key of each message.
    """
    known, read = _reading(device)
    values = zip(known, read(device), strict=True)
    return [(key, signature, value) for (_, key, signature), value in values if value]


def details_to_bus(details: Mapping[str, Any]) -> dict[str, Variant]:
    """Return a report (an event's details, a job's numbers) as a{sv}, whatever the values: str is s, bool b,
    int x, float d, list as, mapping a{sv}.

    libvirt has unsigned numbers, too: a number above x's largest becomes that largest.
    """
    return {name: _variant(value) for name, value in details.items()}


_SCALARS: Mapping[Any, str] = {str: "s", bool: "b", int: "t", ObjectPath: "o"}
_INT64_MAX = 2**63 - 1
_DETAILS = {str: "s", bool: "b", float: "d", list: "as", tuple: "as"}


def _variant(value: Any) -> Variant:
    if isinstance(value, Mapping):
        return Variant("a{sv}", details_to_bus(value))
    if type(value) is int:
        return Variant("x", min(value, _INT64_MAX))
    return Variant(_DETAILS[type(value)], list(value) if isinstance(value, tuple) else value)


def _device_signature(annotation: Any) -> str:
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    return "as" if get_args(annotation)[0] is str else "aa{sv}"
