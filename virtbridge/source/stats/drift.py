"""Memory and vCPU counts, which libvirt changes without an event: whose definition has others than libvirt.

Bulk statistics tell them of all domains in two calls. Of those that are off no guest is asked; of those that
run the sampler asks, which knows what to do about guests that do not answer. Main thread, but for what a
worker reads.
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
from virtbridge.source.listing import COMPARED_AT_ONCE
from virtbridge.source.stats.sampler import Samples
from virtbridge.tasks import in_steps

log = logging.getLogger(__name__)

GROUPS = frozenset({"balloon", "vcpu"})
_NOWAIT = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT

# A definition's field, and the statistics' name for the same.
_SAME: Mapping[str, str] = {
    "memory_maximum_bytes": "memory-maximum",
    "memory_current_bytes": "memory-current",
    "vcpus_maximum": "vcpus-maximum",
    "vcpus_current": "vcpus-current",
}

Figures = tuple[int | None, ...]  # in the order of _SAME, None for what libvirt does not report


class Drift:
    """sample: of all domains that run, in bulk; none where the driver has no bulk statistics."""

    def __init__(
        self, session: Session, lookup: Lookup, sample: Callable[[frozenset[str]], Awaitable[Samples]]
    ) -> None:
        self._session = session
        self._lookup = lookup
        self._sample = sample
        self._last_figures: dict[Key, Figures] = {}  # at the last look
        self._has_them = True  # of domains that are off

    async def fetch_doubtful(self) -> list[Key]:
        """The domains whose definition should be read again. Raises BridgeError when the host is lost."""
        figures: dict[Key, Figures] = {}
        for fetch in (self._fetch_off, self._fetch_active):
            try:
                answer = await fetch()
            except BridgeError as error:
                if self._session.lost.done():
                    raise
                log.debug("figures not known conn=%s error=%s", self._session.name, error)
                self._has_them = self._has_them and not is_unsupported(error)
            else:
                figures |= {
                    Key(self._session.name, Kind.DOMAIN, key_id): each for key_id, each in answer.items()
                }
        found: list[Key] = []
        async for some in in_steps(figures.items(), COMPARED_AT_ONCE):
            found += [key for key, each in some if self._is_doubtful(key, each)]
        self._last_figures = {
            key: each for key, each in (self._last_figures | figures).items() if key in self._session.handles
        }
        return found

    def _is_doubtful(self, key: Key, figures: Figures) -> bool:
        """Whether the figures differ from the definition's, and in another way than at the last look: some
        differ for ever, such as the current memory of a domain without a balloon.
        """
        record = self._lookup(key)
        if not isinstance(record, DomainRecord) or not record.xml or self._last_figures.get(key) == figures:
            return False
        pairs = zip(figures, _known(record.definition), strict=True)
        return any(each not in (None, known) for each, known in pairs)

    async def _fetch_active(self) -> Mapping[str, Figures]:
        samples = await self._sample(GROUPS)
        return {key_id: _figures(sample.values) for key_id, sample in samples.items()}

    async def _fetch_off(self) -> Mapping[str, Figures]:
        if not self._has_them:
            return {}
        raws = [handle.raw for key, handle in self._session.handles.items() if self._is_off(key)]
        figures = await fetch_in_chunks(self._session, raws, group_flags(GROUPS), _NOWAIT, _read)
        # The test driver has the call, and none of these in it.
        self._has_them = not figures or any(each != _NOTHING for each in figures.values())
        return figures

    def _is_off(self, key: Key) -> bool:
        record = self._lookup(key)
        return isinstance(record, DomainRecord) and not record.active


def _known(definition: DomainDefinition) -> Figures:
    return tuple(getattr(definition, field) for field in _SAME)


def _figures(values: Mapping[str, Any]) -> Figures:
    return tuple(values.get(name) for name in _SAME.values())


_NOTHING = _figures({})


def _read(answer: list[tuple[Any, dict[str, Any]]]) -> Mapping[str, Figures]:
    """In a worker."""
    return {raw.UUIDString(): _figures(flatten(numbers)) for raw, numbers in answer}
