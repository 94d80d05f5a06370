"""Indexes over the cached records: which keys answer to a term. One table says what is found by what.

Kept up to date record by record, so a question costs the same with 10 domains and with 10,000.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping

from virtbridge.model.domain import backing_sources, disk_sources
from virtbridge.model.keys import Key
from virtbridge.model.records import DomainRecord, NetworkRecord, Record

Terms = Iterable[Hashable]


def _disk_terms(record: DomainRecord) -> Terms:
    for disk in record.definition.disks:
        yield from disk_sources(disk)
        yield from backing_sources(disk)


def _domain_macs(record: DomainRecord) -> Terms:
    return (interface.mac for interface in record.definition.interfaces if interface.mac)


# record type -> index -> the terms that the record is found under
_TERMS: Mapping[type, Mapping[str, Callable[..., Terms]]] = {
    DomainRecord: {
        "name": lambda record: (record.name,),
        "uuid": lambda record: (record.uuid,),
        "id": lambda record: (record.id,) if record.active else (),
        "disk": _disk_terms,
        "mac": _domain_macs,
    },
    NetworkRecord: {
        "mac": lambda record: (record.definition.mac,) if record.definition.mac else (),
    },
}


class Indexes:
    def __init__(self) -> None:
        # Most terms have one key: a tuple is a quarter of a set's size, which 10,000 domains notice.
        self._keys: dict[str, dict[Hashable, tuple[Key, ...]]] = {
            index: {} for indexes in _TERMS.values() for index in indexes
        }

    def find(self, index: str, term: Hashable) -> tuple[Key, ...]:
        return self._keys[index].get(term, ())

    def update(self, key: Key, old: Record | None, new: Record | None) -> None:
        for index, terms_of in _TERMS.get(type(new or old), {}).items():
            before = set(terms_of(old)) if old else set()
            after = set(terms_of(new)) if new else set()
            for term in before - after:
                self._remove(index, term, key)
            for term in after - before:
                self._keys[index][term] = (*self.find(index, term), key)

    def _remove(self, index: str, term: Hashable, key: Key) -> None:
        left = tuple(other for other in self.find(index, term) if other != key)
        if left:
            self._keys[index][term] = left
        else:
            del self._keys[index][term]
