"""The rows that reach into the guest: its keyboard, its processes and its agent. Pure."""

from virtbridge.model.keys import Kind
from virtbridge.model.operations.parameters import (
    bit,
    cpu_list,
    flags,
    moment,
    numbered,
    or_none,
    size,
)
from virtbridge.model.operations.row import MOVING_MS, Form, Operation, Parameter

_DOMAIN = (Kind.DOMAIN,)
_WRITE, _FREEZE = ("domain:write",), ("domain:fs_freeze",)
_KEYS_LIMIT = 16  # VIR_DOMAIN_SEND_KEY_MAX_KEYS

# virDomainGuestInfoTypes.
_GUEST_INFO = {
    "users": 1,
    "os": 2,
    "timezone": 4,
    "hostname": 8,
    "filesystem": 16,
    "disks": 32,
    "interfaces": 64,
}
# virKeycodeSet.
_CODESETS = numbered("linux", "xt", "atset1", "atset2", "atset3", "osx", "xt-kbd", "usb", "win32", "qnum")
# virDomainProcessSignal.
_SIGNALS = numbered(
    "nop", "hup", "int", "quit", "ill", "trap", "abrt", "bus", "fpe", "kill", "usr1", "segv", "usr2",
    "pipe", "alrm", "term", "stkflt", "chld", "cont", "stop", "tstp", "ttin", "ttou", "urg", "xcpu", "xfsz",
    "vtalrm", "prof", "winch", "poll", "pwr", "sys",
)  # fmt: skip
_MOUNTPOINTS = Parameter("mountpoints", "as", default=None, made=or_none)
_USER = Parameter("user", "s")
# virDomainAgentResponseTimeoutValues: -2 waits for ever, -1 as long as libvirt likes, 0 not at all.
_AGENT_TIMEOUT = Parameter("seconds", "i")


def _agent(
    name: str,
    call: str,
    *arguments: Parameter,
    options: tuple[Parameter, ...] = (),
    permissions: tuple[str, ...] = _WRITE,
    form: Form = Form.NOTHING,
) -> Operation:
    return Operation(name, _DOMAIN, form, call, arguments=arguments, options=options, permissions=permissions)


ROWS = (
    Operation(
        "get-guest-info",
        _DOMAIN,
        Form.REPORT,
        "guestInfo",
        options=(Parameter("types", "as", default=0, words=_GUEST_INFO),),
        permissions=_WRITE,
        cached_ms=MOVING_MS,
    ),
    Operation(
        "send-keys",
        _DOMAIN,
        Form.NOTHING,
        arguments=(Parameter("keys", "au", limit=_KEYS_LIMIT, made=list),),
        options=(
            Parameter("codeset", "s", default=0, words=_CODESETS),
            Parameter("hold-time", "u", default=0),
            flags(),
        ),
        permissions=("domain:send_input",),
    ),
    Operation(
        "send-process-signal",
        _DOMAIN,
        Form.NOTHING,
        "sendProcessSignal",
        arguments=(Parameter("process", "t", made=size), Parameter("signal", "s", words=_SIGNALS)),
        options=(flags(),),
        permissions=("domain:send_signal",),
    ),
    _agent(
        "set-user-password",
        "setUserPassword",
        _USER,
        Parameter("password", "s"),
        options=(bit("encrypted", 1), flags()),
        permissions=("domain:set_password",),
    ),
    _agent("fs-freeze", "fsFreeze", options=(_MOUNTPOINTS, flags()), permissions=_FREEZE),
    _agent("fs-thaw", "fsThaw", options=(_MOUNTPOINTS, flags()), permissions=_FREEZE),
    _agent(
        "fs-trim",
        "fSTrim",
        options=(
            Parameter("mountpoint", "s", default=None, made=or_none),
            Parameter("minimum", "t", default=0, made=size),
            flags(),
        ),
        permissions=("domain:fs_trim",),
    ),
    Operation(
        "get-fs-info",
        _DOMAIN,
        Form.REPORTS,
        "fsInfo",
        permissions=_FREEZE,
        answer=lambda found: [
            dict(zip(("mountpoint", "name", "type", "devices"), each, strict=True)) for each in found
        ],
        cached_ms=MOVING_MS,
    ),
    Operation(
        "get-time",
        _DOMAIN,
        Form.NUMBER,
        "getTime",
        permissions=_WRITE,
        answer=lambda found: found["seconds"] * 1_000_000 + found["nseconds"] // 1000,
    ),
    # VIR_DOMAIN_TIME_SYNC takes the time from the guest's hardware clock.
    _agent(
        "set-time",
        "setTime",
        options=(Parameter("time", "t", default=None, made=moment), bit("sync", 1), flags()),
        permissions=("domain:set_time",),
    ),
    Operation(
        "get-guest-vcpus",
        _DOMAIN,
        Form.REPORT,
        "guestVcpus",
        permissions=_WRITE,
        cached_ms=MOVING_MS,
    ),
    _agent(
        "set-guest-vcpus",
        "setGuestVcpus",
        Parameter("vcpus", "au", made=cpu_list),
        Parameter("online", "b", made=int),
        options=(flags(),),
    ),
    Operation(
        "get-hostname",
        _DOMAIN,
        Form.TEXT,
        "hostname",
        # VIR_DOMAIN_GET_HOSTNAME_*.
        options=(
            Parameter("source", "s", default=0, into="flags", words={"": 0, "lease": 1, "agent": 2}),
            flags(),
        ),
        permissions=_WRITE,
        cached_ms=MOVING_MS,
    ),
    _agent("set-agent-timeout", "agentSetResponseTimeout", _AGENT_TIMEOUT, options=(flags(),)),
    _agent("get-authorized-ssh-keys", "authorizedSSHKeysGet", _USER, form=Form.TEXTS),
    # VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_*.
    _agent(
        "set-authorized-ssh-keys",
        "authorizedSSHKeysSet",
        _USER,
        Parameter("keys", "as", made=or_none),
        options=(bit("append", 1), bit("remove", 2), flags()),
    ),
)
