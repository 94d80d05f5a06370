"""Following a connection's events: what each one means for the records, in the order in which they came.

State first, signal second, and no call to the host for either. During the first listing events are pending,
to be applied after it; those of an object that is not known yet wait until its XML was read. Main thread; no
libvirt here.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
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
from virtbridge.source.kinds.outcomes import FIELDS_BY_GETTER
from virtbridge.source.kinds.row import Events, Handle
from virtbridge.source.kinds.table import FOLLOWED, KINDS
from virtbridge.source.newer_keys import NewerKeys
from virtbridge.source.rereads import Rereads
from virtbridge.tasks import end_all

log = logging.getLogger(__name__)

LATER_S = 2.0  # when the XML, too, has what an event announced

# Events that libvirt sends before the XML has all that they announce, and of which XML this is so: of memory
# that was plugged it asks QEMU for the place and the balloon's new size after that, and a medium is changed
# when the tray has opened. No later event announces the end.
_BEFORE_XML: Mapping[str, Callable[[str], bool]] = {
    "device-added": lambda xml: "<memory model=" in xml,
    "tray-change": lambda _xml: True,
}
_FINAL_EVENTS = frozenset({"undefined", "stopped", "shutdown", "deleted"})


class Follower:
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
        # Events of kinds whose first listing has not been published yet.
        self._pending: dict[Kind, list[LibvirtEvent]] = {kind: [] for kind in FOLLOWED}
        # Events of objects that are not known yet, until their XML was read.
        self._appeared: dict[Key, list[LibvirtEvent]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

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
        """Its listing has been published: apply what came meanwhile, and from now on at once."""
        for event in self._pending.pop(kind):
            self.follow(event)

    async def stop(self) -> None:
        await end_all(self._tasks)
        self._appeared.clear()
        self._pending.clear()

    def _key(self, event: LibvirtEvent) -> Key:
        return Key(self._session.name, event.kind, event.handle.id)

    def _apply(self, key: Key, known: Record, event: LibvirtEvent, *, is_read: bool = False) -> None:
        """is_read: the XML was read after this event, and need not be again."""
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
            self._start(self._get(key, event.handle, method))

    async def _read_later(
        self, key: Key, reading: "asyncio.Future[None]", is_before_xml: Callable[[str], bool]
    ) -> None:
        """Once more after the reading that is under way, which may have come too early."""
        await asyncio.wait([reading])
        known: Any = self._lookup(key)
        if known and is_before_xml(known.xml):
            self._rereads.reread_later(key, LATER_S)

    async def _get(self, key: Key, handle: Handle | None, method: str) -> None:
        """Ask until nothing happened to the object meanwhile: what did may say nothing of this."""
        while handle is not None:
            with self._newer.since_now() as newer:
                try:
                    fields = await self._session.on(
                        handle.raw, method, short=True, then=FIELDS_BY_GETTER[method]
                    )
                except BridgeError as error:
                    log.debug("not known conn=%s id=%s call=%s error=%s", *(key[0], key.id, method, error))
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
        """Publish a new object: its XML first, so that it appears whole, then what happened to it."""
        row = KINDS[key.kind]
        try:
            fields = await self._definitions.read(key, handle)
        except BridgeError as error:
            if error.code == row.not_found_code or self._session.lost.done():  # it came and went
                self._session.handles.pop(key, None)
                self._replay(self._appeared.pop(key, [])[1:])
                return
            log.warning("XML not read conn=%s kind=%s id=%s error=%s", *key[:3], str(error))
            fields = {"problem": problem_of(error)}
        events = self._appeared.pop(key, [])
        if self._rereads.is_reading(key):  # of what was there under this UUID before
            self._rereads.reread(key, stale=True)
        if self._lookup(key) is None:  # a listing may have brought it meanwhile
            shown = {row.id_field: key.id, "name": handle.name}
            record = row.record(**shown | row_events.first_fields(handle) | fields)
            self._publish([Put(key, record)])
        for place, event in enumerate(events):
            if (known := self._lookup(key)) is None:  # an event before this one removed it
                self._replay(events[place:])
                break
            # The read that was just made came after the first event; a later one may need another.
            self._apply(key, known, event, is_read=place == 0 and "definition" in fields)

    def _replay(self, events: list[LibvirtEvent]) -> None:
        """What came after an end: it may have been defined anew, and then this is its first word."""
        for event in events:
            self.follow(event)

    def _start(self, job: Any) -> None:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("following failed conn=%s", self._session.name, exc_info=error)


def _may_be_first(event: LibvirtEvent) -> bool:
    """Whether it can be the first word of an object, rather than the last echo of one that is gone."""
    return event.member == LIFECYCLE and event.args[0] not in _FINAL_EVENTS


def _event_fields(known: Record, name: str, details: Mapping[str, Any]) -> dict[str, Any]:
    """What an event that is no lifecycle event shows: of the state, or of the definition ahead of the XML."""
    if not isinstance(known, DomainRecord):
        return {}
    if name == "reboot" and known.state == "crashed":  # reset, it waits to be resumed; no other event says so
        return {"state": "paused", "state_reason": "crashed"}
    if not known.xml:
        return {}
    match name, details:
        case "agent-lifecycle", {"state": ("connected" | "disconnected") as state}:
            return {"definition": replace(known.definition, agent_connected=state == "connected")}
        case "balloon-change", {"actual": int() as kibibytes}:
            return {"definition": replace(known.definition, memory_current_bytes=kibibytes * 1024)}
    return {}
