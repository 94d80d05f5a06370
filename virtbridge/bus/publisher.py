"""The publisher: what clients know of every object, and the signals that keep them knowing it.

It hears which keys have changed, and once per turn of the loop it compares what really differs from what
clients know: one InterfacesAdded, PropertiesChanged or InterfacesRemoved per object, however many changes
led there. Reads are answered from the same published state, so they fit the signals exactly. Above the
outgoing high-water mark nothing is made: changed keys wait, merged, until the queue has drained. Main
thread only.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from time import monotonic

from virtbridge.bus import marshalling
from virtbridge.bus.api import Api
from virtbridge.bus.properties import InterfaceProperties, RootRecord
from virtbridge.bus.published_object import PublishedObject
from virtbridge.bus.tree import Tree
from virtbridge.cache.cache import Cache
from virtbridge.metrics import Metrics
from virtbridge.model.changes import Signal
from virtbridge.model.keys import Key, Kind
from virtbridge.wire.link import Link
from virtbridge.wire.names import OBJECT_MANAGER, PROPERTIES
from virtbridge.wire.transport import marshal

log = logging.getLogger(__name__)

_TURN_S = 0.01  # how long one turn may make signals: 10,000 new domains are seconds of work
_CONGESTED_S = 0.02  # between two checks whether clients have read what was sent
_MAX_WAITING = 100_000  # signals that wait for a full queue; beyond it the oldest are lost, states never are
_ROOT_KEY = Key("", Kind.CONNECTION)  # of no connection


class Publisher:
    """What one API shows of the cache. by_path: every object that clients know, the root included.

    properties: those of the API, by interface.
    """

    def __init__(
        self,
        link: Link,
        cache: Cache,
        api: Api,
        properties: Mapping[str, InterfaceProperties],
        metrics: Metrics,
        version: str,
    ) -> None:
        self._link = link
        self._cache = cache
        self.path_of = api.path_of
        self._properties_of = {kind: properties[interface] for kind, interface in api.interface_of.items()}
        self._emitted = api.emitted()
        self._metrics = metrics
        self._changed: OrderedDict[Key, None] = OrderedDict()  # a dict is slow to take its first keys from
        self._removed: OrderedDict[Key, None] = OrderedDict()  # removals that are still to be announced
        self._signals: deque[Signal] = deque()
        self._scheduled = False
        self._dropping = False
        self._objects: dict[Key, PublishedObject] = {}
        self._groups: dict[
            tuple[str, Kind], dict[Key, PublishedObject]
        ] = {}  # the same, by connection and kind
        self._newest: dict[Kind, PublishedObject] = {}
        self._root_record = RootRecord(version)
        self._root = PublishedObject(_ROOT_KEY, api.root, properties[api.root_interface], self._root_record)
        self.by_path: dict[str, PublishedObject] = {api.root: self._root}
        self.tree = Tree()
        self.tree.add(api.root)
        link.on_drained = self._schedule
        cache.listen(self._properties_of.keys(), changed=self._note_change, happened=self._happened)
        cache.batch.at_end(self._end_batch)
        metrics.gauge("queue.changed", lambda: len(self._changed))
        metrics.gauge("queue.signals", lambda: len(self._signals))

    def _note_change(self, key: Key) -> None:
        self._changed[key] = None
        self._schedule()

    def _happened(self, signal: Signal) -> None:
        if len(self._signals) >= _MAX_WAITING:
            if not self._dropping:
                log.warning("clients read too slowly, events are lost queue=%d", len(self._signals))
            self._dropping = True
            self._signals.popleft()
            self._metrics.add("bus.signals.dropped")
        self._signals.append(signal)
        self._schedule()

    def objects(self, kind: Kind, connection: str | None = None) -> Iterator[PublishedObject]:
        """Return the objects of a kind that clients can see. A new one may still wait to be announced, and so
        may a removal.
        """
        for group, objects in self._groups.items():
            if group[1] is kind and connection in (None, group[0]):
                yield from objects.values()

    def get(self, key: Key) -> PublishedObject | None:
        return self._objects.get(key)

    def managed(self) -> Iterator[PublishedObject]:
        return iter(self._objects.values())

    async def until_announced(self) -> None:
        """Wait until clients know what the cache held when this was called."""
        waiting = {*self._changed, *self._removed, *self._cache.pending_removals}
        while self._is_pending(waiting):  # noqa: ASYNC110 (no event: each turn publishes some)
            await asyncio.sleep(_CONGESTED_S if self._link.congested else 0)

    def _is_pending(self, keys: set[Key]) -> bool:
        """Return whether a change of any of these waits."""
        return not all(map(keys.isdisjoint, (self._changed, self._removed, self._cache.pending_removals)))

    def _end_batch(self) -> None:
        """Publish now: no more changes come in this turn of the loop, and the next turn is a system call and
        50 us away.
        """
        if self._changed or self._signals:
            self._turn()

    def _schedule(self) -> None:
        if not self._scheduled and not self._cache.batch.is_open:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self._link.gather()
        try:
            self._publish()
        except Exception:  # an edge: one value that cannot travel must not delay all that can
            log.exception("publishing failed")
        self._link.flush()
        if (self._changed or self._signals or self._removed) and not self._link.congested:
            self._schedule()

    def _publish(self) -> None:
        """Publish states, then events, then removals: who hears of an event finds its object, in the state
        that followed.
        """
        end = monotonic() + _TURN_S
        while self._changed and not self._link.congested and monotonic() < end:
            key, _ = self._changed.popitem(last=False)
            if self._publish_state(key):
                self._removed.pop(key, None)
            else:
                self._removed[key] = None
        while self._signals and not self._changed and not self._link.congested and monotonic() < end:
            self._publish_signal(self._signals.popleft())
        self._dropping = self._dropping and bool(self._signals)
        # The last signals of an object go first, and thus those of all.
        while self._removed and not (self._signals or self._link.congested) and monotonic() < end:
            key, _ = self._removed.popitem(last=False)
            if self._cache.get(key) is None:  # else it is back, and counts as changed
                self._publish_removal(key)

    def _publish_state(self, key: Key) -> bool:
        """Publish what differs; False when the key is not in the cache any more."""
        record = self._cache.get(key)
        if record is None:
            return False
        known = self._objects.get(key)
        if known is None:
            path, properties = self.path_of(key), self._properties_of[key.kind]
            self._publish_new(PublishedObject(key, path, properties, record, self._newest.get(key.kind)))
        else:
            self._publish_change(known, known.update(record))
        return True

    def _publish_new(self, new: PublishedObject) -> None:
        self._objects[new.key] = self._newest[new.key.kind] = new
        self._groups.setdefault(new.key[:2], {})[new.key] = new
        self.by_path[new.path] = new
        self.tree.add(new.path)
        self._signal(self._root.path, OBJECT_MANAGER, "InterfacesAdded", "oa{sa{sv}}", new.object_entry())
        if new.key.kind is Kind.CONNECTION:
            self._publish_connections()

    def _publish_change(self, known: PublishedObject, changed: tuple[bytes, ...]) -> None:
        if changed:
            body = marshalling.properties_changed_body(known.properties.interface, changed)
            self._signal(known.path, PROPERTIES, "PropertiesChanged", "sa{sv}as", body)

    def _publish_removal(self, key: Key) -> None:
        known = self._objects.pop(key, None)
        if known is None:
            return  # came and went within one turn
        group = self._groups[key[:2]]
        del group[key]
        if not group:
            del self._groups[key[:2]]
        del self.by_path[known.path]
        self.tree.remove(known.path)
        body = marshal("oas", [known.path, [known.properties.interface]])
        self._signal(self._root.path, OBJECT_MANAGER, "InterfacesRemoved", "oas", body)
        if key.kind is Kind.CONNECTION:
            self._publish_connections()

    def _publish_connections(self) -> None:
        keys = tuple(key for key in self._objects if key.kind is Kind.CONNECTION)
        self._root_record = replace(self._root_record, connections=keys)
        self._publish_change(self._root, self._root.update(self._root_record))

    def _publish_signal(self, signal: Signal) -> None:
        known = self._objects.get(signal.key)
        if known is None:
            return  # came and went before any client could know it
        interface = known.properties.interface
        emitted = self._emitted.get((interface, signal.member))
        if emitted is not None:
            member, signature, body = emitted
            self._signal(known.path, interface, member, signature, body(*signal.args))

    def _signal(self, path: str, interface: str, member: str, signature: str, body: bytes) -> None:
        self._link.signal(path, interface, member, signature, body)
