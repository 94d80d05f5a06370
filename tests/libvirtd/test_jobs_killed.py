"""The service is killed in the middle of a job, and the client that began it is gone: libvirt goes on with
it, and the next service shows it.
"""

import asyncio
from typing import Any

import pytest

from tests.support.client import Client, wait_until
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import dbus_daemon
from tests.support.libvirtd import Libvirtd, is_available, start_qemu

pytestmark = pytest.mark.skipif(not is_available(), reason="needs root, libvirtd and namespaces")

LAB = "/org/virtbridge1/lab"
DOMAIN, CONNECTION, JOB = (f"org.virtbridge1.{name}" for name in ("Domain", "Connection", "Job"))


async def test_a_save_goes_on_when_its_client_and_the_service_are_gone(host: Libvirtd, other: Any) -> None:
    domain = await asyncio.to_thread(start_qemu, other, "saved", memory_mib=1024)
    path = f"{LAB}/domain/_{domain.UUIDString().replace('-', '_')}"
    with dbus_daemon() as bus, host.slow_files() as go_on:
        first = await Daemon.start(bus.address, {"lab": host.qemu_uri})
        caller, client = [await Client.connect(bus.address) for _ in range(2)]
        job = await caller.call(path, DOMAIN, "Save", "sa{sv}", [str(host.folder / "image"), {}])
        await caller.close()
        await wait_until(lambda: moves(client, job), "the job has progress")
        first.kill()
        second = await Daemon.start(bus.address, {"lab": host.qemu_uri})
        completed = await client.signals(f"type='signal',interface='{JOB}',member='Completed'")
        (again,) = await client.call(LAB, CONNECTION, "List", "sa{sv}", ["job", {}])
        shown = await client.get_all(again, JOB)
        assert (shown["Kind"], shown["Object"], shown["State"]) == ("save", path, "running")
        assert shown["StartedByUid"] == 2**32 - 1
        go_on()
        assert (await completed.next(20)).args == (True, "", "")
        await wait_until(
            lambda: is_off(client, path), "the domain is off"
        )  # libvirt tells the job's end first
        await client.close()
        await second.stop()


async def is_off(client: Client, path: str) -> bool:
    return bool(await client.get(path, DOMAIN, "State") == "shutoff")


async def moves(client: Client, job: str) -> bool:
    return bool(await client.get(job, JOB, "Progress") > 0)
