"""The rows of a domain's life: starting, stopping, pausing, and its end. Pure."""

from functools import partial

from virtbridge.model.keys import Kind
from virtbridge.model.operations.definitions import STARTED
from virtbridge.model.operations.parameters import AFFECT, bit, flags, numbered, seconds
from virtbridge.model.operations.plain_rows import command, set_autostart
from virtbridge.model.operations.row import Form, Operation, Parameter

_DOMAIN = (Kind.DOMAIN,)

# virDomainShutdownFlagValues and virDomainRebootFlagValues. The agent needs domain:write; without a mode
# the hypervisor chooses.
_MODES = {"": 0, "acpi": 1, "agent": 2, "initctl": 4, "signal": 8, "paravirt": 16}
_MODE = (
    Parameter(
        "mode",
        "s",
        default=0,
        into="flags",
        words=_MODES,
        harmless=tuple(mode for mode in _MODES if mode != "agent"),
    ),
    flags(sum(_MODES.values()) - _MODES["agent"]),
)

# virDomainUndefineFlagsValues.
_UNDEFINE = (
    bit("managed-save", 1),
    bit("snapshots-metadata", 2),
    bit("nvram", 4),
    bit("keep-nvram", 8),
    bit("checkpoints-metadata", 16),
    flags(),
)

# virDomainLifecycle, virDomainLifecycleAction.
_EVENT = Parameter("event", "s", words=numbered("poweroff", "reboot", "crash"))
_ACTION = Parameter(
    "action",
    "s",
    words=numbered(
        "destroy", "restart", "restart-rename", "preserve", "coredump-destroy", "coredump-restart"
    ),
)

_row = partial(command, Kind.DOMAIN)

ROWS = (
    set_autostart(Kind.DOMAIN, "domain:write"),
    # Starting uses a saved image up, or throws it away.
    _row("start", "createWithFlags", "domain:start", (*STARTED, flags()), events=("started",)),
    _row("suspend", "suspend", "domain:suspend", events=("suspended",), asks=("state",)),
    _row("resume", "resume", "domain:suspend", events=("resumed",), asks=("state",)),
    _row("reset", "reset", "domain:reset", (flags(),)),
    _row("power-off", "destroyFlags", "domain:stop", (bit("graceful", 1), flags()), events=("stopped",)),
    # The guest takes its time, or does nothing: an event tells when it has stopped.
    Operation(
        "shutdown",
        _DOMAIN,
        Form.NOTHING,
        "shutdownFlags",
        options=_MODE,
        permissions=("domain:init_control", "domain:write:VIR_DOMAIN_SHUTDOWN_GUEST_AGENT"),
    ),
    Operation(
        "reboot",
        _DOMAIN,
        Form.NOTHING,
        "reboot",
        options=_MODE,
        permissions=("domain:init_control", "domain:write:VIR_DOMAIN_REBOOT_GUEST_AGENT"),
    ),
    Operation(
        "pm-suspend",
        _DOMAIN,
        Form.NOTHING,
        "pMSuspendForDuration",
        arguments=(Parameter("target", "s", words=numbered("mem", "disk", "hybrid")),),
        options=(Parameter("duration", "t", default=0, made=seconds), flags()),
        permissions=("domain:pm_control",),
    ),
    _row("pm-wakeup", "pMWakeup", "domain:pm_control", (flags(),)),
    _row("remove-managed-save", "managedSaveRemove", "domain:hibernate", asks=("hasManagedSaveImage",)),
    _row("undefine", "undefineFlags", "domain:delete", _UNDEFINE, events=("undefined",)),
    Operation(
        "rename",
        _DOMAIN,
        Form.NOTHING,
        "rename",
        arguments=(Parameter("name", "s"),),
        options=(flags(),),
        permissions=("domain:write", "domain:save"),
        events=("defined",),
    ),
    Operation(
        "set-lifecycle-action",
        _DOMAIN,
        Form.NOTHING,
        "setLifecycleAction",
        arguments=(_EVENT, _ACTION),
        options=AFFECT,
        permissions=("domain:write",),
        rereads=_DOMAIN,
    ),
    _row("inject-nmi", "injectNMI", "domain:inject_nmi", (flags(),)),
    _row("abort-job", "abortJobFlags", "domain:write", (bit("postcopy", 1), flags())),
)
