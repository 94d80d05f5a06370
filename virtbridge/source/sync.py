"""Reading everything of a kind in a constant number of bulk calls, all in parallel.

fetch_ functions ask libvirt and change nothing: the caller decides what becomes of the answer. A flag that
the driver refuses is remembered and taken as held by none; a listing that fails raises, since failure is not
emptiness.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import libvirt

from virtbridge.errors import BridgeError
from virtbridge.model.changes import Patch, Put
from virtbridge.model.keys import Key
from virtbridge.model.records import DomainRecord, Record
from virtbridge.source.callbacks import Lookup
from virtbridge.source.calls.errors import is_unsupported
from virtbridge.source.calls.session import Session
from virtbridge.source.kinds.enums import state_words
from virtbridge.source.kinds.row import Handle, KindRow
from virtbridge.tasks import all_of

log = logging.getLogger(__name__)

T = TypeVar("T")

# libvirt's RPC refuses more records in one answer (REMOTE_CONNECT_GET_ALL_DOMAIN_STATS_MAX is 4096).
STATS_CHUNK = 2048
LOOKED_AT_IN_TURN = 512  # records compared with what is known, in one turn of the loop: a few milliseconds

_PERSISTENT, _ACTIVE = "persistent", "active"  # the flags, as records' fields, that a glance shows
_PAUSED = "paused"  # no flag of a record
_LEFT_TO_AUDITS = frozenset({"autostart", "has_managed_save", "has_snapshots"})  # or to what a glance shows

States = Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Inventory:
    """All objects of one kind: handles by id, the ids that each flag's listing has, and domains' states."""

    row: KindRow
    handles: Mapping[str, Handle]
    flags: Mapping[str, frozenset[str]]
    states: States

    def fields(self, key_id: str) -> dict[str, Any]:
        """What the listing tells of one object, by its record's field names."""
        handle = self.handles[key_id]
        fields: dict[str, Any] = {"name": handle.name}
        for flag, ids in self.flags.items():
            fields[flag] = (key_id in ids) is not (flag in self.row.negated)
        if self.row.number_field:
            fields[self.row.number_field] = handle.number
        if key_id in self.states:
            fields["state"], fields["state_reason"] = self.states[key_id]
        return fields

    def change(self, key: Key, known: Record | None) -> Put | Patch:
        """What makes the record have these fields; definition and XML stay as they were known."""
        fields = self.fields(key.id)
        if known is None:
            return Put(key, self.row.record(**{self.row.id_field: key.id} | fields))
        if isinstance(known, DomainRecord) and not known.active and fields["id"] >= 0:
            # A start uses the saved image up, or throws it away, but may be seen before that.
            fields["has_managed_save"] = False
        return Patch(key, fields)

    async def changed(self, connection: str, lookup: Lookup) -> dict[Key, tuple[Record | None, Record]]:
        """What was known and what is seen, of those objects where the two differ: of ten thousand, a few.

        The loop gets its turns meanwhile.
        """
        found: dict[Key, tuple[Record | None, Record]] = {}
        for place, key_id in enumerate(self.handles):
            if place % LOOKED_AT_IN_TURN == LOOKED_AT_IN_TURN - 1:
                await asyncio.sleep(0)
            key = Key(connection, self.row.kind, key_id)
            known: Any = lookup(key)
            fields = self.fields(key_id)
            if known is None or any(getattr(known, name) != value for name, value in fields.items()):
                record = (
                    self.row.record(**{self.row.id_field: key_id} | fields)
                    if known is None
                    else replace(known, **fields)
                )
                found[key] = known, record
        return found


async def fetch_inventory(session: Session, row: KindRow) -> Inventory:
    """Raises BridgeError; NotSupported when the driver has no such kind."""
    handles, states, *flags = await all_of(
        [
            _fetch_handles(session, row),
            _fetch_states(session, row),
            *(_fetch_flag(session, row, flag, mask) for flag, mask in row.flags.items()),
        ]
    )
    if row.bulk_states and states is None:
        states = await _fetch_states_slowly(session, handles.values())
    return Inventory(row, handles, dict(zip(row.flags, flags, strict=True)), states or {})


async def _fetch_handles(session: Session, row: KindRow) -> Any:
    return await session.call(row.list_all, 0, short=True, then=partial(_handles, row))


async def fetch_glance(session: Session, row: KindRow, lookup: Lookup) -> Inventory:
    """What a poll costs while nothing happens: one bulk listing and one bulk state read.

    Domains: the statistics tell all that there are, with ids and states, and the listing which are not
    persistent. Others: what is active and what is persistent are two listings, and together all there is.
    """
    selected = [_PERSISTENT] if row.bulk_states else [_ACTIVE, _PERSISTENT]
    if (row.bulk_states and not session.bulk_states) or not row.flags.keys() >= set(selected):
        return await _fetch_plain_glance(session, row, lookup)
    then = partial(_ids if row.bulk_states else _handles, row)
    states, *found = await all_of(
        [
            _fetch_states(session, row, partial(_handles_and_states, row)),
            *(_fetch_selected(session, row, flag, row.flags[flag], then) for flag in selected),
        ]
    )
    if None in found or (row.bulk_states and states is None):
        return await _fetch_plain_glance(session, row, lookup)
    handles: Mapping[str, Handle]
    handles, words = ({**found[0], **found[-1]}, {}) if states is None else states
    flags = {flag: frozenset(chosen) for flag, chosen in zip(selected, found, strict=True)}
    if row.bulk_states:  # the two reads are two moments; what is off is persistent, or it would not be there
        flags[_PERSISTENT] -= {handle.id for handle in handles.values() if handle.number < 0}
    return Inventory(row, handles, flags, words)


async def fetch_rest(session: Session, glance: Inventory, missing: bool) -> tuple[Inventory, Collection[str]]:
    """The glance with all flags; and, where something was missing from it, who is there after all.

    Two listings are two moments: what started and was undefined in between is in neither.
    """
    row = glance.row
    rest = [flag for flag in row.flags if flag not in glance.flags]
    there, *ids = await all_of(
        [
            _fetch_handles(session, row) if missing else _nothing(),
            *(_fetch_flag(session, row, flag, row.flags[flag]) for flag in rest),
        ]
    )
    return replace(glance, flags={**glance.flags, **dict(zip(rest, ids, strict=True))}), there


async def _nothing() -> Any:
    return ()


async def _fetch_plain_glance(session: Session, row: KindRow, lookup: Lookup) -> Inventory:
    """The same where a driver lacks bulk statistics or filters: listings, and the states of what moved."""
    selected = [flag for flag in row.flags if flag not in _LEFT_TO_AUDITS]
    handles, paused, *ids = await all_of(
        [
            _fetch_handles(session, row),
            _fetch_selected(
                session, row, _PAUSED, libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED, partial(_ids, row)
            )
            if row.bulk_states
            else _nothing(),
            *(_fetch_flag(session, row, flag, row.flags[flag]) for flag in selected),
        ]
    )
    states: States = {}
    if row.bulk_states:
        known: dict[str, Any] = {each: lookup(Key(session.name, row.kind, each)) for each in handles}
        # Chunks of bulk statistics cost less than finding out; without them only what moved is asked.
        moved = [
            handle
            for key_id, handle in handles.items()
            if session.bulk_states or _has_moved(known[key_id], handle, paused)
        ]
        states = await _fetch_states_slowly(session, moved)
    return Inventory(row, handles, dict(zip(selected, ids, strict=True)), states)


def _has_moved(known: Any, handle: Handle, paused: Any) -> bool:
    """paused: the ids of the paused domains; None when the driver does not tell."""
    if known is None or paused is None or known.id != handle.number:
        return True
    return bool((known.state == "paused") != (handle.id in paused))


async def _fetch_flag(session: Session, row: KindRow, flag: str, mask: int) -> Any:
    found = await _fetch_selected(session, row, flag, mask, partial(_ids, row))
    return frozenset() if found is None else found


async def _fetch_selected(
    session: Session, row: KindRow, flag: str, mask: int, then: Callable[[list[Any]], Any]
) -> Any:
    """None when the driver refuses to select by this flag."""
    if (row.kind, flag) in session.refused_flags:
        return None
    try:
        return await session.call(row.list_all, mask, short=True, then=then)
    except BridgeError as error:
        if not (is_unsupported(error) or error.code == libvirt.VIR_ERR_INVALID_ARG):
            raise
        log.debug("flag not available conn=%s kind=%s flag=%s", session.name, row.kind, flag)
        session.refused_flags.add((row.kind, flag))
        return None


async def _fetch_states(
    session: Session, row: KindRow, then: Callable[[list[tuple[Any, dict[str, Any]]]], Any] | None = None
) -> Any:
    """None when this has to be asked in smaller pieces."""
    if not row.bulk_states or not session.bulk_states:
        return None
    try:
        # The state group only: the others wait for the guest's monitor, and one stopped QEMU stops them all.
        return await session.call(
            "getAllDomainStats", libvirt.VIR_DOMAIN_STATS_STATE, short=True, then=then or _states
        )
    except BridgeError as error:
        if is_unsupported(error):
            session.bulk_states = False
        elif error.code != libvirt.VIR_ERR_RPC or session.lost.done():
            raise
        return None


async def _fetch_states_slowly(session: Session, handles: Iterable[Handle]) -> States:
    """In chunks that fit an answer, or one by one where the driver has no bulk statistics."""
    raws = [handle.raw for handle in handles]
    if session.bulk_states:
        return await fetch_in_chunks(session, raws, libvirt.VIR_DOMAIN_STATS_STATE, 0, _states)
    return _joined(await all_of(_fetch_state(session, raw) for raw in raws))


async def fetch_in_chunks(
    session: Session,
    raws: Sequence[Any],
    groups: int,
    flags: int,
    then: Callable[[list[tuple[Any, dict[str, Any]]]], Mapping[str, T]],
) -> Mapping[str, T]:
    """Statistics of these domains by UUID, in chunks that fit an answer. groups: VIR_DOMAIN_STATS_*. flags:
    VIR_CONNECT_GET_ALL_DOMAINS_STATS_*. then: reads an answer, in a worker. Raises BridgeError.
    """
    chunks = [raws[start : start + STATS_CHUNK] for start in range(0, len(raws), STATS_CHUNK)]
    return _joined(
        await all_of(
            session.call("domainListGetStats", chunk, groups, flags, short=True, then=then)
            for chunk in chunks
        )
    )


def _joined(answers: Iterable[Mapping[str, T]]) -> Mapping[str, T]:
    return {key_id: value for answer in answers for key_id, value in answer.items()}


async def _fetch_state(session: Session, raw: Any) -> States:
    try:
        state, reason = await session.on(raw, "state", short=True)
    except BridgeError as error:
        if error.code != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return {}
    return {raw.UUIDString(): state_words(state, reason)}


# In a worker: ten thousand handles are work that the main thread does not need to do.


def _handles(row: KindRow, raws: list[Any]) -> dict[str, Handle]:
    handles = map(row.handle_of, raws)
    return {handle.id: handle for handle in handles}


def _ids(row: KindRow, raws: list[Any]) -> frozenset[str]:
    return frozenset(map(row.id_of, raws))


def _states(stats: list[tuple[Any, dict[str, Any]]]) -> States:
    return {raw.UUIDString(): _words(values) for raw, values in stats if "state.state" in values}


def _handles_and_states(
    row: KindRow, stats: list[tuple[Any, dict[str, Any]]]
) -> tuple[dict[str, Handle], States]:
    handles: dict[str, Handle] = {}
    states: dict[str, tuple[str, str]] = {}
    for raw, values in stats:
        handle = row.handle_of(raw)
        handles[handle.id] = handle
        if "state.state" in values:
            states[handle.id] = _words(values)
    return handles, states


def _words(values: Mapping[str, Any]) -> tuple[str, str]:
    return state_words(values["state.state"], values.get("state.reason", 0))


# ConnectionRecord's field, the method that tells it, and how to read the answer.
_Fact = tuple[str, str, Callable[[Any], Any]]
_INFO: tuple[_Fact, ...] = (
    ("driver", "getType", str),
    ("daemon_version", "getLibVersion", int),
    ("hostname", "getHostname", str),
    ("encrypted", "isEncrypted", bool),
    ("secure", "isSecure", bool),
)
_VERSION: _Fact = ("hypervisor_version", "getVersion", int)


async def fetch_info(session: Session) -> dict[str, Any]:
    """ConnectionRecord's fields about the host; those that it does not tell are left out."""
    answers = await all_of(_fetch_fact(session, fact, short=True) for fact in _INFO)
    return {field: value for answer in answers for field, value in answer.items()} | {
        "libvirt_version": libvirt.getVersion()
    }


async def fetch_version(session: Session) -> dict[str, Any]:
    """The hypervisor's: QEMU looks at the emulators first, which takes longer than a first sync."""
    return await _fetch_fact(session, _VERSION, short=False)


async def _fetch_fact(session: Session, fact: _Fact, *, short: bool) -> dict[str, Any]:
    field, method, read = fact
    try:
        return {field: await session.call(method, short=short, then=read)}
    except BridgeError as error:
        if session.lost.done():
            raise
        log.debug("fact not available conn=%s call=%s error=%s", session.name, method, error)
        return {}
