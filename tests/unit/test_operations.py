"""The table of operations: contract, row and source say the same, or nothing starts."""

import inspect
from dataclasses import replace
from typing import Any

import libvirt
import pytest

from tests.support.requested import request
from tests.unit.test_kind_rows import CLASSES
from virtbridge.bus.binding import bind
from virtbridge.bus.contract import BadContract
from virtbridge.bus.names import INTERFACE_OF
from virtbridge.bus.operations import Operations, request_arguments
from virtbridge.bus.virtbridge1 import virtbridge1
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.keys import Key, Kind
from virtbridge.model.operations import OPERATIONS, Operation
from virtbridge.source.answers import FUNCTIONS

ROWS = {f"{kind}.{row.name}": (kind, row) for kind, rows in OPERATIONS.items() for row in rows.values()}
API = virtbridge1()
NETWORK = API.contract[INTERFACE_OF[Kind.NETWORK]]


class Handlers:
    """GetXml alone has logic of its own."""

    def get_xml(self, call: Any, options: Any) -> str:
        return ""


def bind_network(**changed: Any) -> Any:
    """Binds the contract of networks to its rows. changed: what one row, get-dhcp-leases, says instead."""
    rows = dict(API.operations[Kind.NETWORK])
    rows["GetDhcpLeases"] = replace(rows["GetDhcpLeases"], **changed)
    nothing: Any = None
    return bind(NETWORK, Handlers(), Operations(nothing, nothing).handlers(rows))


@pytest.mark.parametrize(("kind", "row"), ROWS.values(), ids=ROWS)
def test_source_has_what_each_row_names(kind: Kind, row: Operation) -> None:
    if kind is Kind.JOB:  # source/jobs/work.py chooses the call
        return
    assert (not row.call) == (row.name in FUNCTIONS)
    if row.call:
        assert callable(getattr(libvirt.virConnect if kind is Kind.CONNECTION else CLASSES[kind], row.call))
    else:
        names = tuple(name.replace("-", "_") for name in row.argument_names)
        assert tuple(inspect.signature(FUNCTIONS[row.name]).parameters)[2:] == names


@pytest.mark.parametrize(("kind", "row"), ROWS.values(), ids=ROWS)
def test_libvirt_s_method_takes_the_arguments_of_each_row(kind: Kind, row: Operation) -> None:
    if not row.call:
        return
    method = getattr(libvirt.virConnect if kind is Kind.CONNECTION else CLASSES[kind], row.call)
    takes = [each for each in inspect.signature(method).parameters.values() if each.name != "self"]
    needed = [each for each in takes if each.default is inspect.Parameter.empty]
    given = row.in_call_order(row.argument_names)
    assert len(needed) <= len(given) <= len(takes)
    if "flags" in given:
        assert takes[given.index("flags")].name == "flags"


def test_source_has_no_function_without_a_row() -> None:
    assert {row.name for _, row in ROWS.values()} >= FUNCTIONS.keys()


def test_a_member_without_a_handler_is_answered_by_its_row() -> None:
    bound = bind_network()
    assert bound.methods["GetDhcpLeases"].handler.row.name == "get-dhcp-leases"
    assert bound.methods["GetXml"].handler.__name__ == "get_xml"
    assert bound.methods["GetXml"].guards.keys() == {"flags"}
    assert bound.setters["Autostart"][1].row.name == "set-autostart"


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"cached_ms": None}, "max-age"),
        ({"form": OPERATIONS[Kind.NETWORK]["get-xml"].form}, "reply"),
        ({"options": OPERATIONS[Kind.NETWORK]["get-xml"].options[:1]}, "options"),
        ({"arguments": OPERATIONS[Kind.NETWORK]["set-autostart"].arguments}, "arguments"),
    ],
)
def test_a_row_that_says_something_else_than_the_contract_stops_the_start(
    changed: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BadContract, match=rf"Network\.GetDhcpLeases: {complaint}"):
        bind_network(**changed)


def test_a_row_without_a_member_stops_the_start() -> None:
    nothing: Any = None
    rows = {**API.operations[Kind.NETWORK], "Fly": OPERATIONS[Kind.NETWORK]["list-ports"]}
    with pytest.raises(BadContract, match="Fly"):
        bind(NETWORK, Handlers(), Operations(nothing, nothing).handlers(rows))


@pytest.mark.parametrize(
    ("name", "options", "arguments"),
    [
        ("get-xml", {}, (0,)),
        ("get-xml", {"secure": True, "inactive": True, "migratable": False}, (3,)),
        ("get-xml", {"flags": 4, "inactive": True, "timeout": 1}, (6,)),
        ("get-guest-info", {"types": ["os", "users", "os"]}, (3,)),
        ("get-guest-info", {}, (0,)),
        ("get-interface-addresses", {}, ("lease",)),
        ("get-interface-addresses", {"source": "agent"}, ("agent",)),
    ],
)
def test_options_become_the_arguments_of_the_request(
    name: str, options: dict[str, Any], arguments: tuple[Any, ...]
) -> None:
    assert request_arguments(OPERATIONS[Kind.DOMAIN][name], (), options) == arguments


def test_a_word_that_the_row_does_not_know_is_an_invalid_argument() -> None:
    with pytest.raises(BridgeError, match="'dns' is not one of the sources lease, agent, arp") as refused:
        request_arguments(OPERATIONS[Kind.DOMAIN]["get-interface-addresses"], (), {"source": "dns"})
    assert refused.value.kind is ErrorKind.INVALID_ARGUMENT
    with pytest.raises(BridgeError, match="'cpu' is not one of the types users, os"):
        request_arguments(OPERATIONS[Kind.DOMAIN]["get-guest-info"], (), {"types": ["os", "cpu"]})


def test_what_a_write_changes_is_said_by_its_row() -> None:
    row = OPERATIONS[Kind.DOMAIN]["set-autostart"]
    key = Key("lab", Kind.DOMAIN, "web")
    assert row.changed_fields(request(key, "set-autostart", True)) == {"autostart": True}
    assert OPERATIONS[Kind.DOMAIN]["get-xml"].changed_fields(request(key, "get-xml", 1)) == {}


def test_a_path_says_what_it_has_to_name() -> None:
    for rows in OPERATIONS.values():
        for row in rows.values():
            assert all((each.kind is not None) == (each.type == "o") for each in row.arguments)
            assert all(each.type != "o" for each in row.options)
