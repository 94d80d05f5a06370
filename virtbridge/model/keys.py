"""What names an object: its kind and its key.

Objects are keyed by connection, kind and libvirt's own identity (the UUID where there is one), since
names change. Pure.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """The values are the contract's words for kinds, on the bus and in object paths."""

    CONNECTION = "connection"
    DOMAIN = "domain"
    NETWORK = "network"
    POOL = "pool"
    VOLUME = "volume"
    NODEDEV = "nodedev"
    SECRET = "secret"
    INTERFACE = "interface"
    NWFILTER = "nwfilter"
    NWFILTERBINDING = "nwfilterbinding"
    SNAPSHOT = "snapshot"
    CHECKPOINT = "checkpoint"
    JOB = "job"


# The kinds of object that libvirt has, in the order in which people read them. Jobs are made by the service:
# libvirt does not list them.
OBJECT_KINDS = tuple(kind for kind in Kind if kind not in (Kind.CONNECTION, Kind.JOB))

# Kinds whose objects have no UUID: libvirt knows them by name alone; a job is known by its number.
NAMED = frozenset(
    {
        Kind.VOLUME,
        Kind.NODEDEV,
        Kind.INTERFACE,
        Kind.NWFILTERBINDING,
        Kind.SNAPSHOT,
        Kind.CHECKPOINT,
        Kind.JOB,
    }
)

# The kinds whose objects are in an object of another kind: their names are unique only in it, and they are
# removed with it.
PARENT_KIND: Mapping[Kind, Kind] = {
    Kind.VOLUME: Kind.POOL,
    Kind.SNAPSHOT: Kind.DOMAIN,
    Kind.CHECKPOINT: Kind.DOMAIN,
}

# These exist only while the object that they are in is active: libvirt knows no volumes of a pool that
# is not started, and the next start may find others.
ONLY_WHILE_PARENT_ACTIVE = frozenset({Kind.VOLUME})

# The kinds that no driver has events for: they are read when somebody asks for them, and only then.
ON_DEMAND = frozenset(
    {
        Kind.VOLUME,
        Kind.INTERFACE,
        Kind.NWFILTER,
        Kind.NWFILTERBINDING,
        Kind.SNAPSHOT,
        Kind.CHECKPOINT,
    }
)

# The root element of a kind's XML, where it is not the kind's own word.
_XML_ROOT: Mapping[Kind, str] = {
    Kind.NODEDEV: "device",
    Kind.NWFILTER: "filter",
    Kind.NWFILTERBINDING: "filterbinding",
    Kind.SNAPSHOT: "domainsnapshot",
    Kind.CHECKPOINT: "domaincheckpoint",
}


class Key(NamedTuple):
    """id: the canonical lower-case UUID with dashes, the name for a kind in NAMED; empty for the connection
    itself. parent: the id of the object that it is in, for the kinds of PARENT_KIND; else empty.
    """

    connection: str
    kind: Kind
    id: str = ""
    parent: str = ""


def connection_key(name: str) -> Key:
    return Key(name, Kind.CONNECTION)


def parent_key(key: Key) -> Key | None:
    """Return the object that this one is in; None for an object that stands by itself."""
    kind = PARENT_KIND.get(key.kind)
    return None if kind is None else Key(key.connection, kind, key.parent)


def xml_root(kind: Kind) -> str:
    return _XML_ROOT.get(kind, kind.value)
