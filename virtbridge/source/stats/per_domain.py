"""One domain's statistics from calls of its own, for drivers that have no bulk statistics.

The answer is what virConnectGetAllDomainStats() would give: its keys, its units. What the driver does not
tell is left out. Must not be used where the bulk call tells more: it costs a call for each device.
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
# virDomainMemoryStats() as libvirt-python names it; `actual` is the balloon's size
_MEMORY: Mapping[str, str] = {
    "swap_in": "swap_in", "swap_out": "swap_out", "major_fault": "major_fault", "minor_fault": "minor_fault",
    "unused": "unused", "available": "available", "usable": "usable", "last_update": "last-update",
    "disk_caches": "disk_caches", "rss": "rss",
}  # fmt: skip


class PerDomain:
    """Of one session. What its driver does not have at all is asked once."""

    def __init__(self, session: Session, timeout_s: float) -> None:
        self._session = session
        self._timeout_s = timeout_s
        self._lacking: set[str] = set()

    async def fetch(
        self, raw: Any, record: DomainRecord, groups: frozenset[str], then: Callable[[Numbers], T]
    ) -> T:
        """All calls of a domain in one worker, which does `then` as well. Raises BridgeError when not even
        virDomainGetInfo() is answered.
        """

        def read(info: list[Any]) -> T:
            return then(self._read(raw, record, groups, info))

        answer: T = await self._session.on(raw, "info", then=read, timeout_s=self._timeout_s)
        return answer

    # -- in a worker ----------------------------------------------------------------------------------------

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
        """None when this driver, or this device, does not tell."""
        if method in self._lacking:
            return None
        try:
            return self._session.call_from_worker(raw, method, *args)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
                self._lacking.add(method)
            return None  # where it is the connection that is lost, the next domain's first call fails


def _vcpus(answer: Any) -> Numbers:
    """answer: virDomainGetVcpus() as libvirt-python gives it, the vCPUs and where each may run; or None."""
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
        # -1 is libvirt's word for not known.
        counters = zip(names, answer or (), strict=False)
        numbers |= {f"{prefix}.{place}.{name}": value for name, value in counters if value >= 0}
    return numbers
