"""The rows of connections that make an object from its XML: defined, or created without a definition.

libvirt checks XML before it changes anything, so a definition that fails leaves the old one. Pure.
"""

from virtbridge.model.keys import Kind
from virtbridge.model.operations.parameters import VALIDATE, XML, bit, flags
from virtbridge.model.operations.row import Form, Operation, Parameter

_VALIDATED = (bit("validate", VALIDATE), flags())
# VIR_DOMAIN_START_*.
STARTED = (
    bit("paused", 1),
    bit("autodestroy", 2),
    bit("bypass-cache", 4),
    bit("force-boot", 8),
    bit("reset-nvram", 32),
)


def _row(
    name: str,
    makes: Kind,
    call: str,
    permissions: tuple[str, ...],
    options: tuple[Parameter, ...] = _VALIDATED,
    events: tuple[str, ...] = (),
) -> Operation:
    return Operation(
        name,
        (Kind.CONNECTION,),
        Form.OBJECT,
        call,
        arguments=(XML,),
        options=options,
        permissions=permissions,
        makes=makes,
        events=events,
    )


_DEFINED, _STARTED = ("defined",), ("started",)

ROWS = (
    _row("define-domain", Kind.DOMAIN, "defineXMLFlags", ("domain:write", "domain:save"), events=_DEFINED),
    _row(
        "create-domain",
        Kind.DOMAIN,
        "createXML",
        ("domain:write", "domain:start"),
        (*STARTED, bit("validate", 16), flags()),
        _STARTED,
    ),
    _row(
        "define-network",
        Kind.NETWORK,
        "networkDefineXMLFlags",
        ("network:write", "network:save"),
        events=_DEFINED,
    ),
    _row(
        "create-network",
        Kind.NETWORK,
        "networkCreateXMLFlags",
        ("network:write", "network:start"),
        events=_STARTED,
    ),
    _row(
        "define-storage-pool",
        Kind.POOL,
        "storagePoolDefineXML",
        ("storage_pool:write", "storage_pool:save"),
        events=_DEFINED,
    ),
    _row(
        "create-storage-pool",
        Kind.POOL,
        "storagePoolCreateXML",
        ("storage_pool:start", "storage_pool:write"),
        (bit("build", 1), bit("overwrite", 2), bit("no-overwrite", 4), flags()),
        _STARTED,
    ),
    _row(
        "define-node-device",
        Kind.NODEDEV,
        "nodeDeviceDefineXML",
        ("node_device:write",),
        events=_DEFINED,
    ),
    _row(
        "create-node-device",
        Kind.NODEDEV,
        "nodeDeviceCreateXML",
        ("node_device:write", "node_device:start"),
        events=("created",),
    ),
    _row("define-secret", Kind.SECRET, "secretDefineXML", ("secret:write", "secret:save"), events=_DEFINED),
    _row(
        "define-interface",
        Kind.INTERFACE,
        "interfaceDefineXML",
        ("interface:write", "interface:save"),
    ),
    _row("define-nwfilter", Kind.NWFILTER, "nwfilterDefineXMLFlags", ("nwfilter:write", "nwfilter:save")),
    _row(
        "create-nwfilter-binding",
        Kind.NWFILTERBINDING,
        "nwfilterBindingCreateXML",
        ("nwfilter_binding:create",),
    ),
)
