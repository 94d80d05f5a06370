"""The rows of what libvirt tells of a domain beside its XML and its statistics. Pure."""

from virtbridge.model.keys import Kind
from virtbridge.model.operations.parameters import bit, same
from virtbridge.model.operations.row import MOVING_MS, Form, Operation, Parameter

_DOMAIN = (Kind.DOMAIN,)
# virDomainControlState.
_CONTROL = {0: "ok", 1: "job", 2: "occupied", 3: "error"}


def _control(answer: list[int]) -> dict[str, str | int]:
    state, details, since_ms = answer
    return {"state": _CONTROL.get(state, str(state)), "details": details, "state-time-ms": since_ms}


ROWS = (
    Operation(
        "get-interface-addresses",
        _DOMAIN,
        Form.DESCRIPTIONS,
        options=(
            Parameter(
                "source",
                "s",
                default="lease",
                words=same("lease", "agent", "arp"),
                harmless=("lease", "arp"),
            ),
        ),
        permissions=("domain:read", "domain:write::source:VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT"),
        cached_ms=MOVING_MS,
    ),
    Operation(
        "get-job-info",
        _DOMAIN,
        Form.REPORT,
        options=(Parameter("completed", "b", default=False),),
        permissions=("domain:read",),
        cached_ms=MOVING_MS,
    ),
    Operation(
        "get-messages",
        _DOMAIN,
        Form.TEXTS,
        "messages",
        # VIR_DOMAIN_MESSAGE_*.
        options=(bit("deprecation", 1), bit("tainting", 2)),
        permissions=("domain:read",),
        cached_ms=MOVING_MS,
    ),
    Operation(
        "get-control-info",
        _DOMAIN,
        Form.REPORT,
        "controlInfo",
        permissions=("domain:read",),
        answer=_control,
        cached_ms=MOVING_MS,
    ),
)
