"""The work of a session: the first sync, then events, audits, polls and refreshes until the session ends.

This joins the parts (registering, following, refreshing, rereading) and decides when each of them runs. Runs
on the main thread and does not call libvirt itself.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any

from virtbridge.config import ConnectionConfig
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.changes import Patch
from virtbridge.model.keys import Key, Kind, connection_key
from virtbridge.source.callbacks import Lookup, Problems, Publish
from virtbridge.source.calls.opening import HUNG_LIMIT
from virtbridge.source.calls.session import Session
from virtbridge.source.definitions import Definitions
from virtbridge.source.follow import Follower
from virtbridge.source.host_facts import fetch_info, fetch_version
from virtbridge.source.kind_states import KindStates
from virtbridge.source.kinds.row import KindRow
from virtbridge.source.kinds.table import FOLLOWED
from virtbridge.source.newer_keys import NewerKeys
from virtbridge.source.refresh import Refresher
from virtbridge.source.rereads import Rereads
from virtbridge.tasks import all_of, end_all

LISTINGS = 4  # the most listings that one refresh makes when events arrive meanwhile


class SessionWork:
    """problems: why objects cannot be read, each logged once; the connection keeps it. fetch_outdated:
    returns the domains whose definition has changed according to their bulk statistics.
    """

    def __init__(
        self,
        session: Session,
        publish: Publish,
        lookup: Lookup,
        problems: Problems,
        fetch_outdated: Callable[[], Coroutine[Any, Any, list[Key]]],
    ) -> None:
        self._session = session
        self._fetch_outdated = fetch_outdated
        self._publish = publish
        self.newer = NewerKeys()
        self.kinds = KindStates(session.name, self._announce)
        definitions = Definitions(session, problems)
        self._rereads = Rereads(session, definitions, publish, self.kinds.is_polled)
        self.follower = Follower(session, publish, lookup, self.newer, definitions, self._rereads)
        self.refresher = Refresher(session, publish, lookup, self.kinds, self.newer, definitions)
        self._one_at_a_time = asyncio.Lock()

    @property
    def lost(self) -> bool:
        return self._session.lost.done()

    async def sync(self, config: ConnectionConfig) -> None:
        """Register for events, list all objects and read their XML. Raises BridgeError."""
        self._announce({"state": "syncing"})
        registered, failures = await self._session.set_up(config)
        self.kinds.note_registered(registered)
        self._note_unregistered(failures)
        others = asyncio.create_task(self._register_others(config))
        try:
            await all_of(
                [
                    *(self._sync_kind(row, others) for row in FOLLOWED.values()),
                    self._announce_host(fetch_info),
                ]
            )
            await others
        finally:
            await end_all([others])
        if self.lost:  # reading definitions does not raise then
            raise self._session.lost.result()
        if not self.kinds.listed and (failure := self.kinds.failure()) is not None:
            raise failure

    async def announce_version(self) -> None:
        """Publish the hypervisor's version. This comes after the sync, which it would delay."""
        await self._announce_host(fetch_version)

    async def _announce_host(self, fetch: Callable[[Session], Coroutine[Any, Any, dict[str, Any]]]) -> None:
        self._announce(await fetch(self._session))

    def _announce(self, fields: Mapping[str, Any]) -> None:
        self._publish([Patch(connection_key(self._session.name), fields)])

    async def _sync_kind(self, row: KindRow, others: "asyncio.Task[None]") -> None:
        """Sync one kind. A kind that hangs does not delay the others.

        others: the task that registers all events but lifecycle. The XML shows what they announce, so it is
        read after they are registered.
        """
        try:
            await self.refresher.list_kind(row)
        except BridgeError as error:
            self._note_failure(row.kind, error)
        self.kinds.announce()
        self.follower.release(row.kind)
        await asyncio.wait([others])
        await self._rereads.read_all(self.refresher.keys(row.kind))

    def has_to_be_audited(self, watched: frozenset[Kind]) -> bool:
        return bool(self.kinds.event_kinds or self.kinds.failures or self.kinds.polled_kinds & watched)

    async def audit(self, is_watched: Callable[[Kind], bool]) -> None:
        """Find what libvirt changes without an event: list all kinds and read the XML of some objects again.
        Raises BridgeError after all kinds were tried.

        is_watched: says whether a client watches a kind. A kind without events is audited only then.
        """
        async with self._one_at_a_time:
            for kind in sorted(self.kinds.event_kinds | self.kinds.polled_kinds):
                wanted = partial(self._is_wanted, kind, is_watched)
                if wanted() and (unread := await self._relist(FOLLOWED[kind])) is not None:
                    outdated = await self._fetch_outdated() if kind is Kind.DOMAIN else []
                    keys = dict.fromkeys([*unread, *outdated, *self.refresher.in_turn(kind)])
                    await self._rereads.read_all(keys, wanted)
        if (failure := self.kinds.failure()) is not None:
            raise failure

    def _is_wanted(self, kind: Kind, is_watched: Callable[[Kind], bool]) -> bool:
        return kind in self.kinds.event_kinds or kind in self.kinds.failures or is_watched(kind)

    async def poll(self, kind: Kind, wanted: Callable[[], bool]) -> None:
        """List a kind without events again, and publish what events would have announced. Raises BridgeError.

        The XML of new and changed objects is read, and of some others in turn. goes_on: is called before each
        step, which is left out if it returns False.
        """
        async with self._one_at_a_time:
            if not wanted():
                return
            if kind not in self.kinds.failures:
                unread = await self.refresher.poll_kind(FOLLOWED[kind], wanted)
            elif (found := await self._relist(FOLLOWED[kind])) is not None:
                unread = found
            else:
                failure = self.kinds.failure([kind])
                assert failure is not None
                raise failure
            keys = dict.fromkeys([*unread, *self.refresher.in_turn(kind)])
            await self._rereads.read_all(keys, wanted)

    async def refresh(self, kinds: Iterable[Kind]) -> None:
        """List these kinds and read all their definitions again. Raises BridgeError."""
        wanted = sorted(kinds)
        known = self.kinds.event_kinds | self.kinds.polled_kinds
        if missing := [kind for kind in wanted if kind not in known]:
            raise BridgeError(ErrorKind.NOT_SUPPORTED, f"this connection has no objects of kind {missing[0]}")
        async with self._one_at_a_time:
            left = wanted
            for _ in range(LISTINGS):
                await all_of(self._relist(FOLLOWED[kind]) for kind in left)
                # An event does not show autostart, which may have changed before this refresh.
                left = [
                    kind
                    for kind in left
                    if kind in self.refresher.skipped and kind not in self.kinds.failures
                ]
            await self._rereads.read_all([key for key in self._session.handles if key.kind in wanted])
        if (failure := self.kinds.failure(wanted)) is not None:
            raise failure

    async def stop(self) -> None:
        await self.follower.stop()
        await self._rereads.stop()

    async def _relist(self, row: KindRow) -> list[Key] | None:
        """List a kind that may have failed before. Returns the keys whose XML has to be read, None on
        failure.
        """
        kind = row.kind
        if kind in self.kinds.failures and self._session.workers.hung() >= HUNG_LIMIT:
            return None  # another attempt would only be another call that hangs
        try:
            unregistered = await self._register_again(row)
            unread = await self.refresher.list_kind(row)
        except BridgeError as error:
            self._note_failure(kind, error)
            return None
        if unregistered is not None and self.kinds.was_listed(kind):
            self._note_failure(kind, unregistered)
        else:
            self.kinds.failures.pop(kind, None)
        self.kinds.announce()
        return unread

    async def _register_others(self, config: ConnectionConfig) -> None:
        if config.events:
            rows = [row for row in FOLLOWED.values() if row.kind not in self.kinds.unregistered]
            self._note_unregistered(await self._session.register_others(rows))

    async def _register_again(self, row: KindRow) -> BridgeError | None:
        if row.kind in self.kinds.unregistered:
            try:
                announced = await self._session.register(row)
            except BridgeError as error:
                return error
            self.kinds.unregistered.discard(row.kind)
            if announced:
                self.kinds.note_registered([row.kind])
        return None

    def _note_unregistered(self, failures: Mapping[Kind, BridgeError]) -> None:
        self.kinds.unregistered |= failures.keys()
        for kind, error in failures.items():
            self._note_failure(kind, error)

    def _note_failure(self, kind: Kind, error: BridgeError) -> None:
        """Note why a kind failed. Raises the error instead when the connection is lost."""
        if self.lost:
            raise error
        self.kinds.note_failure(kind, error)
