"""Lifecycle events that are derived from two readings of an object, where libvirt sends none.

A change that was undone between the two readings is not found, and a detail that the state does not show is
`unknown`. Pure.
"""

from dataclasses import replace
from typing import Any

from virtbridge.model.records import DomainRecord, NodeDeviceRecord, Record
from virtbridge.source.kinds.domain_lifecycle import domain_detail

Words = tuple[str, str]

# libvirt 9 has details for domains only. For other kinds an event's detail is the number 0, so it is here
# too.
_NO_DETAIL = "0"
_RUNNING = frozenset({"running", "blocked", "nostate"})  # the states of a domain that was resumed
_EVENT_TO = {
    "paused": "suspended",
    "shutdown": "shutdown",
    "pmsuspended": "pmsuspended",
    "crashed": "crashed",
}

_DEVICE_WORDS = {"started": "created", "stopped": "deleted"}  # libvirt's words for node devices


def derived_events(old: Record | None, new: Record | None) -> list[Words]:
    """Return the pairs of event and detail between two readings. None stands for an object that did not
    exist.
    """
    if isinstance(old or new, DomainRecord):
        return _domain(old, new)
    return _other(old, new)


def xml_may_differ(old: Any, new: Any) -> bool:
    """Return whether the XML may have changed between two readings. Suspend and resume do not change it."""
    if isinstance(old, DomainRecord) and isinstance(new, DomainRecord) and new.active:
        new = replace(new, state=old.state, state_reason=old.state_reason)
    return bool(old != new)


def _domain(old: Any, new: Any) -> list[Words]:
    if new is None:
        return _if(old.active, ("stopped", "unknown")) + _if(old.persistent, ("undefined", "removed"))
    if old is None:
        return _if(new.persistent, ("defined", "added")) + _if(new.active, *_started(new))
    renamed = old.name != new.name
    if renamed and not (old.persistent and new.persistent):  # it is another domain with the same UUID
        return _domain(old, None) + _domain(None, new)
    words = _if(renamed, ("undefined", "renamed"), ("defined", "renamed"))
    words += _if(new.persistent and not old.persistent, ("defined", "added"))
    words += _state_words(old, new)
    return words + _if(old.persistent and not new.persistent, ("undefined", "removed"))


def _state_words(old: DomainRecord, new: DomainRecord) -> list[Words]:
    if not new.active:
        return _if(old.active, ("stopped", domain_detail("stopped", new.state, new.state_reason)))
    if not old.active:
        return _started(new)
    if old.id != new.id:  # with another id the domain was stopped and started in between
        return [("stopped", "unknown"), *_started(new)]
    if old.state == new.state or {old.state, new.state} <= _RUNNING:
        return []
    if new.state in _RUNNING and old.state == "pmsuspended":
        return [("started", "wakeup")]
    event = "resumed" if new.state in _RUNNING else _EVENT_TO.get(new.state)
    return [(event, domain_detail(event, new.state, new.state_reason))] if event else []


def _started(new: DomainRecord) -> list[Words]:
    words = [("started", domain_detail("started", new.state, new.state_reason))]
    if new.state == "paused":
        words.append(("suspended", domain_detail("suspended", new.state, new.state_reason)))
    return words


def _other(old: Any, new: Any) -> list[Words]:
    """Compare two readings of an object that is no domain. A kind whose records have no field `active` is
    never active; one without `persistent` is defined while it exists.
    """
    was_active, is_active = (bool(each and getattr(each, "active", False)) for each in (old, new))
    was_defined, is_defined = (bool(each and getattr(each, "persistent", True)) for each in (old, new))
    words = _DEVICE_WORDS if isinstance(old or new, NodeDeviceRecord) else {}
    return [
        (words.get(event, event), _NO_DETAIL)
        for event, happened in (
            ("defined", is_defined and not was_defined),
            ("started", is_active and not was_active),
            ("stopped", was_active and not is_active),
            ("undefined", was_defined and not is_defined),
        )
        if happened
    ]


def _if(condition: bool, *words: Words) -> list[Words]:
    return list(words) if condition else []
