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
from virtbridge.source.calls.session import Happening, Session
from virtbridge.source.definitions import Definitions
from virtbridge.source.hearings import Hearings
from virtbridge.source.kinds.outcomes import FIELDS_BY_METHOD
from virtbridge.source.kinds.row import Events, Handle
from virtbridge.source.kinds.table import FOLLOWED, KINDS
from virtbridge.source.newer import Newer
from virtbridge.source.rereads import Rereads
from virtbridge.tasks import end_all

log = logging.getLogger(__name__)

LATER_S = 2.0  # when the XML, too, has what an event announced

# Events that libvirt sends before the XML has all that they announce, and of which XML this is so: of memory
# that was plugged it asks QEMU for the place and the balloon's new size after that, and a medium is changed
# when the tray has opened. No later event announces the end.
_EARLY: Mapping[str, Callable[[str], bool]] = {
    "device-added": lambda xml: "<memory model=" in xml,
    "tray-change": lambda _xml: True,
}
_LAST_WORDS = frozenset({"undefined", "stopped", "shutdown", "deleted"})


class Follower:
    def __init__(
        self,
        session: Session,
        publish: Publish,
        lookup: Lookup,
        newer: Newer,
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
        self._pending: dict[Kind, list[Happening]] = {kind: [] for kind in FOLLOWED}
        # Events of objects that are not known yet, until their XML was read.
        self._appeared: dict[Key, list[Happening]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.hearings = Hearings()

    def happened(self, happening: Happening) -> None:
        if (pending := self._pending.get(happening.kind)) is not None:
            pending.append(happening)
            return
        key = self._key(happening)
        self._newer.note(key)
        if (waiting := self._appeared.get(key)) is not None:
            waiting.append(happening)
        elif (known := self._lookup(key)) is not None:
            self._apply(key, known, happening)
        elif _may_be_first(happening):
            self._add_appeared(key, happening)

    def release(self, kind: Kind) -> None:
        """Its listing has been published: apply what came meanwhile, and from now on at once."""
        for happening in self._pending.pop(kind):
            self.happened(happening)

    async def stop(self) -> None:
        await end_all(self._tasks)
        self._appeared.clear()
        self._pending.clear()

    def _key(self, happening: Happening) -> Key:
        return Key(self._session.name, happening.kind, happening.handle.id)

    def _apply(self, key: Key, known: Record, happening: Happening, *, is_read: bool = False) -> None:
        """is_read: the XML was read after this event, and need not be again."""
        if happening.member == LIFECYCLE:
            self._apply_lifecycle(key, known, happening, is_read)
            return
        fields = _event_fields(known, *happening.args)
        signal = Signal(key, happening.member, happening.args)
        self._publish([Patch(key, fields), signal] if fields else [signal])
        if happening.rereads and not is_read:
            reading = self._rereads.want(key, stale=bool(fields))
            if is_early := _EARLY.get(happening.args[0]):
                self._start(self._read_later(key, reading, is_early))
        elif "definition" in fields:
            self._rereads.want_later(key, LATER_S)

    def _apply_lifecycle(self, key: Key, known: Record, happening: Happening, is_read: bool) -> None:
        event, detail = happening.args
        outcome = happening.events.outcome(known, event, detail, happening.handle)
        signal = Signal(key, happening.member, happening.args)
        changes: list[Change] = [Patch(key, outcome.fields), signal]
        if outcome.removed:
            self._session.handles.pop(key, None)
            changes.append(Drop(key))
        else:
            self._session.handles[key] = happening.handle  # with the newest name and number
        self._publish(changes)
        if outcome.rereads and not is_read:
            self._rereads.want(key)
        for method in outcome.asks:
            self._start(self._ask(key, happening.handle, method))
        self.hearings.note(key, event)

    async def ask(self, key: Key, method: str) -> None:
        """Ask what no event has told of this object, and publish it."""
        await self._ask(key, self._session.handles.get(key), method)

    async def _read_later(
        self, key: Key, reading: "asyncio.Future[None]", is_early: Callable[[str], bool]
    ) -> None:
        """Once more after the reading that is under way, which may have come too early."""
        await asyncio.wait([reading])
        known: Any = self._lookup(key)
        if known and is_early(known.xml):
            self._rereads.want_later(key, LATER_S)

    async def _ask(self, key: Key, handle: Handle | None, method: str) -> None:
        """Ask until nothing happened to the object meanwhile: what did may say nothing of this."""
        while handle is not None:
            with self._newer.since_now() as newer:
                try:
                    fields = await self._session.on(
                        handle.raw, method, short=True, then=FIELDS_BY_METHOD[method]
                    )
                except BridgeError as error:
                    log.debug("not known conn=%s id=%s call=%s error=%s", *(key[0], key.id, method, error))
                    return
            if key not in newer:
                self._publish([Patch(key, fields)])
                return
            handle = self._session.handles.get(key)

    def _add_appeared(self, key: Key, happening: Happening) -> None:
        self._appeared[key] = [happening]
        self._session.handles[key] = happening.handle
        self._start(self._put(key, happening.events, happening.handle))

    async def _put(self, key: Key, events: Events, handle: Handle) -> None:
        """Publish a new object: its XML first, so that it appears whole, then what happened to it."""
        row = KINDS[key.kind]
        try:
            fields = await self._definitions.read(key, handle)
        except BridgeError as error:
            if error.code == row.gone or self._session.lost.done():  # it came and went
                self._session.handles.pop(key, None)
                self._replay(self._appeared.pop(key, [])[1:])
                return
            log.warning("XML not read conn=%s kind=%s id=%s error=%s", *key[:3], str(error))
            fields = {"problem": problem_of(error)}
        happenings = self._appeared.pop(key, [])
        if self._rereads.is_reading(key):  # of what was there under this UUID before
            self._rereads.want(key, stale=True)
        if self._lookup(key) is None:  # a listing may have brought it meanwhile
            shown = {row.id_field: key.id, "name": handle.name}
            record = row.record(**shown | events.first_fields(handle) | fields)
            self._publish([Put(key, record)])
        for place, happening in enumerate(happenings):
            if (known := self._lookup(key)) is None:  # an event before this one removed it
                self._replay(happenings[place:])
                break
            # The read that was just made came after the first event; a later one may need another.
            self._apply(key, known, happening, is_read=place == 0 and "definition" in fields)

    def _replay(self, happenings: list[Happening]) -> None:
        """What came after an end: it may have been defined anew, and then this is its first word."""
        for happening in happenings:
            self.happened(happening)

    def _start(self, job: Any) -> None:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("following failed conn=%s", self._session.name, exc_info=error)


def _may_be_first(happening: Happening) -> bool:
    """Whether it can be the first word of an object, rather than the last echo of one that is gone."""
    return happening.member == LIFECYCLE and happening.args[0] not in _LAST_WORDS


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
