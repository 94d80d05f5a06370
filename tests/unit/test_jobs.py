"""Jobs without a libvirt: their progress, their number, how long they are kept, and whose turn it is."""

import asyncio
from typing import Any

import pytest

from tests.support.leap import leap
from tests.support.until import until
from virtbridge.config import JobsConfig
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.changes import Drop, Patch, Put, Signal
from virtbridge.model.jobs import Course, Figures, figures_fields
from virtbridge.model.keys import Key, Kind
from virtbridge.source.calls.uris import is_in_process
from virtbridge.source.jobs.job import Job, Jobs
from virtbridge.source.jobs.progress import AT_A_TIME, Progress, failure_of
from virtbridge.source.jobs.questions import DiskJob, disk_job, domain_job
from virtbridge.source.jobs.slots import Slots

DOMAIN = Key("lab", Kind.DOMAIN, "web")
SECOND_US = 1_000_000


def made(config: JobsConfig | None = None) -> tuple[Jobs, list[Any]]:
    published: list[Any] = []
    return Jobs("lab", config or JobsConfig(), published.extend), published


def test_the_rate_and_the_end_follow_from_two_readings() -> None:
    first = Figures(100, 1000, 5 * SECOND_US)
    assert figures_fields(None, first, 0) == {"bytes_done": 100, "bytes_total": 1000, "progress": 0.1}
    fields = figures_fields(first, Figures(300, 1000, 7 * SECOND_US), 20 * SECOND_US)
    assert fields["rate_bytes_per_s"] == 100
    assert fields["expected_end_us"] == 27 * SECOND_US


def test_what_does_not_move_or_is_not_known_has_no_end() -> None:
    still = figures_fields(Figures(5, 9, 0), Figures(5, 9, SECOND_US), 0)
    assert (still["rate_bytes_per_s"], still["expected_end_us"]) == (0, 0)
    assert figures_fields(None, Figures(0, 0, 0), 0)["progress"] == -1.0
    assert figures_fields(Figures(7, 9, 0), Figures(3, 9, SECOND_US), 0)["rate_bytes_per_s"] == 0


async def test_a_job_is_published_changed_ended_and_dropped() -> None:
    jobs, published = made()
    job = jobs.make("save", DOMAIN, Course.DOMAIN)
    job.progress(1, 4)
    assert published == []
    job.show()
    job.progress(2, 4)
    job.succeed()
    job.fail(BridgeError(ErrorKind.TIMEOUT, "late"))
    put, *patches, signal = published
    assert (put.key, put.record.progress) == (job.key, 0.25)
    assert all(isinstance(each, Patch) for each in patches)
    assert (job.record.state, job.record.progress, job.record.bytes_done) == ("completed", 1.0, 4)
    assert signal == Signal(job.key, "Completed", (True, "", ""))
    await leap(JobsConfig().keep_s + 1)
    assert published[-1] == Drop(job.key)
    assert jobs.get(job.key) is None


async def test_what_ends_before_it_is_shown_is_shown_with_its_end() -> None:
    jobs, published = made()
    job = jobs.make("block-pull", DOMAIN, Course.DISK, disk="vda")
    job.succeed()
    assert published == []
    job.show()
    assert [type(each) for each in published] == [Put, Signal]
    jobs.stop()


@pytest.mark.parametrize(
    ("kind", "asked", "state"),
    [
        (ErrorKind.OPERATION_FAILED, False, "failed"),
        (ErrorKind.OPERATION_FAILED, True, "cancelled"),
        (ErrorKind.CANCELLED, False, "cancelled"),
        (ErrorKind.NOT_CONNECTED, True, "failed"),
    ],
)
async def test_what_fails_after_it_was_to_be_cancelled_is_cancelled(
    kind: ErrorKind, asked: bool, state: str
) -> None:
    jobs, _ = made()
    job = jobs.make("save", DOMAIN, Course.DOMAIN)
    job.show()
    job.is_cancelled = asked
    job.fail(BridgeError(kind, "why"))
    assert (job.record.state, job.record.error[1]) == (state, "why")
    jobs.stop()


async def test_there_is_a_limit_to_those_that_run_and_to_those_that_are_kept() -> None:
    jobs, published = made(JobsConfig(limit=2, kept=1))
    first, second = (jobs.make("save", DOMAIN, Course.DOMAIN) for _ in range(2))
    with pytest.raises(BridgeError) as refused:
        jobs.make("save", DOMAIN, Course.DOMAIN)
    assert refused.value.kind is ErrorKind.LIMIT_EXCEEDED
    for job in (first, second):
        job.show()
        job.succeed()
    assert published[-1] == Drop(first.key)
    jobs.stop()


async def test_with_the_session_end_the_jobs_that_libvirt_had() -> None:
    jobs, _ = made()
    libvirts, streams = jobs.make("save", DOMAIN, Course.DOMAIN), jobs.make("upload", DOMAIN)
    jobs.end_all(BridgeError(ErrorKind.NOT_CONNECTED, "lost"))
    assert (libvirts.record.state, streams.record.state) == ("failed", "running")


def test_what_libvirt_tells_of_jobs() -> None:
    save = domain_job({"type": 1, "operation": 2, "data_total": 10, "data_remaining": 4, "time_elapsed": 7})
    assert save == ("save", "bounded", 6, 10, 7, "")
    cancelled = failure_of(save._replace(state="cancelled"))
    failed = failure_of(save._replace(state="failed", message="no space"))
    assert cancelled is not None
    assert failed is not None
    assert (cancelled.kind, failed.message) == (ErrorKind.CANCELLED, "no space")
    assert failure_of(save._replace(state="completed")) is None
    copy = disk_job({"type": 2, "cur": 4, "end": 4, "bandwidth": 0})
    assert copy == DiskJob("block-copy", 4, 4)
    assert copy.is_ready
    assert not DiskJob("block-pull", 4, 4).is_ready
    assert not DiskJob("block-copy", 0, 0).is_ready


class Host:
    """Stands in for a session and its questions; remembers which disks were asked about."""

    def __init__(self) -> None:
        self.handles = {DOMAIN: self}
        self.raw = object()
        self.asked: list[str] = []
        self.found: DiskJob | None = DiskJob("block-copy", 1, 4)

    async def disk_job(self, _raw: object, disk: str) -> DiskJob | None:
        self.asked.append(disk)
        return self.found


async def test_jobs_are_read_in_turn_and_none_when_none_runs() -> None:
    host: Any = Host()
    jobs, _ = made()
    slots = Slots(lambda _key: None)
    ended: list[tuple[Job, BridgeError | None]] = []

    def end(job: Job, error: BridgeError | None) -> None:
        slots.release(job)
        ended.append((job, error))
        job.succeed() if error is None else job.fail(error)

    progress = Progress(host, host, slots, 10.0, end)
    disks = [f"vd{letter}" for letter in "abcdef"]
    for disk in disks:
        job = jobs.make("block-copy", DOMAIN, Course.DISK, disk=disk)
        job.show()
        slots.claim(job)
    progress.follow()
    for _ in range(3):
        await asyncio.sleep(0)
        await leap(11)
    assert len(host.asked) == 3 * AT_A_TIME
    assert set(host.asked) == set(disks)
    host.found = None  # libvirt has none of them any more, and no event came
    for _ in range(4):
        await asyncio.sleep(0)
        await leap(11)
    await until(lambda: len(ended) == len(disks))
    assert all(error is not None for _, error in ended)
    count = len(host.asked)
    await leap(1000)
    assert len(host.asked) == count
    await progress.stop()
    jobs.stop()


@pytest.mark.parametrize(
    ("uri", "here"),
    [
        ("test:///default", True),
        ("test+unix:///default", False),
        ("qemu:///system", False),
        ("qemu:///embed", True),
        ("esx://host/", True),
        ("vmwareplayer:///session", True),
    ],
)
def test_drivers_in_this_process(uri: str, here: bool) -> None:
    assert is_in_process(uri) is here
