"""Every libvirt event that is published as `Event`: one table, one decoder, one loop that registers them.

A row names the libvirt event, how its values are called and read, and whether the XML may differ afterwards.
An event that the installed libvirt-python knows and the table does not is registered all the same, its values
under `arg0`, `arg1`, … Pure but for libvirt's constants; decode runs on vb-events and only copies plain
values. Source: virDomainEventID and the callback types in libvirt/libvirt-domain.h; libvirt-python's
dispatchers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from virtbridge.model.names import enum_names, name_of
from virtbridge.source.kinds.enums import CONSTANTS, Table, table

Details = Mapping[str, Any]
Decoder = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Param:
    """key: libvirt's parameter name, lower case with dashes; empty when the value is a mapping of details
    itself.
    """

    key: str
    decode: Decoder


@dataclass(frozen=True, slots=True)
class EventRow:
    """name: the contract's. params: None when this table does not know the event. replaces: the plainer event
    of the same happening, not registered where this one can be. rereads: whether the XML may have changed.
    """

    name: str
    params: tuple[Param, ...] | None
    rereads: bool = False
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class EventSpec:
    """A row, found in the installed libvirt under this number. fallback: for hosts that refuse to register
    it.
    """

    id: int
    row: EventRow
    fallback: "EventSpec | None" = None

    @property
    def name(self) -> str:
        return self.row.name

    def decode(self, args: tuple[Any, ...]) -> Details:
        """The details of one event from the callback's arguments, without connection, object and opaque."""
        params = self.row.params
        if params is None or len(params) != len(args):  # unknown, or a binding that passes something else
            return {f"arg{place}": plain(value) for place, value in enumerate(args)}
        details: dict[str, Any] = {}
        for param, value in zip(params, args, strict=True):
            decoded = param.decode(value)
            details.update({param.key: decoded} if param.key else decoded)
        return details


def plain(value: Any) -> Any:
    """Any value that libvirt-python hands out, as one that the bus can carry."""
    match value:
        case bool() | int() | float() | str():
            return value
        case None:
            return ""
        case Mapping():
            return _mapping(value)
        case list() | tuple() | set():
            return [str(plain(item)) for item in value]
        case bytes():
            return value.decode("utf-8", "replace")
        case _:
            return str(value)


def _mapping(value: Any) -> dict[str, Any]:
    return {str(key): plain(item) for key, item in dict(value or {}).items()}


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: Any) -> int:
    return int(value or 0)


def _word(*names: Table) -> Decoder:
    """The word of an enumeration that is spread over these tables."""
    words = {value: word for each in reversed(names) for value, word in each.items()}
    return lambda value: name_of(words, _number(value))


def _flags(words: Table) -> Decoder:
    """The words of the bits that are set, and what is left over as a number."""

    def decode(value: Any) -> list[str]:
        bits = _number(value)
        found = [word for bit, word in sorted(words.items()) if bits & bit]
        rest = bits & ~sum(bit for bit in words)
        return [*found, str(rest)] if rest else found

    return decode


_ADDRESS_FAMILY = table("VIR_DOMAIN_EVENT_GRAPHICS_ADDRESS_")


def _address(value: Any) -> dict[str, Any]:
    address = dict(value or {})
    return {
        "family": name_of(_ADDRESS_FAMILY, _number(address.get("family"))),
        "node": _text(address.get("node")),
        "service": _text(address.get("service")),
    }


def _identities(value: Any) -> list[str]:
    """[(type, name), …] of a graphics client, as type=name."""
    return [f"{_text(kind)}={_text(name)}" for kind, name in value or ()]


_JOB_OPERATION = _word(table("VIR_DOMAIN_JOB_OPERATION_"))


def _job(value: Any) -> dict[str, Any]:
    job = _mapping(value)
    if isinstance(job.get("operation"), int):
        job["operation"] = _JOB_OPERATION(job["operation"])
    return job


def _params(*params: tuple[str, Decoder]) -> tuple[Param, ...]:
    return tuple(Param(key, decode) for key, decode in params)


_SRC_PATH, _DEV_ALIAS = ("src-path", _text), ("dev-alias", _text)
_IO_ERROR_ACTION = ("action", _word(table("VIR_DOMAIN_EVENT_IO_ERROR_")))
_AGENT = "VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE"
_CHANNEL = "VIR_CONNECT_DOMAIN_EVENT_CHANNEL_LIFECYCLE"
_METADATA = _params(
    ("type", _word(table("VIR_DOMAIN_METADATA_"))),
    ("nsuri", _text),
)
_BLOCK_JOB = _params(
    ("disk", _text),
    ("type", _word(table("VIR_DOMAIN_BLOCK_JOB_TYPE_"))),
    ("status", _word(table("VIR_DOMAIN_BLOCK_JOB_", "TYPE_", "ABORT_", "INFO_", "SPEED_"))),
)
_REASON = _params(("reason", _number))  # libvirt defines no reasons: always 0

# By the constant's name without VIR_DOMAIN_EVENT_ID_. Rereads are coalesced per object (reread.py).
_DOMAIN_ROWS: Mapping[str, EventRow] = {
    "REBOOT": EventRow("reboot", ()),
    "RTC_CHANGE": EventRow("rtc-change", _params(("utcoffset", _number)), rereads=True),
    "WATCHDOG": EventRow("watchdog", _params(("action", _word(table("VIR_DOMAIN_EVENT_WATCHDOG_"))))),
    "IO_ERROR": EventRow("io-error", _params(_SRC_PATH, _DEV_ALIAS, _IO_ERROR_ACTION)),
    "IO_ERROR_REASON": EventRow(
        "io-error", _params(_SRC_PATH, _DEV_ALIAS, _IO_ERROR_ACTION, ("reason", _text)), replaces="IO_ERROR"
    ),
    "GRAPHICS": EventRow(
        "graphics",
        _params(
            ("phase", _word(table("VIR_DOMAIN_EVENT_GRAPHICS_", "ADDRESS_"))),
            ("local", _address),
            ("remote", _address),
            ("auth-scheme", _text),
            ("subject", _identities),
        ),
    ),
    "CONTROL_ERROR": EventRow("control-error", ()),
    "BLOCK_JOB": EventRow("block-job", _BLOCK_JOB, rereads=True),
    # BLOCK_JOB tells the source's path, which the job changes; BLOCK_JOB_2 the target (vda), which stays.
    "BLOCK_JOB_2": EventRow("block-job", _BLOCK_JOB, rereads=True, replaces="BLOCK_JOB"),
    "DISK_CHANGE": EventRow(
        "disk-change",
        _params(
            ("old-src-path", _text),
            ("new-src-path", _text),
            _DEV_ALIAS,
            ("reason", _word(table("VIR_DOMAIN_EVENT_DISK_"))),
        ),
        rereads=True,
    ),
    "TRAY_CHANGE": EventRow(
        "tray-change",
        _params(_DEV_ALIAS, ("reason", _word(table("VIR_DOMAIN_EVENT_TRAY_CHANGE_")))),
        rereads=True,
    ),
    "PMWAKEUP": EventRow("pm-wakeup", _REASON),
    "PMSUSPEND": EventRow("pm-suspend", _REASON),
    "PMSUSPEND_DISK": EventRow("pm-suspend-disk", _REASON),
    # The balloon's XML is re-read by whoever applies the event, later: a balloon may move every second.
    "BALLOON_CHANGE": EventRow("balloon-change", _params(("actual", _number))),
    "DEVICE_REMOVED": EventRow("device-removed", _params(_DEV_ALIAS), rereads=True),
    "DEVICE_ADDED": EventRow("device-added", _params(_DEV_ALIAS), rereads=True),
    "DEVICE_REMOVAL_FAILED": EventRow("device-removal-failed", _params(_DEV_ALIAS)),
    "TUNABLE": EventRow("tunable", _params(("", _mapping)), rereads=True),
    "AGENT_LIFECYCLE": EventRow(
        "agent-lifecycle",
        _params(("state", _word(table(f"{_AGENT}_STATE_"))), ("reason", _word(table(f"{_AGENT}_REASON_")))),
        rereads=True,
    ),
    "CHANNEL_LIFECYCLE": EventRow(
        "channel-lifecycle",
        _params(
            ("channel-name", _text),
            ("state", _word(table(f"{_CHANNEL}_STATE_"))),
            ("reason", _word(table(f"{_CHANNEL}_REASON_"))),
        ),
        rereads=True,
    ),
    "MIGRATION_ITERATION": EventRow("migration-iteration", _params(("iteration", _number))),
    "JOB_COMPLETED": EventRow("job-completed", _params(("", _job))),
    "METADATA_CHANGE": EventRow("metadata-change", _METADATA, rereads=True),
    "BLOCK_THRESHOLD": EventRow(
        "block-threshold",
        _params(("dev", _text), ("path", _text), ("threshold", _number), ("excess", _number)),
    ),
    "MEMORY_FAILURE": EventRow(
        "memory-failure",
        _params(
            ("recipient", _word(table("VIR_DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_"))),
            ("action", _word(table("VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_"))),
            ("flags", _flags(table("VIR_DOMAIN_MEMORY_FAILURE_"))),
        ),
    ),
    "MEMORY_DEVICE_SIZE_CHANGE": EventRow(
        "memory-device-size-change", _params(("alias", _text), ("size", _number)), rereads=True
    ),
    "NIC_MAC_CHANGE": EventRow(
        "nic-mac-change", _params(("alias", _text), ("old-mac", _text), ("new-mac", _text)), rereads=True
    ),
    "VCPU_REMOVED": EventRow("vcpu-removed", _params(("vcpuid", _number)), rereads=True),
}

_NETWORK_ROWS: Mapping[str, EventRow] = {
    "METADATA_CHANGE": EventRow("metadata-change", _METADATA, rereads=True),
}


_POOL_ROWS: Mapping[str, EventRow] = {"REFRESH": EventRow("refresh", (), rereads=True)}
_NODE_DEVICE_ROWS: Mapping[str, EventRow] = {"UPDATE": EventRow("update", (), rereads=True)}
_SECRET_ROWS: Mapping[str, EventRow] = {"VALUE_CHANGED": EventRow("value-changed", ())}


def _specs(
    prefix: str, rows: Mapping[str, EventRow], constants: Mapping[str, object]
) -> tuple[EventSpec, ...]:
    """One spec for every event id under the prefix, the lifecycle apart, known to the rows or not."""
    found = {
        name.removeprefix(prefix): value
        for name, value in constants.items()
        if name.startswith(prefix) and isinstance(value, int)
    }
    names = enum_names(constants, prefix)
    known = {
        name: rows.get(name) or EventRow(names[value], None, rereads=True) for name, value in found.items()
    }
    replaced = {row.replaces for row in known.values()}
    plainer = {name: EventSpec(found[name], known[name]) for name in replaced & found.keys()}
    return tuple(
        EventSpec(value, known[name], plainer.get(known[name].replaces))
        for name, value in sorted(found.items(), key=lambda item: item[1])
        if name not in replaced and name not in ("LIFECYCLE", "LAST")
    )


def domain_events(constants: Mapping[str, object] = CONSTANTS) -> tuple[EventSpec, ...]:
    return _specs("VIR_DOMAIN_EVENT_ID_", _DOMAIN_ROWS, constants)


def network_events(constants: Mapping[str, object] = CONSTANTS) -> tuple[EventSpec, ...]:
    return _specs("VIR_NETWORK_EVENT_ID_", _NETWORK_ROWS, constants)


def pool_events(constants: Mapping[str, object] = CONSTANTS) -> tuple[EventSpec, ...]:
    return _specs("VIR_STORAGE_POOL_EVENT_ID_", _POOL_ROWS, constants)


def node_device_events(constants: Mapping[str, object] = CONSTANTS) -> tuple[EventSpec, ...]:
    return _specs("VIR_NODE_DEVICE_EVENT_ID_", _NODE_DEVICE_ROWS, constants)


def secret_events(constants: Mapping[str, object] = CONSTANTS) -> tuple[EventSpec, ...]:
    return _specs("VIR_SECRET_EVENT_ID_", _SECRET_ROWS, constants)
