"""The rows of a domain's devices and of its metadata: attached, detached and changed. Pure."""

from virtbridge.model.keys import Kind
from virtbridge.model.operations.parameters import (
    AFFECT,
    DISK,
    PARAMETERS,
    XML,
    bit,
    flags,
    numbered,
    or_none,
    size,
)
from virtbridge.model.operations.row import MOVING_MS, XML_LIMIT, Form, Operation, Parameter

_DOMAIN = (Kind.DOMAIN,)
WRITE_AFFECTED = (
    "domain:write",
    "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE",
    "domain:save:VIR_DOMAIN_AFFECT_CONFIG",
)
# virDomainMetadataType.
_METADATA = Parameter("type", "s", words=numbered("description", "title", "element"))
_URI = Parameter("uri", "s", default=None, made=or_none)


def changing(
    name: str,
    call: str,
    *arguments: Parameter,
    options: tuple[Parameter, ...] = AFFECT,
    permissions: tuple[str, ...] = WRITE_AFFECTED,
) -> Operation:
    """What changes the definition, the running one or the inactive one."""
    return Operation(
        name,
        _DOMAIN,
        Form.NOTHING,
        call,
        arguments=arguments,
        options=options,
        permissions=permissions,
        rereads=_DOMAIN,
    )


ROWS = (
    changing("attach-device", "attachDeviceFlags", XML),
    changing("detach-device", "detachDeviceFlags", XML),
    changing("detach-device-by-alias", "detachDeviceAlias", Parameter("alias", "s")),
    # VIR_DOMAIN_DEVICE_MODIFY_FORCE.
    changing(
        "update-device",
        "updateDeviceFlags",
        XML,
        options=(bit("live", 1), bit("config", 2), bit("force", 4), flags()),
    ),
    Operation(
        "get-metadata",
        _DOMAIN,
        Form.TEXT,
        "metadata",
        arguments=(_METADATA,),
        options=(_URI, *AFFECT),
        permissions=("domain:read",),
        short=True,
    ),
    changing(
        "set-metadata",
        "setMetadata",
        _METADATA,
        Parameter("metadata", "s", limit=XML_LIMIT, made=or_none),
        options=(Parameter("prefix", "s", default=None, made=or_none), _URI, *AFFECT),
    ),
    # VIR_DOMAIN_BLOCK_RESIZE_BYTES is always set. What fills a disk as it grows is a job's.
    Operation(
        "block-resize",
        _DOMAIN,
        Form.NOTHING,
        "blockResize",
        arguments=(DISK, Parameter("size", "t", made=size)),
        options=(Parameter("flags", "u", default=1, made=lambda given: given | 1),),
        permissions=("domain:block_write",),
        rereads=_DOMAIN,
    ),
    Operation(
        "set-block-threshold",
        _DOMAIN,
        Form.NOTHING,
        "setBlockThreshold",
        arguments=(Parameter("device", "s"), Parameter("threshold", "t", made=size)),
        options=(flags(),),
        permissions=("domain:write",),
    ),
    Operation(
        "get-block-info",
        _DOMAIN,
        Form.SIZES,
        "blockInfo",
        arguments=(DISK,),
        permissions=("domain:read",),
        answer=lambda found: dict(zip(("capacity", "allocation", "physical"), found, strict=True)),
    ),
    Operation(
        "get-disk-errors",
        _DOMAIN,
        Form.REPORT,
        "diskErrors",
        permissions=("domain:read",),
        answer=lambda found: {disk: {1: "unspec", 2: "no-space"}.get(n, str(n)) for disk, n in found.items()},
        cached_ms=MOVING_MS,
    ),
    changing("set-block-io-tune", "setBlockIoTune", DISK, PARAMETERS),
    Operation(
        "get-block-io-tune",
        _DOMAIN,
        Form.REPORT,
        "blockIoTune",
        arguments=(DISK,),
        options=AFFECT,
        permissions=("domain:read",),
    ),
    changing("set-interface-parameters", "setInterfaceParameters", Parameter("interface", "s"), PARAMETERS),
    Operation(
        "get-interface-parameters",
        _DOMAIN,
        Form.REPORT,
        "interfaceParameters",
        arguments=(Parameter("interface", "s"),),
        options=AFFECT,
        permissions=("domain:read",),
    ),
)
