"""Statistics of real QEMU guests: rates, restarts, guests that do not answer, and what all of it costs."""

import asyncio
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from time import monotonic
from typing import Any

import libvirt
import pytest

from tests.support.followed import Followed
from tests.support.libvirtd import Libvirtd, is_available, qemu_xml, start_qemu
from tests.support.requested import request
from tests.support.stopped import stopped
from tests.support.until import until
from virtbridge.cache.statistics import Samples, Sampling, Statistics
from virtbridge.config import StatsConfig
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import Key, Kind
from virtbridge.model.statistics import USUAL_GROUPS

pytestmark = pytest.mark.skipif(not is_available(), reason="needs root, libvirtd and namespaces")

NIC = "<interface type='user'><model type='virtio'/></interface>"


class Watcher:
    """A source, its statistics, and the rounds that came."""

    def __init__(self, source: Followed) -> None:
        self.source = source
        self.rounds: list[Samples] = []
        config = StatsConfig(deadline_ms=1000)
        self.statistics = Statistics(source.connections, source.cache, source.metrics, config)
        self.statistics.listen(self)

    def sampled(self, connection: str, samples: Samples) -> None:
        self.rounds.append(samples)

    def forgotten(self, connection: str) -> None:
        pass

    def watch(self, interval_ms: int = 200) -> None:
        self.statistics.watch("c", "me", Sampling(interval_ms, USUAL_GROUPS))

    async def next(self, count: int = 1) -> Samples:
        before = len(self.rounds)
        await until(lambda: len(self.rounds) >= before + count, 15)
        return self.rounds[-1]

    async def __aenter__(self) -> "Watcher":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.statistics.stop()


async def disk(folder: Any, name: str) -> str:
    path = folder / f"{name}.raw"
    path.write_bytes(bytes(1 << 20))
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{path}'/>"
        "<target dev='vda' bus='virtio'/></disk>"
    )


async def test_a_guest_s_figures_and_its_restart(host: Libvirtd, other: Any) -> None:
    devices = await disk(host.folder, "figures") + NIC
    domain = await asyncio.to_thread(lambda: start_qemu(other, "figures", devices=devices))
    off = await asyncio.to_thread(other.defineXML, qemu_xml("off"))
    uuid = domain.UUIDString()
    async with Followed() as source, Watcher(source) as watcher:
        await source.ready(host.qemu_uri)
        before = source.calls()
        watcher.watch()
        await watcher.next()
        assert "cpu-host-percent" not in watcher.rounds[0][uuid].values
        values = (await watcher.next(2))[uuid].values
        assert 0 <= values["cpu-host-percent"] <= values["cpu-guest-percent"] <= 100
        assert values["memory-current"] == 32 << 20
        assert values["disks"][0]["name"] == "vda"
        assert values["disks"][0]["capacity"] == 1 << 20
        assert values["disks"][0]["read-bytes-per-second"] >= 0
        assert values["disk-write-bytes-per-second"] == 0
        assert values["vcpus"][0]["state"] in ("running", "blocked")
        assert "percent" in values["vcpus"][0]
        assert off.UUIDString() not in watcher.rounds[-1]
        rounds = len(watcher.rounds)
        after = source.calls()
        spent = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name)}
        assert set(spent) == {"getAllDomainStats", "getInfo"}
        assert spent["getAllDomainStats"] in (rounds, rounds + 1)
        assert spent["getInfo"] == 1

        await asyncio.to_thread(domain.destroy)
        await until(lambda: uuid not in watcher.rounds[-1])
        watcher.rounds.clear()
        await asyncio.to_thread(domain.create)
        await until(lambda: any(uuid in each for each in watcher.rounds))
        first = next(each[uuid] for each in watcher.rounds if uuid in each)
        assert "cpu-host-percent" not in first.values  # nothing to compare its new life with
        await until(lambda: "cpu-host-percent" in watcher.rounds[-1][uuid].values)

        asleep = await watcher.statistics.read(Key("c", Kind.DOMAIN, off.UUIDString()), USUAL_GROUPS)
        assert asleep.values["state"] == "shutoff"
        assert "cpu-time-ns" not in asleep.values
        with pytest.raises(BridgeError) as failure:
            await watcher.statistics.read(Key("c", Kind.DOMAIN, "none"), USUAL_GROUPS)
        assert failure.value.kind is ErrorKind.NO_SUCH_OBJECT


@pytest.mark.parametrize("stuck", [1, 2])
async def test_stuck_guests_do_not_stop_the_others(host: Libvirtd, other: Any, stuck: int) -> None:
    names = [f"g{number}" for number in range(4)]
    devices = {name: await disk(host.folder, name) for name in names}
    domains = [
        await asyncio.to_thread(lambda name=name: start_qemu(other, name, devices=devices[name]))
        for name in names
    ]
    ids = [domain.UUIDString() for domain in domains]
    async with Followed() as source, Watcher(source) as watcher:
        await source.ready(host.qemu_uri)
        watcher.watch()
        await watcher.next(2)
        with ExitStack() as stack:
            for name in names[:stuck]:
                stack.enter_context(stopped(host.qemu_pid(name)))
            began = monotonic()
            await until(
                lambda: (
                    [watcher.rounds[-1][each].values["stuck"] for each in ids]
                    == [True] * stuck + [False] * (4 - stuck)
                )
            )
            assert monotonic() - began < 6 * stuck
            count, began = len(watcher.rounds), monotonic()
            samples = await watcher.next(5)
            assert monotonic() - began < 4  # as fast as before
            assert len(watcher.rounds) >= count + 5
            for each in ids[stuck:]:
                assert "cpu-host-percent" in samples[each].values
                assert "read-bytes" in samples[each].values["disks"][0]
            assert samples[ids[0]].values["state"] == "running"
            # Whoever asks for a stuck one alone gets what there is, and nothing else is held up.
            alone = await watcher.statistics.read(Key("c", Kind.DOMAIN, ids[0]), USUAL_GROUPS)
            assert alone.values["stuck"]
            assert "<domain" in await source.connections.operate(
                request(Key("c", Kind.DOMAIN, ids[3]), "get-xml", 2)
            )
        await until(lambda: not any(sample.values["stuck"] for sample in watcher.rounds[-1].values()), 20)
        await until(lambda: "disk-read-bytes-per-second" in watcher.rounds[-1][ids[0]].values)
        assert source.connection().state == "ready"


async def test_too_many_stuck_guests_leave_what_needs_none_of_them(host: Libvirtd, other: Any) -> None:
    names = [f"m{number}" for number in range(5)]
    for name in names:
        await asyncio.to_thread(start_qemu, other, name)
    async with Followed() as source, Watcher(source) as watcher:
        await source.ready(host.qemu_uri)
        watcher.watch()
        await watcher.next(2)
        with ExitStack() as stack:
            for name in names[:4]:
                stack.enter_context(stopped(host.qemu_pid(name)))
            await until(lambda: sum(s.values["stuck"] for s in watcher.rounds[-1].values()) == 3, 20)
            samples = await watcher.next(2)
            assert all(sample.values["state"] == "running" for sample in samples.values())
            assert not any("cpu-time-ns" in sample.values for sample in samples.values())
            assert source.connection().state == "ready"
        await until(lambda: all("cpu-host-percent" in s.values for s in watcher.rounds[-1].values()), 20)


async def test_a_lost_host_and_the_next_one(host: Libvirtd, other: Any) -> None:
    domain = await asyncio.to_thread(start_qemu, other, "kept")
    uuid = domain.UUIDString()
    async with Followed() as source, Watcher(source) as watcher:
        await source.ready(host.qemu_uri)
        watcher.watch()
        await watcher.next()
        host.kill()
        await source.until_state("disconnected")
        key = Key("c", Kind.DOMAIN, uuid)
        with pytest.raises(BridgeError) as failure:
            await watcher.statistics.read(key, USUAL_GROUPS)
        assert failure.value.kind is ErrorKind.NOT_CONNECTED
        assert watcher.statistics.known(key, USUAL_GROUPS, 3_600_000) is not None
        host.start()
        await source.until_state("ready")
        await until(
            lambda: "cpu-host-percent" in watcher.rounds[-1].get(uuid, watcher.rounds[0][uuid]).values
        )
    os.kill(host.qemu_pid("kept"), 9)


def rates(values: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        if isinstance(value, list):
            for device in value:
                yield from rates(device)
        elif key.endswith(("-per-second", "percent")):
            yield key, value


async def test_no_rate_is_negative_while_guests_come_and_go(host: Libvirtd, other: Any) -> None:
    dice = random.Random(3)
    domains = []
    for name in ("r0", "r1", "r2"):
        devices = await disk(host.folder, name) + NIC
        domains.append(await asyncio.to_thread(lambda n=name, d=devices: start_qemu(other, n, devices=d)))

    def act(domain: Any) -> None:
        if not domain.isActive():
            domain.create()
        elif domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()
        else:
            dice.choice([domain.destroy, domain.suspend, domain.reset])()

    async with Followed() as source, Watcher(source) as watcher:
        await source.ready(host.qemu_uri)
        watcher.watch()
        for _ in range(60):
            await asyncio.to_thread(act, dice.choice(domains))
            await asyncio.sleep(dice.random() / 10)
        await watcher.next(3)
        seen = [rate for each in watcher.rounds for sample in each.values() for rate in rates(sample.values)]
        assert len(seen) > 100
        assert [rate for rate in seen if not 0 <= rate[1] <= (100 if "percent" in rate[0] else rate[1])] == []
