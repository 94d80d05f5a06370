"""The events of domains, except those of the lifecycle: one row for each.

Source: virDomainEventID and the callback types in libvirt/libvirt-domain.h.
"""

from collections.abc import Mapping
from typing import Any

from virtbridge.model.enum_names import name_of
from virtbridge.source.kinds.enums import CONSTANTS, table
from virtbridge.source.kinds.events import (
    METADATA,
    EventRow,
    EventSpec,
    event_specs,
    flags,
    mapping,
    number,
    params,
    text,
    word,
)

_ADDRESS_FAMILY = table("VIR_DOMAIN_EVENT_GRAPHICS_ADDRESS_")


def _address(value: Any) -> dict[str, Any]:
    address = dict(value or {})
    return {
        "family": name_of(_ADDRESS_FAMILY, number(address.get("family"))),
        "node": text(address.get("node")),
        "service": text(address.get("service")),
    }


def _identities(value: Any) -> list[str]:
    """Turn the pairs (type, name) of a graphics client into `type=name`."""
    return [f"{text(kind)}={text(name)}" for kind, name in value or ()]


_JOB_OPERATION = word(table("VIR_DOMAIN_JOB_OPERATION_"))


def _job(value: Any) -> dict[str, Any]:
    job = mapping(value)
    if isinstance(job.get("operation"), int):
        job["operation"] = _JOB_OPERATION(job["operation"])
    return job


_SRC_PATH, _DEV_ALIAS = ("src-path", text), ("dev-alias", text)
_IO_ERROR_ACTION = ("action", word(table("VIR_DOMAIN_EVENT_IO_ERROR_")))
_AGENT = "VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE"
_CHANNEL = "VIR_CONNECT_DOMAIN_EVENT_CHANNEL_LIFECYCLE"
_BLOCK_JOB = params(
    ("disk", text),
    ("type", word(table("VIR_DOMAIN_BLOCK_JOB_TYPE_"))),
    ("status", word(table("VIR_DOMAIN_BLOCK_JOB_", "TYPE_", "ABORT_", "INFO_", "SPEED_"))),
)
_REASON = params(("reason", number))  # libvirt defines no reasons: this is always 0

# The keys are the constants' names without VIR_DOMAIN_EVENT_ID_. Rereads of one object are merged.
_ROWS: Mapping[str, EventRow] = {
    "REBOOT": EventRow("reboot", ()),
    "RTC_CHANGE": EventRow("rtc-change", params(("utcoffset", number)), rereads=True),
    "WATCHDOG": EventRow("watchdog", params(("action", word(table("VIR_DOMAIN_EVENT_WATCHDOG_"))))),
    "IO_ERROR": EventRow("io-error", params(_SRC_PATH, _DEV_ALIAS, _IO_ERROR_ACTION)),
    "IO_ERROR_REASON": EventRow(
        "io-error", params(_SRC_PATH, _DEV_ALIAS, _IO_ERROR_ACTION, ("reason", text)), replaces="IO_ERROR"
    ),
    "GRAPHICS": EventRow(
        "graphics",
        params(
            ("phase", word(table("VIR_DOMAIN_EVENT_GRAPHICS_", "ADDRESS_"))),
            ("local", _address),
            ("remote", _address),
            ("auth-scheme", text),
            ("subject", _identities),
        ),
    ),
    "CONTROL_ERROR": EventRow("control-error", ()),
    "BLOCK_JOB": EventRow("block-job", _BLOCK_JOB, rereads=True),
    # BLOCK_JOB names the disk by its source's path, which the job changes; BLOCK_JOB_2 by its target (vda).
    "BLOCK_JOB_2": EventRow("block-job", _BLOCK_JOB, rereads=True, replaces="BLOCK_JOB"),
    "DISK_CHANGE": EventRow(
        "disk-change",
        params(
            ("old-src-path", text),
            ("new-src-path", text),
            _DEV_ALIAS,
            ("reason", word(table("VIR_DOMAIN_EVENT_DISK_"))),
        ),
        rereads=True,
    ),
    "TRAY_CHANGE": EventRow(
        "tray-change",
        params(_DEV_ALIAS, ("reason", word(table("VIR_DOMAIN_EVENT_TRAY_CHANGE_")))),
        rereads=True,
    ),
    "PMWAKEUP": EventRow("pm-wakeup", _REASON),
    "PMSUSPEND": EventRow("pm-suspend", _REASON),
    "PMSUSPEND_DISK": EventRow("pm-suspend-disk", _REASON),
    # follow.py rereads the XML some time after this event, since a balloon may move every second.
    "BALLOON_CHANGE": EventRow("balloon-change", params(("actual", number))),
    "DEVICE_REMOVED": EventRow("device-removed", params(_DEV_ALIAS), rereads=True),
    "DEVICE_ADDED": EventRow("device-added", params(_DEV_ALIAS), rereads=True),
    "DEVICE_REMOVAL_FAILED": EventRow("device-removal-failed", params(_DEV_ALIAS)),
    "TUNABLE": EventRow("tunable", params(("", mapping)), rereads=True),
    "AGENT_LIFECYCLE": EventRow(
        "agent-lifecycle",
        params(("state", word(table(f"{_AGENT}_STATE_"))), ("reason", word(table(f"{_AGENT}_REASON_")))),
        rereads=True,
    ),
    "CHANNEL_LIFECYCLE": EventRow(
        "channel-lifecycle",
        params(
            ("channel-name", text),
            ("state", word(table(f"{_CHANNEL}_STATE_"))),
            ("reason", word(table(f"{_CHANNEL}_REASON_"))),
        ),
        rereads=True,
    ),
    "MIGRATION_ITERATION": EventRow("migration-iteration", params(("iteration", number))),
    "JOB_COMPLETED": EventRow("job-completed", params(("", _job))),
    "METADATA_CHANGE": EventRow("metadata-change", METADATA, rereads=True),
    "BLOCK_THRESHOLD": EventRow(
        "block-threshold",
        params(("dev", text), ("path", text), ("threshold", number), ("excess", number)),
    ),
    "MEMORY_FAILURE": EventRow(
        "memory-failure",
        params(
            ("recipient", word(table("VIR_DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_"))),
            ("action", word(table("VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_"))),
            ("flags", flags(table("VIR_DOMAIN_MEMORY_FAILURE_"))),
        ),
    ),
    "MEMORY_DEVICE_SIZE_CHANGE": EventRow(
        "memory-device-size-change", params(("alias", text), ("size", number)), rereads=True
    ),
    "NIC_MAC_CHANGE": EventRow(
        "nic-mac-change", params(("alias", text), ("old-mac", text), ("new-mac", text)), rereads=True
    ),
    "VCPU_REMOVED": EventRow("vcpu-removed", params(("vcpuid", number)), rereads=True),
}


def domain_events(constants: Mapping[str, object] = CONSTANTS) -> tuple[EventSpec, ...]:
    return event_specs("VIR_DOMAIN_EVENT_ID_", _ROWS, constants)
