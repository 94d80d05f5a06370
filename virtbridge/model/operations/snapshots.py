"""The rows of snapshots and checkpoints: libvirt sends no event when one is made or deleted. Pure."""

from virtbridge.model.keys import Kind
from virtbridge.model.operations.parameters import XML, bit, flags
from virtbridge.model.operations.plain_rows import command
from virtbridge.model.operations.row import Form, Operation

_DOMAIN, _SNAPSHOT, _CHECKPOINT = (Kind.DOMAIN,), (Kind.SNAPSHOT,), (Kind.CHECKPOINT,)

# virDomainSnapshotCreateFlags, virDomainSnapshotRevertFlags, virDomainSnapshotDeleteFlags.
_CREATE = (
    bit("redefine", 1),
    bit("current", 2),
    bit("no-metadata", 4),
    bit("halt", 8),
    bit("disk-only", 16),
    bit("reuse-external", 32),
    bit("quiesce", 64),
    bit("atomic", 128),
    bit("live", 256),
    bit("validate", 512),
    flags(),
)
_REVERT = (bit("running", 1), bit("paused", 2), bit("force", 4), bit("reset-nvram", 8), flags())
_DELETE = (bit("children", 1), bit("metadata-only", 2), bit("children-only", 4), flags())
# virDomainCheckpointCreateFlags.
_CREATE_CHECKPOINT = (bit("redefine", 1), bit("quiesce", 2), bit("redefine-validate", 4), flags())

ROWS = (
    Operation(
        "create-snapshot",
        _DOMAIN,
        Form.OBJECT,
        "snapshotCreateXML",
        arguments=(XML,),
        options=_CREATE,
        permissions=("domain:snapshot", "domain:fs_freeze:VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE"),
        makes=Kind.SNAPSHOT,
        rereads=_DOMAIN,
    ),
    Operation(
        "revert",
        _SNAPSHOT,
        Form.NOTHING,
        options=_REVERT,
        permissions=("domain:snapshot",),
        rereads=(Kind.SNAPSHOT, Kind.DOMAIN),
        lists=_DOMAIN,
    ),
    command(Kind.SNAPSHOT, "delete", "delete", "domain:snapshot", _DELETE, rereads=_SNAPSHOT),
    Operation(
        "create-checkpoint",
        _DOMAIN,
        Form.OBJECT,
        "checkpointCreateXML",
        arguments=(XML,),
        options=_CREATE_CHECKPOINT,
        permissions=("domain:checkpoint", "domain:fs_freeze:VIR_DOMAIN_CHECKPOINT_CREATE_QUIESCE"),
        makes=Kind.CHECKPOINT,
    ),
    command(Kind.CHECKPOINT, "delete", "delete", "domain:checkpoint", _DELETE, rereads=_CHECKPOINT),
)
