"""The rows of storage pools and volumes. libvirt sends no event for a volume, and a pool's allocation changes
with its volumes. What fills or empties them is in jobs.py. Pure.
"""

from virtbridge.model.keys import Kind
from virtbridge.model.operations.parameters import XML, bit, flags
from virtbridge.model.operations.row import Form, Operation, Parameter

_POOL, _VOLUME = (Kind.POOL,), (Kind.VOLUME,)

# virStoragePoolCreateFlags, virStorageVolCreateFlags.
_START = (bit("build", 1), bit("overwrite", 2), bit("no-overwrite", 4), flags())
_CREATE = (bit("preallocate-metadata", 1), bit("validate", 4), flags())


def _row(
    name: str,
    call: str,
    permission: str,
    options: tuple[Parameter, ...] = (),
    events: tuple[str, ...] = (),
    rereads: tuple[Kind, ...] = (),
) -> Operation:
    return Operation(
        name,
        _POOL,
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
        _POOL,
        Form.NOTHING,
        "setAutostart",
        arguments=(Parameter("value", "b"),),
        permissions=("storage_pool:write",),
        changes=(("autostart", "value"),),
    ),
    _row("start", "create", "storage_pool:start", _START, ("started",)),
    _row("stop", "destroy", "storage_pool:stop", events=("stopped",)),
    _row("refresh", "refresh", "storage_pool:refresh", (flags(),), rereads=(Kind.POOL, Kind.VOLUME)),
    # VIR_STORAGE_POOL_DELETE_ZEROED.
    _row("delete", "delete", "storage_pool:format", (bit("zeroed", 1), flags()), rereads=_POOL),
    _row("undefine", "undefine", "storage_pool:delete", events=("undefined",)),
    Operation(
        "create-volume",
        _POOL,
        Form.OBJECT,
        "createXML",
        arguments=(XML,),
        options=_CREATE,
        permissions=("storage_vol:create",),
        makes=Kind.VOLUME,
        rereads=_POOL,
    ),
    Operation(
        "delete",
        _VOLUME,
        Form.NOTHING,
        "delete",
        options=(bit("zeroed", 1), bit("with-snapshots", 2), flags()),
        permissions=("storage_vol:delete",),
        rereads=(Kind.VOLUME, Kind.POOL),
    ),
)
