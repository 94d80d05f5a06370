"""Reading everything of a kind in a constant number of bulk calls, all in parallel.

fetch_ functions ask libvirt and change nothing: the caller decides what becomes of the answer. A flag that
the driver refuses is remembered and taken as held by none; a listing that fails raises, since failure is not
emptiness.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import libvirt

from virtbridge.errors import BridgeError
from virtbridge.model.changes import Patch, Put
from virtbridge.model.keys import Key
from virtbridge.model.records import Record
from virtbridge.source.enums import state_words
from virtbridge.source.errors import is_unsupported
from virtbridge.source.kinds import Handle, KindSpec, handle_of
from virtbridge.source.session import Session, all_of

log = logging.getLogger(__name__)

# libvirt's RPC refuses more records in one answer (REMOTE_CONNECT_GET_ALL_DOMAIN_STATS_MAX is 4096).
STATS_CHUNK = 2048

States = Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Inventory:
    """All objects of one kind: handles by id, the ids where each flag is true, and domains' states."""

    spec: KindSpec
    handles: Mapping[str, Handle]
    flags: Mapping[str, frozenset[str]]
    states: States

    def fields(self, key_id: str) -> dict[str, Any]:
        """What the listing tells of one object, by its record's field names."""
        handle = self.handles[key_id]
        fields: dict[str, Any] = {"name": handle.name}
        fields |= {flag: key_id in ids for flag, ids in self.flags.items()}
        if self.spec.number_field:
            fields[self.spec.number_field] = handle.number
        if key_id in self.states:
            fields["state"], fields["state_reason"] = self.states[key_id]
        return fields

    def change(self, key: Key, known: Record | None) -> Put | Patch:
        """What makes the record have these fields; definition and XML stay as they were known."""
        fields = self.fields(key.id)
        return Put(key, self.spec.record(uuid=key.id, **fields)) if known is None else Patch(key, fields)


async def fetch_inventory(session: Session, spec: KindSpec) -> Inventory:
    """Raises BridgeError; NotSupported when the driver has no such kind."""
    handles, states, *flags = await all_of(
        [
            _fetch_handles(session, spec),
            _fetch_states(session, spec),
            *(_fetch_flag(session, spec, flag, mask) for flag, mask in spec.flags.items()),
        ]
    )
    if spec.bulk_states and states is None:
        states = await _fetch_states_slowly(session, handles.values())
    return Inventory(spec, handles, dict(zip(spec.flags, flags, strict=True)), states or {})


async def _fetch_handles(session: Session, spec: KindSpec) -> Any:
    return await session.call(spec.list_all, 0, short=True, then=_handles)


async def _fetch_flag(session: Session, spec: KindSpec, flag: str, mask: int) -> Any:
    if (spec.kind, flag) in session.refused_flags:
        return frozenset()
    try:
        return await session.call(spec.list_all, mask, short=True, then=_ids)
    except BridgeError as error:
        if not (is_unsupported(error) or error.code == libvirt.VIR_ERR_INVALID_ARG):
            raise
        log.info("flag not available conn=%s kind=%s flag=%s", session.name, spec.kind, flag)
        session.refused_flags.add((spec.kind, flag))
        return frozenset()


async def _fetch_states(session: Session, spec: KindSpec) -> Any:
    """None when this has to be asked in smaller pieces."""
    if not spec.bulk_states or not session.bulk_states:
        return None
    try:
        # The state group only: the others wait for the guest's monitor, and one stopped QEMU stops them all.
        return await session.call(
            "getAllDomainStats", libvirt.VIR_DOMAIN_STATS_STATE, short=True, then=_states
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
        chunks = [raws[start : start + STATS_CHUNK] for start in range(0, len(raws), STATS_CHUNK)]
        answers = await all_of(_fetch_chunk(session, chunk) for chunk in chunks)
    else:
        answers = await all_of(_fetch_state(session, raw) for raw in raws)
    return {key_id: words for answer in answers for key_id, words in answer.items()}


async def _fetch_chunk(session: Session, raws: list[Any]) -> States:
    states: States = await session.call(
        "domainListGetStats", raws, libvirt.VIR_DOMAIN_STATS_STATE, short=True, then=_states
    )
    return states


async def _fetch_state(session: Session, raw: Any) -> States:
    try:
        state, reason = await session.on(raw, "state", short=True)
    except BridgeError as error:
        if error.code != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return {}
    return {raw.UUIDString(): state_words(state, reason)}


# In a worker: ten thousand handles are work that the main thread does not need to do.


def _handles(raws: list[Any]) -> dict[str, Handle]:
    handles = map(handle_of, raws)
    return {handle.id: handle for handle in handles}


def _ids(raws: list[Any]) -> frozenset[str]:
    return frozenset(raw.UUIDString() for raw in raws)


def _states(stats: list[tuple[Any, dict[str, Any]]]) -> dict[str, tuple[str, str]]:
    return {
        raw.UUIDString(): state_words(values["state.state"], values.get("state.reason", 0))
        for raw, values in stats
        if "state.state" in values
    }


# ConnectionRecord's field, the method that tells it, and how to read the answer.
_INFO: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("driver", "getType", str),
    ("hypervisor_version", "getVersion", int),
    ("daemon_version", "getLibVersion", int),
    ("hostname", "getHostname", str),
    ("encrypted", "isEncrypted", bool),
    ("secure", "isSecure", bool),
)


async def fetch_info(session: Session) -> dict[str, Any]:
    """ConnectionRecord's fields about the host; those that it does not tell are left out."""
    answers = await all_of(_fetch_fact(session, method, read) for _, method, read in _INFO)
    facts = zip((field for field, _, _ in _INFO), answers, strict=True)
    return {field: value for field, value in facts if value is not None} | {
        "libvirt_version": libvirt.getVersion()
    }


async def _fetch_fact(session: Session, method: str, read: Callable[[Any], Any]) -> Any:
    try:
        # Not as a short read: QEMU's getVersion() looks at the emulators first, which takes a second.
        return await session.call(method, then=read)
    except BridgeError as error:
        if session.lost.done():
            raise
        log.debug("fact not available conn=%s call=%s error=%s", session.name, method, error)
        return None
