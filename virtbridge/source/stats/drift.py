"""Finds the domains whose memory or vCPU counts differ from their definition: libvirt changes these without
an event.

Bulk statistics have them for all domains in two calls. For inactive domains no guest is asked. For active
ones the sampler makes the call, since it handles guests that do not answer. Everything runs on the main
thread, except the reading of an answer, which a worker does.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import libvirt

from virtbridge.errors import BridgeError
from virtbridge.model.domain import DomainDefinition
from virtbridge.model.keys import Key, Kind
from virtbridge.model.records import DomainRecord
from virtbridge.model.statistics import flatten, group_flags
from virtbridge.source.callbacks import Lookup
from virtbridge.source.calls.errors import is_unsupported
from virtbridge.source.calls.session import Session
from virtbridge.source.domain_states import fetch_in_chunks
from virtbridge.source.listing import COMPARED_PER_STEP
from virtbridge.source.stats.sampler import Samples
from virtbridge.tasks import in_steps

log = logging.getLogger(__name__)

GROUPS = frozenset({"balloon", "vcpu"})
_NOWAIT = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT

# The fields of a definition, with the names that the statistics have for them.
_STATISTIC_BY_FIELD: Mapping[str, str] = {
    "memory_maximum_bytes": "memory-maximum",
    "memory_current_bytes": "memory-current",
    "vcpus_maximum": "vcpus-maximum",
    "vcpus_current": "vcpus-current",
}

# The values in the order of _STATISTIC_BY_FIELD. None stands for one that libvirt does not report.
Amounts = tuple[int | None, ...]


class Drift:
    """sample: samples all active domains in bulk; returns none when the driver has no bulk statistics."""

    def __init__(
        self, session: Session, lookup: Lookup, sample: Callable[[frozenset[str]], Awaitable[Samples]]
    ) -> None:
        self._session = session
        self._lookup = lookup
        self._sample = sample
        self._last_amounts: dict[Key, Amounts] = {}  # what the last call found
        self._bulk_has_amounts = True  # whether bulk statistics have the amounts of inactive domains

    async def fetch_outdated(self) -> list[Key]:
        """Return the domains whose definition has to be read again. Raises BridgeError when the host
        is lost.
        """
        amounts: dict[Key, Amounts] = {}
        for fetch in (self._fetch_off, self._fetch_active):
            try:
                answer = await fetch()
            except BridgeError as error:
                if self._session.lost.done():
                    raise
                log.debug("amounts not known conn=%s error=%s", self._session.name, error)
                self._bulk_has_amounts = self._bulk_has_amounts and not is_unsupported(error)
            else:
                amounts |= {
                    Key(self._session.name, Kind.DOMAIN, key_id): each for key_id, each in answer.items()
                }
        found: list[Key] = []
        async for some in in_steps(amounts.items(), COMPARED_PER_STEP):
            found += [key for key, each in some if self._may_be_outdated(key, each)]
        self._last_amounts = {
            key: each for key, each in (self._last_amounts | amounts).items() if key in self._session.handles
        }
        return found

    def _may_be_outdated(self, key: Key, amounts: Amounts) -> bool:
        """Return whether the amounts differ from the definition, and also from what the last call found: some
        always differ, such as the current memory of a domain without a balloon.
        """
        record = self._lookup(key)
        if not isinstance(record, DomainRecord) or not record.xml or self._last_amounts.get(key) == amounts:
            return False
        pairs = zip(amounts, _known(record.definition), strict=True)
        return any(each not in (None, known) for each, known in pairs)

    async def _fetch_active(self) -> Mapping[str, Amounts]:
        samples = await self._sample(GROUPS)
        return {key_id: _amounts(sample.values) for key_id, sample in samples.items()}

    async def _fetch_off(self) -> Mapping[str, Amounts]:
        if not self._bulk_has_amounts:
            return {}
        raws = [handle.raw for key, handle in self._session.handles.items() if self._is_off(key)]
        amounts = await fetch_in_chunks(self._session, raws, group_flags(GROUPS), _NOWAIT, _read)
        # The test driver has the call, but its answer has no amounts.
        self._bulk_has_amounts = not amounts or any(each != _NO_AMOUNTS for each in amounts.values())
        return amounts

    def _is_off(self, key: Key) -> bool:
        record = self._lookup(key)
        return isinstance(record, DomainRecord) and not record.active


def _known(definition: DomainDefinition) -> Amounts:
    return tuple(getattr(definition, field) for field in _STATISTIC_BY_FIELD)


def _amounts(values: Mapping[str, Any]) -> Amounts:
    return tuple(values.get(name) for name in _STATISTIC_BY_FIELD.values())


_NO_AMOUNTS = _amounts({})


def _read(answer: list[tuple[Any, dict[str, Any]]]) -> Mapping[str, Amounts]:
    """Read an answer, in a worker."""
    return {raw.UUIDString(): _amounts(flatten(numbers)) for raw, numbers in answer}
