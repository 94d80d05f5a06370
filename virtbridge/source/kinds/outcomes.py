"""What a lifecycle event means for a record, without a call to the host: the result that each kind gives.

What is the same for all objects that exist while they are active or persistent stands here; the tables of
events are in the kinds' own files. Pure.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from virtbridge.model.records import NetworkRecord, NodeDeviceRecord, PoolRecord
from virtbridge.source.kinds import enums


class Outcome(NamedTuple):
    """What to do about one event."""

    # The record's fields to change.
    fields: Mapping[str, Any]
    # Whether the object is dropped after the event's signal.
    removed: bool = False
    # Whether the XML may differ now.
    rereads: bool = False
    # The methods of the handle that answer what neither the event nor the XML shows (FIELDS_BY_GETTER).
    getters: frozenset[str] = frozenset()


# The methods that an outcome may ask for, and the record's fields by their answers.
FIELDS_BY_GETTER: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "autostart": lambda answer: {"autostart": bool(answer)},
    "hasManagedSaveImage": lambda answer: {"has_managed_save": bool(answer)},
    "state": lambda answer: dict(zip(("state", "state_reason"), enums.state_words(*answer), strict=True)),
}
STATE, MANAGED_SAVE, AUTOSTART = map(frozenset, (["state"], ["hasManagedSaveImage"], ["autostart"]))

# By the event's word, the fields that it changes. What is not in a table changes none of them, such as that a
# pool's target was made or deleted.
DefinedEffects = Mapping[str, Mapping[str, bool]]
Defined = NetworkRecord | PoolRecord | NodeDeviceRecord


def defined_outcome(effects: DefinedEffects, known: Defined, event: str, name: str) -> Outcome:
    """The outcome for an object that exists while it is active or persistent."""
    effect: Mapping[str, Any] = effects.get(event, {})
    after = replace(known, name=name, **effect)
    removed = bool(effect) and not after.active and not after.persistent
    getters = autostart_getter(after) if event == "undefined" and not removed else frozenset()
    return Outcome({**effect, "name": name}, removed, rereads=not removed, getters=getters)


def autostart_getter(known: Any) -> frozenset[str]:
    """Whether an object that is undefined and runs on still starts by itself has to be asked: QEMU's driver
    takes its autostart away, the test driver leaves it.
    """
    return AUTOSTART if known.autostart else frozenset()
