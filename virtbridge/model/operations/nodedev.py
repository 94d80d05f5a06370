"""The rows of node devices, secrets, network filters and their bindings. Pure."""

from virtbridge.model.keys import Kind
from virtbridge.model.operations.parameters import flags, or_none
from virtbridge.model.operations.row import Form, Operation, Parameter

_NODEDEV, _SECRET = (Kind.NODEDEV,), (Kind.SECRET,)
_SECRET_LIMIT = 65536  # REMOTE_SECRET_VALUE_MAX


def _device(
    name: str,
    call: str,
    permission: str,
    options: tuple[Parameter, ...] = (),
    events: tuple[str, ...] = (),
    rereads: tuple[Kind, ...] = (),
) -> Operation:
    return Operation(
        name,
        _NODEDEV,
        Form.NOTHING,
        call,
        options=options,
        permissions=(permission,),
        events=events,
        rereads=rereads,
    )


ROWS = (
    Operation(
        "set-autostart",
        _NODEDEV,
        Form.NOTHING,
        "setAutostart",
        arguments=(Parameter("value", "b"),),
        permissions=("node_device:write",),
        changes=(("autostart", "value"),),
    ),
    _device("start", "create", "node_device:start", (flags(),), ("created",)),
    # Its own, as the device goes with it: of one that is defined, it stays as an inactive one.
    _device("destroy", "destroy", "node_device:stop", events=("deleted",)),
    _device("undefine", "undefine", "node_device:delete", (flags(),), ("undefined",)),
    _device(
        "detach",
        "detachFlags",
        "node_device:detach",
        (Parameter("driver", "s", default=None, made=or_none), flags()),
        rereads=_NODEDEV,
    ),
    _device("reattach", "reAttach", "node_device:detach", rereads=_NODEDEV),
    _device("reset", "reset", "node_device:detach", rereads=_NODEDEV),
    Operation("get-value", _SECRET, Form.BYTES, "value", permissions=("secret:read_secure",)),
    Operation(
        "set-value",
        _SECRET,
        Form.NOTHING,
        "setValue",
        arguments=(Parameter("value", "ay", limit=_SECRET_LIMIT),),
        options=(flags(),),
        permissions=("secret:write",),
    ),
    Operation(
        "undefine",
        _SECRET,
        Form.NOTHING,
        "undefine",
        permissions=("secret:delete",),
        events=("undefined",),
    ),
    Operation(
        "undefine",
        (Kind.NWFILTER,),
        Form.NOTHING,
        "undefine",
        permissions=("nwfilter:delete",),
        rereads=(Kind.NWFILTER,),
    ),
    Operation(
        "delete",
        (Kind.NWFILTERBINDING,),
        Form.NOTHING,
        "delete",
        permissions=("nwfilter_binding:delete",),
        rereads=(Kind.NWFILTERBINDING,),
    ),
)
