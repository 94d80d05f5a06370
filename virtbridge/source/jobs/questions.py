"""libvirt's questions about the jobs of domains: what is asked, and what the answers mean. Main thread.

A driver that does not have them is asked once. An answer waits for a guest that hangs, so these are no short
reads, and only for a short time.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import libvirt

from virtbridge.errors import BridgeError
from virtbridge.model.enum_names import name_of
from virtbridge.source.calls.errors import is_unsupported
from virtbridge.source.calls.session import Session
from virtbridge.source.kinds.enums import table

ANSWER_S = 5.0

_OPERATION = table("VIR_DOMAIN_JOB_OPERATION_", "STR_")
_TYPE = table("VIR_DOMAIN_JOB_", "OPERATION_", "STATS_")
_BLOCK_TYPE = table("VIR_DOMAIN_BLOCK_JOB_TYPE_")
# The end of the last job, which the first who asks would take away otherwise.
_COMPLETED = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED


class DomainJob(NamedTuple):
    """kind: libvirt's word for the operation. state: none, bounded, unbounded, completed, failed,
    cancelled.
    """

    kind: str
    state: str
    done: int
    total: int
    elapsed_ms: int
    message: str


class DiskJob(NamedTuple):
    kind: str
    done: int
    total: int

    @property
    def is_ready(self) -> bool:
        """libvirt shows a copy as whole only when it is ready."""
        return self.kind in ("block-copy", "block-active-commit") and 0 < self.total <= self.done


class Questions:
    """Asks libvirt about the jobs of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._missing: set[str] = set()

    async def domain_job(self, raw: object, *, completed: bool = False) -> DomainJob | None:
        """The job of a domain, or its last one; None when there is none. Raises BridgeError."""
        values = await self._ask(raw, "jobStats", _COMPLETED if completed else 0)
        job = domain_job(values) if values else None
        return None if job is None or job.state == "none" else job

    async def disk_job(self, raw: object, disk: str) -> DiskJob | None:
        """The job of a disk; None when there is none. Raises BridgeError."""
        values = await self._ask(raw, "blockJobInfo", disk, libvirt.VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES)
        return disk_job(values) if values else None

    async def _ask(self, raw: object, method: str, *args: object) -> Any:
        if method in self._missing:
            return None
        try:
            return await self._session.on(raw, method, *args, timeout_s=ANSWER_S)
        except BridgeError as error:
            if not is_unsupported(error):
                raise
            self._missing.add(method)
            return None


def domain_job(values: Mapping[str, Any]) -> DomainJob:
    total = _number(values, libvirt.VIR_DOMAIN_JOB_DATA_TOTAL)
    remaining = _number(values, libvirt.VIR_DOMAIN_JOB_DATA_REMAINING)
    return DomainJob(
        name_of(_OPERATION, _number(values, libvirt.VIR_DOMAIN_JOB_OPERATION)),
        name_of(_TYPE, _number(values, "type")),
        max(0, total - remaining),
        total,
        _number(values, libvirt.VIR_DOMAIN_JOB_TIME_ELAPSED),
        str(values.get("errmsg") or ""),
    )


def disk_job(values: Mapping[str, Any]) -> DiskJob:
    return DiskJob(
        f"block-{name_of(_BLOCK_TYPE, _number(values, 'type'))}",
        _number(values, "cur"),
        _number(values, "end"),
    )


def _number(values: Mapping[str, Any], name: str) -> int:
    value = values.get(name)
    return value if isinstance(value, int) else 0
