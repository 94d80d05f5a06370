"""The rows of what takes long: each makes a job, whose path is the reply. Pure.

What libvirt refuses before the job begins is the reply's error where its call returns at the beginning; where
its call returns at the end, it is the job's.
"""

from typing import Any

from virtbridge.model.jobs import Course
from virtbridge.model.keys import Kind
from virtbridge.model.operations.parameters import (
    DISK,
    XML,
    bit,
    flags,
    numbered,
    or_none,
    size,
    whole_number,
)
from virtbridge.model.operations.row import XML_LIMIT, Form, Operation, Parameter

_DOMAIN, _POOL, _VOLUME = (Kind.DOMAIN,), (Kind.POOL,), (Kind.VOLUME,)
_NEW_XML = Parameter("xml", "s", default=None, limit=XML_LIMIT, made=or_none)
# virDomainSaveRestoreFlags.
_SAVED = (bit("bypass-cache", 1), bit("running", 2), bit("paused", 4), bit("reset-nvram", 8), flags())
# virDomainCoreDumpFormat, virDomainCoreDumpFlags.
_FORMAT = Parameter(
    "format",
    "s",
    default=0,
    words=numbered("raw", "kdump-zlib", "kdump-lzo", "kdump-snappy", "win-dmp"),
)
_DUMP = (bit("crash", 1), bit("live", 2), bit("bypass-cache", 4), bit("reset", 8), bit("memory-only", 16))
# virStoragePoolBuildFlags, virStorageVolCreateFlags, virStorageVolResizeFlags, virStorageVolWipeAlgorithm.
_BUILD = (bit("repair", 1), bit("resize", 2), bit("no-overwrite", 4), bit("overwrite", 8), flags())
_CLONE = (bit("preallocate-metadata", 1), bit("reflink", 2), bit("validate", 4), flags())
_RESIZE = (bit("allocate", 1), bit("delta", 2), bit("shrink", 4), flags())
_ALGORITHM = Parameter(
    "algorithm",
    "s",
    default=0,
    words=numbered(
        "zero", "nnsa", "dod", "bsi", "gutmann", "schneier", "pfitzner7", "pfitzner33", "random", "trim"
    ),
)


def _bandwidth(in_bytes: int) -> tuple[Parameter, ...]:
    """Bytes per second, which libvirt takes with a flag of the call; 0 is no limit."""
    return (
        Parameter("bandwidth", "t", default=0, made=size),
        Parameter("flags", "u", default=in_bytes, made=lambda given: given | in_bytes),
    )


def _typed(name: str, type: str, key: str, made: Any = size) -> Parameter:
    """One of libvirt's typed parameters, which are one argument."""
    return Parameter(name, type, default={}, into="params", made=lambda given: {key: made(given)})


def _text(name: str, key: str, limit: int = 0) -> Parameter:
    return Parameter(name, "s", default={}, into="params", limit=limit, made=lambda given: {key: given})


def _disk_job(
    name: str, call: str, job: str, options: tuple[Parameter, ...], *arguments: Parameter, order: str
) -> Operation:
    return Operation(
        name,
        _DOMAIN,
        Form.OBJECT,
        call,
        arguments=(DISK, *arguments),
        options=options,
        permissions=("domain:block_write",),
        order=tuple(order.split()),
        course=Course.DISK,
        job=job,
    )


# virDomainMigrateFlags; those of libvirt's own protocol are no options.
_MIGRATE_FLAGS = (
    bit("live", 1),
    bit("tunnelled", 4),
    bit("persist-destination", 8),
    bit("undefine-source", 16),
    bit("paused", 32),
    bit("copy-storage", 64),
    bit("copy-storage-incremental", 128),
    bit("unsafe", 512),
    bit("offline", 1024),
    bit("compressed", 2048),
    bit("abort-on-error", 4096),
    bit("auto-converge", 8192),
    bit("postcopy", 32768),
    bit("tls", 65536),
    bit("parallel", 131072),
    # VIR_MIGRATE_PEER2PEER: the hosts do it between them, and the service need not stay for it.
    Parameter("flags", "u", default=2, made=lambda given: given | 2),
)
_MIGRATE = (
    _text("migrate-uri", "migrate_uri"),
    _text("destination-name", "destination_name"),
    _text("destination-xml", "destination_xml", XML_LIMIT),
    _text("persistent-xml", "persistent_xml", XML_LIMIT),
    _text("listen-address", "listen_address"),
    _text("disks-uri", "disks_uri"),
    Parameter("disks", "as", default={}, into="params", made=lambda given: {"migrate_disks": list(given)}),
    # MiB/s is what libvirt counts in.
    _typed("bandwidth", "t", "bandwidth", lambda given: size(-(-given >> 20))),
    _typed("parallel-connections", "u", "parallel.connections", whole_number),
    *_MIGRATE_FLAGS,
)

ROWS = (
    Operation(
        "save",
        _DOMAIN,
        Form.OBJECT,
        "saveFlags",
        arguments=(Parameter("file", "s"),),
        options=(_NEW_XML, *_SAVED),
        permissions=("domain:hibernate",),
        events=("stopped",),
        course=Course.DOMAIN,
        job="save",
    ),
    Operation(
        "managed-save",
        _DOMAIN,
        Form.OBJECT,
        "managedSave",
        options=_SAVED,
        permissions=("domain:hibernate",),
        events=("stopped",),
        course=Course.DOMAIN,
        job="save",
    ),
    Operation(
        "restore-domain",
        (Kind.CONNECTION,),
        Form.OBJECT,
        "restoreFlags",
        arguments=(Parameter("file", "s"),),
        options=(_NEW_XML, *_SAVED),
        permissions=("domain:start", "domain:write"),
        lists=_DOMAIN,
        course=Course.STORAGE,
        job="restore",
    ),
    Operation(
        "core-dump",
        _DOMAIN,
        Form.OBJECT,
        "coreDumpWithFormat",
        arguments=(Parameter("file", "s"),),
        options=(_FORMAT, *_DUMP, flags()),
        permissions=("domain:core_dump",),
        asks=("state",),
        course=Course.DOMAIN,
        job="dump",
    ),
    Operation(
        "migrate",
        _DOMAIN,
        Form.OBJECT,
        "migrateToURI3",
        arguments=(Parameter("destination", "s", is_uri=True),),
        options=_MIGRATE,
        permissions=("domain:migrate",),
        order=("destination", "params", "flags"),
        course=Course.DOMAIN,
        job="migration-out",
    ),
    Operation(
        "begin-backup",
        _DOMAIN,
        Form.OBJECT,
        "backupBegin",
        arguments=(XML,),
        options=(
            Parameter("checkpoint-xml", "s", default=None, limit=XML_LIMIT, made=or_none),
            bit("reuse-external", 1),
            flags(),
        ),
        permissions=("domain:checkpoint", "domain:block_write"),
        course=Course.DOMAIN_IN_BACKGROUND,
        job="backup",
    ),
    _disk_job(
        "block-pull",
        "blockRebase",
        "block-pull",
        (
            Parameter("base", "s", default=None, made=or_none),
            bit("relative", 16),
            *_bandwidth(64),
        ),
        order="disk base bandwidth flags",
    ),
    _disk_job(
        "block-commit",
        "blockCommit",
        "block-commit",
        (
            Parameter("base", "s", default=None, made=or_none),
            Parameter("top", "s", default=None, made=or_none),
            bit("shallow", 1),
            bit("delete", 2),
            bit("active", 4),
            bit("relative", 8),
            *_bandwidth(16),
        ),
        order="disk base top bandwidth flags",
    ),
    _disk_job(
        "block-copy",
        "blockCopy",
        "block-copy",
        (
            bit("shallow", 1),
            bit("reuse-external", 2),
            bit("transient", 4),
            bit("synchronous-writes", 8),
            _typed("bandwidth", "t", "bandwidth"),
            _typed("granularity", "u", "granularity", whole_number),
            _typed("buffer-size", "t", "buf-size"),
            flags(),
        ),
        Parameter("destination-xml", "s", limit=XML_LIMIT),
        order="disk destination-xml params flags",
    ),
    Operation(
        "build",
        _POOL,
        Form.OBJECT,
        "build",
        options=_BUILD,
        permissions=("storage_pool:format",),
        rereads=_POOL,
        course=Course.STORAGE,
        job="pool-build",
    ),
    Operation(
        "clone-volume",
        _POOL,
        Form.OBJECT,
        "createXMLFrom",
        arguments=(Parameter("source", "o", kind=Kind.VOLUME), XML),
        options=_CLONE,
        permissions=("storage_vol:create",),
        order=("xml", "source", "flags"),
        makes=Kind.VOLUME,
        rereads=_POOL,
        course=Course.STORAGE,
        job="volume-clone",
    ),
    Operation(
        "resize",
        _VOLUME,
        Form.OBJECT,
        "resize",
        arguments=(Parameter("capacity", "t", made=size),),
        options=_RESIZE,
        permissions=("storage_vol:resize",),
        rereads=(Kind.VOLUME, Kind.POOL),
        course=Course.STORAGE,
        job="volume-resize",
    ),
    Operation(
        "wipe",
        _VOLUME,
        Form.OBJECT,
        "wipePattern",
        options=(_ALGORITHM, flags()),
        permissions=("storage_vol:format",),
        rereads=(Kind.VOLUME, Kind.POOL),
        course=Course.STORAGE,
        job="volume-wipe",
    ),
    # Which of libvirt's calls it is depends on the job.
    Operation(
        "cancel",
        (Kind.JOB,),
        Form.NOTHING,
        options=(Parameter("pivot", "b", default=False),),
        permissions=("domain:write",),
    ),
)
