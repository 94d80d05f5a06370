"""The contract and the code fit together, or the daemon does not start."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from virtbridge.bus.binding import bind
from virtbridge.bus.contract import (
    CONTRACT_FOLDER,
    BadContract,
    load_contract,
    load_interfaces,
    load_standard,
)
from virtbridge.bus.names import NAME
from virtbridge.bus.properties import interface_properties
from virtbridge.bus.tables import TABLES
from virtbridge.bus.virtbridge1 import virtbridge1

XML = """<node><interface name="x.Y">
  <method name="DoIt"><annotation name="org.virtbridge1.Access" value="control"/>
    <arg name="a" type="s" direction="in"/><arg name="b" type="u"/><arg name="c" type="o"
    direction="out"/></method>
  <property name="On" type="b" access="readwrite"><annotation name="org.virtbridge1.Access"
  value="configure"/></property> <property name="Off" type="b" access="read"/>
  <signal name="Happened"><arg type="s"/><arg type="a{sv}"/></signal>
</interface></node>"""


class Handlers:
    def do_it(self, call: Any, a: str, b: int) -> str:
        return a

    def set_on(self, call: Any, value: bool) -> None:
        pass


def interface(tmp_path: Path, xml: str = XML) -> Any:
    file = tmp_path / "x.xml"
    file.write_text(xml)
    return load_interfaces(file)["x.Y"]


def test_members_are_read_with_their_signatures_and_rights(tmp_path: Path) -> None:
    found = interface(tmp_path)
    method = found.methods["DoIt"]
    assert (method.in_signature, method.out_signature, method.access) == ("su", "o", "control")
    assert found.properties["On"].access == "configure"
    assert found.properties["Off"].access is None
    assert found.signals == {"Happened": "sa{sv}"}
    bound = bind(found, Handlers())
    assert (list(bound.methods), list(bound.setters)) == (["DoIt"], ["On"])


def test_a_missing_handler_stops_the_start(tmp_path: Path) -> None:
    class Missing:
        def set_on(self, call: Any, value: bool) -> None:
            pass

    with pytest.raises(BadContract, match="DoIt has no handler"):
        bind(interface(tmp_path), Missing())


def test_a_missing_setter_stops_the_start(tmp_path: Path) -> None:
    class Missing:
        def do_it(self, call: Any, a: str, b: int) -> str:
            return a

    with pytest.raises(BadContract, match="SetOn has no handler"):
        bind(interface(tmp_path), Missing())


def test_a_handler_that_the_contract_does_not_name_stops_the_start(tmp_path: Path) -> None:
    class LeftOver(Handlers):
        def undo_it(self, call: Any) -> None:
            pass

    with pytest.raises(BadContract, match="undo_it"):
        bind(interface(tmp_path), LeftOver())


def test_an_inherited_handler_that_the_contract_does_not_name_does_too(tmp_path: Path) -> None:
    class Common(Handlers):
        def set_off(self, call: Any, value: bool) -> None:
            pass

    class Inheriting(Common):
        pass

    with pytest.raises(BadContract, match="set_off"):
        bind(interface(tmp_path), Inheriting())


def test_a_method_without_a_stated_access_stops_the_start(tmp_path: Path) -> None:
    silent = XML.replace('<annotation name="org.virtbridge1.Access" value="control"/>', "")
    with pytest.raises(BadContract, match="DoIt"):
        bind(interface(tmp_path, silent), Handlers())


@pytest.mark.parametrize("xml", ["<node>", XML.replace("</node>", "") + XML[len("<node>") :]])
def test_unreadable_or_doubled_files_stop_the_start(tmp_path: Path, xml: str) -> None:
    with pytest.raises(BadContract, match=r"x\.xml"):
        interface(tmp_path, xml)


def test_a_property_without_a_value_stops_the_start() -> None:
    contract = load_contract(NAME)
    assert interface_properties(contract, TABLES).keys() == contract.keys()
    contract.pop("org.virtbridge1.Network")
    with pytest.raises(BadContract, match="Network"):
        interface_properties(contract, TABLES)
    with pytest.raises(BadContract, match="Network"):
        replace(virtbridge1(), contract=contract).interface_properties()


def test_every_member_of_the_contract_states_its_access_and_is_documented() -> None:
    for interface in (load_contract(NAME) | load_standard()).values():
        assert all(method.access for method in interface.methods.values()), interface.name
    for file in CONTRACT_FOLDER.glob("*.xml"):
        text = file.read_text()
        for found in load_interfaces(file).values():
            for member in [*found.methods, *found.properties, *found.signals]:
                assert f"{member}: " in text, f"{file.name}: {member} has no comment"
            ours = list(found.methods.values())
            assert all(method.in_signature.endswith("a{sv}") for method in ours), found.name
