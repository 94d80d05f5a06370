"""The rows of networks and their ports, and of the host's interfaces. Pure."""

from functools import partial

from virtbridge.model.keys import Kind
from virtbridge.model.operations.parameters import PARAMETERS, XML, bit, flags
from virtbridge.model.operations.plain_rows import command, set_autostart
from virtbridge.model.operations.row import MOVING_MS, Form, Operation, Parameter

_NETWORK, _INTERFACE = (Kind.NETWORK,), (Kind.INTERFACE,)
_PORT = Parameter("port", "s")
# virNetworkUpdateCommand and virNetworkUpdateSection; the first of each is `none`.
_COMMANDS = {"modify": 1, "delete": 2, "add-last": 3, "add-first": 4}
_SECTIONS = {
    "bridge": 1, "domain": 2, "ip": 3, "ip-dhcp-host": 4, "ip-dhcp-range": 5, "forward": 6,
    "forward-interface": 7, "forward-pf": 8, "portgroup": 9, "dns-host": 10, "dns-txt": 11, "dns-srv": 12,
}  # fmt: skip


_row, _interface = partial(command, Kind.NETWORK), partial(command, Kind.INTERFACE, rereads=_INTERFACE)

ROWS = (
    set_autostart(Kind.NETWORK, "network:write"),
    _row("start", "create", "network:start", events=("started",)),
    _row("stop", "destroy", "network:stop", events=("stopped",)),
    _row("undefine", "undefine", "network:delete", events=("undefined",)),
    Operation(
        "update",
        _NETWORK,
        Form.NOTHING,
        "update",
        arguments=(
            Parameter("command", "s", words=_COMMANDS),
            Parameter("section", "s", words=_SECTIONS),
            XML,
        ),
        # VIR_NETWORK_UPDATE_AFFECT_*.
        options=(Parameter("index", "i", default=-1), bit("live", 1), bit("config", 2), flags()),
        permissions=(
            "network:write",
            "network:save:!VIR_NETWORK_UPDATE_AFFECT_CONFIG|VIR_NETWORK_UPDATE_AFFECT_LIVE",
            "network:save:VIR_NETWORK_UPDATE_AFFECT_CONFIG",
        ),
        order=("command", "section", "index", "xml", "flags"),
        rereads=_NETWORK,
    ),
    Operation(
        "get-dhcp-leases",
        _NETWORK,
        Form.DESCRIPTIONS,
        permissions=("network:read",),
        cached_ms=MOVING_MS,
    ),
    Operation(
        "list-ports",
        _NETWORK,
        Form.DESCRIPTIONS,
        permissions=("network:search_ports", "network_port:getattr"),
        cached_ms=MOVING_MS,
    ),
    # VIR_NETWORK_PORT_CREATE_*.
    Operation(
        "create-port",
        _NETWORK,
        Form.TEXT,
        "portCreateXML",
        arguments=(XML,),
        options=(bit("reclaim", 1), bit("validate", 2), flags()),
        permissions=("network_port:create",),
        answer=lambda port: port.UUIDString(),
    ),
    Operation(
        "delete-port",
        _NETWORK,
        Form.NOTHING,
        arguments=(_PORT,),
        options=(flags(),),
        permissions=("network_port:delete",),
    ),
    Operation(
        "get-port-parameters",
        _NETWORK,
        Form.REPORT,
        arguments=(_PORT,),
        permissions=("network_port:read",),
    ),
    Operation(
        "set-port-parameters",
        _NETWORK,
        Form.NOTHING,
        arguments=(_PORT, PARAMETERS),
        options=(flags(),),
        permissions=("network_port:write",),
    ),
    _interface("start", "create", "interface:start", (flags(),)),
    _interface("stop", "destroy", "interface:stop", (flags(),)),
    _interface("undefine", "undefine", "interface:delete"),
)
