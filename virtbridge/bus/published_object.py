"""One object on the bus: the property values that clients know, and their marshalled entries. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from virtbridge.bus.marshalling import join, object_entry, property_entry
from virtbridge.bus.properties import InterfaceProperties
from virtbridge.model.keys import Key


class PublishedObject:
    """values: of the properties, in the contract's order. entries: their marshalled entries `{sv}`.

    changes: how many times the values have changed; a reply that is made in several steps compares it.
    """

    entries: list[bytes]
    _entry: bytes | None  # of all properties together; made when a client asks for it
    __slots__ = ("_entry", "changes", "entries", "key", "path", "properties", "values")

    def __init__(
        self,
        key: Key,
        path: str,
        properties: InterfaceProperties,
        record: Any,
        like: "PublishedObject | None" = None,
    ) -> None:
        """like: an object with the same interface. The entries of all values that are equal are taken from
        it, since most values of an object are those of the object before it.
        """
        self.key = key
        self.path = path
        self.properties = properties
        self.changes = 0
        self.values = properties.values(key, record)
        self.entries = list(like.entries) if like else [b""] * len(self.values)
        self._marshal(like.differing(self.values) if like else range(len(self.values)))

    def update(self, record: Any) -> tuple[bytes, ...]:
        """Take the record's values. Return the entries of the properties that differ and whose changes are
        announced: clients know the new values once PropertiesChanged with these entries is sent.
        """
        values = self.properties.values(self.key, record)
        changed = self.differing(values)
        if changed:
            self.values = values
            self._marshal(changed)
        unannounced = self.properties.unannounced
        return tuple([self.entries[index] for index in changed if index not in unannounced])

    def differing(self, values: Sequence[Any]) -> list[int]:
        """Return the indexes at which these values differ from the object's."""
        return [index for index, (old, new) in enumerate(zip(self.values, values, strict=True)) if old != new]

    def _marshal(self, indexes: Iterable[int]) -> None:
        names, signatures = self.properties.names, self.properties.signatures
        for index in indexes:
            self.entries[index] = property_entry(names[index], signatures[index], self.values[index])
        self.changes += 1
        self._entry = None

    @property
    def has_entry(self) -> bool:
        """Whether object_entry() returns what is marshalled already."""
        return self._entry is not None

    def object_entry(self) -> bytes:
        """Return `{oa{sa{sv}}}`, not padded. It is kept, since each GetManagedObjects needs it."""
        if self._entry is None:
            self._entry = object_entry(self.path, self.properties.interface, join(self.entries))
        return self._entry
