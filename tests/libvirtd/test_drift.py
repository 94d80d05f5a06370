"""Memory and vCPU counts that libvirt changes without an event: the audit's bulk statistics find them."""

import asyncio
from typing import Any

import libvirt
import pytest

from tests.support.costs import spent
from tests.support.followed import Followed
from tests.support.libvirtd import Libvirtd, is_available, start_qemu
from tests.support.stopped import stopped
from virtbridge.source.reread_turns import RereadTurns

pytestmark = pytest.mark.skipif(not is_available(), reason="needs root, libvirtd and namespaces")

CONFIG, LIVE = libvirt.VIR_DOMAIN_AFFECT_CONFIG, libvirt.VIR_DOMAIN_AFFECT_LIVE
MIB = 1 << 20


@pytest.fixture(autouse=True)
def nobody_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read no definitions a few at a time, which would find the change as well."""
    monkeypatch.setattr(RereadTurns, "take", lambda *_: [])


def define(conn: Any, name: str, memory: int, current: int, devices: str = "") -> Any:
    sizes = f"<memory unit='MiB'>{memory}</memory><currentMemory unit='MiB'>{current}</currentMemory>"
    return conn.defineXML(
        f"<domain type='qemu'><name>{name}</name>{sizes}<vcpu current='1'>4</vcpu>"
        f"<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{devices}</devices></domain>"
    )


async def becomes(source: Followed, domain: Any, **fields: int) -> None:
    """Until its definition has these."""
    uuid = domain.UUIDString()
    await source.until(
        lambda: all(getattr(source.domain(uuid).definition, name) == value for name, value in fields.items())
    )


async def audits(source: Followed, count: int = 2) -> None:
    """Until so many more have ended."""
    before = source.metrics.snapshot().get("source.audits", 0)
    await source.until(lambda: source.metrics.snapshot().get("source.audits", 0) > before + count)


async def test_what_changes_silently_is_found_and_nothing_is_read_for_what_does_not(
    host: Libvirtd, other: Any
) -> None:
    off = await asyncio.to_thread(define, other, "off", 64, 64)
    # Without a balloon the statistics have the whole memory as the current one, whatever the XML says.
    odd = await asyncio.to_thread(define, other, "odd", 64, 32, "<memballoon model='none'/>")
    running = await asyncio.to_thread(define, other, "on", 32, 32)
    await asyncio.to_thread(running.create)
    async with Followed(audit_interval_s=0.05) as source:
        await source.ready(host.qemu_uri)
        await audits(source)
        await becomes(source, odd, memory_maximum_bytes=64 * MIB, memory_current_bytes=32 * MIB)
        before = source.calls()
        await audits(source, 5)
        cost = spent(before, source.calls())
        assert "XMLDesc" not in cost
        await asyncio.to_thread(off.setMemoryFlags, 48 * 1024, CONFIG)
        await asyncio.to_thread(off.setVcpusFlags, 3, CONFIG)
        await asyncio.to_thread(running.setVcpusFlags, 2, LIVE)
        await becomes(source, off, vcpus_current=3, memory_current_bytes=48 * MIB)
        await becomes(source, running, vcpus_current=2)
    await asyncio.to_thread(running.destroy)


async def test_a_guest_that_does_not_answer_holds_up_no_audit(host: Libvirtd, other: Any) -> None:
    off = await asyncio.to_thread(define, other, "off", 64, 64)
    guest = await asyncio.to_thread(start_qemu, other, "stuck")
    async with Followed(audit_interval_s=0.05) as source:
        await source.ready(host.qemu_uri)
        await audits(source)
        with stopped(host.qemu_pid("stuck")):
            for mib in (32, 48):
                await asyncio.to_thread(off.setMemoryFlags, mib * 1024, CONFIG)
                await becomes(source, off, memory_current_bytes=mib * MIB)
    await asyncio.to_thread(guest.destroy)
