"""What listings find to differ from what is known, published: the next to last step of every look.

Where no event tells of a kind, a look does: what is new appears whole, and what follows from two readings is
signalled as events would. Main thread; no libvirt here.
"""

import asyncio
from collections.abc import Callable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any

from virtbridge.errors import BridgeError
from virtbridge.model.changes import LIFECYCLE, Change, Listing, Patch, Signal
from virtbridge.model.keys import Key, Kind
from virtbridge.model.records import Record
from virtbridge.source.callbacks import Lookup, Publish
from virtbridge.source.calls.batch import IN_TURN
from virtbridge.source.calls.session import Session
from virtbridge.source.kinds.derived import derived, may_read_differently
from virtbridge.source.kinds.row import Handle, KindRow
from virtbridge.source.reread import Rereader
from virtbridge.source.sync import Inventory
from virtbridge.tasks import all_of

SLICE = 128  # objects of a listing that are published in one step: a few milliseconds


class Differences:
    """by_looking: as in Rereader. passed_over: the kinds whose last listing left some objects as they were,
    since an event had told something newer of them.
    """

    def __init__(
        self,
        session: Session,
        publish: Publish,
        lookup: Lookup,
        rereader: Rereader,
        by_looking: Callable[[Kind], bool],
    ) -> None:
        self._session = session
        self._publish = publish
        self._lookup = lookup
        self._rereader = rereader
        self._by_looking = by_looking
        self.passed_over: set[Kind] = set()

    def publish_states(self, changed: Mapping[Key, tuple[Any, Any]]) -> None:
        if changed:
            patches = [
                Patch(key, {"state": new.state, "state_reason": new.state_reason})
                for key, (_, new) in changed.items()
            ]
            signals = [
                Signal(key, LIFECYCLE, words) for key, pair in changed.items() for words in derived(*pair)
            ]
            self._publish([*patches, *signals])

    async def read_new(self, inventory: Inventory) -> Mapping[str, dict[str, Any] | None]:
        """XML and definition of what is new, None when it is gone already: where no event announces it, it
        appears whole all the same.
        """
        row, turns = inventory.row, asyncio.Semaphore(IN_TURN)
        if not self._by_looking(row.kind):
            return {}

        async def read(key_id: str, handle: Handle) -> tuple[str, dict[str, Any] | None]:
            async with turns:
                try:
                    return key_id, await self._rereader.fetch(handle, self._key(row, key_id))
                except BridgeError as error:  # one that cannot be read does not spoil the listing
                    return key_id, None if error.code == row.gone else {}

        new = [each for each in inventory.handles.items() if self._lookup(self._key(row, each[0])) is None]
        return dict(await all_of(read(*each) for each in new))

    def _key(self, row: KindRow, key_id: str) -> Key:
        return Key(self._session.name, row.kind, key_id)

    async def publish(
        self,
        inventory: Inventory,
        touched: set[Key],
        whole: Mapping[str, dict[str, Any] | None] = MappingProxyType({}),
    ) -> list[Key]:
        """In slices, between which the bus has its turns; the keys whose XML is to be read after it.

        touched: what an event told of meanwhile, until the last slice, is newer and stays as it is. whole: of
        what is new, as read_new() found it.
        """
        name, kind = self._session.name, inventory.row.kind
        self.passed_over.discard(kind)
        found = {
            each: handle for each, handle in inventory.handles.items() if whole.get(each, {}) is not None
        }
        stay = found.keys() | {key.id for key in touched if key.kind is kind}
        held = self._session.handles
        gone = {key: self._lookup(key) for key in held if key.kind is kind and key.id not in stay}
        self._publish([Listing(name, kind, stay)])
        self._tell(gone)
        for key in gone:
            del held[key]
        unread: list[Key] = []
        left = iter(found.items())
        while some := list(islice(left, SLICE)):
            changes: list[Change] = []
            before: dict[Key, Record | None] = {}
            for key_id, handle in some:
                key = Key(name, kind, key_id)
                if key in touched:
                    self.passed_over.add(kind)
                    continue
                held[key] = handle
                before[key] = known = self._lookup(key)
                change = inventory.change(key, known)
                if fields := whole.get(key_id):
                    changes += [change, Patch(key, fields)]
                else:
                    changes.append(change)
                    if known is None:
                        unread.append(key)
            self._publish(changes)
            unread += self._tell(before)
            await asyncio.sleep(0)
        return unread

    def _tell(self, before: Mapping[Key, Record | None]) -> list[Key]:
        """Of kinds without events: signal what follows from these readings and the ones that are published;
        the keys whose XML may read differently.
        """
        pairs = {key: (old, self._lookup(key)) for key, old in before.items() if self._by_looking(key.kind)}
        changed = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
        signals: list[Change] = [
            Signal(key, LIFECYCLE, words) for key, pair in changed.items() for words in derived(*pair)
        ]
        if signals:
            self._publish(signals)
        return [key for key, pair in changed.items() if None not in pair and may_read_differently(*pair)]
