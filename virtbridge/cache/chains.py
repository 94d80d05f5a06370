"""The backing chains of storage volumes. libvirt shows for each volume only the volume directly below it.

Volumes are read in any order, so a chain cannot be built once: it is followed through the cached volumes of
the connection, in any pool, and is built again when one of these volumes appears, changes or is removed.
Nothing here calls libvirt. Main thread only.
"""

from virtbridge.cache.cache import Cache
from virtbridge.model.changes import Patch
from virtbridge.model.disk_sources import normal_source
from virtbridge.model.keys import Key, Kind
from virtbridge.model.records import VolumeRecord
from virtbridge.model.volumes import BackingVolume, VolumeLink, chain_of, link_of

_Place = tuple[str, str]  # a connection, and a path there in its normal spelling


class Chains:
    """Keeps the backing chains of volumes, which depend on other volumes, up to date in their records."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._links: dict[Key, VolumeLink] = {}
        self._chains: dict[Key, tuple[BackingVolume, ...]] = {}
        self._at: dict[_Place, set[Key]] = {}  # the volumes at this path
        self._above: dict[_Place, set[Key]] = {}  # the volumes whose chain contains this path

    def attach(self) -> None:
        """Begin to follow the cache."""
        self._cache.listen([Kind.VOLUME], changed=self._changed)

    def _changed(self, key: Key) -> None:
        record = self._cache.get(key)
        known = self._links.get(key)
        link = link_of(record.definition) if isinstance(record, VolumeRecord) else None
        if link != known:
            self._move(key, known, link)
        elif link is not None:
            self._show(key)

    def _move(self, key: Key, old: VolumeLink | None, new: VolumeLink | None) -> None:
        if old is not None:
            del self._links[key]
            _leave(self._at, (key.connection, old.place), key)
        if new is not None:
            self._links[key] = new
            self._at.setdefault((key.connection, new.place), set()).add(key)
        affected = {key}
        for link in (old, new):
            if link is not None:
                affected |= self._above.get((key.connection, link.place), set())
        for each in affected:
            self._follow(each)

    def _follow(self, key: Key) -> None:
        """Build the volume's chain again."""
        known, chain = self._chains.pop(key, ()), self._chain(key)
        if chain:
            self._chains[key] = chain
        if chain != known:
            before, now = (
                {(key.connection, normal_source(link.path)) for link in each} for each in (known, chain)
            )
            for place in before - now:
                _leave(self._above, place, key)
            for place in now - before:
                self._above.setdefault(place, set()).add(key)
        if key in self._links:
            self._show(key)

    def _show(self, key: Key) -> None:
        """Put the chain into the volume's record, since a record that was just read has none."""
        record, chain = self._cache.get(key), self._chains.get(key, ())
        if isinstance(record, VolumeRecord) and record.chain != chain:
            self._cache.apply([Patch(key, {"chain": chain})])

    def _chain(self, key: Key) -> tuple[BackingVolume, ...]:
        if key not in self._links:
            return ()

        def find(place: str) -> tuple[Key, VolumeLink] | None:
            keys = self._at.get((key.connection, place))
            if not keys:
                return None
            first = min(keys)  # where several pools show one file, it is always the same volume
            return first, self._links[first]

        return chain_of(self._links[key], find)


def _leave(index: dict[_Place, set[Key]], place: _Place, key: Key) -> None:
    index[place].discard(key)
    if not index[place]:
        del index[place]
