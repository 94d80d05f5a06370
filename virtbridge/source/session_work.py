"""A session at work: the first sync, then events, audits and refreshes, until the host is lost or it is
closed.

It joins the parts (session, sync, differences, follow, reread) and decides what is done when. Main thread;
no libvirt here.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any

from virtbridge.config import ConnectionConfig
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.changes import Change
from virtbridge.model.keys import ON_DEMAND, Key, Kind
from virtbridge.source.callbacks import Lookup, Problems, Publish
from virtbridge.source.calls.errors import is_unsupported
from virtbridge.source.calls.opening import HUNG_LIMIT
from virtbridge.source.calls.session import Session
from virtbridge.source.differences import Differences
from virtbridge.source.follow import Follower
from virtbridge.source.kinds.derived import may_read_differently
from virtbridge.source.kinds.row import KindRow
from virtbridge.source.kinds.table import FOLLOWED
from virtbridge.source.reread import Rereader
from virtbridge.source.round_robin import next_in_turn
from virtbridge.source.sync import (
    Inventory,
    fetch_glance,
    fetch_info,
    fetch_inventory,
    fetch_rest,
    fetch_version,
)
from virtbridge.tasks import all_of, end_all

log = logging.getLogger(__name__)

LISTINGS = 4  # that a refresh makes at most, where events of what they list come in between


class Live:
    """event_kinds, demand_kinds: the kinds that events tell of here, and those that have to be looked at;
    known once sync() has announced them, and without the kinds of keys.ON_DEMAND. failures: why a kind cannot
    be listed or followed for now; it is a demand kind until it can, and what was known of it stays.
    fetch_doubtful: gives the domains whose definition, by their bulk statistics, has changed.
    """

    def __init__(
        self,
        session: Session,
        publish: Publish,
        lookup: Lookup,
        problems: Problems,
        fetch_doubtful: Callable[[], Coroutine[Any, Any, list[Key]]],
    ) -> None:
        self._session = session
        self._fetch_doubtful = fetch_doubtful
        self._publish = publish
        self._lookup = lookup
        self.rereader = Rereader(session, publish, problems, self._is_told_of_by_looking)
        self.follower = Follower(session, self.rereader, publish, lookup)
        self._differences = Differences(session, publish, lookup, self.rereader, self._is_told_of_by_looking)
        self.event_kinds: frozenset[Kind] = frozenset()
        self.demand_kinds: frozenset[Kind] = frozenset()
        self.failures: dict[Kind, BridgeError] = {}
        # Whether the driver has those that no event tells of shows when somebody asks for them.
        self._on_demand = ON_DEMAND
        self._unregistered: set[Kind] = set()
        self._announced: set[Kind] = set()
        self._listed: set[Kind] = set()
        self._announce: Callable[..., Change] | None = None
        self._cursors: dict[Kind, str] = {}
        self._one_at_a_time = asyncio.Lock()

    @property
    def on_demand(self) -> frozenset[Kind]:
        """The kinds that no event tells of anywhere, as far as this driver is known to have them."""
        return self._on_demand

    @property
    def lost(self) -> bool:
        return self._session.lost.done()

    async def sync(self, config: ConnectionConfig, announce: Callable[..., Change]) -> None:
        """Everything, in as few round trips as it takes. announce: makes the connection's patch of these
        fields.
        """
        self._announce = announce
        self._publish([announce(state="syncing")])
        self._note(*await self._session.set_up(config))
        others = asyncio.create_task(self._register_others(config))
        try:
            await all_of(
                [*(self._sync_kind(row, others) for row in FOLLOWED.values()), self._tell_of_host(fetch_info)]
            )
            await others
        finally:
            await end_all([others])
        if self.lost:  # reading definitions ends quietly then
            raise self._session.lost.result()
        if self.failures and not self._listed:
            raise _as_one(self.failures.values())

    async def tell_version(self) -> None:
        """After the sync, as it would hold that up."""
        await self._tell_of_host(fetch_version)

    async def _tell_of_host(self, fetch: Callable[[Session], Coroutine[Any, Any, dict[str, Any]]]) -> None:
        assert self._announce is not None
        self._publish([self._announce(**await fetch(self._session))])

    async def _sync_kind(self, row: KindRow, others: "asyncio.Task[None]") -> None:
        """A kind that hangs holds up no other. others: what registers all events but lifecycle; what they
        tell is in the XML, and that is read after them.
        """
        assert self._announce is not None
        await self._list_first(row)
        self._publish([self._announce(**self._kinds())])
        self.follower.release(row.kind)
        await asyncio.wait([others])
        await self.rereader.read_all([key for key in self._session.handles if key.kind is row.kind])

    def has_to_be_audited(self, watched: frozenset[Kind]) -> bool:
        return bool(self.event_kinds or self.failures or self.demand_kinds & watched)

    async def audit(self, is_watched: Callable[[Kind], bool]) -> None:
        """What libvirt changes silently: the bulk listings again, and the XML of some. Raises BridgeError,
        after all kinds had their turn.

        is_watched: asked of kinds without events; nobody pays for those that nobody watches.
        """
        async with self._one_at_a_time:
            for kind in sorted(self.event_kinds | self.demand_kinds):
                wanted = partial(self._is_wanted, kind, is_watched)
                if wanted() and (fresh := await self._list_again(FOLLOWED[kind])) is not None:
                    doubtful = await self._fetch_doubtful() if kind is Kind.DOMAIN else []
                    keys = dict.fromkeys([*fresh, *doubtful, *self._share(kind)])
                    await self.rereader.read_all(keys, wanted)
        if self.failures:
            raise _as_one(self.failures.values())

    def _is_wanted(self, kind: Kind, is_watched: Callable[[Kind], bool]) -> bool:
        return kind in self.event_kinds or kind in self.failures or is_watched(kind)

    async def poll(self, kind: Kind, wanted: Callable[[], bool]) -> None:
        """Look for differences in a kind without events. wanted: asked before each step. Raises BridgeError.

        Publishes what events would have told; reads the XML of what is new or changed, and of a share of the
        rest.
        """
        async with self._one_at_a_time:
            if not wanted():
                return
            if kind not in self.failures:
                changed = await self._look_again(FOLLOWED[kind], wanted)
            elif (found := await self._list_again(FOLLOWED[kind])) is not None:
                changed = found
            else:
                raise _as_one([self.failures[kind]])
            await self.rereader.read_all(dict.fromkeys([*changed, *self._share(kind)]), wanted)

    def trouble(self) -> BridgeError | None:
        return _as_one(self.failures.values()) if self.failures else None

    def lacks(self, kind: Kind) -> None:
        """Of the kinds that are read on demand: the driver has no such kind, and need not be asked again."""
        assert self._announce is not None
        if kind in self._on_demand:
            log.info("no such kind here conn=%s kind=%s", self._session.name, kind)
            self._on_demand -= {kind}
            self._publish([self._announce(**self._kinds())])

    def handle(self, key: Key) -> Any:
        """libvirt's object. Raises BridgeError."""
        handle = self._session.handles.get(key)
        if handle is None:
            if (failure := self.failures.get(key.kind)) is not None:
                raise BridgeError(failure.kind, failure.message, failure.code)
            raise BridgeError(ErrorKind.NO_SUCH_OBJECT, f"{key.connection} has no {key.kind} {key.id}")
        return handle.raw

    async def refresh(self, kinds: Iterable[Kind]) -> None:
        """Everything of these kinds, definitions too. Raises BridgeError."""
        wanted = sorted(kinds)
        if missing := [kind for kind in wanted if kind not in self.event_kinds | self.demand_kinds]:
            raise BridgeError(ErrorKind.NOT_SUPPORTED, f"this connection has no objects of kind {missing[0]}")
        async with self._one_at_a_time:
            left = wanted
            for _ in range(LISTINGS):
                await all_of(self._list_again(FOLLOWED[kind]) for kind in left)
                # An event says nothing of autostart, which may have changed before this refresh.
                left = [
                    kind
                    for kind in left
                    if kind in self._differences.passed_over and kind not in self.failures
                ]
            await self.rereader.read_all([key for key in self._session.handles if key.kind in wanted])
        if failed := [self.failures[kind] for kind in wanted if kind in self.failures]:
            raise _as_one(failed)

    async def stop(self) -> None:
        await self.follower.stop()
        await self.rereader.stop()

    def _kinds(self) -> dict[str, tuple[str, ...]]:
        self.event_kinds = frozenset(self._listed & self._announced)
        self.demand_kinds = frozenset(self._listed | self.failures.keys()) - self.event_kinds
        return {
            "event_kinds": tuple(sorted(kind.value for kind in self.event_kinds)),
            "demand_kinds": tuple(sorted(kind.value for kind in self.demand_kinds | self._on_demand)),
        }

    def _fail(self, kind: Kind, error: BridgeError) -> None:
        """The other kinds do without it. Raises the error when the host itself is lost."""
        if self._session.lost.done():
            raise error
        log.debug("kind failed conn=%s kind=%s error=%s", self._session.name, kind, error.message)
        # A new one: the traceback would keep handles.
        self.failures[kind] = BridgeError(error.kind, f"{kind}: {error.message}", error.code)

    async def _register_others(self, config: ConnectionConfig) -> None:
        if config.events:
            kinds = [row for row in FOLLOWED.values() if row.kind not in self._unregistered]
            self._note(frozenset(), await self._session.register_others(kinds))

    def _note(self, announced: frozenset[Kind], failures: Mapping[Kind, BridgeError]) -> None:
        """Whose lifecycle is announced, and what could not be registered."""
        self._announced |= announced
        self._unregistered |= failures.keys()
        for kind, error in failures.items():
            self._fail(kind, error)

    async def _list_first(self, row: KindRow) -> None:
        try:
            await self._list(row)
        except BridgeError as error:
            self._fail(row.kind, error)

    async def _list_again(self, row: KindRow) -> list[Key] | None:
        """_list(), of a kind that may have failed before; None when it fails now."""
        assert self._announce is not None
        if row.kind in self.failures and self._session.workers.hung() >= HUNG_LIMIT:
            return None  # one more try would only be one more call that hangs
        try:
            unregistered = await self._register_again(row)
            unread = await self._list(row)
        except BridgeError as error:
            self._fail(row.kind, error)
            return None
        if unregistered is not None and row.kind in self._listed:
            self._fail(row.kind, unregistered)
        else:
            self.failures.pop(row.kind, None)
        self._publish([self._announce(**self._kinds())])
        return unread

    async def _register_again(self, row: KindRow) -> BridgeError | None:
        if row.kind in self._unregistered:
            try:
                announced = await self._session.register(row)
            except BridgeError as error:
                return error
            self._unregistered.discard(row.kind)
            if announced:
                self._announced.add(row.kind)
        return None

    async def _list(self, row: KindRow) -> list[Key]:
        """Publish the differences of a new listing; the keys whose XML is to be read after it. Raises
        BridgeError.
        """
        touched = self.follower.watch_touched()
        try:
            try:
                inventory = await fetch_inventory(self._session, row)
            except BridgeError as error:
                if not is_unsupported(error) or row.kind in self._listed:
                    raise
                log.info("no such kind here conn=%s kind=%s", self._session.name, row.kind)
                self._unregistered.discard(row.kind)
                self.failures.pop(row.kind, None)
                # What another driver had here is gone.
                return await self._differences.publish(Inventory(row, {}, {}, {}), touched)
            whole = await self._differences.read_new(inventory)
            unread = await self._differences.publish(inventory, touched, whole)
            self._listed.add(row.kind)
            return unread
        finally:
            self.follower.forget_touched(touched)

    async def _look_again(self, row: KindRow, wanted: Callable[[], bool]) -> list[Key]:
        """The same from a glance, and from more only where that shows a difference."""
        name = self._session.name
        touched = self.follower.watch_touched()
        try:
            glance = await fetch_glance(self._session, row, self._lookup)
            changed = await glance.changed(name, self._lookup)
            held = {key.id for key in self._session.handles if key.kind is row.kind}
            missing = held - glance.handles.keys()
            if not missing and not any(may_read_differently(*pair) for pair in changed.values()):
                self._differences.publish_states(
                    {key: pair for key, pair in changed.items() if key not in touched}
                )
                return []
            if not wanted():
                return []
            inventory, there = await fetch_rest(self._session, glance, bool(missing))
            if not wanted():
                return []
            whole = await self._differences.read_new(inventory)
            touched.update(Key(name, row.kind, key_id) for key_id in missing.intersection(there))
            return await self._differences.publish(inventory, touched, whole)
        finally:
            self.follower.forget_touched(touched)

    def _is_told_of_by_looking(self, kind: Kind) -> bool:
        """Else the listing is the first one here, or events tell of what happens."""
        return kind in self.demand_kinds and kind in self._listed

    def _share(self, kind: Kind) -> list[Key]:
        """The next few objects, round robin, so that what only the XML shows is found in the end."""
        ids = sorted(key.id for key in self._session.handles if key.kind is kind)
        share = next_in_turn(ids, self._cursors.get(kind, ""))
        if share:
            self._cursors[kind] = share[-1]
        return [Key(self._session.name, kind, key_id) for key_id in share]


def _as_one(failures: Iterable[BridgeError]) -> BridgeError:
    """A new one, as all that are raised: a kept error with a traceback would keep handles."""
    errors = list(failures)
    return BridgeError(errors[0].kind, "; ".join(each.message for each in errors), errors[0].code)
