"""Follows the events of a connection: applies each one to the records, in the order of their arrival.

The state is published first and the signal second, without a call to the host for either. During the first
listing events are pending and are applied after it. Events of an object that is not known yet are pending
until its XML was read. Runs on the main thread and does not call libvirt itself.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from virtbridge.errors import BridgeError
from virtbridge.model.changes import LIFECYCLE, Change, Drop, Patch, Put, Signal
from virtbridge.model.keys import Key, Kind
from virtbridge.model.records import DomainRecord, Record
from virtbridge.source.callbacks import Lookup, Publish
from virtbridge.source.calls.errors import problem_of
from virtbridge.source.calls.session import LibvirtEvent, Session
from virtbridge.source.definitions import Definitions
from virtbridge.source.event_waits import EventWaits
from virtbridge.source.kinds.outcomes import FIELDS_BY_GETTER
from virtbridge.source.kinds.row import Events, Handle
from virtbridge.source.kinds.table import FOLLOWED, KINDS
from virtbridge.source.newer_keys import NewerKeys
from virtbridge.source.rereads import Rereads
from virtbridge.tasks import end_all

log = logging.getLogger(__name__)

LATER_S = 2.0  # after this time the XML shows what the event announced

# libvirt sends these events before the XML shows everything that they announce, if the XML is such a one.
# After memory was attached, libvirt asks QEMU for its address and the new size of the balloon; and a medium
# changes after the tray has opened. No later event announces the end.
_BEFORE_XML: Mapping[str, Callable[[str], bool]] = {
    "device-added": lambda xml: "<memory model=" in xml,
    "tray-change": lambda _xml: True,
}
_FINAL_EVENTS = frozenset({"undefined", "stopped", "shutdown", "deleted"})


class Follower:
    """Applies the events of one session."""

    def __init__(
        self,
        session: Session,
        publish: Publish,
        lookup: Lookup,
        newer: NewerKeys,
        definitions: Definitions,
        rereads: Rereads,
    ) -> None:
        self._session = session
        self._definitions = definitions
        self._rereads = rereads
        self._newer = newer
        self._publish = publish
        self._lookup = lookup
        # The events of kinds whose first listing has not been published yet.
        self._pending: dict[Kind, list[LibvirtEvent]] = {kind: [] for kind in FOLLOWED}
        # The events of objects that are not known yet, until their XML was read.
        self._appeared: dict[Key, list[LibvirtEvent]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._getting: dict[asyncio.Task[None], Key] = {}  # those of getters
        self.event_waits = EventWaits()

    def follow(self, event: LibvirtEvent) -> None:
        if (pending := self._pending.get(event.kind)) is not None:
            pending.append(event)
            return
        key = self._key(event)
        self._newer.note(key)
        if (waiting := self._appeared.get(key)) is not None:
            waiting.append(event)
        elif (known := self._lookup(key)) is not None:
            self._apply(key, known, event)
        elif _may_be_first(event):
            self._add_appeared(key, event)

    def release(self, kind: Kind) -> None:
        """Apply the pending events of a kind, since its listing has been published, and later ones at
        once.
        """
        for event in self._pending.pop(kind):
            self.follow(event)

    async def stop(self) -> None:
        await end_all(self._tasks)
        self._appeared.clear()
        self._pending.clear()

    def _key(self, event: LibvirtEvent) -> Key:
        return Key(self._session.name, event.kind, event.handle.id)

    def _apply(self, key: Key, known: Record, event: LibvirtEvent, *, is_read: bool = False) -> None:
        """Apply an event to a known object. is_read: the XML was read after the event already."""
        if event.member == LIFECYCLE:
            self._apply_lifecycle(key, known, event, is_read)
            return
        fields = _event_fields(known, *event.args)
        signal = Signal(key, event.member, event.args)
        self._publish([Patch(key, fields), signal] if fields else [signal])
        if event.rereads and not is_read:
            reading = self._rereads.reread(key, stale=bool(fields))
            if is_before_xml := _BEFORE_XML.get(event.args[0]):
                self._start(self._read_later(key, reading, is_before_xml))
        elif "definition" in fields:
            self._rereads.reread_later(key, LATER_S)

    def _apply_lifecycle(self, key: Key, known: Record, event: LibvirtEvent, is_read: bool) -> None:
        name, detail = event.args
        outcome = event.events.outcome(known, name, detail, event.handle)
        signal = Signal(key, event.member, event.args)
        changes: list[Change] = [Patch(key, outcome.fields), signal]
        if outcome.removed:
            self._session.handles.pop(key, None)
            changes.append(Drop(key))
        else:
            self._session.handles[key] = event.handle  # with the newest name and number
        self._publish(changes)
        if outcome.rereads and not is_read:
            self._rereads.reread(key)
        for method in outcome.getters:
            getting = self._start(self._get(key, event.handle, method))
            self._getting[getting] = key
            getting.add_done_callback(self._getting.pop)
        self.event_waits.note(key, name)

    async def get(self, key: Key, method: str) -> None:
        """Call a getter of which no event tells, and publish its answer."""
        await self._get(key, self._session.handles.get(key), method)

    async def _read_later(
        self, key: Key, reading: "asyncio.Future[None]", is_before_xml: Callable[[str], bool]
    ) -> None:
        """Read the XML once more after the reading in flight, which may have come too early."""
        await asyncio.wait([reading])
        known: Any = self._lookup(key)
        if known and is_before_xml(known.xml):
            self._rereads.reread_later(key, LATER_S)

    async def _get(self, key: Key, handle: Handle | None, method: str) -> None:
        """Call a getter and publish its answer. It is called again if an event came meanwhile, since the
        event may not show what the getter does.
        """
        while handle is not None:
            with self._newer.since_now() as newer:
                try:
                    fields = await self._session.on(
                        handle.raw, method, short=True, then=FIELDS_BY_GETTER[method]
                    )
                except BridgeError as error:
                    log.debug(
                        "getter failed conn=%s id=%s call=%s error=%s", *(key[0], key.id, method, error)
                    )
                    return
            if key not in newer:
                self._publish([Patch(key, fields)])
                return
            handle = self._session.handles.get(key)

    def _add_appeared(self, key: Key, event: LibvirtEvent) -> None:
        self._appeared[key] = [event]
        self._session.handles[key] = event.handle
        self._start(self._publish_new(key, event.events, event.handle))

    async def _publish_new(self, key: Key, row_events: Events, handle: Handle) -> None:
        """Publish a new object after its XML was read, so that it appears complete; then apply its events."""
        row = KINDS[key.kind]
        try:
            fields = await self._definitions.read(key, handle)
        except BridgeError as error:
            if error.code == row.not_found_code or self._session.lost.done():  # it was removed already
                self._session.handles.pop(key, None)
                self._replay(self._appeared.pop(key, [])[1:])
                return
            log.warning("XML not read conn=%s kind=%s id=%s error=%s", *key[:3], str(error))
            fields = {"problem": problem_of(error)}
        events = self._appeared.pop(key, [])
        if self._rereads.is_reading(key):  # the reading is of an earlier object with the same UUID
            self._rereads.reread(key, stale=True)
        if self._lookup(key) is None:  # else a listing has published it meanwhile
            shown = {row.id_field: key.id, "name": handle.name}
            record = row.record(**shown | row_events.first_fields(handle) | fields)
            self._publish([Put(key, record)])
        for place, event in enumerate(events):
            if (known := self._lookup(key)) is None:  # an event before this one removed it
                self._replay(events[place:])
                break
            # The read above came after the first event. A later event may need another one.
            self._apply(key, known, event, is_read=place == 0 and "definition" in fields)

    def _replay(self, events: list[LibvirtEvent]) -> None:
        """Follow the events after a removal again: the object may have been defined anew."""
        for event in events:
            self.follow(event)

    async def until_got(self, key: Key) -> None:
        """Until the getters of this object's events have been answered."""
        if waiting := [task for task, of in self._getting.items() if of == key]:
            await asyncio.wait(waiting)

    def _start(self, job: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("following failed conn=%s", self._session.name, exc_info=error)


def _may_be_first(event: LibvirtEvent) -> bool:
    """Return whether the event can announce a new object. A late event of a removed object cannot."""
    return event.member == LIFECYCLE and event.args[0] not in _FINAL_EVENTS


def _event_fields(known: Record, name: str, details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that an event other than a lifecycle event shows: state, or definition before the
    XML.
    """
    if not isinstance(known, DomainRecord):
        return {}
    # A crashed domain that was reset waits to be resumed. No other event says so.
    if name == "reboot" and known.state == "crashed":
        return {"state": "paused", "state_reason": "crashed"}
    if not known.xml:
        return {}
    match name, details:
        case "agent-lifecycle", {"state": ("connected" | "disconnected") as state}:
            return {"definition": replace(known.definition, agent_connected=state == "connected")}
        case "balloon-change", {"actual": int() as kibibytes}:
            return {"definition": replace(known.definition, memory_current_bytes=kibibytes * 1024)}
    return {}
