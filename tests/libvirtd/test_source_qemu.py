"""What QEMU's driver announces in words of its own, or not at all: crashes, snapshots, migration, memory.

Each ends as libvirt says, by events alone: nothing here refreshes, and no audit comes in time.
"""

import asyncio
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import libvirt
import pytest

from tests.support.followed import Followed
from tests.support.libvirtd import Libvirtd, is_available, qemu_xml, start_qemu
from virtbridge.model.keys import Kind
from virtbridge.source import follow
from virtbridge.source.kinds.enums import state_words

pytestmark = pytest.mark.skipif(not is_available(), reason="needs root, libvirtd and namespaces")

LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
TITLE = libvirt.VIR_DOMAIN_METADATA_TITLE
PANIC = "<panic model='isa'/>"
UNDEFINE_SOURCE = (
    libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
)


@pytest.fixture
def target() -> Iterator[Libvirtd]:
    with Libvirtd() as running:
        yield running


async def becomes(source: Followed, domain: Any, *words: str, connection: str = "c") -> None:
    """Until it is known to be in this state for this reason, which is what libvirt says."""
    uuid = domain.UUIDString()

    def known() -> Any:
        return source.domain(uuid, connection)

    with suppress(TimeoutError):
        await source.until(lambda: known() and (known().state, known().state_reason) == words, 10)
    assert (known().state, known().state_reason) == words
    assert state_words(*await asyncio.to_thread(domain.state)) == words


def monitor(host: Libvirtd, name: str, command: str) -> None:
    words = ["virsh", "-q", "-c", host.qemu_uri, "qemu-monitor-command", name, "--hmp", command]
    subprocess.run(words, check=True, capture_output=True)


def migrate(domain: Any, to: Libvirtd, flags: int) -> None:
    socket = to.folder / f"migration-{domain.name()}"
    params = {libvirt.VIR_MIGRATE_PARAM_URI: f"unix://{socket}"}
    domain.migrateToURI3(to.qemu_uri, params, flags | libvirt.VIR_MIGRATE_PEER2PEER)


async def test_a_crashed_domain_that_is_reset_and_resumed(host: Libvirtd, other: Any) -> None:
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain = await asyncio.to_thread(start_qemu, other, "crash", devices=PANIC)
        await becomes(source, domain, "running", "booted")
        await asyncio.to_thread(monitor, host, "crash", "o /b 0x505 1")
        await becomes(source, domain, "crashed", "panicked")
        await asyncio.to_thread(domain.reset)
        await becomes(source, domain, "paused", "crashed")
        await asyncio.to_thread(domain.resume)
        await becomes(source, domain, "running", "unpaused")
        await asyncio.to_thread(domain.destroy)


async def test_a_crashed_domain_that_libvirt_restarts(host: Libvirtd, other: Any) -> None:
    xml = qemu_xml("restart", devices=PANIC).replace("preserve</on_crash>", "restart</on_crash>")
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain = await asyncio.to_thread(other.createXML, xml)
        await becomes(source, domain, "running", "booted")
        await asyncio.to_thread(monitor, host, "restart", "o /b 0x505 1")
        await becomes(source, domain, "running", "crashed")
        await asyncio.to_thread(domain.destroy)


async def test_a_snapshot_of_a_domain_that_was_off_reverted_to_and_paused(host: Libvirtd, other: Any) -> None:
    image = host.folder / "image.qcow2"
    create_image(image)
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain = await asyncio.to_thread(other.defineXML, qemu_xml("revert", devices=disk(image)))
        snapshot = await asyncio.to_thread(domain.snapshotCreateXML, "<domainsnapshot/>")
        await asyncio.to_thread(domain.revertToSnapshot, snapshot, libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED)
        await becomes(source, domain, "paused", "user")
        await asyncio.to_thread(domain.destroy)


def create_image(path: Path) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1M"], check=True)


def disk(image: Path) -> str:
    driver = "<driver name='qemu' type='qcow2'/>"
    return f"<disk type='file'>{driver}<source file='{image}'/><target dev='vda' bus='virtio'/></disk>"


async def test_memory_that_is_plugged_is_the_balloon_s_too(host: Libvirtd, other: Any) -> None:
    """libvirt announces the device before it knows what the balloon is now."""
    cell = "<cpu><numa><cell id='0' cpus='0' memory='64' unit='MiB'/></numa></cpu><features>"
    xml = (
        qemu_xml("memory", memory_mib=64)
        .replace("<features>", cell)
        .replace("<memory ", "<maxMemory slots='2' unit='MiB'>512</maxMemory><memory ")
    )
    dimm = "<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory>"
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain = await asyncio.to_thread(other.createXML, xml)
        uuid = domain.UUIDString()
        await becomes(source, domain, "running", "booted")
        await asyncio.to_thread(domain.attachDeviceFlags, dimm, LIVE)
        xml = await asyncio.to_thread(domain.XMLDesc, 0)
        await source.until(lambda: source.domain(uuid).xml == xml)
        definition = source.domain(uuid).definition
        assert definition.memory_maximum_bytes == definition.memory_current_bytes == 192 * 1024 * 1024
        await asyncio.to_thread(domain.destroy)


async def test_a_domain_that_is_migrated_away_for_good_is_gone(
    host: Libvirtd, target: Libvirtd, other: Any
) -> None:
    """libvirt only says that it stopped."""
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        await source.ready(target.qemu_uri, "target")
        domain = await asyncio.to_thread(start_qemu, other, "leaves")
        uuid = domain.UUIDString()
        await becomes(source, domain, "running", "booted")
        await asyncio.to_thread(migrate, domain, target, UNDEFINE_SOURCE)
        await source.until(lambda: source.domain(uuid) is None)
        assert source.lifecycles(uuid)[-1] == ("stopped", "migrated")
        arrived = await asyncio.to_thread(lookup, target, "leaves")
        await becomes(source, arrived, "running", "migrated", connection="target")
        assert source.domain(uuid, "target").persistent
        await asyncio.to_thread(arrived.destroy)
        await asyncio.to_thread(close, arrived)


def lookup(host: Libvirtd, name: str) -> Any:
    return libvirt.open(host.qemu_uri).lookupByName(name)


def close(domain: Any) -> None:
    domain.connect().close()


async def test_a_migration_that_is_cancelled(host: Libvirtd, target: Libvirtd, other: Any) -> None:
    """Not live, so the domain is paused meanwhile; what comes in on the other side is paused, too."""
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        await source.ready(target.qemu_uri, "target")
        # At 1 MiB/s it takes seconds to tell of so many pages that they are empty.
        domain = await asyncio.to_thread(start_qemu, other, "returns", memory_mib=1024)
        uuid = domain.UUIDString()
        await becomes(source, domain, "running", "booted")
        await asyncio.to_thread(domain.migrateSetMaxSpeed, 1)
        refused: list[libvirt.libvirtError] = []

        def leave() -> None:
            try:
                migrate(domain, target, 0)
            except libvirt.libvirtError as error:
                refused.append(error)

        leaving = threading.Thread(target=leave)
        leaving.start()
        await becomes(source, domain, "paused", "migration")
        await source.until(lambda: source.named(Kind.DOMAIN, "returns") and source.domain(uuid, "target"))
        arriving = await asyncio.to_thread(lookup, target, "returns")
        await becomes(source, arriving, "paused", "migration", connection="target")
        canceller = await asyncio.to_thread(libvirt.open, host.qemu_uri)
        await asyncio.to_thread(canceller.lookupByUUIDString(uuid).abortJob)
        await asyncio.to_thread(leaving.join)
        assert refused, "the migration was over before it was cancelled"
        await becomes(source, domain, "running", "migration-canceled")
        await source.until(lambda: source.domain(uuid, "target") is None)
        await asyncio.to_thread(close, arriving)
        await asyncio.to_thread(canceller.close)
        await asyncio.to_thread(domain.destroy)


async def test_a_medium_that_is_gone_after_the_tray_has_opened(
    host: Libvirtd, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The read that the tray's opening leads to may find the medium still in it, and no other event comes."""
    medium = host.folder / "medium.iso"
    medium.write_bytes(bytes(1 << 16))
    drive = "<disk type='file' device='cdrom'>{}<target dev='hdc' bus='ide'/><readonly/></disk>"
    full = drive.format(f"<source file='{medium}'/>")
    monkeypatch.setattr(follow, "LATER_S", 0.1)
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        # The firmware of a running guest may close the tray before libvirt has taken the medium out.
        domain = await asyncio.to_thread(start_qemu, other, "drive", paused=True, devices=full)
        uuid = domain.UUIDString()
        await source.until(lambda: source.domain(uuid) and source.domain(uuid).definition.disks)
        assert source.domain(uuid).definition.disks[0].source == str(medium)
        before, real = domain.XMLDesc(), libvirt.virDomain.XMLDesc
        after_close: list[str] = []

        def read(raw: Any, flags: int = 0) -> str:
            """The old text, still in the read that the last event leads to."""
            heard = [each.args[1].get("reason") for each in source.signals if each.args[0] == "tray-change"]
            if "close" in heard:
                after_close.append(real(raw, flags))
            return after_close[-1] if len(after_close) > 1 else before

        monkeypatch.setattr(libvirt.virDomain, "XMLDesc", read)
        await asyncio.to_thread(domain.updateDeviceFlags, drive.format(""), LIVE)
        await source.until(lambda: not source.domain(uuid).definition.disks[0].source)
        await asyncio.to_thread(domain.destroy)


async def test_a_start_that_is_cut_short_leaves_the_domain_off(host: Libvirtd, other: Any) -> None:
    """Another client destroys it while QEMU starts; of the failed start libvirt sends no event."""
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain = other.defineXML(qemu_xml("short"))
        uuid = domain.UUIDString()
        await source.until(lambda: source.domain(uuid))

        def destroy_after(delay_s: float) -> None:
            time.sleep(delay_s)
            with suppress(libvirt.libvirtError):
                domain.destroy()

        for attempt in range(1, 13):
            end = threading.Thread(target=destroy_after, args=(0.035 + 0.015 * attempt,))
            end.start()
            with suppress(libvirt.libvirtError):
                await asyncio.to_thread(domain.create)
            await asyncio.to_thread(end.join)
            with suppress(libvirt.libvirtError):
                await asyncio.to_thread(domain.destroy)
            # Whatever the start and the end announce comes before this.
            await asyncio.to_thread(domain.setMetadata, TITLE, str(attempt), None, None)
            await source.until(lambda title=str(attempt): source.domain(uuid).definition.title == title)  # type: ignore[misc]
            await source.until(lambda: not source.domain(uuid).active)


async def test_a_restored_domain_s_disks_are_what_libvirt_says(host: Libvirtd, other: Any) -> None:
    """It asks QEMU for the media after `started`; until then its XML has a format for an empty drive."""
    drive = (
        "<controller type='scsi' model='virtio-scsi'/>"
        "<disk type='file' device='cdrom'><target dev='sdc' bus='scsi'/><readonly/></disk>"
    )
    async with Followed() as source:
        await source.ready(host.qemu_uri)
        domain = await asyncio.to_thread(start_qemu, other, "saved", devices=drive)
        uuid = domain.UUIDString()
        await becomes(source, domain, "running", "booted")
        for _ in range(4):
            await asyncio.to_thread(domain.managedSave)
            await asyncio.to_thread(domain.create)
            await becomes(source, domain, "running", "restored")
            assert "type='raw'" not in await asyncio.to_thread(domain.XMLDesc)
            await source.until(lambda: not source.domain(uuid).definition.disks[0].format)
        await asyncio.to_thread(domain.destroy)
