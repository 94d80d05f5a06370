"""The rows that every kind with XML has: reading it. Pure."""

from virtbridge.model.keys import Kind
from virtbridge.model.operations.parameters import bit, flags
from virtbridge.model.operations.row import Form, Operation, Parameter

# VIR_DOMAIN_XML_*; VIR_NETWORK_XML_*, VIR_STORAGE_XML_*, VIR_NODE_DEVICE_XML_*, VIR_INTERFACE_XML_*;
# VIR_DOMAIN_SNAPSHOT_XML_*, VIR_DOMAIN_CHECKPOINT_XML_*. Of domains, inactive and update-cpu are all that is
# known to show no password: `migratable` does show them.
_DOMAIN_XML = (bit("secure", 1, False), bit("inactive", 2), bit("migratable", 8, False), flags(2 | 4))
_DOMAIN_READ = (
    "domain:read",
    "domain:read_secure:VIR_DOMAIN_XML_SECURE",
    "domain:read_secure:VIR_DOMAIN_XML_MIGRATABLE",
)
_INACTIVE_XML = (bit("inactive", 1), flags(1))

_SECURE_XML = (bit("secure", 1, False),)


def _row(
    kind: Kind, call: str, permissions: tuple[str, ...], options: tuple[Parameter, ...] = ()
) -> Operation:
    return Operation(
        "get-xml", (kind,), Form.TEXT, call, options=options, permissions=permissions, short=True
    )


ROWS = (
    _row(Kind.DOMAIN, "XMLDesc", _DOMAIN_READ, _DOMAIN_XML),
    _row(Kind.NETWORK, "XMLDesc", ("network:read",), _INACTIVE_XML),
    _row(Kind.POOL, "XMLDesc", ("storage_pool:read",), _INACTIVE_XML),
    _row(Kind.NODEDEV, "XMLDesc", ("node_device:read",), _INACTIVE_XML),
    _row(Kind.INTERFACE, "XMLDesc", ("interface:read",), (bit("inactive", 1),)),
    _row(
        Kind.SNAPSHOT,
        "getXMLDesc",
        ("domain:read", "domain:read_secure:VIR_DOMAIN_SNAPSHOT_XML_SECURE"),
        _SECURE_XML,
    ),
    _row(
        Kind.CHECKPOINT,
        "getXMLDesc",
        ("domain:read", "domain:read_secure:VIR_DOMAIN_CHECKPOINT_XML_SECURE"),
        _SECURE_XML,
    ),
    # Without flags: of secrets, nobody knows yet what those of a newer libvirt may show.
    _row(Kind.SECRET, "XMLDesc", ("secret:read",)),
    _row(Kind.VOLUME, "XMLDesc", ("storage_vol:read",)),
    _row(Kind.NWFILTER, "XMLDesc", ("nwfilter:read",)),
    _row(Kind.NWFILTERBINDING, "XMLDesc", ("nwfilter_binding:read",)),
)
