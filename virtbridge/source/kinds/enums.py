"""libvirt's enumerations as tables from value to the contract's word. They come from the installed libvirt.

Several enumerations may have one prefix. The others are then excluded by the beginnings of their words. A
value that is not in a table is shown as its number (model.enum_names.name_of).
"""

from collections.abc import Mapping

import libvirt

from virtbridge.model.enum_names import enum_names, name_of

CONSTANTS: Mapping[str, object] = vars(libvirt)
Table = Mapping[int, str]


def table(prefix: str, *exclude: str) -> Table:
    return enum_names(CONSTANTS, prefix, exclude=exclude)


def _only_plain(names: Table) -> Table:
    """Keep the names of one word: VIR_NETWORK_EVENT_STARTED, but no detail as in VIR_…_STARTED_BOOTED."""
    return {value: name for value, name in names.items() if "-" not in name}


def _picked(prefix: str, *words: str) -> Table:
    """Return only these words of a prefix that many constants have. An older libvirt may lack some."""
    found = {word: CONSTANTS.get(f"{prefix}{word}") for word in words}
    return {value: word.lower().replace("_", "-") for word, value in found.items() if isinstance(value, int)}


def event_details(prefix: str, events: Table) -> Mapping[str, Table]:
    """Return the details that the installed libvirt has for each event, by the event's word."""
    return {event: table(f"{prefix}{event.upper()}_") for event in events.values()}


DOMAIN_STATE = _picked(
    "VIR_DOMAIN_", "NOSTATE", "RUNNING", "BLOCKED", "PAUSED", "SHUTDOWN", "SHUTOFF", "CRASHED", "PMSUSPENDED"
)

# The keys are the words of states. virDomainShutdownFlagValues has the prefix SHUTDOWN_ too, and another
# state has the prefix PMSUSPENDED_.
STATE_REASON: Mapping[str, Table] = {
    "nostate": table("VIR_DOMAIN_NOSTATE_"),
    "running": table("VIR_DOMAIN_RUNNING_"),
    "blocked": table("VIR_DOMAIN_BLOCKED_"),
    "paused": table("VIR_DOMAIN_PAUSED_"),
    "shutdown": _picked("VIR_DOMAIN_SHUTDOWN_", "UNKNOWN", "USER"),
    "shutoff": table("VIR_DOMAIN_SHUTOFF_"),
    "crashed": table("VIR_DOMAIN_CRASHED_"),
    "pmsuspended": _picked("VIR_DOMAIN_PMSUSPENDED_", "UNKNOWN"),
}

DOMAIN_EVENT = _picked(
    "VIR_DOMAIN_EVENT_",
    "DEFINED", "UNDEFINED", "STARTED", "SUSPENDED", "RESUMED", "STOPPED", "SHUTDOWN", "PMSUSPENDED",
    "CRASHED",
)  # fmt: skip
DOMAIN_EVENT_DETAIL = event_details("VIR_DOMAIN_EVENT_", DOMAIN_EVENT)

NETWORK_EVENT = _only_plain(table("VIR_NETWORK_EVENT_", "ID_"))
POOL_EVENT = _only_plain(table("VIR_STORAGE_POOL_EVENT_", "ID_"))
NODE_DEVICE_EVENT = _only_plain(table("VIR_NODE_DEVICE_EVENT_", "ID_"))
SECRET_EVENT = _only_plain(table("VIR_SECRET_EVENT_", "ID_"))
# libvirt 9 has details for domains only, but a newer one may have others.
NETWORK_EVENT_DETAIL = event_details("VIR_NETWORK_EVENT_", NETWORK_EVENT)
POOL_EVENT_DETAIL = event_details("VIR_STORAGE_POOL_EVENT_", POOL_EVENT)
NODE_DEVICE_EVENT_DETAIL = event_details("VIR_NODE_DEVICE_EVENT_", NODE_DEVICE_EVENT)
SECRET_EVENT_DETAIL = event_details("VIR_SECRET_EVENT_", SECRET_EVENT)

CLOSE_REASON = table("VIR_CONNECT_CLOSE_REASON_")


def state_words(state: int, reason: int) -> tuple[str, str]:
    """Return the two numbers of virDomainGetState() as words."""
    word = name_of(DOMAIN_STATE, state)
    return word, name_of(STATE_REASON.get(word, {}), reason)
