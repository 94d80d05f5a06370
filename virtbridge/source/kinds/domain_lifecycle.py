"""What a lifecycle event means for a domain's record, without asking libvirt: one table.

(event, detail) gives state and reason, what else follows, and whether the XML may differ afterwards. The
table was written from what virDomainGetState() answers after each event on QEMU and the test driver, libvirt
9.0. Pure. Source: virDomainEventType and its details in libvirt/libvirt-domain.h.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from virtbridge.model.records import DomainRecord
from virtbridge.source.kinds.outcomes import MANAGED_SAVE, STATE, Outcome, autostart_getter


@dataclass(frozen=True, slots=True)
class Effect:
    """What one event with one detail shows; None where it shows nothing."""

    # Empty when the event does not show the state.
    state: str = ""
    reason: str = ""
    # The reason instead, when the domain is in that state already; empty for the same reason.
    reason_if_same: str = ""
    # Whether the reason stays as it is, when the domain is in that state already.
    keeps_reason: bool = False
    # The reason instead, when the event still shows the domain's id; empty for the same reason.
    reason_if_active: str = ""
    persistent: bool | None = None
    has_managed_save: bool | None = None
    renamed: bool = False
    undefined: bool = False
    # As an Outcome's.
    rereads: bool = False
    getters: frozenset[str] = frozenset()


def _started(reason: str, reason_if_same: str = "") -> Effect:
    # A start uses the saved image up, or throws it away.
    return Effect("running", reason, reason_if_same, has_managed_save=False, rereads=True)


def _stopped(reason: str, reason_if_active: str = "", *, getters: frozenset[str] = frozenset()) -> Effect:
    return Effect("shutoff", reason, reason_if_active=reason_if_active, rereads=True, getters=getters)


_DEFINED = Effect(persistent=True, rereads=True)

_EFFECTS: Mapping[tuple[str, str], Effect] = {
    ("defined", "added"): _DEFINED,
    ("defined", "updated"): _DEFINED,
    ("defined", "from-snapshot"): _DEFINED,
    # A rename comes as undefined and defined with one UUID; only the second has the new name.
    ("defined", "renamed"): Effect(persistent=True, renamed=True, rereads=True),
    ("undefined", "renamed"): Effect(),
    ("undefined", "removed"): Effect(undefined=True, has_managed_save=False),
    ("started", "booted"): _started("booted"),
    # It has only begun to come in; `resumed`, or `suspended`, says when it is all here.
    ("started", "migrated"): replace(_started("migration"), state="paused"),
    ("started", "restored"): _started("restored"),
    # QEMU sends `resumed` before `started` when it boots. Reverting to a snapshot of a domain that was off,
    # and starting it, is a boot; reverting to a running one shows `resumed` afterwards.
    ("started", "from-snapshot"): _started("from-snapshot", reason_if_same="booted"),
    ("started", "wakeup"): Effect("running", "wakeup"),
    ("suspended", "paused"): Effect("paused", "user"),
    ("suspended", "migrated"): Effect("paused", "migration"),
    ("suspended", "ioerror"): Effect("paused", "ioerror"),
    ("suspended", "watchdog"): Effect("paused", "watchdog"),
    ("suspended", "restored"): Effect("paused", "migration"),  # restoring is an incoming migration to QEMU
    # One that was off, started paused, is paused by its user, in the same words.
    ("suspended", "from-snapshot"): Effect("paused", "from-snapshot", getters=STATE),
    ("suspended", "api-error"): Effect("paused", "unknown"),
    ("suspended", "postcopy"): Effect("paused", "postcopy"),
    ("suspended", "postcopy-failed"): Effect("paused", "postcopy-failed"),
    ("resumed", "unpaused"): Effect("running", "unpaused"),
    # It has arrived; or stays, as the migration was cancelled.
    ("resumed", "migrated"): Effect("running", "migrated", getters=STATE),
    # Also sent after `started` with `restored`, whose reason stays.
    ("resumed", "from-snapshot"): Effect("running", "from-snapshot", keeps_reason=True),
    ("resumed", "postcopy"): Effect("running", "postcopy"),
    ("resumed", "postcopy-failed"): Effect("running", "postcopy-failed"),
    ("stopped", "shutdown"): _stopped("shutdown"),
    ("stopped", "destroyed"): _stopped("destroyed"),
    ("stopped", "crashed"): _stopped("crashed"),
    ("stopped", "migrated"): _stopped("migrated"),
    # A managed save and a save to a file send the same event.
    ("stopped", "saved"): _stopped("saved", getters=MANAGED_SAVE),
    # A QEMU that went away by itself; the event is made before libvirt takes the id back.
    ("stopped", "failed"): _stopped("failed", reason_if_active="crashed"),
    ("stopped", "from-snapshot"): _stopped("from-snapshot"),
    ("shutdown", "finished"): Effect("shutdown", "unknown"),
    ("shutdown", "guest"): Effect("shutdown", "unknown"),
    ("shutdown", "host"): Effect("shutdown", "unknown"),
    ("pmsuspended", "memory"): Effect("pmsuspended", "unknown"),
    ("pmsuspended", "disk"): Effect("pmsuspended", "unknown"),
    ("crashed", "panicked"): Effect("crashed", "panicked"),
    ("crashed", "crashloaded"): Effect(),  # the guest loads its crash kernel: it runs
}

# A detail that a newer libvirt adds: the event alone shows the state; the XML is read to be sure.
_FALLBACK: Mapping[str, Effect] = {
    "defined": _DEFINED,
    "undefined": Effect(undefined=True),
    "started": _started("unknown"),
    "suspended": Effect("paused", "unknown", rereads=True),
    "resumed": Effect("running", "unknown", rereads=True),
    "stopped": _stopped("unknown"),
    "shutdown": Effect("shutdown", "unknown", rereads=True),
    "pmsuspended": Effect("pmsuspended", "unknown", rereads=True),
    "crashed": Effect("crashed", "unknown", rereads=True),
}
_UNKNOWN = Effect(rereads=True)


def domain_effect(event: str, detail: str) -> Effect:
    return _EFFECTS.get((event, detail)) or _FALLBACK.get(event, _UNKNOWN)


def domain_outcome(known: DomainRecord, event: str, detail: str, name: str, domain_id: int) -> Outcome:
    """name, domain_id: those of the handle that came with the event, -1 for an inactive domain."""
    effect = domain_effect(event, detail)
    if effect.state == "shutdown" and not known.active:
        # QEMU was ended while it started. That start failed, and no other event says so: it stays off.
        return Outcome({})
    active = domain_id >= 0
    fields: dict[str, Any] = {"id": -1 if effect.state == "shutoff" else domain_id}
    if effect.state:
        fields |= {"state": effect.state, "state_reason": _reason(effect, known, active)}
    if effect.persistent is not None:
        fields["persistent"] = effect.persistent
    if effect.has_managed_save is not None:
        fields["has_managed_save"] = effect.has_managed_save
    if effect.renamed:
        fields["name"] = name
    removed = False
    getters = effect.getters
    # `started` comes before QEMU was asked for its disks, channels and balloon; one of these comes after.
    rereads = effect.rereads or (known.state_reason == "restored" and event in ("resumed", "suspended"))
    if effect.undefined:  # an active one stays, as transient
        fields["persistent"] = False
        removed = not active
        getters = autostart_getter(known)
    elif effect.state == "shutoff":
        removed = not known.persistent
    elif effect.state == "running" and known.active and "crashed" in (known.state, known.state_reason):
        getters = STATE  # restarted by libvirt, or resumed by its user
    return Outcome(fields, removed, rereads and not removed, frozenset() if removed else getters)


def _reason(effect: Effect, known: DomainRecord, active: bool) -> str:
    if known.state == effect.state and effect.keeps_reason:
        return known.state_reason
    if known.state == effect.state and effect.reason_if_same:
        return effect.reason_if_same
    if active and effect.reason_if_active:
        return effect.reason_if_active
    return effect.reason


def domain_detail(event: str, state: str, reason: str) -> str:
    """The detail of an event that was not heard, from the state it led to: the table read backwards.

    `unknown` when several details lead to this state and reason, or none does.
    """
    details = [
        detail
        for (name, detail), effect in _EFFECTS.items()
        if name == event and (effect.state, effect.reason) == (state, reason) and reason != "unknown"
    ]
    return details[0] if len(details) == 1 else "unknown"
