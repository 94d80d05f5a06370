"""Reads the states of domains, in bulk where the driver has bulk statistics. The fetch_ functions call
libvirt.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import libvirt

from virtbridge.errors import BridgeError
from virtbridge.source.calls.errors import is_unsupported
from virtbridge.source.calls.session import Session
from virtbridge.source.kinds.enums import state_words
from virtbridge.source.kinds.row import Handle, KindRow
from virtbridge.tasks import all_of

T = TypeVar("T")

# libvirt's RPC refuses an answer with more than 4096 records (REMOTE_CONNECT_GET_ALL_DOMAIN_STATS_MAX).
STATS_CHUNK = 2048

States = Mapping[str, tuple[str, str]]  # state and reason by UUID
Stats = list[tuple[libvirt.virDomain, dict[str, Any]]]  # libvirt-python's answer to bulk statistics


async def fetch_states(session: Session, row: KindRow, then: Callable[[Stats], T]) -> T | None:
    """Read all states in one call. Returns None when smaller calls have to be made.

    then: reads the answer, in a worker.
    """
    if not row.bulk_states or not session.bulk_states:
        return None
    try:
        # Other groups than the state wait for the monitors of guests: one stopped QEMU would delay the call.
        return await session.call("getAllDomainStats", libvirt.VIR_DOMAIN_STATS_STATE, short=True, then=then)
    except BridgeError as error:
        if is_unsupported(error):
            session.bulk_states = False
        elif error.code != libvirt.VIR_ERR_RPC or session.lost.done():
            raise
        return None


async def fetch_states_slowly(session: Session, handles: Iterable[Handle]) -> States:
    """Read states in chunks of the size of an answer, or one by one when the driver has no bulk
    statistics.
    """
    if session.bulk_states:
        raws = [handle.raw for handle in handles]
        return await fetch_in_chunks(session, raws, libvirt.VIR_DOMAIN_STATS_STATE, 0, states_only)
    return _joined(await all_of(_fetch_state(session, handle) for handle in handles))


async def fetch_in_chunks(
    session: Session,
    raws: Sequence[object],
    groups: int,
    flags: int,
    then: Callable[[Stats], Mapping[str, T]],
) -> Mapping[str, T]:
    """Read statistics of these domains, in chunks of the size of an answer. Returns them by UUID. Raises
    BridgeError.

    groups: VIR_DOMAIN_STATS_*. flags: VIR_CONNECT_GET_ALL_DOMAINS_STATS_*. then: reads an answer, in a
    worker.
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


async def _fetch_state(session: Session, handle: Handle) -> States:
    try:
        state, reason = await session.on(handle.raw, "state", short=True)
    except BridgeError as error:
        if error.code != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return {}
    return {handle.id: state_words(state, reason)}


# These run in a worker: ten thousand handles are work that the main thread does not need to do.


def states_only(stats: Stats) -> States:
    return {raw.UUIDString(): _words(values) for raw, values in stats if "state.state" in values}


def handles_and_states(row: KindRow, stats: Stats) -> tuple[dict[str, Handle], States]:
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
