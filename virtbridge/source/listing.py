"""Listings: all objects of a kind, of a connection or in one parent, in a constant number of bulk calls.

The fetch_ functions call libvirt and change nothing; refresh.py decides what happens with the answer. A flag
that the driver refuses is remembered and counts as false for all objects. A listing that fails raises, since
a failure does not mean that there are no objects.
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
    states_only,
)
from virtbridge.source.kinds.row import Handle, KindRow
from virtbridge.source.kinds.table import KINDS
from virtbridge.tasks import all_of, in_steps

log = logging.getLogger(__name__)

COMPARED_PER_STEP = 512  # so many records are compared in one turn of the loop: a few milliseconds

_PERSISTENT, _ACTIVE = "persistent", "active"  # the fields of records whose flags a poll lists
_PAUSED = "paused"  # this flag is not a field of a record
# A poll does not list these flags unless it finds a difference. Audits do.
_LEFT_TO_AUDITS = frozenset({"autostart", "has_managed_save", "has_snapshots"})


@dataclass(frozen=True, slots=True)
class Listed:
    """All objects of one kind, of a connection or in one parent."""

    row: KindRow
    # All objects by id, whether their XML can be read or not.
    handles: Mapping[str, Handle]
    # For a field of the record, the ids in the listing of its flag.
    flags: Mapping[str, Collection[str]] = field(default_factory=dict)
    # State and reason of domains by id.
    states: States = field(default_factory=dict)
    # How many objects are left out, since their name is not UTF-8.
    unnamed: int = 0

    def fields(self, key_id: str) -> dict[str, Any]:
        """Return what the listing shows of one object, by the names of its record's fields."""
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
        """Return the change that sets these fields of the record. It does not change definition and XML."""
        fields = self.fields(key.id)
        if known is None:
            return Put(key, self.row.record(**{self.row.id_field: key.id} | fields))
        if isinstance(known, DomainRecord) and not known.active and fields["id"] >= 0:
            # A start removes the managed save image, but the listing may show the start before that.
            fields["has_managed_save"] = False
        return Patch(key, fields)

    async def changed(self, connection: str, lookup: Lookup) -> dict[Key, tuple[Record | None, Record]]:
        """Return for each object that differs the known record and the listed one. The loop gets its turns
        meanwhile.
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
    """List a kind. parent: the object in which they are, None for the connection. Raises BridgeError;
    NotSupported when the driver does not have this kind.
    """
    (handles, unnamed), states, *flags = await all_of(
        [
            _fetch_handles(session, row, parent),
            fetch_states(session, row, states_only),
            *(_fetch_flag(session, row, flag, mask) for flag, mask in row.flags.items()),
        ]
    )
    if row.bulk_states and states is None:
        states = await fetch_states_slowly(session, handles.values())
    return Listed(row, handles, dict(zip(row.flags, flags, strict=True)), states or {}, unnamed)


async def fetch_current(session: Session, row: KindRow, parent: Handle) -> Collection[str]:
    """Return the id of the parent's current object: one or none. Raises BridgeError."""
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
    """Return the objects that may have any of this kind, by id. Raises BridgeError, also when the driver
    cannot select them.
    """
    assert row.parent is not None
    outer = KINDS[PARENT_KIND[row.kind]]
    handles, _ = await session.call(
        outer.list_all, row.parent.holders, short=True, then=partial(_handles, outer)
    )
    return dict(handles)


async def fetch_poll_listing(session: Session, row: KindRow, lookup: Lookup) -> Listed:
    """List a kind for a poll, which costs two bulk calls while nothing changes.

    The bulk statistics of domains have all of them with id and state, and the listing has those that are not
    persistent. For other kinds the active and the persistent objects are two listings, and together they are
    all objects.
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
    # The two calls show two moments. A domain that is inactive in the first must be persistent, or it would
    # not exist.
    off = {handle.id for handle in handles.values() if handle.number < 0}
    return Listed(row, handles, {_PERSISTENT: found[0] - off}, words)


async def fetch_other_flags(
    session: Session, listed: Listed, missing: bool
) -> tuple[Listed, Collection[str]]:
    """Return the listing of a poll with all flags; and, if objects were missing from it, the ids of a full
    listing. An object that was started and undefined between the two calls of a poll is in neither of them.
    """
    row = listed.row
    others = [flag for flag in row.flags if flag not in listed.flags]
    (there, _), *ids = await all_of(
        [
            _fetch_handles(session, row) if missing else _no_handles(),
            *(_fetch_flag(session, row, flag, row.flags[flag]) for flag in others),
        ]
    )
    return replace(listed, flags={**listed.flags, **dict(zip(others, ids, strict=True))}), there


async def _no_handles() -> Any:
    return {}, 0


async def _fetch_plain_poll_listing(session: Session, row: KindRow, lookup: Lookup) -> Listed:
    """List a kind for a poll when the driver lacks bulk statistics or filters: list it, and read the states
    that may have changed.
    """
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
        # Bulk statistics of all domains cost less than finding those that changed. Without bulk statistics
        # only the states that may have changed are read.
        outdated = [
            handle
            for key_id, handle in handles.items()
            if session.bulk_states or _may_differ(known[key_id], handle, paused)
        ]
        states = await fetch_states_slowly(session, outdated)
    return Listed(row, handles, dict(zip(selected, ids, strict=True)), states, unnamed)


def _may_differ(known: Any, handle: Handle, paused: Any) -> bool:
    """Return whether a state may have changed. paused: the ids of paused domains; None when the driver cannot
    select them.
    """
    if known is None or paused is None or known.id != handle.number:
        return True
    return bool((known.state == "paused") != (handle.id in paused))


# These functions return Any, as their answers of several types are gathered into one list. The docstrings
# give the types.


async def _fetch_handles(session: Session, row: KindRow, parent: Handle | None = None) -> Any:
    """Return the handles by id, and the number of objects whose id cannot be read."""
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
    """Return None when the driver refuses to select by this flag."""
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


# These run in a worker: ten thousand handles are work that the main thread does not need to do.


def _handles(row: KindRow, raws: list[Any]) -> tuple[dict[str, Handle], int]:
    """Return the handles by id, and the number of objects whose id cannot be read: libvirt-python does not
    give a name as bytes.
    """
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
