"""Answers of libvirt's that are no objects, as what the D-Bus library marshals."""

from collections.abc import Iterable, Mapping
from typing import Any

from virtbridge.bus.properties import details_to_bus, device_fields
from virtbridge.wire.transport import Variant


def dictionaries(values: Iterable[Any]) -> list[dict[str, Variant]]:
    """The model's dataclasses as aa{sv}: str is s, bool b, int t, a tuple as or aa{sv}."""
    return [_dictionary(value) for value in values]


def figures(values: Mapping[str, Any]) -> dict[str, Variant]:
    """Names and values of libvirt's own as a{sv}: text is s, whole numbers x, booleans b, fractions d."""
    return details_to_bus(values)


def sizes(values: Mapping[str, Any]) -> dict[str, Variant]:
    """Likewise where no number can be negative: whole numbers are t."""
    return {
        name: Variant("t", max(0, value)) if type(value) is int else Variant("s", str(value))
        for name, value in values.items()
    }


def _dictionary(value: Any) -> dict[str, Variant]:
    return {
        key: Variant(signature, _field(signature, getattr(value, field)))
        for field, key, signature in device_fields(value)
    }


def _field(signature: str, value: Any) -> Any:
    if signature == "aa{sv}":
        return dictionaries(value)
    return list(value) if isinstance(value, tuple) else value
