"""What names an object: its kind and its key.

Objects are keyed by connection, kind and libvirt's own identity (the UUID where there is one), since
names change. Pure.
"""

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """The values are the contract's words for kinds, on the bus and in object paths."""

    CONNECTION = "connection"
    DOMAIN = "domain"
    NETWORK = "network"
    POOL = "pool"
    NODEDEV = "nodedev"
    SECRET = "secret"


# Kinds whose objects have no UUID: libvirt knows them by name alone.
NAMED = frozenset({Kind.NODEDEV})


# The root element of a kind's XML, where it is not the kind's own word.
_XML_ROOT = {Kind.NODEDEV: "device"}


def xml_root(kind: Kind) -> str:
    return _XML_ROOT.get(kind, kind.value)


class Key(NamedTuple):
    """id: the canonical lower-case UUID with dashes, the name for a kind in NAMED; empty for the connection
    itself.
    """

    connection: str
    kind: Kind
    id: str = ""


def connection_key(name: str) -> Key:
    return Key(name, Kind.CONNECTION)
