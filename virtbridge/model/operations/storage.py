"""The rows of storage pools and volumes. libvirt sends no event for a volume, and a pool's allocation changes
with its volumes. What fills or empties them is in jobs.py. Pure.
"""

from functools import partial

from virtbridge.model.keys import Kind
from virtbridge.model.operations.parameters import XML, bit, flags
from virtbridge.model.operations.plain_rows import command, set_autostart
from virtbridge.model.operations.row import Form, Operation

_POOL, _VOLUME = (Kind.POOL,), (Kind.VOLUME,)

# virStoragePoolCreateFlags, virStorageVolCreateFlags.
_START = (bit("build", 1), bit("overwrite", 2), bit("no-overwrite", 4), flags())
_CREATE = (bit("preallocate-metadata", 1), bit("validate", 4), flags())

_row = partial(command, Kind.POOL)

ROWS = (
    set_autostart(Kind.POOL, "storage_pool:write"),
    _row("start", "create", "storage_pool:start", _START, events=("started",)),
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
    command(
        Kind.VOLUME,
        "delete",
        "delete",
        "storage_vol:delete",
        (bit("zeroed", 1), bit("with-snapshots", 2), flags()),
        rereads=(Kind.VOLUME, Kind.POOL),
    ),
)
