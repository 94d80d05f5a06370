"""What is known at run time about the kinds on one connection: which ones the driver has, and how each is
kept fresh.

A kind whose events are registered is followed. A kind whose events the driver does not have is polled while
it is watched. A kind for which libvirt has no events is read on demand. A kind that fails is polled until it
works again. Runs on the main thread and does not call libvirt.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from virtbridge.errors import BridgeError
from virtbridge.model.keys import ON_DEMAND, Kind

log = logging.getLogger(__name__)


class KindStates:
    """announce: publishes fields of the connection's record."""

    def __init__(self, connection: str, announce: Callable[[Mapping[str, Any]], None]) -> None:
        self._connection = connection
        self._publish = announce
        # The kinds that events announce, and those that have to be polled. A kind is in one of them once it
        # was listed.
        self.event_kinds: frozenset[Kind] = frozenset()
        self.polled_kinds: frozenset[Kind] = frozenset()
        # The kinds that are read on demand. One that the driver does not have is found by the first request.
        self.on_demand = ON_DEMAND
        # Why a kind cannot be listed or followed now. Its objects stay as they were.
        self.failures: dict[Kind, BridgeError] = {}
        # The kinds whose events could not be registered. This is tried again.
        self.unregistered: set[Kind] = set()
        self._registered: set[Kind] = set()
        self._listed: set[Kind] = set()

    @property
    def listed(self) -> bool:
        """Return whether any kind was listed."""
        return bool(self._listed)

    def was_listed(self, kind: Kind) -> bool:
        return kind in self._listed

    def is_polled(self, kind: Kind) -> bool:
        """Return whether only listings find changes: the driver has no events, and this is not the first
        listing.
        """
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
        """Note that the lifecycle events of these kinds are registered."""
        self._registered.update(kinds)

    def note_failure(self, kind: Kind, error: BridgeError) -> None:
        """Note why a kind failed. The other kinds are served without it."""
        log.debug("kind failed conn=%s kind=%s error=%s", self._connection, kind, error.message)
        # The error is copied, since its traceback would keep handles.
        self.failures[kind] = BridgeError(error.kind, f"{kind}: {error.message}", error.code)

    def note_missing(self, kind: Kind) -> None:
        """Note that the driver does not have this kind. It is not asked again."""
        log.info("the driver does not have this kind conn=%s kind=%s", self._connection, kind)
        self.unregistered.discard(kind)
        self.failures.pop(kind, None)
        if kind in self.on_demand:
            self.on_demand -= {kind}
            self.announce()

    def failure(self, kinds: Iterable[Kind] | None = None) -> BridgeError | None:
        """Return why any of these kinds fails, or of all kinds. The error is a new one for each caller: an
        error that is kept here must not get a traceback, which would keep handles.
        """
        wanted = self.failures if kinds is None else [kind for kind in kinds if kind in self.failures]
        errors = [self.failures[kind] for kind in wanted]
        if not errors:
            return None
        return BridgeError(errors[0].kind, "; ".join(each.message for each in errors), errors[0].code)
