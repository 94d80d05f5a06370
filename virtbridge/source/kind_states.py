"""What is known at run time about the kinds on one connection: which the driver has, and how they are kept
fresh.

A kind whose events are registered is followed, one whose events are missing is polled while it is watched,
and one that libvirt never announces is read on demand. A kind that fails for now is polled until it works.
Main thread; no libvirt here.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from virtbridge.errors import BridgeError
from virtbridge.model.keys import ON_DEMAND, Kind

log = logging.getLogger(__name__)


class KindStates:
    """announce: publishes these fields of the connection's record."""

    def __init__(self, connection: str, announce: Callable[[Mapping[str, Any]], None]) -> None:
        self._connection = connection
        self._publish = announce
        # What events announce, and what has to be polled; known once a kind was listed.
        self.event_kinds: frozenset[Kind] = frozenset()
        self.polled_kinds: frozenset[Kind] = frozenset()
        # What is read on demand, as far as this driver is known to have it: that shows when somebody asks.
        self.on_demand = ON_DEMAND
        # Why a kind cannot be listed or followed for now. What was known of it stays.
        self.failures: dict[Kind, BridgeError] = {}
        # The kinds whose events could not be registered; that is tried again.
        self.unregistered: set[Kind] = set()
        self._registered: set[Kind] = set()
        self._listed: set[Kind] = set()

    @property
    def listed(self) -> bool:
        """Whether any kind was listed."""
        return bool(self._listed)

    def was_listed(self, kind: Kind) -> bool:
        return kind in self._listed

    def is_polled(self, kind: Kind) -> bool:
        """Whether only listings find what changes; else this listing is the first, or events announce it."""
        return kind in self.polled_kinds and kind in self._listed

    def announce(self) -> None:
        self.event_kinds = frozenset(self._listed & self._registered)
        self.polled_kinds = frozenset(self._listed | self.failures.keys()) - self.event_kinds
        self._publish(
            {
                "event_kinds": tuple(sorted(kind.value for kind in self.event_kinds)),
                "demand_kinds": tuple(sorted(kind.value for kind in self.polled_kinds | self.on_demand)),
            }
        )

    def note_listed(self, kind: Kind) -> None:
        self._listed.add(kind)

    def note_registered(self, kinds: Iterable[Kind]) -> None:
        """Their lifecycle is announced."""
        self._registered.update(kinds)

    def note_failure(self, kind: Kind, error: BridgeError) -> None:
        """The other kinds do without it."""
        log.debug("kind failed conn=%s kind=%s error=%s", self._connection, kind, error.message)
        # A new one: the traceback would keep handles.
        self.failures[kind] = BridgeError(error.kind, f"{kind}: {error.message}", error.code)

    def note_missing(self, kind: Kind) -> None:
        """The driver has no such kind, and need not be asked again."""
        log.info("no such kind here conn=%s kind=%s", self._connection, kind)
        self.unregistered.discard(kind)
        self.failures.pop(kind, None)
        if kind in self.on_demand:
            self.on_demand -= {kind}
            self.announce()

    def failure(self, kinds: Iterable[Kind] | None = None) -> BridgeError | None:
        """Why any of these kinds fails, of all when none is named. A new error, as all that are raised: a
        kept error with a traceback would keep handles.
        """
        wanted = self.failures if kinds is None else [kind for kind in kinds if kind in self.failures]
        errors = [self.failures[kind] for kind in wanted]
        if not errors:
            return None
        return BridgeError(errors[0].kind, "; ".join(each.message for each in errors), errors[0].code)
