"""Which flags of GetXml need the right to read secrets: everything that is not known to show none.

libvirt's `migratable` writes passwords too (CVE-2014-7823 was about just that), though its name says nothing
of it: seen with a VNC password on QEMU, libvirt 9.0.
"""

from typing import Any

import pytest

from virtbridge.bus.binding import bind
from virtbridge.bus.contract import load_contract
from virtbridge.bus.guards import needed_by_options
from virtbridge.bus.handlers.demand import OnDemandHandlers
from virtbridge.bus.handlers.objects import DefinedHandlers, DomainHandlers
from virtbridge.bus.names import INTERFACE_OF, NAME
from virtbridge.bus.operations import Operations
from virtbridge.bus.virtbridge1 import virtbridge1
from virtbridge.model.keys import Kind

HANDLERS: dict[str, tuple[Kind, type]] = {
    "Domain": (Kind.DOMAIN, DomainHandlers),
    "Network": (Kind.NETWORK, DefinedHandlers),
    "NodeDevice": (Kind.NODEDEV, DefinedHandlers),
    "Snapshot": (Kind.SNAPSHOT, OnDemandHandlers),
}


async def needed_for_xml(kind: str, options: dict[str, Any]) -> set[str]:
    """The rights beside `read` that a caller of GetXml needs."""
    nothing: Any = None
    chosen, handlers = HANDLERS[kind]
    rows = Operations(nothing, nothing).handlers(virtbridge1().operations[chosen])
    bound = bind(load_contract(NAME)[INTERFACE_OF[chosen]], handlers.__new__(handlers), rows)
    needed = await needed_by_options(bound.methods["GetXml"].guards.values(), nothing, options)
    return {each.right for each in needed}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Domain", {"secure": True}),
        ("Domain", {"migratable": True, "inactive": True}),
        ("Domain", {"flags": 1}),
        ("Domain", {"flags": 8}),
        ("Domain", {"flags": 2 | 1 << 20, "secure": False}),
        ("Snapshot", {"secure": True}),
        ("Network", {"flags": 2}),
        ("NodeDevice", {"flags": 1 << 31}),
    ],
)
async def test_what_may_show_passwords_needs_the_right(kind: str, options: dict[str, Any]) -> None:
    assert await needed_for_xml(kind, options) == {"read-secrets"}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Domain", {"inactive": True}),
        ("Domain", {"flags": 2}),
        ("Domain", {"flags": 4, "secure": False, "migratable": False, "timeout": 1}),
        ("Snapshot", {"secure": False}),
        ("Network", {"flags": 1, "inactive": True}),
    ],
)
async def test_what_shows_none_is_open_to_all(kind: str, options: dict[str, Any]) -> None:
    assert await needed_for_xml(kind, options) == set()
