"""The rows of connections: what they tell of the host, and what is done to the host itself. Pure."""

from virtbridge.model.keys import Kind
from virtbridge.model.operations.parameters import (
    PARAMETERS,
    XML,
    bit,
    flags,
    numbered,
    or_none,
    seconds,
    size,
)
from virtbridge.model.operations.row import (
    LIST_LIMIT,
    MOVING_MS,
    SETTLED_MS,
    XML_LIMIT,
    Form,
    Operation,
    Parameter,
)

_CONNECTION = (Kind.CONNECTION,)
_READ, _WRITE = ("connect:read",), ("connect:write",)
_MACHINE_WORDS = ("emulator", "arch", "machine", "type")
_MACHINE = tuple(Parameter(word, "s", default="") for word in _MACHINE_WORDS)
# For calls that take an empty word for a name.
_HYPERVISOR = tuple(Parameter(word, "s", default=None, made=or_none) for word in _MACHINE_WORDS)
_CPUS = Parameter("cpus", "as", limit=LIST_LIMIT)
# VIR_CONNECT_BASELINE_CPU_*, VIR_CONNECT_COMPARE_CPU_*.
_BASELINE = (bit("expand-features", 1), bit("migratable", 2), flags())
_COMPARE = (bit("fail-incompatible", 1), bit("validate", 2), flags())
# virCPUCompareResult.
_COMPARED = {-1: "error", 0: "incompatible", 1: "identical", 2: "superset"}
# libvirt-python makes room for all cells that a caller names, before libvirt refuses more than
# REMOTE_NODE_MAX_CELLS: without this limit one call could take all memory.
_CELLS_LIMIT = 1024
_PAGES = (
    Parameter("start-cell", "i", default=-1),
    Parameter("cells", "u", default=1, limit=_CELLS_LIMIT),
)
_INTERFACE_CHANGE = ("connect:interface_transaction",)


def _compared(answer: int) -> str:
    return _COMPARED.get(answer, str(answer))


def _page_counts(answer: dict[int, dict[int, int]]) -> dict[str, int]:
    """libvirt-python gives, for each cell, counts by the size of the page in KiB. Cell -1 is the host."""
    return {
        f"cell-{cell}.pages-{size}-kib" if cell >= 0 else f"pages-{size}-kib": count
        for cell, of in answer.items()
        for size, count in of.items()
    }


def _cpu_map(answer: tuple[int, list[bool], int]) -> dict[str, int | list[str]]:
    present, online, count = answer
    return {
        "present": present,
        "online": count,
        "cpus": [str(number) for number, is_online in enumerate(online) if is_online],
    }


def _security(answer: list[str]) -> dict[str, str]:
    return dict(zip(("model", "doi"), answer, strict=False))


ROWS = (
    Operation(
        "get-capabilities",
        _CONNECTION,
        Form.TEXT,
        "getCapabilities",
        permissions=_READ,
        cached_ms=SETTLED_MS,
    ),
    Operation("get-emulators", _CONNECTION, Form.NOTHING, cached_ms=SETTLED_MS, internal=True),
    Operation(
        "get-domain-capabilities",
        _CONNECTION,
        Form.TEXT,
        options=_MACHINE,
        permissions=_WRITE,
        cached_ms=SETTLED_MS,
    ),
    Operation("get-sysinfo", _CONNECTION, Form.TEXT, "getSysinfo", permissions=_READ, cached_ms=SETTLED_MS),
    Operation(
        "get-storage-pool-capabilities",
        _CONNECTION,
        Form.TEXT,
        "getStoragePoolCapabilities",
        permissions=_READ,
        cached_ms=SETTLED_MS,
    ),
    Operation("get-node-info", _CONNECTION, Form.DESCRIPTION, permissions=_READ, cached_ms=SETTLED_MS),
    Operation("get-node-stats", _CONNECTION, Form.SIZES, permissions=_READ, cached_ms=MOVING_MS),
    Operation(
        "get-free-memory",
        _CONNECTION,
        Form.NUMBER,
        "getFreeMemory",
        permissions=_READ,
        cached_ms=MOVING_MS,
        short=True,
    ),
    Operation(
        "get-free-pages",
        _CONNECTION,
        Form.SIZES,
        "getFreePages",
        arguments=(Parameter("sizes", "au", made=list),),
        options=_PAGES,
        permissions=_READ,
        answer=_page_counts,
    ),
    Operation(
        "allocate-pages",
        _CONNECTION,
        Form.NOTHING,
        arguments=(Parameter("size", "u"), Parameter("count", "t", made=size)),
        options=(*_PAGES, bit("set", 1), flags()),
        permissions=_WRITE,
    ),
    Operation(
        "get-cpu-map",
        _CONNECTION,
        Form.REPORT,
        "getCPUMap",
        permissions=_READ,
        answer=_cpu_map,
        cached_ms=SETTLED_MS,
    ),
    Operation(
        "get-cpu-models",
        _CONNECTION,
        Form.TEXTS,
        "getCPUModelNames",
        arguments=(Parameter("arch", "s"),),
        permissions=_READ,
    ),
    Operation(
        "get-max-vcpus",
        _CONNECTION,
        Form.NUMBER,
        "getMaxVcpus",
        arguments=(Parameter("type", "s"),),
        permissions=_READ,
        short=True,
    ),
    Operation(
        "get-security-model",
        _CONNECTION,
        Form.REPORT,
        "getSecurityModel",
        permissions=_READ,
        answer=_security,
        cached_ms=SETTLED_MS,
    ),
    Operation("get-sev-info", _CONNECTION, Form.REPORT, "getSEVInfo", permissions=_READ),
    Operation(
        "get-memory-parameters",
        _CONNECTION,
        Form.REPORT,
        "getMemoryParameters",
        permissions=_READ,
        cached_ms=MOVING_MS,
    ),
    Operation(
        "set-memory-parameters",
        _CONNECTION,
        Form.NOTHING,
        "setMemoryParameters",
        arguments=(PARAMETERS,),
        options=(flags(),),
        permissions=_WRITE,
    ),
    Operation(
        "compare-cpu",
        _CONNECTION,
        Form.TEXT,
        "compareCPU",
        arguments=(XML,),
        options=_COMPARE,
        permissions=_READ,
        answer=_compared,
    ),
    Operation(
        "baseline-cpu",
        _CONNECTION,
        Form.TEXT,
        "baselineCPU",
        arguments=(_CPUS,),
        options=_BASELINE,
        permissions=_READ,
    ),
    Operation(
        "compare-hypervisor-cpu",
        _CONNECTION,
        Form.TEXT,
        "compareHypervisorCPU",
        arguments=(XML,),
        options=(*_HYPERVISOR, *_COMPARE),
        permissions=_WRITE,
        order=("emulator", "arch", "machine", "type", "xml", "flags"),
        answer=_compared,
    ),
    Operation(
        "baseline-hypervisor-cpu",
        _CONNECTION,
        Form.TEXT,
        "baselineHypervisorCPU",
        arguments=(_CPUS,),
        options=(*_HYPERVISOR, *_BASELINE),
        permissions=_WRITE,
        order=("emulator", "arch", "machine", "type", "cpus", "flags"),
    ),
    Operation(
        "convert-to-xml",
        _CONNECTION,
        Form.TEXT,
        "domainXMLFromNative",
        arguments=(Parameter("format", "s"), Parameter("configuration", "s", limit=XML_LIMIT)),
        options=(flags(),),
        permissions=_WRITE,
    ),
    Operation(
        "convert-from-xml",
        _CONNECTION,
        Form.TEXT,
        "domainXMLToNative",
        arguments=(Parameter("format", "s"), XML),
        options=(flags(),),
        permissions=_WRITE,
    ),
    Operation(
        "find-storage-pool-sources",
        _CONNECTION,
        Form.TEXT,
        "findStoragePoolSources",
        arguments=(Parameter("type", "s"),),
        options=(Parameter("source-xml", "s", default="", limit=XML_LIMIT), flags()),
        permissions=("connect:detect_storage_pools",),
    ),
    Operation(
        "suspend-host",
        _CONNECTION,
        Form.NOTHING,
        "suspendForDuration",
        arguments=(
            # virNodeSuspendTarget.
            Parameter("target", "s", words=numbered("mem", "disk", "hybrid")),
            Parameter("duration", "t", made=seconds),
        ),
        options=(flags(),),
        permissions=("connect:pm_control",),
    ),
    Operation(
        "begin-interface-change", _CONNECTION, Form.NOTHING, "changeBegin", permissions=_INTERFACE_CHANGE
    ),
    Operation(
        "commit-interface-change", _CONNECTION, Form.NOTHING, "changeCommit", permissions=_INTERFACE_CHANGE
    ),
    Operation(
        "rollback-interface-change",
        _CONNECTION,
        Form.NOTHING,
        "changeRollback",
        permissions=_INTERFACE_CHANGE,
        rereads=(Kind.INTERFACE,),
    ),
)
