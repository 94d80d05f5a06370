"""Jobs on libvirt's test driver, as clients see them: the path at once, the end as signal and as property."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client, error_of
from tests.support.daemon import Daemon

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAB = "/org/virtbridge1/lab"
DOMAIN, CONNECTION, JOB, POOL, VOLUME = (
    f"org.virtbridge1.{name}" for name in ("Domain", "Connection", "Job", "StoragePool", "StorageVolume")
)
XML = """<domain type='test'><name>job</name><uuid>22222222-2222-3333-4444-555555555555</uuid>
<memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>"""


async def run(client: Client, path: str, interface: str, member: str, signature: str, *values: Any) -> Any:
    """Begin a job and wait for its end. Return its properties, which say the same as the signal."""
    completed = await client.signals(f"type='signal',interface='{JOB}',member='Completed'")
    job = await client.call(path, interface, member, f"{signature}a{{sv}}", [*values, {}])
    assert job.rpartition("/")[0].endswith("/job")
    signal = await completed.until(lambda each: each.path == job)
    shown = await client.get_all(job, JOB)
    assert signal.args == (shown["State"] == "completed", *shown["Error"])
    return shown


async def defined(client: Client) -> str:
    path = await client.call(LAB, CONNECTION, "DefineDomain", "sa{sv}", [XML, {}])
    await client.call(path, DOMAIN, "Start", "a{sv}", [{}])
    return str(path)


async def test_a_domain_is_saved_and_restored(client: Client, tmp_path: Path) -> None:
    path = await defined(client)
    file = str(tmp_path / "saved")
    saved = await run(client, path, DOMAIN, "Save", "s", file)
    assert (saved["State"], saved["Kind"], saved["Object"], saved["Progress"]) == (
        "completed",
        "save",
        path,
        1,
    )
    assert 0 < saved["StartTime"] <= saved["EndTime"]
    assert await client.get(path, DOMAIN, "State") == "shutoff"
    restored = await run(client, LAB, CONNECTION, "RestoreDomain", "s", file)
    assert (restored["State"], restored["Cancellable"], restored["Object"]) == ("completed", False, LAB)
    assert await client.get(path, DOMAIN, "State") == "running"
    dumped = await run(client, path, DOMAIN, "CoreDump", "s", str(tmp_path / "core"))
    assert (dumped["State"], dumped["Kind"]) == ("completed", "dump")
    again = await run(client, path, DOMAIN, "ManagedSave", "")
    assert again["State"] == "completed"
    assert await client.get(path, DOMAIN, "HasManagedSave") is True


async def test_a_job_that_fails_says_why_and_cannot_be_cancelled_any_more(client: Client) -> None:
    path = await client.call(LAB, CONNECTION, "DefineDomain", "sa{sv}", [XML, {}])
    jobs = await client.call(LAB, CONNECTION, "List", "sa{sv}", ["job", {}])
    failed = await run(client, path, DOMAIN, "Save", "s", "/nonexistent/saved")
    assert failed["State"] == "failed"
    name, text = failed["Error"]
    assert name.startswith("org.virtbridge1.Error.")
    assert text
    (job,) = set(await client.call(LAB, CONNECTION, "List", "sa{sv}", ["job", {}])) - set(jobs)
    assert await error_of(client, job, JOB, "Cancel", "a{sv}", [{}]) == "OperationInvalid"


async def test_a_volume_is_cloned(client: Client) -> None:
    pool = next(path for path, shown in (await client.managed_objects()).items() if POOL in shown)
    xml = "<volume><name>{}</name><capacity>1048576</capacity></volume>"
    source = await client.call(pool, POOL, "CreateVolume", "sa{sv}", [xml.format("one"), {}])
    cloned = await run(client, pool, POOL, "CloneVolume", "os", source, xml.format("two"))
    assert (cloned["State"], cloned["Result"]) == ("completed", f"{pool}/volume/two")
    assert await client.get(cloned["Result"], VOLUME, "Capacity") == 1048576
    gone = [f"{pool}/volume/three", xml.format("four"), {}]
    assert await error_of(client, pool, POOL, "CloneVolume", "osa{sv}", gone) == "NoSuchObject"
    no_volume = [pool, xml.format("four"), {}]
    assert await error_of(client, pool, POOL, "CloneVolume", "osa{sv}", no_volume) == "InvalidArgument"


async def test_a_destination_that_runs_a_program_is_refused(client: Client) -> None:
    path = await client.call(LAB, CONNECTION, "DefineDomain", "sa{sv}", [XML, {}])
    uri = "qemu+ext:///system?command=/tmp/mine"
    assert await error_of(client, path, DOMAIN, "Migrate", "sa{sv}", [uri, {}]) == "InvalidArgument"


async def test_a_job_outlives_its_caller(client: Client, daemon: Daemon, tmp_path: Path) -> None:
    path = await defined(client)
    completed = await client.signals(f"type='signal',interface='{JOB}',member='Completed'")
    caller = await Client.connect(daemon.address)
    job = await caller.call(path, DOMAIN, "Save", "sa{sv}", [str(tmp_path / "saved"), {}])
    await caller.close()
    assert (await completed.until(lambda each: each.path == job)).args[0] is True
    assert await client.get(job, JOB, "State") == "completed"
