"""How a lifecycle event changes a domain's record, without a call to libvirt: one table.

An event and its detail give the new state and reason, other fields, and whether the XML may have changed. The
table was written from the answers of virDomainGetState() after each event of QEMU and the test driver in
libvirt 9.0. Pure. Source: virDomainEventType and its details in libvirt/libvirt-domain.h.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from virtbridge.model.records import DomainRecord
from virtbridge.source.kinds.outcomes import MANAGED_SAVE, STATE, Outcome, autostart_getter


@dataclass(frozen=True, slots=True)
class Effect:
    """What one event with one detail shows. None means that the event does not show this field."""

    # The new state and its reason. Empty when the event does not show the state.
    state: str = ""
    reason: str = ""
    # The reason for a domain that was in this state already. Empty when it is the same reason.
    reason_if_same: str = ""
    # Whether a domain that was in this state already keeps its reason.
    keeps_reason: bool = False
    # The reason when the event's handle still has the domain's id. Empty when it is the same reason.
    reason_if_active: str = ""
    persistent: bool | None = None
    has_managed_save: bool | None = None
    # Whether the event's handle has a new name.
    renamed: bool = False
    # Whether the domain has lost its persistent definition.
    undefined: bool = False
    # These are the same as in an Outcome.
    rereads: bool = False
    getters: frozenset[str] = frozenset()


def _started(reason: str, reason_if_same: str = "") -> Effect:
    # A start restores the managed save image or discards it; either way it is removed.
    return Effect("running", reason, reason_if_same, has_managed_save=False, rereads=True)


def _stopped(reason: str, reason_if_active: str = "", *, getters: frozenset[str] = frozenset()) -> Effect:
    return Effect("shutoff", reason, reason_if_active=reason_if_active, rereads=True, getters=getters)


_DEFINED = Effect(persistent=True, rereads=True)

_EFFECTS: Mapping[tuple[str, str], Effect] = {
    ("defined", "added"): _DEFINED,
    ("defined", "updated"): _DEFINED,
    ("defined", "from-snapshot"): _DEFINED,
    # A rename is announced as `undefined` and `defined` with one UUID. Only the second has the new name.
    ("defined", "renamed"): Effect(persistent=True, renamed=True, rereads=True),
    ("undefined", "renamed"): Effect(),
    ("undefined", "removed"): Effect(undefined=True, has_managed_save=False),
    ("started", "booted"): _started("booted"),
    # The incoming migration has only begun. `resumed` or `suspended` announces its end.
    ("started", "migrated"): replace(_started("migration"), state="paused"),
    ("started", "restored"): _started("restored"),
    # QEMU's driver sends `resumed` before `started` when a domain boots. Reverting to the snapshot of an
    # inactive domain and starting it is a boot; after reverting to that of a running one `resumed` follows.
    ("started", "from-snapshot"): _started("from-snapshot", reason_if_same="booted"),
    ("started", "wakeup"): Effect("running", "wakeup"),
    ("suspended", "paused"): Effect("paused", "user"),
    ("suspended", "migrated"): Effect("paused", "migration"),
    ("suspended", "ioerror"): Effect("paused", "ioerror"),
    ("suspended", "watchdog"): Effect("paused", "watchdog"),
    ("suspended", "restored"): Effect("paused", "migration"),  # QEMU restores by an incoming migration
    # The snapshot of an inactive domain that is started paused gives the same event with the reason `user`.
    ("suspended", "from-snapshot"): Effect("paused", "from-snapshot", getters=STATE),
    ("suspended", "api-error"): Effect("paused", "unknown"),
    ("suspended", "postcopy"): Effect("paused", "postcopy"),
    ("suspended", "postcopy-failed"): Effect("paused", "postcopy-failed"),
    ("resumed", "unpaused"): Effect("running", "unpaused"),
    # The domain has arrived here, or it stays here since the migration was cancelled.
    ("resumed", "migrated"): Effect("running", "migrated", getters=STATE),
    # This event also follows `started` with `restored`, whose reason stays.
    ("resumed", "from-snapshot"): Effect("running", "from-snapshot", keeps_reason=True),
    ("resumed", "postcopy"): Effect("running", "postcopy"),
    ("resumed", "postcopy-failed"): Effect("running", "postcopy-failed"),
    ("stopped", "shutdown"): _stopped("shutdown"),
    ("stopped", "destroyed"): _stopped("destroyed"),
    ("stopped", "crashed"): _stopped("crashed"),
    ("stopped", "migrated"): _stopped("migrated"),
    # A managed save and a save to a file send the same event.
    ("stopped", "saved"): _stopped("saved", getters=MANAGED_SAVE),
    # QEMU ended by itself. The event is made before libvirt takes the id back.
    ("stopped", "failed"): _stopped("failed", reason_if_active="crashed"),
    ("stopped", "from-snapshot"): _stopped("from-snapshot"),
    ("shutdown", "finished"): Effect("shutdown", "unknown"),
    ("shutdown", "guest"): Effect("shutdown", "unknown"),
    ("shutdown", "host"): Effect("shutdown", "unknown"),
    ("pmsuspended", "memory"): Effect("pmsuspended", "unknown"),
    ("pmsuspended", "disk"): Effect("pmsuspended", "unknown"),
    ("crashed", "panicked"): Effect("crashed", "panicked"),
    ("crashed", "crashloaded"): Effect(),  # the guest loads its crash kernel, so it still runs
}

# For details that a newer libvirt adds. The event alone shows the state, and the XML is read again.
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
    """Return what an event means for the domain.

    name, domain_id: these are of the handle that came with the event; the id of an inactive domain is -1.
    """
    effect = domain_effect(event, detail)
    if effect.state == "shutdown" and not known.active:
        # QEMU was ended during a start. The start failed, no other event says so, and the domain stays off.
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
    # libvirt sends `started` before it asks QEMU for disks, channels and balloon, and `resumed` or
    # `suspended` afterwards.
    rereads = effect.rereads or (known.state_reason == "restored" and event in ("resumed", "suspended"))
    if effect.undefined:  # an active domain stays and is transient
        fields["persistent"] = False
        removed = not active
        getters = autostart_getter(known)
    elif effect.state == "shutoff":
        removed = not known.persistent
    elif effect.state == "running" and known.active and "crashed" in (known.state, known.state_reason):
        getters = STATE  # either libvirt restarted the domain or its user resumed it
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
    """Return the detail of an event that libvirt did not send, from the state after it: this reads the table
    backwards. The detail is `unknown` unless exactly one detail leads to this state and reason.
    """
    details = [
        detail
        for (name, detail), effect in _EFFECTS.items()
        if name == event and (effect.state, effect.reason) == (state, reason) and reason != "unknown"
    ]
    return details[0] if len(details) == 1 else "unknown"
