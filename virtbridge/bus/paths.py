"""The object paths of org.virtbridge1: the path of each key, and the key of each path. No other module maps
them.

UUIDs become `_` and the UUID with `-` as `_`. Other names are escaped as systemd does for bus paths: every
byte but [A-Za-z0-9] becomes `_xx`, so does a leading digit, and an empty name is a lone `_`. A job has its
number. Pure.
"""

from functools import lru_cache

from virtbridge.model.keys import NAMED, OBJECT_KINDS, PARENT_KIND, Key, Kind, parent_key

ROOT = "/org/virtbridge1"

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_KINDS = {kind.value: kind for kind in (*OBJECT_KINDS, Kind.JOB)}
_PARENTS = {kind.value: outer.value for kind, outer in PARENT_KIND.items()}


def escape(name: str) -> str:
    """Return a name as one element of an object path."""
    if not name:
        return "_"
    return "".join(
        chr(byte) if byte in _PLAIN and not (place == 0 and chr(byte).isdigit()) else f"_{byte:02x}"
        for place, byte in enumerate(name.encode("utf-8", "surrogateescape"))
    )


def unescape(element: str) -> str | None:
    """Return what escape() was given; None for what escape() never returns."""
    if element == "_":
        return ""
    head, *parts_after = element.split("_")
    try:
        parts = (bytes.fromhex(part[:2]) + part[2:].encode("ascii") for part in parts_after)
        raw = head.encode("ascii") + b"".join(parts)
        name = raw.decode("utf-8", "surrogateescape")
    except (ValueError, UnicodeError):
        return None
    return name if escape(name) == element else None


@lru_cache(maxsize=128)  # asked for with every object's path
def connection_path(name: str) -> str:
    return f"{ROOT}/{escape(name)}"


def path_of(key: Key) -> str:
    if key.kind is Kind.CONNECTION:
        return connection_path(key.connection)
    parent = parent_key(key)
    base = connection_path(key.connection) if parent is None else path_of(parent)
    return f"{base}/{key.kind}/{_leaf(key)}"


def key_of(path: str) -> Key | None:
    """Return the key that path_of() turns into this path; None for any other path. The object
    need not exist.
    """
    if not path.startswith(ROOT + "/"):
        return None
    match path[len(ROOT) + 1 :].split("/"):
        case [connection]:
            key = Key(unescape(connection) or "", Kind.CONNECTION)
        case [connection, kind, leaf] if kind in _KINDS:
            key = Key(unescape(connection) or "", _KINDS[kind], _id(_KINDS[kind], leaf))
        case [connection, outer, parent, kind, leaf] if _PARENTS.get(kind) == outer:
            key = Key(
                unescape(connection) or "", _KINDS[kind], _id(_KINDS[kind], leaf), _id(_KINDS[outer], parent)
            )
        case _:
            return None
    return key if key.connection and path_of(key) == path else None


def _leaf(key: Key) -> str:
    if key.kind is Kind.JOB:
        return key.id
    return escape(key.id) if key.kind in NAMED else "_" + key.id.replace("-", "_")


def _id(kind: Kind, leaf: str) -> str:
    """Return what _leaf() was given; any text for a leaf that it never returns."""
    if kind is Kind.JOB:
        return leaf if leaf.isdecimal() else ""
    return unescape(leaf) or "" if kind in NAMED else leaf[1:].replace("_", "-")
