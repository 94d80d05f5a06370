"""What everybody may do here is what libvirt lets everybody do, and every member says what that is."""

import inspect
import re
from pathlib import Path

import libvirt as libvirt_python
import pytest
from lxml import etree

from tests.unit.test_kind_rows import CLASSES
from virtbridge.bus.contract import CONTRACT_FOLDER, STANDARD_FILE, BadContract, load_interfaces
from virtbridge.bus.names import NAME
from virtbridge.bus.permissions import PROPERTIES, Permission, permissions
from virtbridge.bus.rights import INCLUDED, READ, RIGHT_OF, RIGHTS, action_of, rights_of_calls
from virtbridge.model.keys import Kind
from virtbridge.model.operations import OPERATIONS

FILES = [*sorted(CONTRACT_FOLDER.glob("org.virtbridge1.*.xml")), STANDARD_FILE]
ROWS = permissions(FILES)
LIBVIRT = Path(__file__).parents[1] / "data" / "libvirt-permissions.txt"

# `read`, though libvirt refuses the call on a read-only connection; the API reference has the reasons.
EXEMPT = {
    ("org.virtbridge1.Connection", "GetDomainCapabilities", "virConnectGetDomainCapabilities"),
    ("org.virtbridge1.NodeDevice", PROPERTIES, "virNodeDeviceGetAutostart"),
}
# Where libvirt allows everything that it knows, and a newer one may know more.
UNKNOWN_FLAGS = {("Network", "GetXml"), ("NodeDevice", "GetXml"), ("StoragePool", "GetXml")}


def libvirt() -> dict[str, tuple[str, dict[str, str]]]:
    """By call: what a read-only connection may, and its permissions, each with what it depends on."""
    rows = [line.split(" | ") for line in LIBVIRT.read_text().splitlines() if line[:1] not in ("#", "")]
    return {
        call: (
            read_only,
            {":".join(each.split(":")[:2]): each for each in sorted(asked.split(), key=_conditions)},
        )
        for call, read_only, asked in rows
    }


def _conditions(permission: str) -> int:
    """What is asked always comes last, so that it stands where it is asked for some flags once more."""
    return -permission.count(":")


def name(row: Permission) -> str:
    return f"{row.interface}.{row.member} {row.option}"


def is_reading(permission: str) -> bool:
    what = permission.partition(":")[2]
    return permission == "none" or what in ("getattr", "read") or what.startswith("search_")


def test_every_member_has_a_row() -> None:
    rows = {(row.interface, row.member, row.option) for row in ROWS}
    for file in FILES:
        for interface in load_interfaces(file).values():
            expected = {(method, "") for method in interface.methods}
            expected |= {
                (f"{prop.name} (writing)", "") for prop in interface.properties.values() if prop.access
            }
            expected |= {
                (method.name, option)
                for method in interface.methods.values()
                for option in method.option_rights
            }
            if interface.properties or interface.signals:
                expected.add((PROPERTIES, ""))
            assert {row[1:] for row in rows if row[0] == interface.name} == expected


def test_the_permissions_are_libvirt_s() -> None:
    known = libvirt()
    for row in ROWS:
        for call, asked in row.calls.items():
            always = [each for each, whole in known[call][1].items() if each == whole]
            if row.option and (row.interface.rpartition(".")[2], row.member) not in UNKNOWN_FLAGS:
                assert set(asked) <= known[call][1].keys(), name(row)
            else:
                assert list(asked) == always, name(row)


def test_libvirt_s_table_has_nothing_else() -> None:
    assert libvirt().keys() == {call for row in ROWS for call in row.calls}


def test_what_everybody_may_is_what_libvirt_allows_read_only() -> None:
    known = libvirt()
    exempt = set()
    for row in ROWS:
        for call, asked in row.calls.items() if row.right == "read" else ():
            if known[call][0] == "never" or not all(map(is_reading, asked)):
                exempt.add((row.interface, row.member, call))
    assert exempt == EXEMPT


def test_what_libvirt_refuses_for_some_arguments_is_an_option_with_a_right() -> None:
    known = libvirt()
    guarded = {call for row in ROWS if row.option and row.right != "read" for call in row.calls}
    sometimes = {call for call, (read_only, _asked) in known.items() if read_only.startswith("unless ")}
    assert sometimes <= guarded


def test_a_member_that_does_not_say_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.xml"
    file.write_text(
        "<node><interface name='x.Y'><method name='DoIt'>"
        "<annotation name='org.virtbridge1.Access' value='read'/></method></interface></node>"
    )
    with pytest.raises(BadContract, match=r"x\.Y\.DoIt has no org\.virtbridge1\.Acl"):
        permissions([file])


def test_the_rows_of_operations_have_libvirt_s_permissions() -> None:
    asked_of = {
        line.split(" | ")[0]: line.split(" | ")[2].split()
        for line in LIBVIRT.read_text().splitlines()
        if line[:1] not in ("#", "")
    }
    checked = 0
    for kind, rows in OPERATIONS.items():
        for row in rows.values():
            if row.call:
                owner = libvirt_python.virConnect if kind is Kind.CONNECTION else CLASSES[kind]
                (function,) = re.findall(r"libvirtmod\.(\w+)\(", inspect.getsource(getattr(owner, row.call)))
                assert sorted(row.permissions) == sorted(asked_of[function]), f"{kind}.{row.name}"
                checked += 1
    assert checked > 100


# Rights that no permission of libvirt's tells of, as libvirt asks for less: what the member opens is more
# than what its call reads, or what an unknown flag may show.
MORE_THAN_LIBVIRT_ASKS = {
    ("org.virtbridge1.Connection", "GetDomainCapabilities", "emulator"): "configure",  # libvirtd runs it
    ("org.virtbridge1.Manager", "OpenConnection", ""): "connections",
    # libvirt calls them reading, and refuses both on a read-only connection.
    ("org.virtbridge1.Connection", "GetSevInfo", ""): "configure",
    ("org.virtbridge1.Domain", "GetLaunchSecurityInfo", ""): "configure",
    **{
        (f"org.virtbridge1.{kind}", "GetXml", "flags"): "read-secrets"
        for kind in ("Network", "NodeDevice", "StoragePool")
    },
}


def test_the_rights_are_those_of_libvirt_s_permissions() -> None:
    for row in ROWS:
        if row.calls:
            derived = rights_of_calls(row.calls) or (READ,)
            more = MORE_THAN_LIBVIRT_ASKS.get((row.interface, row.member, row.option))
            assert (row.right,) == ((more,) if more else derived), name(row)


def test_every_permission_of_libvirt_s_has_a_right() -> None:
    permissions_known = {permission for _, asked in libvirt().values() for permission in asked}
    assert permissions_known <= RIGHT_OF.keys()


def test_every_right_but_reading_is_an_action_of_polkit_s() -> None:
    root = etree.parse(str(CONTRACT_FOLDER / f"{NAME}.policy")).getroot()
    actions = {action.get("id", ""): action for action in root.iterfind("action")}
    assert set(actions) == {action_of(right) for right in RIGHTS if right != READ}
    for right, included in INCLUDED.items():
        if right != READ:
            notes = {note.get("key"): note.text for note in actions[action_of(right)].iterfind("annotate")}
            implied = set((notes.get("org.freedesktop.policykit.imply") or "").split())
            assert implied == {action_of(each) for each in included - {READ}}
            # Without it polkit would take no question from a service that is not root.
            assert notes["org.freedesktop.policykit.owner"] == "unix-user:virtbridge"


def test_what_the_contract_states_are_rights() -> None:
    assert {row.right for row in ROWS} <= set(RIGHTS)
