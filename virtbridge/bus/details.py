"""Details: what polkit's rules are told about a call, so that a rule can be about one object.

Pure. docs/configuration.md describes them to those who write rules.
"""

from collections.abc import Callable
from typing import Any

from virtbridge.model.keys import NAMED, Key, Kind, parent_key

MANAGER = "manager"  # the kind of the root, which is no object of libvirt's


def details_of(
    key: Key | None, lookup: Callable[[Key], Any], *, interface: str, operation: str
) -> dict[str, str]:
    """key: of the object that the call is for; None where there is none. lookup: gives an object's record.
    operation: the member that is called, or `Set` and the name of the property that is written.

    What there is nothing to say of is an empty string, so that a rule can compare without asking first.
    """
    details = {
        "connection": key.connection if key else "",
        "kind": _kind(key),
        "name": _name(key, lookup),
        "uuid": _uuid(key),
        "parent-name": "",
        "parent-uuid": "",
        "interface": interface,
        "operation": operation,
    }
    parent = parent_key(key) if key else None
    if parent:
        details |= {"parent-name": _name(parent, lookup), "parent-uuid": _uuid(parent)}
    return details


def _kind(key: Key | None) -> str:
    return str(key.kind) if key and key.connection else MANAGER


def _name(key: Key | None, lookup: Callable[[Key], Any]) -> str:
    if key is None or key.kind is Kind.CONNECTION:
        return key.connection if key else ""
    return key.id if key.kind in NAMED else str(getattr(lookup(key), "name", ""))


def _uuid(key: Key | None) -> str:
    return "" if key is None or key.kind in NAMED or key.kind is Kind.CONNECTION else key.id
