"""The property to hold above all: whatever another libvirt client does, a client that applied only
GetManagedObjects and the signals has exactly what libvirt says.

What libvirt changes silently may need one Connection.Refresh; everything else must arrive by signals alone.
A failure prints the seed and what was done; VIRTBRIDGE_TEST_SEED adds a seed of your own.
"""

import asyncio
import os
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import product

import libvirt
import pytest

from tests.support.changes import OPERATIONS, QEMU, TEST, Operation, OtherClient, World
from tests.support.client import ROOT, SERVICE, Client, installed_libraries, wait_until
from tests.support.daemon import Daemon
from tests.support.dbus_daemon import dbus_daemon
from tests.support.demand_changes import DEMAND_OPERATIONS
from tests.support.host_changes import HOST_OPERATIONS
from tests.support.libvirtd import Libvirtd, is_available
from tests.support.mirror import Mirror, settle

pytestmark = pytest.mark.skipif(not is_available(), reason="a private libvirtd needs root")

LIBRARIES = [name.replace("_", "-") for name in installed_libraries()]
MORE_SEEDS = [int(seed) for seed in os.environ.get("VIRTBRIDGE_TEST_SEED", "").split()]
SEEDS = [1, 2, *MORE_SEEDS]
CONNECTION = f"{ROOT}/host"
DEBIAN = "/usr/bin/python3"
ON_DEMAND = {TEST: "snapshot", QEMU: "nwfilter"}  # what DEMAND_OPERATIONS change there
DOMAIN_LIVES = [
    each for each in OPERATIONS if each.name in ("define", "start", "destroy", "undefine", "redefine")
]
ANNOUNCED = [operation.name for operation in OPERATIONS if operation.fits(TEST) and not operation.silent]


@pytest.fixture(autouse=True)
def _quiet_libvirt() -> None:
    libvirt.registerErrorHandler(lambda *_: None, None)


class Watched:
    """A daemon behind a private libvirtd, with mirrors, and another libvirt client that makes the changes."""

    def __init__(
        self, daemon: Daemon, mirrors: list[Mirror], other: OtherClient, *, on_demand: bool = False
    ) -> None:
        self.daemon = daemon
        self.mirrors = mirrors
        self.other = other
        self._on_demand = on_demand

    async def settle(self, timeout_s: float = 5) -> None:
        """The mirrors become the truth: by signals alone, unless something silent happened."""
        if self.other.silent_since_settled:
            await self.mirrors[0].client.call(
                CONNECTION, f"{SERVICE}.Connection", "Refresh", "asa{sv}", [[], {}], timeout_s=30
            )
            self.other.silent_since_settled = False
        note = self.other.note()
        await settle(self.mirrors, self.other.conn, "host", timeout_s, note, on_demand=self._on_demand)

    async def step(self) -> None:
        await asyncio.to_thread(self.other.step)


@asynccontextmanager
async def watched(
    host: Libvirtd,
    world: World,
    seed: int,
    library: str | None = None,
    clients: int = 1,
    python: str = sys.executable,
    events: bool = True,
    operations: Sequence[Operation] | None = None,
    on_demand: bool = False,
) -> AsyncIterator[Watched]:
    """events: False has virtbridge treat the driver as one without, and every client watch at the floor.
    on_demand: they watch what no event tells of, too.
    """
    uri = host.uri() if world is TEST else host.qemu_uri
    other = await asyncio.to_thread(OtherClient, uri, seed, world, operations)
    with dbus_daemon() as bus:
        config = host.folder / "virtbridge.toml"
        config.write_text(
            f"[connections.host]\nuri = '{uri}'\nevents = {str(events).lower()}\n"
            "[refresh]\npoll_floor_s = 0.1\n"
        )
        args = ["--config", str(config)]
        daemon = await Daemon.start(bus.address, {}, library=library, python=python, args=args)
        connected = [await Client.connect(bus.address) for _ in range(clients)]
        await daemon.wait_state(connected[0], "host", "ready")
        kinds = [[]] * (not events) + [[ON_DEMAND[world]]] * on_demand
        for client, watched_kinds in product(connected, kinds):
            body = [watched_kinds, 100, {}]
            await client.call(CONNECTION, f"{SERVICE}.Connection", "Watch", "asua{sv}", body)
        mirrors = [await Mirror.follow(client) for client in connected]
        try:
            yield Watched(daemon, mirrors, other, on_demand=on_demand)
            await daemon.stop()
        finally:
            for client in connected:
                await client.close()
            if daemon.process.poll() is None:
                print(daemon.log())
                daemon.kill()
            await asyncio.to_thread(other.close)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("seed", SEEDS)
async def test_the_test_driver_behind_rpc(host: Libvirtd, seed: int, library: str) -> None:
    async with watched(host, TEST, seed, library, clients=3) as world:
        await world.settle()
        pace = random.Random(seed)
        for _ in range(70):
            await world.step()
            if pace.random() < 0.4:
                await world.settle()
        await world.settle()


@pytest.mark.parametrize("seed", SEEDS)
async def test_without_events_the_test_driver_behind_rpc(host: Libvirtd, seed: int) -> None:
    """Polled at the floor, by the same rule: what libvirt would announce arrives without a Refresh."""
    async with watched(host, TEST, seed, clients=3, events=False) as world:
        pace = random.Random(seed)
        for _ in range(70):
            await world.step()
            if pace.random() < 0.4:
                await world.settle()
        await world.settle()


@pytest.mark.parametrize("seed", [3, *MORE_SEEDS])
async def test_without_events_real_qemu_domains(host: Libvirtd, seed: int) -> None:
    async with watched(host, QEMU, seed, clients=2, events=False) as world:
        pace = random.Random(seed)
        for _ in range(45):
            await world.step()
            if pace.random() < 0.4:
                await world.settle(timeout_s=8)
        await world.settle(timeout_s=8)


async def test_without_events_no_change_needs_a_refresh_that_libvirt_would_announce(host: Libvirtd) -> None:
    async with watched(host, TEST, 101, events=False) as world:
        for _ in range(40):
            await asyncio.to_thread(world.other.step, ANNOUNCED)
            await world.settle()
        assert not world.other.silent_since_settled


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_change_needs_a_refresh_that_libvirt_announces(host: Libvirtd, seed: int) -> None:
    """No silent operation is among them, so nothing but signals brings the mirror to the truth."""
    async with watched(host, TEST, 100 + seed) as world:
        for _ in range(40):
            await asyncio.to_thread(world.other.step, ANNOUNCED)
            await world.settle()
        assert not world.other.silent_since_settled


async def test_a_burst_without_a_pause(host: Libvirtd) -> None:
    """400 changes as fast as libvirt takes them, with three clients; then the truth, by signals alone."""
    async with watched(host, TEST, 7, clients=3) as world:
        for _ in range(400):
            await asyncio.to_thread(world.other.step, ANNOUNCED)
        await world.settle(timeout_s=10)
        assert not world.other.silent_since_settled


@pytest.mark.parametrize("world_kind", [TEST, QEMU], ids=["test", "qemu"])
@pytest.mark.parametrize("seed", SEEDS)
async def test_pools_devices_and_secrets(host: Libvirtd, seed: int, world_kind: World) -> None:
    """On QEMU's host real directories with real volumes, and secrets; on the test driver devices as well."""
    async with watched(host, world_kind, 50 + seed, clients=2, operations=HOST_OPERATIONS) as world:
        pace = random.Random(seed)
        for _ in range(60):
            await world.step()
            if pace.random() < 0.4:
                await world.settle()
        await world.settle()


@pytest.mark.parametrize("world_kind", [TEST, QEMU], ids=["test", "qemu"])
async def test_a_burst_of_pools_devices_and_secrets(host: Libvirtd, world_kind: World) -> None:
    """By signals alone: none of these is silent."""
    names = [each.name for each in HOST_OPERATIONS if not each.silent]
    async with watched(host, world_kind, 60, clients=2, operations=HOST_OPERATIONS) as world:
        for _ in range(200):
            await asyncio.to_thread(world.other.step, names)
        await world.settle(timeout_s=10)
        assert not world.other.silent_since_settled


@pytest.mark.parametrize("events", [True, False], ids=["events", "polled"])
@pytest.mark.parametrize("world_kind", [TEST, QEMU], ids=["test", "qemu"])
async def test_what_no_event_tells_of_while_it_is_watched(
    host: Libvirtd, world_kind: World, events: bool
) -> None:
    """Snapshots of domains that come and go, or filters, beside pools, devices and secrets."""
    operations = [*HOST_OPERATIONS, *DEMAND_OPERATIONS, *(DOMAIN_LIVES if world_kind is TEST else ())]
    async with watched(
        host, world_kind, 70, clients=2, events=events, operations=operations, on_demand=True
    ) as world:
        pace = random.Random(70)
        for _ in range(70):
            await world.step()
            if pace.random() < 0.4:
                await world.settle(timeout_s=8)
        await world.settle(timeout_s=8)


@pytest.mark.parametrize("world_kind", [TEST, QEMU], ids=["test", "qemu"])
async def test_no_change_needs_a_refresh_while_all_is_watched(host: Libvirtd, world_kind: World) -> None:
    names = [each.name for each in (*HOST_OPERATIONS, *DEMAND_OPERATIONS) if not each.silent]
    operations = (*HOST_OPERATIONS, *DEMAND_OPERATIONS)
    async with watched(host, world_kind, 71, events=False, operations=operations, on_demand=True) as world:
        for _ in range(40):
            await asyncio.to_thread(world.other.step, names)
            await world.settle(timeout_s=8)
        assert not world.other.silent_since_settled


@pytest.mark.parametrize("seed", [3, *MORE_SEEDS])
async def test_real_qemu_domains(host: Libvirtd, seed: int) -> None:
    async with watched(host, QEMU, seed, clients=2) as world:
        pace = random.Random(seed)
        for _ in range(45):
            await world.step()
            if pace.random() < 0.4:
                await world.settle(timeout_s=8)
        await world.settle(timeout_s=8)


@pytest.mark.parametrize("world_kind", [TEST, QEMU], ids=["test", "qemu"])
async def test_libvirtd_killed_and_restarted(host: Libvirtd, world_kind: World) -> None:
    """kill -9 in the middle; QEMU domains go on, the test driver begins anew."""
    async with watched(host, world_kind, 11) as world:
        for _ in range(12 if world_kind is QEMU else 40):
            await world.step()
        await asyncio.to_thread(host.kill)
        mirror = world.mirrors[0]
        await wait_until(
            lambda: mirror.connection_state("host") == "disconnected", "the loss is on the bus", timeout_s=10
        )
        before = mirror.view("host")
        assert before, "what was known stays on the bus while disconnected"
        await asyncio.to_thread(host.start)
        await asyncio.to_thread(world.other.reopen)
        for _ in range(5):
            with suppress(libvirt.libvirtError):
                await world.step()
        await wait_until(lambda: mirror.connection_state("host") == "ready", "connected again", timeout_s=30)
        await world.settle(timeout_s=10)
        for _ in range(6 if world_kind is QEMU else 30):
            await world.step()
        await world.settle(timeout_s=8)


async def test_a_reconnect_announces_only_differences(host: Libvirtd) -> None:
    """The same domains after libvirtd's restart: no object comes or goes for the client."""
    async with watched(host, QEMU, 12) as world:
        for _ in range(3):
            await asyncio.to_thread(world.other.step, ["define"])
        await world.settle()
        client, mirror = world.mirrors[0].client, world.mirrors[0]
        signals = await client.signals(wanted=lambda signal: not signal.path.endswith("/host"))
        await asyncio.to_thread(host.kill)
        await wait_until(lambda: mirror.connection_state("host") == "disconnected", "lost", timeout_s=10)
        await asyncio.to_thread(host.start)
        await asyncio.to_thread(world.other.reopen)
        await wait_until(lambda: mirror.connection_state("host") == "ready", "connected again", timeout_s=30)
        await world.settle()
        assert [signal for signal in signals.drain() if signal.member != "NameOwnerChanged"] == []


async def test_a_rename_right_after_a_managed_save(host: Libvirtd) -> None:
    """The answer to "is there an image" is on its way when the next event comes, and must not be lost."""
    async with watched(host, TEST, 41) as world:
        for number in range(8):
            domain = world.other.conn.lookupByName("test" if number == 0 else f"name{number}")
            await asyncio.to_thread(domain.managedSave)
            await asyncio.to_thread(domain.rename, f"name{number + 1}")
            await world.settle()
            await asyncio.to_thread(domain.create)
            await world.settle()


def _debian_can_serve() -> bool:
    words = [DEBIAN, "-c", "import dbus_next, libvirt, lxml"]
    return (
        bool(shutil.which(DEBIAN)) and subprocess.run(words, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not _debian_can_serve(), reason="the system's Python lacks the packaged libraries")
async def test_the_packaged_libraries_of_the_system(host: Libvirtd) -> None:
    """The distribution's interpreter, libvirt-python, dbus-next and lxml, none of ours."""
    async with watched(host, TEST, 31, python=DEBIAN) as world:
        for _ in range(50):
            await world.step()
        await world.settle()


async def test_a_client_that_comes_late_sees_the_same(host: Libvirtd) -> None:
    async with watched(host, TEST, 21) as world:
        for _ in range(30):
            await world.step()
        late = await Client.connect(world.daemon.address)
        try:
            world.mirrors.append(await Mirror.follow(late))
            for _ in range(20):
                await world.step()
            await world.settle()
        finally:
            await late.close()
