"""Listing a kind: all its objects, of a connection or in one parent, in a constant number of bulk calls.

fetch_ functions ask libvirt and change nothing; refresh.py decides what becomes of the answer. A flag that
the driver refuses is remembered and taken as true of no object; a listing that fails raises, since failure is
not emptiness.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import libvirt

from virtbridge.errors import BridgeError
from virtbridge.model.changes import Patch, Put
from virtbridge.model.keys import PARENT_KIND, Key
from virtbridge.model.records import DomainRecord, Record
from virtbridge.source.callbacks import Lookup
from virtbridge.source.calls.errors import is_unsupported
from virtbridge.source.calls.session import Session
from virtbridge.source.domain_states import (
    States,
    fetch_states,
    fetch_states_slowly,
    handles_and_states,
)
from virtbridge.source.kinds.row import Handle, KindRow
from virtbridge.source.kinds.table import KINDS
from virtbridge.tasks import all_of, in_steps

log = logging.getLogger(__name__)

COMPARED_PER_STEP = 512  # records compared with what is known in one turn of the loop: a few milliseconds

_PERSISTENT, _ACTIVE = "persistent", "active"  # the flags, as records' fields, that a poll lists
_PAUSED = "paused"  # no flag of a record
_LEFT_TO_AUDITS = frozenset({"autostart", "has_managed_save", "has_snapshots"})  # or to what a poll shows


@dataclass(frozen=True, slots=True)
class Listed:
    """All objects of one kind, of a connection or in one parent."""

    row: KindRow
    # All there are, by id, whether their XML can be read or not.
    handles: Mapping[str, Handle]
    # By the record's field, the ids that the flag's listing has.
    flags: Mapping[str, Collection[str]] = field(default_factory=dict)
    # Of domains: state and reason by id.
    states: States = field(default_factory=dict)
    # How many objects were left out, as their name is not UTF-8.
    unnamed: int = 0

    def fields(self, key_id: str) -> dict[str, Any]:
        """What the listing shows of one object, by its record's field names."""
        row, handle = self.row, self.handles[key_id]
        fields: dict[str, Any] = {"name": handle.name} if row.id_field else {}
        for flag, ids in self.flags.items():
            fields[flag] = (key_id in ids) is not (flag in row.negated)
        if row.number_field:
            fields[row.number_field] = handle.number
        if key_id in self.states:
            fields["state"], fields["state_reason"] = self.states[key_id]
        return fields

    def differs(self, key_id: str, known: Any) -> bool:
        return any(getattr(known, name) != value for name, value in self.fields(key_id).items())

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
        """What was known and what is listed, of those objects where the two differ: of ten thousand, a few.

        The loop gets its turns meanwhile.
        """
        found: dict[Key, tuple[Record | None, Record]] = {}
        async for some in in_steps(self.handles, COMPARED_PER_STEP):
            for key_id in some:
                key = Key(connection, self.row.kind, key_id)
                known: Any = lookup(key)
                fields = self.fields(key_id)
                if known is None:
                    found[key] = None, self.row.record(**{self.row.id_field: key_id} | fields)
                elif any(getattr(known, name) != value for name, value in fields.items()):
                    found[key] = known, replace(known, **fields)
        return found


async def fetch_listing(session: Session, row: KindRow, parent: Handle | None = None) -> Listed:
    """parent: the object whose objects are listed; None for the connection. Raises BridgeError; NotSupported
    when the driver has no such kind.
    """
    (handles, unnamed), states, *flags = await all_of(
        [
            _fetch_handles(session, row, parent),
            fetch_states(session, row),
            *(_fetch_flag(session, row, flag, mask) for flag, mask in row.flags.items()),
        ]
    )
    if row.bulk_states and states is None:
        states = await fetch_states_slowly(session, handles.values())
    return Listed(row, handles, dict(zip(row.flags, flags, strict=True)), states or {}, unnamed)


async def fetch_current(session: Session, row: KindRow, parent: Handle) -> Collection[str]:
    """The ids of the parent's current object: one or none. Raises BridgeError."""
    assert row.parent is not None
    try:
        return {await session.on(parent.raw, row.parent.current, 0, short=True, then=row.id_of)}
    except BridgeError as error:
        if error.code != row.not_found_code:
            raise
    except UnicodeError:
        pass
    return frozenset()


async def fetch_holders(session: Session, row: KindRow) -> Mapping[str, Handle]:
    """The objects that may hold any of this kind, by id. Raises BridgeError, also when the driver refuses to
    select them.
    """
    assert row.parent is not None
    outer = KINDS[PARENT_KIND[row.kind]]
    handles, _ = await session.call(
        outer.list_all, row.parent.holders, short=True, then=partial(_handles, outer)
    )
    return dict(handles)


async def fetch_poll_listing(session: Session, row: KindRow, lookup: Lookup) -> Listed:
    """What a poll costs while nothing happens: one bulk listing and one bulk read of states.

    Domains: the statistics have all that there are, with ids and states, and the listing those that are not
    persistent. Others: what is active and what is persistent are two listings, and together all there is.
    """
    selected = [_PERSISTENT] if row.bulk_states else [_ACTIVE, _PERSISTENT]
    if (row.bulk_states and not session.bulk_states) or not row.flags.keys() >= set(selected):
        return await _fetch_plain_poll_listing(session, row, lookup)
    then = partial(_ids if row.bulk_states else _handles, row)
    states, *found = await all_of(
        [
            fetch_states(session, row, partial(handles_and_states, row)),
            *(_fetch_selected(session, row, flag, row.flags[flag], then) for flag in selected),
        ]
    )
    if None in found or (row.bulk_states and states is None):
        return await _fetch_plain_poll_listing(session, row, lookup)
    if states is None:
        active, persistent = (handles for handles, _ in found)
        flags = {_ACTIVE: frozenset(active), _PERSISTENT: frozenset(persistent)}
        return Listed(row, {**active, **persistent}, flags)
    handles, words = states
    # The two reads are two moments. What is off is persistent, or it would not exist.
    off = {handle.id for handle in handles.values() if handle.number < 0}
    return Listed(row, handles, {_PERSISTENT: found[0] - off}, words)


async def fetch_other_flags(
    session: Session, listed: Listed, missing: bool
) -> tuple[Listed, Collection[str]]:
    """The listing of a poll with all flags; and, where something was missing from it, the ids that exist
    after all.

    Two listings are two moments: what started and was undefined in between is in neither.
    """
    row = listed.row
    others = [flag for flag in row.flags if flag not in listed.flags]
    (there, _), *ids = await all_of(
        [
            _fetch_handles(session, row) if missing else _nothing(),
            *(_fetch_flag(session, row, flag, row.flags[flag]) for flag in others),
        ]
    )
    return replace(listed, flags={**listed.flags, **dict(zip(others, ids, strict=True))}), there


async def _nothing() -> Any:
    return (), 0


async def _fetch_plain_poll_listing(session: Session, row: KindRow, lookup: Lookup) -> Listed:
    """The same where a driver lacks bulk statistics or filters: listings, and the states that may differ."""
    selected = [flag for flag in row.flags if flag not in _LEFT_TO_AUDITS]
    (handles, unnamed), paused, *ids = await all_of(
        [
            _fetch_handles(session, row),
            _fetch_paused(session, row),
            *(_fetch_flag(session, row, flag, row.flags[flag]) for flag in selected),
        ]
    )
    states: States = {}
    if row.bulk_states:
        known: dict[str, Any] = {each: lookup(Key(session.name, row.kind, each)) for each in handles}
        # Chunks of bulk statistics cost less than finding out; without them only what may differ is asked.
        outdated = [
            handle
            for key_id, handle in handles.items()
            if session.bulk_states or _may_differ(known[key_id], handle, paused)
        ]
        states = await fetch_states_slowly(session, outdated)
    return Listed(row, handles, dict(zip(selected, ids, strict=True)), states, unnamed)


def _may_differ(known: Any, handle: Handle, paused: Any) -> bool:
    """paused: the ids of the paused domains; None when the driver does not select them."""
    if known is None or paused is None or known.id != handle.number:
        return True
    return bool((known.state == "paused") != (handle.id in paused))


async def _fetch_handles(session: Session, row: KindRow, parent: Handle | None = None) -> Any:
    """By id, and how many have none."""
    then = partial(_handles, row)
    if parent is None:
        return await session.call(row.list_all, 0, short=True, then=then)
    return await session.on(parent.raw, row.list_all, 0, short=True, then=then)


async def _fetch_paused(session: Session, row: KindRow) -> Any:
    if not row.bulk_states:
        return None
    mask = libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED
    return await _fetch_selected(session, row, _PAUSED, mask, partial(_ids, row))


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


# In a worker, as ten thousand handles are work that the main thread does not need to do.


def _handles(row: KindRow, raws: list[Any]) -> tuple[dict[str, Handle], int]:
    """By id, and how many have none that can be read: libvirt-python gives no way to a name's bytes."""
    found: dict[str, Handle] = {}
    unnamed = 0
    for raw in raws:
        try:
            handle = row.handle_of(raw)
        except UnicodeError:
            unnamed += 1
        else:
            found[handle.id] = handle
    return found, unnamed


def _ids(row: KindRow, raws: list[Any]) -> frozenset[str]:
    found: set[str] = set()
    for raw in raws:
        with contextlib.suppress(UnicodeError):
            found.add(row.id_of(raw))
    return frozenset(found)
