"""Indexes over the cached records. One table lists which field of which record each index covers.

The indexes are updated with every record, so a query costs the same with 10 domains and with 10,000.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from operator import attrgetter
from typing import Any

from virtbridge.model.disk_sources import backing_sources, disk_sources
from virtbridge.model.domain import Disk, Interface
from virtbridge.model.keys import Key
from virtbridge.model.records import DomainRecord, NetworkRecord, Record

Terms = Iterable[Hashable]


def _itself(value: Hashable) -> Terms:
    return (value,)


def _disk_terms(disks: tuple[Disk, ...]) -> Terms:
    for disk in disks:
        yield from disk_sources(disk)
        yield from backing_sources(disk)


def _mac_terms(interfaces: tuple[Interface, ...]) -> Terms:
    return (interface.mac for interface in interfaces if interface.mac)


# record type -> index -> the field that it covers, and the terms of a value of this field
_TERMS: Mapping[type, Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Terms]]]] = {
    DomainRecord: {
        "name": (attrgetter("name"), _itself),
        "uuid": (attrgetter("uuid"), _itself),
        "id": (attrgetter("id"), lambda number: (number,) if number >= 0 else ()),
        "disk": (attrgetter("definition.disks"), _disk_terms),
        "mac": (attrgetter("definition.interfaces"), _mac_terms),
    },
    NetworkRecord: {
        "mac": (attrgetter("definition.mac"), lambda mac: (mac,) if mac else ()),
    },
}


# Most terms have one key: a tuple is a quarter of a dict's size, which 10,000 domains notice. And what has
# many, such as the image that 10,000 domains are built on, must lose one of them without a search.
_Keys = tuple[Key] | dict[Key, None]


class Indexes:
    """Finds keys by the terms of several indexes (names, disks, MAC addresses)."""

    def __init__(self) -> None:
        self._keys: dict[str, dict[Hashable, _Keys]] = {
            index: {} for indexes in _TERMS.values() for index in indexes
        }

    def find(self, index: str, term: Hashable) -> Collection[Key]:
        return self._keys[index].get(term, ())

    def update(self, key: Key, old: Record | None, new: Record | None) -> None:
        for index, (field, terms_of) in _TERMS.get(type(new or old), {}).items():
            if old is not None and new is not None and field(old) == field(new):
                continue  # as nearly always: most changes are of a state
            before = set(terms_of(field(old))) if old is not None else set()
            after = set(terms_of(field(new))) if new is not None else set()
            for term in after - before:
                self._add(self._keys[index], term, key)
            for term in before - after:
                self._remove(self._keys[index], term, key)

    @staticmethod
    def _add(found: dict[Hashable, _Keys], term: Hashable, key: Key) -> None:
        known = found.get(term)
        if known is None:
            found[term] = (key,)
        elif isinstance(known, dict):
            known[key] = None
        else:
            found[term] = {known[0]: None, key: None}

    @staticmethod
    def _remove(found: dict[Hashable, _Keys], term: Hashable, key: Key) -> None:
        known = found[term]
        if isinstance(known, dict) and len(known) > 1:
            del known[key]
        else:
            del found[term]
