"""The rows of a domain's resources: memory, vCPUs, threads, and what the host gives them. Pure."""

from collections.abc import Callable
from typing import Any

from virtbridge.model.keys import Kind
from virtbridge.model.operations.domain_devices import WRITE_AFFECTED, changing
from virtbridge.model.operations.parameters import (
    AFFECT,
    PARAMETERS,
    bit,
    cpu_list,
    cpu_mask,
    flags,
    kibibytes,
    seconds,
    whole_number,
)
from virtbridge.model.operations.row import MOVING_MS, Form, Operation, Parameter, unchanged

_DOMAIN = (Kind.DOMAIN,)
_CPUS = Parameter("cpus", "au", made=cpu_mask, limit=8192)
_IOTHREAD = Parameter("iothread", "u", made=whole_number)
_ONLINE = Parameter("online", "b", made=int)


def _read(
    name: str,
    call: str,
    form: Form = Form.REPORT,
    answer: Callable[[Any], Any] = unchanged,
    options: tuple[Parameter, ...] = AFFECT,
) -> Operation:
    return Operation(
        name,
        _DOMAIN,
        form,
        call,
        options=options,
        permissions=("domain:read",),
        answer=answer,
        cached_ms=MOVING_MS,
    )


def _places(mask: Any) -> list[int]:
    return [number for number, is_set in enumerate(mask) if is_set]


def _pins(answer: Any) -> dict[str, list[str]]:
    """By vCPU, the numbers of the host's CPUs as texts, as a report has lists."""
    return {f"vcpu-{number}": list(map(str, _places(mask))) for number, mask in enumerate(answer)}


def _iothreads(answer: Any) -> dict[str, list[str]]:
    return {f"iothread-{number}": list(map(str, _places(mask))) for number, mask in answer}


def _labels(answer: list[tuple[str, bool]]) -> list[dict[str, str | bool]]:
    return [{"label": label, "enforcing": enforcing} for label, enforcing in answer]


ROWS = (
    # VIR_DOMAIN_MEM_MAXIMUM.
    changing(
        "set-memory",
        "setMemoryFlags",
        Parameter("memory", "t", made=kibibytes),
        options=(bit("live", 1), bit("config", 2), bit("maximum", 4), flags()),
    ),
    changing(
        "set-memory-stats-period",
        "setMemoryStatsPeriod",
        Parameter("period", "t", made=seconds),
    ),
    # VIR_DOMAIN_VCPU_*; `guest` is done by the agent.
    changing(
        "set-vcpus",
        "setVcpusFlags",
        Parameter("vcpus", "u", made=whole_number),
        options=(
            bit("live", 1),
            bit("config", 2),
            bit("maximum", 4),
            bit("guest", 8),
            bit("hotpluggable", 16),
            flags(),
        ),
        permissions=(*WRITE_AFFECTED, "domain:write:VIR_DOMAIN_VCPU_GUEST"),
    ),
    changing("set-vcpu", "setVcpu", Parameter("vcpus", "au", made=cpu_list), _ONLINE),
    changing("pin-vcpu", "pinVcpuFlags", Parameter("vcpu", "u", made=whole_number), _CPUS),
    _read("get-vcpu-pins", "vcpuPinInfo", answer=_pins),
    changing("pin-emulator", "pinEmulator", _CPUS),
    _read("get-emulator-pin", "emulatorPinInfo", Form.NUMBERS, _places),
    changing("add-iothread", "addIOThread", _IOTHREAD),
    changing("remove-iothread", "delIOThread", _IOTHREAD),
    changing("pin-iothread", "pinIOThread", _IOTHREAD, _CPUS),
    changing("set-iothread-parameters", "setIOThreadParams", _IOTHREAD, PARAMETERS),
    _read("get-iothreads", "ioThreadInfo", answer=_iothreads),
    changing("set-scheduler-parameters", "setSchedulerParametersFlags", PARAMETERS),
    _read("get-scheduler-parameters", "schedulerParametersFlags"),
    changing("set-blkio-parameters", "setBlkioParameters", PARAMETERS),
    _read("get-blkio-parameters", "blkioParameters"),
    changing("set-memory-parameters", "setMemoryParameters", PARAMETERS),
    _read("get-memory-parameters", "memoryParameters"),
    changing("set-numa-parameters", "setNumaParameters", PARAMETERS),
    _read("get-numa-parameters", "numaParameters"),
    changing("set-perf-events", "setPerfEvents", PARAMETERS, permissions=("domain:write",)),
    _read("get-perf-events", "perfEvents"),
    Operation(
        "start-dirty-rate-calculation",
        _DOMAIN,
        Form.NOTHING,
        "startDirtyRateCalc",
        arguments=(Parameter("period", "t", made=seconds),),
        options=(flags(),),
        permissions=("domain:write",),
    ),
    _read("get-launch-security-info", "launchSecurityInfo", options=()),
    Operation(
        "set-launch-security-state",
        _DOMAIN,
        Form.NOTHING,
        "setLaunchSecurityState",
        arguments=(PARAMETERS,),
        options=(flags(),),
        permissions=("domain:write",),
    ),
    _read("get-security-labels", "securityLabelList", Form.REPORTS, _labels, options=()),
)
