"""The states of domains in bulk, as far as the driver and its answers' size allow; fetch_ functions ask
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

# libvirt's RPC refuses more records in one answer (REMOTE_CONNECT_GET_ALL_DOMAIN_STATS_MAX is 4096).
STATS_CHUNK = 2048

States = Mapping[str, tuple[str, str]]  # state and reason by UUID


async def fetch_states(
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


async def fetch_states_slowly(session: Session, handles: Iterable[Handle]) -> States:
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


# In a worker, as ten thousand handles are work that the main thread does not need to do.


def _states(stats: list[tuple[Any, dict[str, Any]]]) -> States:
    return {raw.UUIDString(): _words(values) for raw, values in stats if "state.state" in values}


def handles_and_states(
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
