"""The statistics of one domain from separate calls, for drivers that have no bulk statistics.

The answer has the keys and units of virConnectGetAllDomainStats(), without what the driver does not report.
It costs a call for each device, so it is used only where the bulk call does not work.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import libvirt

from virtbridge.model.records import DomainRecord
from virtbridge.source.calls.session import Session

Numbers = dict[str, Any]
T = TypeVar("T")

_BLOCK = ("rd.reqs", "rd.bytes", "wr.reqs", "wr.bytes")
_NET = ("rx.bytes", "rx.pkts", "rx.errs", "rx.drop", "tx.bytes", "tx.pkts", "tx.errs", "tx.drop")
# libvirt-python's names for virDomainMemoryStats(). `actual` is the size of the balloon.
_MEMORY: Mapping[str, str] = {
    "swap_in": "swap_in", "swap_out": "swap_out", "major_fault": "major_fault", "minor_fault": "minor_fault",
    "unused": "unused", "available": "available", "usable": "usable", "last_update": "last-update",
    "disk_caches": "disk_caches", "rss": "rss",
}  # fmt: skip


class PerDomain:
    """Makes these calls in one session. A call that the driver does not have is tried only once."""

    def __init__(self, session: Session, timeout_s: float) -> None:
        self._session = session
        self._timeout_s = timeout_s
        self._lacking: set[str] = set()

    async def fetch(
        self, raw: Any, record: DomainRecord, groups: frozenset[str], then: Callable[[Numbers], T]
    ) -> T:
        """Make all calls for a domain in one worker. then: turns the statistics into the answer, there as
        well. Raises BridgeError when even virDomainGetInfo() fails.
        """

        def read(info: list[Any]) -> T:
            return then(self._read(raw, record, groups, info))

        return await self._session.on(raw, "info", then=read, timeout_s=self._timeout_s)

    # -- these run in a worker -------------------------------------------------------------------------------

    def _read(self, raw: Any, record: DomainRecord, groups: frozenset[str], info: list[Any]) -> Numbers:
        if_supported = partial(self._if_supported, raw)
        _state, maximum, memory, vcpus, cpu_time = info
        numbers: Numbers = {}
        if "state" in groups:
            numbers["state.state"], numbers["state.reason"] = self._session.call_from_worker(raw, "state")
        if "vcpu" in groups:
            numbers |= {"vcpu.current": vcpus, "vcpu.maximum": record.definition.vcpus_maximum or vcpus}
        if "balloon" in groups:
            numbers |= {"balloon.current": memory, "balloon.maximum": maximum}
        if not record.active:
            return numbers
        if "cpu-total" in groups:
            numbers["cpu.time"] = cpu_time
        if "vcpu" in groups:
            numbers |= _vcpus(if_supported("vcpus"))
        if "balloon" in groups:
            answer = if_supported("memoryStats") or {}
            numbers |= {
                f"balloon.{_MEMORY[name]}": value for name, value in answer.items() if name in _MEMORY
            }
        if "block" in groups:
            disks = [(disk.target, disk.source) for disk in record.definition.disks if disk.target]
            numbers |= _devices(if_supported, "block", "blockStats", disks, _BLOCK)
        if "interface" in groups:
            nics = [(nic.target, "") for nic in record.definition.interfaces if nic.target]
            numbers |= _devices(if_supported, "net", "interfaceStats", nics, _NET)
        return numbers

    def _if_supported(self, raw: Any, method: str, *args: Any) -> Any:
        """Return None when the driver does not have the call, or not for this device."""
        if method in self._lacking:
            return None
        try:
            return self._session.call_from_worker(raw, method, *args)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
                self._lacking.add(method)
            return None  # when the connection is lost, the first call for the next domain fails


def _vcpus(answer: Any) -> Numbers:
    """answer: what libvirt-python returns for virDomainGetVcpus(), the vCPUs and their affinity; or None."""
    numbers: Numbers = {}
    for number, state, time_ns, _cpu in answer[0] if answer else ():
        numbers |= {f"vcpu.{number}.state": state, f"vcpu.{number}.time": time_ns}
    return numbers


def _devices(
    if_supported: Callable[..., Any],
    prefix: str,
    method: str,
    devices: list[tuple[str, str]],
    names: tuple[str, ...],
) -> Numbers:
    numbers: Numbers = {f"{prefix}.count": len(devices)}
    for place, (target, path) in enumerate(devices):
        numbers[f"{prefix}.{place}.name"] = target
        if path:
            numbers[f"{prefix}.{place}.path"] = path
        answer = if_supported(method, target)
        # libvirt writes -1 for an unknown value.
        counters = zip(names, answer or (), strict=False)
        numbers |= {f"{prefix}.{place}.{name}": value for name, value in counters if value >= 0}
    return numbers
