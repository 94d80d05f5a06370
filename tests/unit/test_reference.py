"""dbus/API.md is what the contract says now, and nothing in the contract is without a comment."""

from pathlib import Path

import pytest

from virtbridge.bus.contract import CONTRACT_FOLDER, BadContract, load_contract
from virtbridge.bus.names import NAME
from virtbridge.bus.reference import reference

FILES = sorted(CONTRACT_FOLDER.glob("org.virtbridge1.*.xml"))
API = Path(__file__).parents[2] / "dbus" / "API.md"

WHOLE = """
<node>
  <!-- org.example.Thing: what it is. Since 0.1. -->
  <interface name="org.example.Thing">
    <annotation name="org.virtbridge1.Acl" value="cache"/>
    <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="true"/>
    <!-- Size: of a * thing_, in <bytes>. Since 0.2. -->
    <property name="Size" type="t" access="readwrite">
      <annotation name="org.virtbridge1.Access" value="configure"/>
      <annotation name="org.virtbridge1.Acl" value="virThingSetSize thing:write"/>
    </property>
    <!-- Move: takes it. where: a place … how: `a*b`. Errors: none. Since 0.1. -->
    <method name="Move">
      <annotation name="org.virtbridge1.Access" value="read"/>
      <annotation name="org.virtbridge1.Options" value="by_force b"/>
      <annotation name="org.virtbridge1.Acl" value="
        virThingMove thing:read thing:getattr,
        virThingIsThere none"/>
      <annotation name="org.virtbridge1.Access.by_force" value="control unless false"/>
      <annotation name="org.virtbridge1.Acl.by_force" value="virThingMove thing:write"/>
      <arg name="where" type="s" direction="in"/>
      <arg name="how" type="a{sv}" direction="in"/>
      <arg name="came" type="b" direction="out"/>
    </method>
    <!--
      Moved: after a
      move. how: known. Since 0.1.
      first: one
        thing
      second: another
    -->
    <signal name="Moved"><arg name="how" type="s"/></signal>
  </interface>
</node>
"""


def test_the_committed_reference_is_the_contract_of_now() -> None:
    assert API.read_text("utf-8") == reference(FILES), "`make docs` writes it anew"


def test_every_interface_and_member_is_in_it() -> None:
    text = reference(FILES)
    for interface in load_contract(NAME).values():
        chapter = text.partition(f"\n## {interface.name}\n")[2].partition("\n## ")[0]
        assert chapter, interface.name
        for name in interface.properties:
            assert f"\n| `{name}` | " in chapter, f"{interface.name}.{name}"
        for name in [*interface.methods, *interface.signals]:
            assert f"\n{name}(" in chapter, f"{interface.name}.{name}"


def _written(folder: Path, xml: str) -> list[Path]:
    file = folder / "org.example.Thing.xml"
    file.write_text(xml)
    return [file]


def test_a_member_reads_as_its_comment(tmp_path: Path) -> None:
    text = reference(_written(tmp_path, WHOLE))
    row = r"`t` | read, write (right `configure`) | signal | of a \* thing\_, in &lt;bytes>. Since 0.2 |"
    assert f"| `Size` | {row}" in text.splitlines()
    move = text.partition("### Move (method)\n")[2].partition("\n#")[0]
    assert move == (
        "\n```\nMove(where s, how a{sv}) → came b\n```\n\nTakes it.\n\n"
        "- `where`: a place …\n- `how`: `a*b`.\n- Errors: none.\n- Right: `read`\n"
    )
    moved = text.partition("### Moved (signal)\n")[2].partition("\n#")[0]
    assert moved == (
        "\n```\nMoved(how s)\n```\n\nAfter a move.\n\n"
        "- `how`: known.\n  - first: one thing\n  - second: another\n"
    )


def test_the_rights_are_a_table(tmp_path: Path) -> None:
    rows = reference(_written(tmp_path, WHOLE)).partition("\n|---|---|---|---|---|\n| Thing")[2].splitlines()
    assert [f"| Thing{rows[0]}", *rows[1:4]] == [
        "| Thing | properties and signals |  | `read` | `cache` |",
        "| Thing | Size (writing) |  | `configure` | virThingSetSize (`thing:write`) |",
        "| Thing | Move |  | `read` | virThingMove (`thing:read thing:getattr`), virThingIsThere (`none`) |",
        "| Thing | Move | `by_force` | `control` unless false | virThingMove (`thing:write`) |",
    ]


@pytest.mark.parametrize(
    ("there", "instead", "complaint"),
    [
        ("Moved: after", "after", "signal Moved has no comment"),
        ("<!-- Move: ", "<!-- Motion: ", "method Move has no comment"),
        ("in <bytes>. Since 0.2.", "in bytes.", "property Size does not say since"),
        (
            "<!-- org.example.Thing: what it is. Since 0.1. -->",
            "",
            "interface org.example.Thing has no comment",
        ),
    ],
)
def test_what_has_no_comment_of_its_own_is_named(
    tmp_path: Path, there: str, instead: str, complaint: str
) -> None:
    assert there in WHOLE
    with pytest.raises(BadContract, match=rf"^org\.example\.Thing\.xml: .*{complaint}"):
        reference(_written(tmp_path, WHOLE.replace(there, instead)))
