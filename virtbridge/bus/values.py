"""Answers from libvirt that are no objects, as what the D-Bus library marshals.

The contract has two kinds of a{sv}: a description, from which dictionary() leaves out what is empty, 0 or
false, and a report, in which 0 is a value like any other.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from virtbridge.bus.properties import described, details_to_bus
from virtbridge.wire.transport import Variant


def dictionaries(values: Iterable[Any]) -> list[dict[str, Variant]]:
    """Make descriptions: the model's dataclasses become aa{sv}."""
    return [dictionary(value) for value in values]


def dictionary(value: Any) -> dict[str, Variant]:
    """Make a description: str is s, bool b, int t, a tuple as or aa{sv}."""
    return {key: Variant(signature, _field(signature, each)) for key, signature, each in described(value)}


def figures(values: Mapping[str, Any]) -> dict[str, Variant]:
    """Make a report from names and values of libvirt's own: text is s, whole numbers x, booleans b, fractions
    d.
    """
    return details_to_bus(values)


def sizes(values: Mapping[str, int]) -> dict[str, Variant]:
    """Make a report in which no number can be negative: whole numbers are t."""
    return {name: Variant("t", max(0, value)) for name, value in values.items()}


def _field(signature: str, value: Any) -> Any:
    if signature == "aa{sv}":
        return dictionaries(value)
    return list(value) if isinstance(value, tuple) else value
