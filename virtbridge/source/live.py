"""A session at work: the first sync, then events, audits and refreshes, until the host is lost or it is
closed.

It joins the parts (session, sync, follow, reread) and decides what is published when. Main thread; no libvirt
here.
"""

import asyncio
import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable
from itertools import islice

from virtbridge.config import ConnectionConfig
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.changes import Change, Listing
from virtbridge.model.keys import Key, Kind
from virtbridge.source.errors import is_unsupported
from virtbridge.source.follow import Follower, Lookup
from virtbridge.source.kinds import KINDS, KindSpec
from virtbridge.source.reread import Publish, Rereader
from virtbridge.source.session import Session, all_of
from virtbridge.source.sync import Inventory, fetch_info, fetch_inventory

log = logging.getLogger(__name__)

SHARE = 64  # an audit re-reads the XML of one object in so many, and of at least SHARE_MIN
SHARE_MIN = 4
SLICE = 128  # objects of a listing that are published in one step: a few milliseconds


class Live:
    """event_kinds, demand_kinds: known once sync() has announced them."""

    def __init__(self, session: Session, publish: Publish, lookup: Lookup, complained: set[Key]) -> None:
        self._session = session
        self._publish = publish
        self._lookup = lookup
        self.rereader = Rereader(session, publish, complained)
        self.follower = Follower(session, self.rereader, publish, lookup)
        self.event_kinds: frozenset[Kind] = frozenset()
        self.demand_kinds: frozenset[Kind] = frozenset()
        self._cursors: dict[Kind, str] = {}
        self._one_at_a_time = asyncio.Lock()

    async def sync(self, config: ConnectionConfig, announce: Callable[..., Change]) -> None:
        """Everything, in as few round trips as it takes. announce: makes the connection's patch of these
        fields.
        """
        announced = await self._session.set_up(config)
        info = asyncio.create_task(
            fetch_info(self._session)
        )  # which may take longer than all states together
        try:
            inventories = await self._fetch_inventories()
            for inventory in inventories:
                await self._publish_inventory(inventory, set())
            present = frozenset(inventory.spec.kind for inventory in inventories)
            self.event_kinds = announced & present
            self.demand_kinds = present - announced
            kinds = {
                "event_kinds": tuple(sorted(kind.value for kind in self.event_kinds)),
                "demand_kinds": tuple(sorted(kind.value for kind in self.demand_kinds)),
            }
            self._publish([announce(state="syncing", **kinds)])
            self.follower.release()
            await self.rereader.read_all(list(self._session.handles))
            self._publish([announce(**await info)])
        finally:
            info.cancel()
            await asyncio.gather(info, return_exceptions=True)

    async def audit(self) -> None:
        """What libvirt changes silently: the bulk listings again, and the XML of some. Raises BridgeError."""
        async with self._one_at_a_time:
            for kind in sorted(self.event_kinds | self.demand_kinds):
                fresh = await self._list_again(KINDS[kind])
                await self.rereader.read_all(dict.fromkeys([*fresh, *self._share(kind)]))

    async def refresh(self, kinds: Iterable[Kind]) -> None:
        """Everything of these kinds, definitions too. Raises BridgeError."""
        wanted = sorted(kinds)
        if missing := [kind for kind in wanted if kind not in self.event_kinds | self.demand_kinds]:
            raise BridgeError(ErrorKind.NOT_SUPPORTED, f"this connection has no objects of kind {missing[0]}")
        async with self._one_at_a_time:
            await all_of(self._list_again(KINDS[kind]) for kind in wanted)
            await self.rereader.read_all([key for key in self._session.handles if key.kind in wanted])

    async def stop(self) -> None:
        await self.follower.stop()
        await self.rereader.stop()

    async def _fetch_inventories(self) -> list[Inventory]:
        answers = await all_of(self._inventory_if_any(spec) for spec in KINDS.values())
        return [inventory for inventory in answers if inventory is not None]

    async def _inventory_if_any(self, spec: KindSpec) -> Inventory | None:
        try:
            return await fetch_inventory(self._session, spec)
        except BridgeError as error:
            if not is_unsupported(error):
                raise
            log.info("no such kind here conn=%s kind=%s", self._session.name, spec.kind)
            return None

    async def _list_again(self, spec: KindSpec) -> list[Key]:
        """Publish the differences of a new listing; the keys that were not known before."""
        touched = self.follower.watch_touched()
        try:
            inventory = await fetch_inventory(self._session, spec)
            return await self._publish_inventory(inventory, touched)
        finally:
            self.follower.forget_touched(touched)

    async def _publish_inventory(self, inventory: Inventory, touched: set[Key]) -> list[Key]:
        """In slices, between which the bus has its turns; the keys that were not known before.

        touched: what an event told of meanwhile, until the last slice, is newer and stays as it is.
        """
        name, kind = self._session.name, inventory.spec.kind
        stay = inventory.handles.keys() | {key.id for key in touched if key.kind is kind}
        self._publish([Listing(name, kind, stay)])
        held = self._session.handles
        for key in [key for key in held if key.kind is kind and key.id not in stay]:
            del held[key]
        fresh: list[Key] = []
        left = iter(inventory.handles.items())
        while some := list(islice(left, SLICE)):
            changes: list[Change] = []
            for key_id, handle in some:
                key = Key(name, kind, key_id)
                if key in touched:
                    continue
                held[key] = handle
                known = self._lookup(key)
                changes.append(inventory.change(key, known))
                if known is None:
                    fresh.append(key)
            self._publish(changes)
            await asyncio.sleep(0)
        return fresh

    def _share(self, kind: Kind) -> list[Key]:
        """The next few objects, round robin, so that what only the XML shows is found in the end."""
        ids = sorted(key.id for key in self._session.handles if key.kind is kind)
        size = min(max(SHARE_MIN, len(ids) // SHARE), len(ids))
        start = bisect_right(ids, self._cursors.get(kind, ""))
        share = (ids[start : start + size] + ids)[:size]
        if share:
            self._cursors[kind] = share[-1]
        return [Key(self._session.name, kind, key_id) for key_id in share]
