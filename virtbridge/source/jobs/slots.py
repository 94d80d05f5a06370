"""Which job libvirt means: a domain has one job of its own at a time, and each of its disks one more.

Main thread; libvirt is not called here.
"""

from collections.abc import Iterator

from virtbridge.clock import moment_us
from virtbridge.model.domain import Disk
from virtbridge.model.jobs import Course
from virtbridge.model.keys import Key
from virtbridge.model.operations import Operation, Request
from virtbridge.model.records import DomainRecord
from virtbridge.source.callbacks import Lookup
from virtbridge.source.jobs.job import Job

# An event that comes so soon after the end of a job is its own, and not that of another of the same kind.
_SAME_US = 2_000_000
_KEPT_US = 60_000_000  # no question is in flight longer

Slot = tuple[Key, str]  # the domain, and the disk's target or empty


class Slots:
    """The jobs of domains of one session that have not ended, and when the last one ended."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._jobs: dict[Slot, Job] = {}
        self._ended: dict[Slot, tuple[str, int]] = {}

    def claim(self, job: Job) -> None:
        """The first one has it: libvirt lets a second one wait, or refuses it."""
        if job.course is not Course.STORAGE:
            self._jobs.setdefault(_slot(job), job)

    def release(self, job: Job) -> None:
        slot = _slot(job)
        if self._jobs.get(slot) is job:
            del self._jobs[slot]
            now_us = moment_us()
            self._ended = {each: end for each, end in self._ended.items() if now_us - end[1] < _KEPT_US}
            self._ended[slot] = job.record.kind, now_us

    def get(self, domain: Key, disk: str = "") -> Job | None:
        return self._jobs.get((domain, disk))

    def has_ended(self, domain: Key, disk: str, kind: str, since_us: int | None = None) -> bool:
        """Return whether what libvirt tells is of a job that has ended already. since_us: when that job ran,
        on the clock that nobody sets; without it, a short while ago.
        """
        ended = self._ended.get((domain, disk))
        since_us = moment_us() - _SAME_US if since_us is None else since_us
        return ended is not None and ended[0] == kind and ended[1] >= since_us

    def jobs(self, domain: Key | None = None) -> Iterator[Job]:
        for (of, _disk), job in list(self._jobs.items()):
            if domain in (None, of):
                yield job

    def disks(self, domain: Key) -> list[str]:
        """The targets of a domain's disks."""
        return [disk.target for disk in self._disks(domain)]

    def target(self, domain: Key, row: Operation, request: Request) -> str:
        """The target of the request's disk, which a caller may name by its source as well."""
        named = str(request.arguments[row.argument_names.index("disk")])
        found = (disk.target for disk in self._disks(domain) if named in (disk.target, disk.source))
        return next(found, named)

    def _disks(self, domain: Key) -> tuple[Disk, ...]:
        record = self._lookup(domain)
        return record.definition.disks if isinstance(record, DomainRecord) else ()


def _slot(job: Job) -> Slot:
    return job.record.object, job.record.disk
