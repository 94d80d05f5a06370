"""Jobs: work of libvirt that takes time, which the service shows as objects. Pure.

A job is made by the service, for an operation that a client asked for or for what another client of libvirt
began. libvirt has no list of them.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple

from virtbridge.model.keys import Key

NOBODY = 2**32 - 1  # the user of a job that another client of libvirt began: Unix's own word for no user

# The states. A job waits while its connection has as many long calls in flight as it may.
WAITING, RUNNING = "waiting", "running"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"

UNKNOWN_PROGRESS = -1.0

# The jobs of domains that libvirt cannot end: whatever comes in ends with the domain.
_NOT_CANCELLABLE = frozenset({"start", "restore", "migration-in", "snapshot-revert", "snapshot-delete"})


class Course(Enum):
    """What a job is for libvirt: how its progress is read, how it is cancelled, and what shows its end."""

    # virDomainGetJobStats() and virDomainAbortJob(), of which a domain has one at a time. The call returns at
    # the end.
    DOMAIN = auto()
    # The same, but the call returns at the beginning, and an event shows the end.
    DOMAIN_IN_BACKGROUND = auto()
    # virDomainGetBlockJobInfo() and virDomainBlockJobAbort() of one disk. The call returns at the beginning,
    # and an event shows the end.
    DISK = auto()
    # libvirt shows nothing and cancels nothing. The call returns at the end.
    STORAGE = auto()

    @property
    def returns_at_end(self) -> bool:
        return self in (Course.DOMAIN, Course.STORAGE)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job.

    kind: libvirt's word for the job of a domain (save, dump, migration-out, …), `block-` and libvirt's word
    for that of a disk, or the operation on a pool or volume. object: what it works on. progress: from 0 to 1.
    Sizes in bytes. Times: wall clock, microseconds since the epoch, 0 when not known. error: kind of error
    and text. result: the object that it made.
    """

    kind: str
    object: Key
    disk: str = ""
    state: str = RUNNING
    cancellable: bool = False
    ready: bool = False
    progress: float = UNKNOWN_PROGRESS
    bytes_done: int = 0
    bytes_total: int = 0
    rate_bytes_per_s: int = 0
    started_us: int = 0
    ended_us: int = 0
    expected_end_us: int = 0
    started_by: int = NOBODY
    error: tuple[str, str] = ("", "")
    result: Key | None = None

    @property
    def is_over(self) -> bool:
        return self.state in (COMPLETED, FAILED, CANCELLED)


class Figures(NamedTuple):
    """How far a job is. at_us: on a clock that nobody sets."""

    done: int
    total: int
    at_us: int


def figures_fields(before: Figures | None, now: Figures, wall_us: int) -> dict[str, Any]:
    """The fields of a record that these figures change. The rate is that since the figures before.

    A domain that writes its memory while it is copied can make the job longer, so progress may fall.
    """
    done = min(now.done, now.total)
    fields: dict[str, Any] = {
        "bytes_done": done,
        "bytes_total": now.total,
        "progress": done / now.total if now.total else UNKNOWN_PROGRESS,
    }
    if before is None or now.at_us <= before.at_us:
        return fields
    rate = max(0, now.done - before.done) * 1_000_000 // (now.at_us - before.at_us)
    left_s = (now.total - done) // rate if rate else 0
    # In whole seconds: it would change with each reading otherwise.
    end_us = (wall_us // 1_000_000 + left_s) * 1_000_000 if rate else 0
    return fields | {"rate_bytes_per_s": rate, "expected_end_us": end_us}


def is_cancellable(kind: str) -> bool:
    """Whether libvirt can end a domain's job of this kind, or that of a disk."""
    return kind not in _NOT_CANCELLABLE
