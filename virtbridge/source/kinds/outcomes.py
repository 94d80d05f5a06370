"""The outcome of a lifecycle event: how it changes a record, without a call to the host.

Each kind's file has its table of events. This module has what is the same for all objects that exist while
they are active or persistent. Pure.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from virtbridge.model.records import NetworkRecord, NodeDeviceRecord, PoolRecord
from virtbridge.source.kinds import enums


class Outcome(NamedTuple):
    """What one event changes."""

    # The new values of the record's fields.
    fields: Mapping[str, Any]
    # Whether the object is removed after the signal of the event.
    removed: bool = False
    # Whether the XML may have changed, so that it is read again.
    rereads: bool = False
    # The methods of the handle that give what neither the event nor the XML shows (FIELDS_BY_GETTER).
    getters: frozenset[str] = frozenset()


# The getters of an outcome, with the function that turns the answer into fields of the record.
FIELDS_BY_GETTER: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "autostart": lambda answer: {"autostart": bool(answer)},
    "hasManagedSaveImage": lambda answer: {"has_managed_save": bool(answer)},
    "state": lambda answer: dict(zip(("state", "state_reason"), enums.state_words(*answer), strict=True)),
}
STATE, MANAGED_SAVE, AUTOSTART = map(frozenset, (["state"], ["hasManagedSaveImage"], ["autostart"]))

# The fields that an event changes, by its word. An event that is not in the table changes none, such as the
# one that a pool's target was built.
DefinedEffects = Mapping[str, Mapping[str, bool]]
Defined = NetworkRecord | PoolRecord | NodeDeviceRecord


def defined_outcome(effects: DefinedEffects, known: Defined, event: str, name: str) -> Outcome:
    """Return the outcome for an object that exists while it is active or persistent."""
    effect: Mapping[str, Any] = effects.get(event, {})
    after = replace(known, name=name, **effect)
    removed = bool(effect) and not after.active and not after.persistent
    getters = autostart_getter(after) if event == "undefined" and not removed else frozenset()
    return Outcome({**effect, "name": name}, removed, rereads=not removed, getters=getters)


def autostart_getter(known: Any) -> frozenset[str]:
    """Return the getter of autostart for an object that was undefined and is still active: QEMU's driver
    turns its autostart off, the test driver does not.
    """
    return AUTOSTART if known.autostart else frozenset()
