"""Nothing of libvirt is forgotten: each method of its binding has a row, is called for reading, or is left
out for a reason.
"""

import ast
from pathlib import Path

import libvirt
import pytest

from tests.unit.test_kind_rows import CLASSES
from virtbridge.bus.left_out import LEFT_OUT
from virtbridge.model.keys import Kind
from virtbridge.model.operations import OPERATIONS

SOURCE = Path(__file__).parents[2] / "virtbridge" / "source"
OTHERS = (libvirt.virNetworkPort, libvirt.virStream)
KIND_OF = {owner.__name__: kind for kind, owner in CLASSES.items()} | {"virConnect": Kind.CONNECTION}
OWNERS = [libvirt.virConnect, *CLASSES.values(), *OTHERS]


def named_in_source() -> set[str]:
    """The attributes and texts there, one of which names each method that is called."""
    found = set()
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def methods_of(owner: type) -> set[str]:
    return {name for name, value in vars(owner).items() if callable(value) and not name.startswith("_")}


def left_out(owner: type) -> list[str]:
    return [name for group in LEFT_OUT for name in group.methods.get(owner.__name__, "").split()]


def row_calls(owner: type) -> set[str]:
    kind = KIND_OF.get(owner.__name__)
    return {row.call for row in OPERATIONS[kind].values() if row.call} if kind else set()


@pytest.mark.parametrize("owner", OWNERS, ids=lambda owner: owner.__name__)
def test_each_method_is_accounted_for(owner: type) -> None:
    known = named_in_source() | row_calls(owner) | set(left_out(owner))
    assert methods_of(owner) - known == set()


@pytest.mark.parametrize("owner", OWNERS, ids=lambda owner: owner.__name__)
def test_what_is_left_out_is_there_once_and_has_no_row(owner: type) -> None:
    names = left_out(owner)
    assert len(names) == len(set(names))
    assert set(names) & row_calls(owner) == set()
    # libvirt 9.0 has each of them, and a newer one has no fewer.
    assert {name for name in names if name != "connect"} <= methods_of(owner)


def test_no_reason_is_given_for_what_is_no_class_of_libvirt_s() -> None:
    owners = {owner.__name__ for owner in OWNERS}
    assert {name for group in LEFT_OUT for name in group.methods} <= owners
