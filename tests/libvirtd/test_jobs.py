"""Jobs of real QEMU domains: those that are begun here, and those of other clients of the same libvirtd."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import libvirt
import pytest

from tests.support.followed import Followed
from tests.support.libvirtd import Libvirtd, is_available, start_qemu
from virtbridge.bus.operations import request_arguments
from virtbridge.config import JobsConfig
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.jobs import NOBODY, JobRecord
from virtbridge.model.keys import Key, Kind, connection_key
from virtbridge.model.operations import OPERATIONS, Caller, Request

pytestmark = pytest.mark.skipif(not is_available(), reason="needs root, libvirtd and namespaces")

MIB = 1 << 20
SLOW_MIB = 1024  # memory whose pages, empty ones too, are more than a pipe takes


def domain_key(domain: Any) -> Key:
    return Key("c", Kind.DOMAIN, domain.UUIDString())


async def started(source: Followed, other: Any, name: str, **more: Any) -> tuple[Any, Key]:
    """A new domain, once its definition is known here."""
    domain = await asyncio.to_thread(start_qemu, other, name, **more)
    key = domain_key(domain)
    await source.until(lambda: source.domain(key.id) and source.domain(key.id).xml)
    return domain, key


async def ask(source: Followed, key: Key, name: str, *values: Any, **options: Any) -> Any:
    """What a client's call does."""
    row = OPERATIONS[key.kind][name]
    given = {option.replace("_", "-"): value for option, value in options.items()}
    arguments = request_arguments(row, values, given)
    return await source.requests.operate(Request(key, name, arguments, Caller(1000, ":1.1")))


def jobs(source: Followed) -> list[tuple[Key, JobRecord]]:
    return [(key, record) for key, record in source.cache.records(Kind.JOB) if isinstance(record, JobRecord)]


async def appears(source: Followed, kind: str, disk: str = "") -> Key:
    """Until a job of this kind runs that was not begun here."""

    def found() -> list[Key]:
        return [key for key, job in jobs(source) if (job.kind, job.disk, job.is_over) == (kind, disk, False)]

    await source.until(found)
    (key,) = found()
    return key


async def until(source: Followed, key: Key, **fields: Any) -> Any:
    """Until the job has these fields. Its record."""

    def has() -> bool:
        record = source.cache.get(key)
        return record is not None and all(getattr(record, name) == value for name, value in fields.items())

    with suppress(TimeoutError):
        await source.until(has)
    assert has(), source.cache.get(key)
    return source.cache.get(key)


async def ends(source: Followed, key: Key, state: str) -> Any:
    record = await until(source, key, state=state)
    (signal,) = [each for each in source.signals if each.key == key]
    assert (signal.member, signal.args) == ("Completed", (state == "completed", *record.error))
    return record


def image(path: Path, size_mib: int = 64, backing: Path | None = None) -> Path:
    """A qcow2 full of data, or one on top of another."""
    words = ["qemu-img", "create", "-q", "-f", "qcow2"]
    if backing is not None:
        words += ["-b", str(backing), "-F", "qcow2"]
    subprocess.run([*words, str(path), f"{size_mib}M"], check=True)
    if backing is None:
        write = ["qemu-io", "-f", "qcow2", "-c", f"write -P 5 0 {size_mib}M", str(path)]
        subprocess.run(write, check=True, capture_output=True)
    return path


def disk(path: Path) -> str:
    driver = "<driver name='qemu' type='qcow2'/>"
    return f"<disk type='file'>{driver}<source file='{path}'/><target dev='vda' bus='virtio'/></disk>"


def copy_xml(path: Path) -> str:
    return f"<disk type='file'><source file='{path}'/><driver type='qcow2'/></disk>"


@pytest.fixture
def base(host: Libvirtd) -> Iterator[Path]:
    return image(host.folder / "base.qcow2")


async def test_a_save_by_another_client_appears_with_progress_and_ends(host: Libvirtd, other: Any) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain = await asyncio.to_thread(start_qemu, other, "saved", memory_mib=SLOW_MIB)
        await source.until(lambda: getattr(source.domain(domain.UUIDString()), "state", "") == "running")
        with host.slow_files() as go_on:
            saving = asyncio.create_task(asyncio.to_thread(domain.save, str(host.folder / "image")))
            job = await appears(source, "save")
            await source.until(lambda: 0 < source.cache.get(job).progress < 1)  # type: ignore[union-attr]
            record: Any = source.cache.get(job)
            assert (record.object, record.started_by) == (domain_key(domain), NOBODY)
            assert record.cancellable
            go_on()
            await saving
        assert (await ends(source, job, "completed")).progress == 1.0
        assert len(jobs(source)) == 1


async def test_a_save_of_ours_is_cancelled(host: Libvirtd, other: Any) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain = await asyncio.to_thread(start_qemu, other, "kept", memory_mib=SLOW_MIB)
        await source.until(lambda: source.domain(domain.UUIDString()))
        with host.slow_files() as go_on:
            job = await ask(source, domain_key(domain), "save", str(host.folder / "image"))
            await source.until(lambda: source.cache.get(job).progress > 0)  # type: ignore[union-attr]
            await ask(source, job, "cancel")
            go_on()  # libvirt waits for what writes the file
            record = await ends(source, job, "cancelled")
        assert (record.error[0], record.started_by) == ("cancelled", 1000)
        assert len(jobs(source)) == 1
        with pytest.raises(BridgeError) as refused:
            await ask(source, job, "cancel")
        assert refused.value.kind is ErrorKind.OPERATION_INVALID
        await source.until(lambda: source.domain(domain.UUIDString()).state == "running")
        await asyncio.to_thread(domain.destroy)


async def test_a_domain_is_saved_by_libvirt_started_again_and_dumped(host: Libvirtd, other: Any) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain = await asyncio.to_thread(start_qemu, other, "managed")
        key = domain_key(domain)
        await source.until(lambda: source.domain(key.id))
        await ends(source, await ask(source, key, "managed-save"), "completed")
        record = source.domain(key.id)
        assert (record.state, record.has_managed_save) == ("shutoff", True)
        await ask(source, key, "start")
        file = host.folder / "core"
        await ends(source, await ask(source, key, "core-dump", str(file), memory_only=True), "completed")
        assert file.stat().st_size > MIB
        saved = host.folder / "image"
        await ends(source, await ask(source, key, "save", str(saved)), "completed")
        restore = await ask(source, connection_key("c"), "restore-domain", str(saved))
        assert not (await ends(source, restore, "completed")).cancellable
        assert source.domain(key.id).state == "running"
        await asyncio.to_thread(domain.destroy)


async def test_a_job_that_fails_says_why(host: Libvirtd, other: Any) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain = await asyncio.to_thread(start_qemu, other, "failing")
        await source.until(lambda: source.domain(domain.UUIDString()))
        job = await ask(source, domain_key(domain), "save", "/nonexistent/image")
        record = await ends(source, job, "failed")
        assert "/nonexistent/image" in record.error[1]
        with pytest.raises(BridgeError) as refused:  # before it has begun: no job
            await ask(source, domain_key(domain), "block-pull", "vdz")
        assert refused.value.kind is ErrorKind.INVALID_ARGUMENT
        assert len(jobs(source)) == 1
        await asyncio.to_thread(domain.destroy)


async def test_a_disk_is_copied_with_progress_and_the_domain_goes_on_with_the_copy(
    host: Libvirtd, other: Any, base: Path
) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain, key = await started(source, other, "copied", devices=disk(base))
        target = host.folder / "copy.qcow2"
        job = await ask(
            source, key, "block-copy", "vda", copy_xml(target), transient=True, bandwidth=20 * MIB
        )
        await source.until(lambda: 0 < source.cache.get(job).progress < 1)  # type: ignore[union-attr]
        record: Any = source.cache.get(job)
        assert (record.kind, record.disk, record.bytes_total) == ("block-copy", "vda", 64 * MIB)
        assert record.cancellable
        with pytest.raises(BridgeError) as early:
            await ask(source, job, "cancel", pivot=True)
        assert early.value.kind is ErrorKind.OPERATION_INVALID
        await until(source, job, ready=True)
        await ask(source, job, "cancel", pivot=True)
        await ends(source, job, "completed")
        await source.until(lambda: source.domain(key.id).definition.disks[0].source == str(target))
        await asyncio.to_thread(domain.destroy)


async def test_a_copy_is_cancelled_before_and_when_it_is_ready(
    host: Libvirtd, other: Any, base: Path
) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain, key = await started(source, other, "kept", devices=disk(base))
        for name, bandwidth in (("one", MIB), ("two", 0)):
            xml = copy_xml(host.folder / name)
            job = await ask(source, key, "block-copy", str(base), xml, transient=True, bandwidth=bandwidth)
            if not bandwidth:
                await until(source, job, ready=True)
            await ask(source, job, "cancel")
            assert (await ends(source, job, "cancelled")).disk == "vda"
        assert len(jobs(source)) == 2
        await asyncio.to_thread(domain.destroy)


async def test_a_disk_is_pulled_and_committed(host: Libvirtd, other: Any, base: Path) -> None:
    middle, top = host.folder / "middle.qcow2", host.folder / "top.qcow2"
    image(middle, backing=base)
    image(top, backing=middle)
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain, key = await started(source, other, "chain", devices=disk(top))
        job = await ask(source, key, "block-commit", "vda", top=str(middle), base=str(base))
        assert (await ends(source, job, "completed")).kind == "block-commit"
        active = await ask(source, key, "block-commit", "vda", active=True)
        assert (await until(source, active, ready=True)).kind == "block-active-commit"
        await ask(source, active, "cancel")
        await ends(source, active, "cancelled")
        pull = await ask(source, key, "block-pull", "vda")
        assert (await ends(source, pull, "completed")).kind == "block-pull"
        await source.until(lambda: not source.domain(key.id).definition.disks[0].backing)
        await asyncio.to_thread(domain.destroy)


async def test_a_backup_is_one_job_of_the_domain(host: Libvirtd, other: Any, base: Path) -> None:
    target = f"<target file='{host.folder / 'backup'}'/>"
    xml = f"<domainbackup><disks><disk name='vda' type='file'>{target}</disk></disks></domainbackup>"
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain, key = await started(source, other, "backed-up", devices=disk(base))
        job = await ask(source, key, "begin-backup", xml)
        assert (await ends(source, job, "completed")).kind == "backup"
        assert len(jobs(source)) == 1
        await asyncio.to_thread(domain.destroy)


async def test_a_copy_that_ran_before_the_service_started_appears(
    host: Libvirtd, other: Any, base: Path
) -> None:
    domain = await asyncio.to_thread(start_qemu, other, "before", devices=disk(base))
    xml, flags = copy_xml(host.folder / "copy"), libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
    await asyncio.to_thread(domain.blockCopy, "vda", xml, {"bandwidth": MIB}, flags)
    for _ in range(2):  # the service, and the service that was started again
        async with Followed() as source:
            await source.ready(host.qemu_uri)
            job = await appears(source, "block-copy", "vda")
            assert source.cache.get(job).bytes_total == 64 * MIB  # type: ignore[union-attr]
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        job = await appears(source, "block-copy", "vda")
        await ask(source, job, "cancel")
        await ends(source, job, "cancelled")
    await asyncio.to_thread(domain.destroy)


async def test_jobs_end_with_the_libvirtd_that_is_killed_and_those_that_go_on_appear_again(
    host: Libvirtd, other: Any, base: Path
) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain, key = await started(source, other, "killed", devices=disk(base))
        copy = await ask(
            source, key, "block-copy", "vda", copy_xml(host.folder / "copy"), transient=True, bandwidth=MIB
        )
        await source.until(lambda: source.cache.get(copy).progress > 0)  # type: ignore[union-attr]
        await asyncio.to_thread(host.kill)
        record = await ends(source, copy, "failed")
        assert record.error[0] == "not-connected"
        assert not record.cancellable
        await asyncio.to_thread(host.start)
        again = await appears(source, "block-copy", "vda")
        assert again != copy
        await ask(source, again, "cancel")
        await ends(source, again, "cancelled")
        await ask(source, key, "power-off")
    del domain


async def test_nothing_is_asked_when_no_job_runs(host: Libvirtd, other: Any, base: Path) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain, key = await started(source, other, "idle", devices=disk(base))
        job = await ask(source, key, "block-copy", "vda", copy_xml(host.folder / "copy"), transient=True)
        await until(source, job, ready=True)
        await source.idle()
        before = source.calls()
        await source.a_long_time(250.0)
        assert source.calls() == before
        await ask(source, job, "cancel")
        await ends(source, job, "cancelled")
        await source.idle()
        before = source.calls()
        await source.a_long_time(250.0)
        assert source.calls() == before
        assert jobs(source)
        await source.a_long_time(100.0)
        assert source.calls() == before
        assert not jobs(source)  # it was kept for a while
        await asyncio.to_thread(domain.destroy)


async def test_a_copy_by_another_client_appears_when_it_is_ready(
    host: Libvirtd, other: Any, base: Path
) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain, _ = await started(source, other, "theirs", devices=disk(base))
        xml, flags = copy_xml(host.folder / "copy"), libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
        await asyncio.to_thread(domain.blockCopy, "vda", xml, {}, flags)
        job = await appears(source, "block-copy", "vda")
        record = await until(source, job, ready=True, progress=1.0)
        assert record.started_by == NOBODY
        await asyncio.to_thread(domain.blockJobAbort, "vda", libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
        await ends(source, job, "completed")
        await asyncio.to_thread(domain.destroy)


async def test_the_jobs_of_a_domain_that_is_destroyed_end(host: Libvirtd, other: Any, base: Path) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain, key = await started(source, other, "destroyed", devices=disk(base))
        xml = copy_xml(host.folder / "copy")
        job = await ask(source, key, "block-copy", "vda", xml, transient=True, bandwidth=MIB)
        await asyncio.to_thread(domain.destroy)
        assert (await ends(source, job, "failed")).error[1]


async def test_long_calls_take_no_turn_of_others_and_wait_for_their_own(host: Libvirtd, other: Any) -> None:
    async with Followed(jobs=JobsConfig(running=1)) as source:
        await source.ready(host.qemu_uri)
        names = ("one", "two", "three")
        domains = [await asyncio.to_thread(start_qemu, other, name, memory_mib=SLOW_MIB) for name in names]
        keys = [domain_key(domain) for domain in domains]
        await source.until(lambda: all(source.domain(key.id) for key in keys))
        with host.slow_files() as go_on:
            first, second, third = [await ask(source, key, "save", str(host.folder / key.id)) for key in keys]
            await until(source, first, state="running")
            assert [source.cache.get(job).state for job in (second, third)] == ["waiting"] * 2  # type: ignore[union-attr]
            await ask(source, keys[1], "suspend")
            assert source.domain(keys[1].id).state == "paused"
            await ask(source, third, "cancel")
            await ends(source, third, "cancelled")
            go_on()
            await ends(source, first, "completed")
            await ends(source, second, "completed")
        assert source.domain(keys[2].id).state == "running"
        await asyncio.to_thread(domains[2].destroy)


async def test_a_domain_migrates_between_two_hosts(host: Libvirtd, other: Any) -> None:
    with Libvirtd() as target:
        async with Followed() as source:
            await source.ready(host.qemu_uri)
            await source.ready(target.qemu_uri, "there")
            domain = await asyncio.to_thread(start_qemu, other, "moved")
            key = domain_key(domain)
            await source.until(lambda: source.domain(key.id))
            refused = target.qemu_uri
            with pytest.raises(BridgeError) as no:  # a client may not name a socket
                await ask(source, key, "migrate", refused)
            assert no.value.kind is ErrorKind.INVALID_ARGUMENT
            # What the bus would have refused: there is no network between the two.
            row = OPERATIONS[Kind.DOMAIN]["migrate"]
            options = {"migrate-uri": f"unix://{target.folder / 'migration'}", "live": True}
            arguments = request_arguments(row, ["qemu+unix:///system"], options)
            made = (target.qemu_uri, *arguments[1:])
            job = await source.requests.operate(Request(key, "migrate", made, Caller(1000, ":1.1")))
            assert (await ends(source, job, "completed")).kind == "migration-out"
            assert source.domain(key.id).state == "shutoff"
            await source.until(lambda: source.domain(key.id, "there").state == "running")
        await asyncio.to_thread(_destroy, target, key.id)


def _destroy(host: Libvirtd, uuid: str) -> None:
    conn = libvirt.open(host.qemu_uri)
    conn.lookupByUUIDString(uuid).destroy()
    conn.close()


async def test_volumes_are_cloned_resized_and_wiped_and_a_pool_is_built(host: Libvirtd, other: Any) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        folder = host.folder / "pool"
        xml = f"<pool type='dir'><name>p</name><target><path>{folder}</path></target></pool>"
        pool = await ask(source, connection_key("c"), "define-storage-pool", xml)
        assert not folder.exists()
        await ends(source, await ask(source, pool, "build"), "completed")
        assert folder.is_dir()
        await ask(source, pool, "start")
        volume = "<volume><name>{}</name><capacity>{}</capacity></volume>"
        one = await ask(source, pool, "create-volume", volume.format("one", 4 * MIB))
        job = await ask(source, pool, "clone-volume", one, volume.format("two", 4 * MIB))
        two = (await ends(source, job, "completed")).result
        record: Any = source.cache.get(two)
        assert record.definition.capacity_bytes == 4 * MIB
        job = await ask(source, two, "resize", 8 * MIB, allocate=True)
        assert (await ends(source, job, "completed")).kind == "volume-resize"
        record = source.cache.get(two)
        assert (record.definition.capacity_bytes, record.definition.allocation_bytes >= 8 * MIB) == (
            8 * MIB,
            True,
        )
        (folder / "two").write_bytes(b"secret")
        wiped = await ends(source, await ask(source, two, "wipe"), "completed")
        assert not wiped.cancellable
        assert b"secret" not in (folder / "two").read_bytes()
        failed = await ends(source, await ask(source, two, "resize", MIB), "failed")
        assert failed.error[1]


async def test_a_save_by_another_client_that_takes_no_time_costs_one_question_at_most(
    host: Libvirtd, other: Any
) -> None:
    async with Followed(jobs=JobsConfig(interval_ms=60_000)) as source:
        await source.ready(host.qemu_uri)
        domain = await asyncio.to_thread(start_qemu, other, "quick")
        key = domain_key(domain)
        await source.until(lambda: source.domain(key.id))
        before = source.calls()
        await asyncio.to_thread(domain.suspend)
        await asyncio.to_thread(domain.resume)
        await source.idle()
        assert source.calls().get("jobStats", 0) == before.get("jobStats", 0)
        await asyncio.to_thread(domain.save, str(host.folder / "image"))
        await source.until(lambda: jobs(source))
        ((job, record),) = jobs(source)
        assert (record.kind, record.state, record.started_by) == ("save", "completed", NOBODY)
        await ends(source, job, "completed")
        # When QEMU announces its first iteration.
        assert source.calls().get("jobStats", 0) <= before.get("jobStats", 0) + 1


async def test_a_copy_by_another_client_is_found_by_an_audit(host: Libvirtd, other: Any, base: Path) -> None:
    async with Followed(audit_interval_s=0.2) as source:
        await source.ready(host.qemu_uri)
        domain, _ = await started(source, other, "audited", devices=disk(base))
        xml, flags = copy_xml(host.folder / "copy"), libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
        await asyncio.to_thread(domain.blockCopy, "vda", xml, {"bandwidth": MIB}, flags)
        job = await appears(source, "block-copy", "vda")
        await asyncio.to_thread(domain.blockJobAbort, "vda")
        await ends(source, job, "cancelled")
        await asyncio.to_thread(domain.destroy)
