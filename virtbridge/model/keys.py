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


class Key(NamedTuple):
    """id: the canonical lower-case UUID with dashes; empty for the connection itself."""

    connection: str
    kind: Kind
    id: str = ""


def connection_key(name: str) -> Key:
    return Key(name, Kind.CONNECTION)
