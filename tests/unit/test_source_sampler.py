"""Sampling hosts that cannot be had here: no bulk statistics, or too many domains for one answer."""

import asyncio
from typing import Any

import libvirt
import pytest

from tests.support.fake_clock import FakeClock
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.domain import Disk, DomainDefinition
from virtbridge.model.keys import Key, Kind
from virtbridge.model.records import DomainRecord
from virtbridge.model.statistics import USUAL_GROUPS
from virtbridge.source.kinds.row import Handle
from virtbridge.source.stats import sampler as module
from virtbridge.source.stats.sampler import Sampler

NO_SUPPORT = BridgeError(ErrorKind.NOT_SUPPORTED, "no", libvirt.VIR_ERR_NO_SUPPORT)
NO_DISK = BridgeError(ErrorKind.INVALID_ARGUMENT, "no disk", libvirt.VIR_ERR_INVALID_ARG)
TOO_MANY = BridgeError(ErrorKind.LIBVIRT, "too many", libvirt.VIR_ERR_RPC)
DISKS = (Disk(target="vda"), Disk(target="vdb"))


class Raw:
    def __init__(self, uuid: str) -> None:
        self.uuid = uuid

    def UUIDString(self) -> str:
        return self.uuid

    def ID(self) -> int:
        return 1


class Host:
    """A Session's stand-in. answers: by libvirt's name, a value, an error, or a function of the arguments.
    takes_s: how long a call with a deadline takes, by the test's clock.
    """

    name = "c"

    def __init__(self, count: int, **answers: Any) -> None:
        self.handles = {
            Key("c", Kind.DOMAIN, str(number)): Handle(str(number), "d", 1, Raw(str(number)))
            for number in range(count)
        }
        self.answers = {"getInfo": ["x86_64", 1, 4], **answers}
        self.lost = asyncio.get_running_loop().create_future()
        self.calls: list[str] = []
        self.running = self.most = 0
        self.takes_s = 0.0

    def lookup(self, key: Key) -> Any:
        return DomainRecord(key.id, "d", id=1, definition=DomainDefinition(disks=DISKS))

    async def call(self, name: str, *args: Any, **more: Any) -> Any:
        return await self.on(None, name, *args, **more)

    async def on(
        self,
        target: Any,
        name: str,
        *args: Any,
        then: Any = None,
        on_returned: Any = None,
        timeout_s: float | None = None,
        **_: Any,
    ) -> Any:
        self.calls.append(name)
        takes_s = self.takes_s if timeout_s is not None else 0
        if timeout_s is not None and takes_s > timeout_s:
            await asyncio.sleep(timeout_s)
            asyncio.get_running_loop().call_later(self.takes_s - timeout_s, on_returned)
            raise BridgeError(ErrorKind.TIMEOUT, "late")
        await asyncio.sleep(takes_s)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            answer = self.answers[name]
            answer = answer(target, *args) if callable(answer) else answer
            if isinstance(answer, Exception):
                raise answer
        finally:
            self.running -= 1
            if on_returned:
                on_returned()
        return then(answer) if then else answer

    def call_from_worker(self, target: Any, name: str, *args: Any) -> Any:
        self.calls.append(name)
        answer = self.answers[name]
        answer = answer(target, *args) if callable(answer) else answer
        if isinstance(answer, BridgeError):
            error = libvirt.libvirtError(answer.message)
            error.err = (answer.code,)
            raise error
        return answer


def sampler(host: Host) -> Sampler:
    session: Any = host
    return Sampler(session, host.lookup, 0.1)


async def test_without_bulk_statistics_each_domain_is_asked_a_few_at_a_time() -> None:
    host = Host(
        100,
        getAllDomainStats=NO_SUPPORT,
        info=[1, 2048, 1024, 2, 77],
        state=[1, 0],
        vcpus=([(0, 1, 70, 3), (1, 2, 7, 0)], [(True,), (True,)]),
        memoryStats=NO_SUPPORT,
        blockStats=lambda _raw, target: (1, 512, 0, 0, -1) if target == "vda" else NO_DISK,
        interfaceStats=NO_SUPPORT,
    )
    asked = sampler(host)
    samples = await asked.sample(USUAL_GROUPS)
    assert len(samples) == 100
    assert host.most <= module.DOMAINS_AT_A_TIME
    values = samples["42"].values
    assert values["cpu-time-ns"] == 77
    assert values["vcpus"] == [
        {"number": 0, "state": "running", "time-ns": 70},
        {"number": 1, "state": "blocked", "time-ns": 7},
    ]
    assert values["memory-current"] == 1 << 20
    assert values["disks"] == [
        {"name": "vda", "read-requests": 1, "read-bytes": 512, "write-requests": 0, "write-bytes": 0},
        {"name": "vdb"},
    ]
    await asked.sample(frozenset({"cpu-total"}), "7")
    assert host.calls.count("getAllDomainStats") == 1
    assert host.calls.count("info") == 101
    assert host.calls.count("blockStats") == 200
    assert host.calls.count("memoryStats") == 1  # of what this driver lacks


async def test_one_domain_that_fails_is_left_out() -> None:
    gone = BridgeError(ErrorKind.NO_SUCH_OBJECT, "gone", libvirt.VIR_ERR_NO_DOMAIN)
    host = Host(
        3,
        getAllDomainStats=NO_SUPPORT,
        domainListGetStats=NO_SUPPORT,
        info=lambda raw: gone if raw.uuid == "1" else [1, 1, 1, 1, 1],
    )
    asked = sampler(host)
    assert set(await asked.sample(frozenset({"cpu-total"}))) == {"0", "2"}
    with pytest.raises(BridgeError) as failure:
        await asked.sample(frozenset({"cpu-total"}), "1")
    assert failure.value.kind is ErrorKind.NO_SUCH_OBJECT


async def test_a_sample_of_all_does_not_wait_for_a_queue_of_single_ones(clock: FakeClock) -> None:
    answer = [(Raw("0"), {"state.state": 1, "cpu.time": 1})]
    host = Host(1, getAllDomainStats=answer, domainListGetStats=answer)
    host.takes_s = 0.005
    asked = sampler(host)
    singles = [asyncio.create_task(asked.sample(USUAL_GROUPS, "0")) for _ in range(20)]
    await asyncio.sleep(0)
    await asked.sample(USUAL_GROUPS)
    assert host.calls.count("domainListGetStats") <= 2
    await asyncio.gather(*singles)
    assert host.most == 1


async def test_more_domains_than_one_answer_holds_come_in_several() -> None:
    host = Host(
        module.STATS_CHUNK + 5,
        getAllDomainStats=TOO_MANY,
        domainListGetStats=lambda _, raws, *__: [(raw, {"state.state": 1, "cpu.time": 1}) for raw in raws],
    )
    asked = sampler(host)
    for _ in range(2):
        assert len(await asked.sample(USUAL_GROUPS)) == module.STATS_CHUNK + 5
    assert host.calls.count("getAllDomainStats") == 1
    assert host.calls.count("domainListGetStats") == 4


async def test_a_host_that_is_only_slow_gets_more_time(clock: FakeClock) -> None:
    full = [(Raw("0"), {"state.state": 1, "cpu.time": 1})]
    host = Host(1, getAllDomainStats=full, controlInfo=[0, 0, 0])
    asked = sampler(host)
    host.takes_s = 0.15
    for _ in range(2):
        samples = await asked.sample(USUAL_GROUPS)
        assert samples["0"].values["cpu-time-ns"] == 1
        assert not samples["0"].values["stuck"]
    assert host.calls.count("getAllDomainStats") in (4, 3)


async def test_a_host_that_never_answers_is_asked_so_often_and_no_more(clock: FakeClock) -> None:
    host = Host(1, getAllDomainStats=[], controlInfo=NO_SUPPORT)
    host.takes_s = 3600
    asked = sampler(host)
    for _ in range(3):
        with pytest.raises(BridgeError) as failure:
            await asked.sample(USUAL_GROUPS)
        assert failure.value.kind is ErrorKind.TIMEOUT
    assert host.calls.count("getAllDomainStats") == module.HANGING_LIMIT + 1


async def test_any_other_failure_is_the_asker_s() -> None:
    host = Host(
        1, getAllDomainStats=BridgeError(ErrorKind.NOT_AUTHORIZED, "no", libvirt.VIR_ERR_ACCESS_DENIED)
    )
    with pytest.raises(BridgeError) as failure:
        await sampler(host).sample(USUAL_GROUPS)
    assert failure.value.kind is ErrorKind.NOT_AUTHORIZED
