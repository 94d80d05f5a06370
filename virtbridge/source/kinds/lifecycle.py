"""What a lifecycle event says about an object, without asking libvirt: one table for each kind.

(event, detail) gives state and reason, what else follows from it, and whether the XML may differ afterwards.
The table was written from what virDomainGetState() answers after each event on QEMU and the test driver,
libvirt 9.0. Pure. Source: virDomainEventType and its details in libvirt/libvirt-domain.h.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from virtbridge.model.records import DomainRecord, NetworkRecord, NodeDeviceRecord, PoolRecord


@dataclass(frozen=True, slots=True)
class Effect:
    """state: empty when the event does not tell. None: not told by the event.

    already: the reason instead, when the domain is in that state already; empty for the one it has. killed:
    the reason instead, when the event still shows the domain's id. rereads: the XML may have changed.
    asks: as an Outcome's.
    """

    state: str = ""
    reason: str = ""
    already: str | None = None
    killed: str | None = None
    persistent: bool | None = None
    has_managed_save: bool | None = None
    renamed: bool = False
    removed: bool = False
    rereads: bool = False
    asks: frozenset[str] = frozenset()


class Outcome(NamedTuple):
    """What to do about one event: fields to patch, or the object to drop after its signal.

    asks: the handle's methods that tell what neither the event nor the XML does (kinds.FIELDS_BY_METHOD).
    """

    fields: Mapping[str, Any]
    gone: bool = False
    rereads: bool = False
    asks: frozenset[str] = frozenset()


_STATE, _MANAGED_SAVE, _AUTOSTART = map(frozenset, (["state"], ["hasManagedSaveImage"], ["autostart"]))


def _started(reason: str, already: str | None = None) -> Effect:
    # A start uses the saved image up, or throws it away.
    return Effect("running", reason, already, has_managed_save=False, rereads=True)


def _stopped(reason: str, killed: str | None = None, *, asks: frozenset[str] = frozenset()) -> Effect:
    return Effect("shutoff", reason, killed=killed, rereads=True, asks=asks)


_DEFINED = Effect(persistent=True, rereads=True)

_DOMAIN: Mapping[tuple[str, str], Effect] = {
    ("defined", "added"): _DEFINED,
    ("defined", "updated"): _DEFINED,
    ("defined", "from-snapshot"): _DEFINED,
    # A rename comes as undefined and defined with one UUID; only the second tells the new name.
    ("defined", "renamed"): Effect(persistent=True, renamed=True, rereads=True),
    ("undefined", "renamed"): Effect(),
    ("undefined", "removed"): Effect(removed=True, has_managed_save=False),
    ("started", "booted"): _started("booted"),
    # It has only begun to come in; `resumed`, or `suspended`, says when it is all here.
    ("started", "migrated"): replace(_started("migration"), state="paused"),
    ("started", "restored"): _started("restored"),
    # QEMU sends `resumed` before `started` when it boots. Reverting to a snapshot of a domain that was off,
    # and starting it, is a boot; reverting to a running one shows `resumed` afterwards.
    ("started", "from-snapshot"): _started("from-snapshot", already="booted"),
    ("started", "wakeup"): Effect("running", "wakeup"),
    ("suspended", "paused"): Effect("paused", "user"),
    ("suspended", "migrated"): Effect("paused", "migration"),
    ("suspended", "ioerror"): Effect("paused", "ioerror"),
    ("suspended", "watchdog"): Effect("paused", "watchdog"),
    ("suspended", "restored"): Effect("paused", "migration"),  # restoring is an incoming migration to QEMU
    # One that was off, started paused, is paused by its user, in the same words.
    ("suspended", "from-snapshot"): Effect("paused", "from-snapshot", asks=_STATE),
    ("suspended", "api-error"): Effect("paused", "unknown"),
    ("suspended", "postcopy"): Effect("paused", "postcopy"),
    ("suspended", "postcopy-failed"): Effect("paused", "postcopy-failed"),
    ("resumed", "unpaused"): Effect("running", "unpaused"),
    # It has arrived; or stays, as the migration was cancelled.
    ("resumed", "migrated"): Effect("running", "migrated", asks=_STATE),
    # Also sent after `started` with `restored`, whose reason stays.
    ("resumed", "from-snapshot"): Effect("running", "from-snapshot", already=""),
    ("resumed", "postcopy"): Effect("running", "postcopy"),
    ("resumed", "postcopy-failed"): Effect("running", "postcopy-failed"),
    ("stopped", "shutdown"): _stopped("shutdown"),
    ("stopped", "destroyed"): _stopped("destroyed"),
    ("stopped", "crashed"): _stopped("crashed"),
    ("stopped", "migrated"): _stopped("migrated"),
    # A managed save and a save to a file send the same event.
    ("stopped", "saved"): _stopped("saved", asks=_MANAGED_SAVE),
    # A QEMU that went away by itself; the event is made before libvirt takes the id back.
    ("stopped", "failed"): _stopped("failed", killed="crashed"),
    ("stopped", "from-snapshot"): _stopped("from-snapshot"),
    ("shutdown", "finished"): Effect("shutdown", "unknown"),
    ("shutdown", "guest"): Effect("shutdown", "unknown"),
    ("shutdown", "host"): Effect("shutdown", "unknown"),
    ("pmsuspended", "memory"): Effect("pmsuspended", "unknown"),
    ("pmsuspended", "disk"): Effect("pmsuspended", "unknown"),
    ("crashed", "panicked"): Effect("crashed", "panicked"),
    ("crashed", "crashloaded"): Effect(),  # the guest loads its crash kernel: it runs
}

# A detail that a newer libvirt adds: the event alone tells the state; the XML is read to be sure.
_DOMAIN_FALLBACK: Mapping[str, Effect] = {
    "defined": _DEFINED,
    "undefined": Effect(removed=True),
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
    return _DOMAIN.get((event, detail)) or _DOMAIN_FALLBACK.get(event, _UNKNOWN)


def domain_outcome(known: DomainRecord, event: str, detail: str, name: str, domain_id: int) -> Outcome:
    """name, domain_id: those of the handle that came with the event, -1 for an inactive domain."""
    effect = domain_effect(event, detail)
    if effect.state == "shutdown" and not known.active:
        # QEMU was ended while it started. That start failed, of which no other event tells: it stays off.
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
    gone = False
    asks = effect.asks
    # `started` comes before QEMU was asked for its disks, channels and balloon; one of these comes after.
    rereads = effect.rereads or (known.state_reason == "restored" and event in ("resumed", "suspended"))
    if effect.removed:  # an active one stays, as transient
        fields["persistent"] = False
        gone = not active
        asks = _asks_autostart(known)
    elif effect.state == "shutoff":
        gone = not known.persistent
    elif effect.state == "running" and known.active and "crashed" in (known.state, known.state_reason):
        asks = _STATE  # restarted by libvirt, or resumed by its user
    return Outcome(fields, gone, rereads and not gone, frozenset() if gone else asks)


def _asks_autostart(known: Any) -> frozenset[str]:
    """Of what is undefined and runs on: QEMU's driver takes its autostart, the test driver leaves it."""
    return _AUTOSTART if known.autostart else frozenset()


def _reason(effect: Effect, known: DomainRecord, active: bool) -> str:
    if effect.already is not None and known.state == effect.state:
        return effect.already or known.state_reason
    if effect.killed is not None and active:
        return effect.killed
    return effect.reason


# What each event tells of an object that is there while it is active or persistent; what is not in a table
# (a pool's target was made or deleted) changes neither.
Effects = Mapping[str, Mapping[str, bool]]
NETWORK_EFFECTS: Effects = {
    "defined": {"persistent": True},
    "undefined": {"persistent": False},
    "started": {"active": True},
    "stopped": {"active": False},
}
POOL_EFFECTS = NETWORK_EFFECTS
NODE_DEVICE_EFFECTS: Effects = {
    "defined": {"persistent": True},
    "undefined": {"persistent": False},
    "created": {"inactive": False},
    "deleted": {"inactive": True},
}

Defined = NetworkRecord | PoolRecord | NodeDeviceRecord


def defined_outcome(effects: Effects, known: Defined, event: str, name: str) -> Outcome:
    """What follows for an object that is there while it is active or persistent."""
    effect: Mapping[str, Any] = effects.get(event, {})
    after = replace(known, name=name, **effect)
    gone = bool(effect) and not after.active and not after.persistent
    asks = _asks_autostart(after) if event == "undefined" and not gone else frozenset()
    return Outcome({**effect, "name": name}, gone, rereads=not gone, asks=asks)


def secret_outcome(event: str, name: str) -> Outcome:
    """A secret is there while it is defined. name: the usage id."""
    gone = event == "undefined"
    return Outcome({} if gone else {"name": name}, gone, rereads=not gone)


def domain_detail(event: str, state: str, reason: str) -> str:
    """The detail of an event that was not heard, from the state it led to: the table read backwards.

    `unknown` when several details lead to this state and reason, or none does.
    """
    details = [
        detail
        for (name, detail), effect in _DOMAIN.items()
        if name == event and (effect.state, effect.reason) == (state, reason) and reason != "unknown"
    ]
    return details[0] if len(details) == 1 else "unknown"
