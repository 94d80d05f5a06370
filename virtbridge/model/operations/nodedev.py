"""The rows of node devices, secrets, network filters and their bindings. Pure."""

from functools import partial

from virtbridge.model.keys import Kind
from virtbridge.model.operations.parameters import flags, or_none
from virtbridge.model.operations.plain_rows import command, set_autostart
from virtbridge.model.operations.row import Form, Operation, Parameter

_NODEDEV, _SECRET = (Kind.NODEDEV,), (Kind.SECRET,)
_SECRET_LIMIT = 65536  # REMOTE_SECRET_VALUE_MAX

_device = partial(command, Kind.NODEDEV)

ROWS = (
    set_autostart(Kind.NODEDEV, "node_device:write"),
    _device("start", "create", "node_device:start", (flags(),), events=("created",)),
    # Its own, as the device goes with it: of one that is defined, it stays as an inactive one.
    _device("destroy", "destroy", "node_device:stop", events=("deleted",)),
    _device("undefine", "undefine", "node_device:delete", (flags(),), events=("undefined",)),
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
    command(Kind.SECRET, "undefine", "undefine", "secret:delete", events=("undefined",)),
    command(Kind.NWFILTER, "undefine", "undefine", "nwfilter:delete", rereads=(Kind.NWFILTER,)),
    command(
        Kind.NWFILTERBINDING, "delete", "delete", "nwfilter_binding:delete", rereads=(Kind.NWFILTERBINDING,)
    ),
)
