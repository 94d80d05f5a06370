"""The shape of the house: imports point down, and two libraries have one door each."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "virtbridge"
# For every layer: plain values, pure functions, and what asyncio lacks.
FREE = {"errors", "metrics", "config", "uri_checks", "turns", "memory", "logs", "clock", "pauses"}
# For wire too, which has no error kinds and no configuration of ours.
PURE = {"limiter", "round_robin", "tasks"}

# folder -> the folders it may import
MAY_IMPORT = {
    "model": {"model"},
    "cache": {"cache", "model"},
    "source": {"source", "model"},
    "wire": {"wire"} | PURE,
    "bus": {"bus", "cache", "model", "wire"},
}
WITHOUT_FREE = {"model", "wire"}
LAYERED = [(path, folder) for folder in MAY_IMPORT for path in sorted((PACKAGE / folder).rglob("*.py"))]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("path", "folder"), LAYERED, ids=lambda value: getattr(value, "name", value))
def test_imports_point_down(path: Path, folder: str) -> None:
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == "virtbridge" and rest.split(".")[0] != "__version__":
            allowed = MAY_IMPORT[folder] | (set() if folder in WITHOUT_FREE else FREE | PURE)
            assert rest.split(".")[0] in allowed, f"{path.name} imports {name}"


@pytest.mark.parametrize("name", sorted(FREE | PURE))
def test_what_every_layer_may_import_imports_none(name: str) -> None:
    paths = [PACKAGE / f"{name}.py", *(PACKAGE / name).glob("*.py")]
    found = {imported for path in paths if path.exists() for imported in imports(path)}
    assert found
    ours = {imported.split(".")[1] for imported in found if imported.startswith("virtbridge.")}
    assert ours <= (PURE if name in PURE else FREE | PURE)


@pytest.mark.parametrize(
    ("libraries", "door"),
    [({"libvirt"}, "source"), ({"dbus_next", "dbus_fast"}, "wire/transport.py")],
    ids=["libvirt", "dbus"],
)
def test_one_door_to_each_library(libraries: set[str], door: str) -> None:
    for path in PACKAGE.rglob("*.py"):
        if not str(path.relative_to(PACKAGE)).startswith(door):
            assert not libraries & {name.split(".")[0] for name in imports(path)}, path


def test_the_model_is_pure() -> None:
    for path in (PACKAGE / "model").glob("*.py"):
        used = {name.split(".")[0] for name in imports(path)}
        assert not used & {
            "socket",
            "os",
            "time",
            "logging",
            "asyncio",
            "subprocess",
            "random",
        }, path


def strings(path: Path) -> Iterator[str]:
    """All string constants but the docstrings and other strings that stand alone as a statement."""
    tree = ast.parse(path.read_text())
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value


@pytest.mark.parametrize("folder", ["model", "cache", "source", "wire"])
def test_no_name_or_path_of_an_api_stands_below_the_bus(folder: str) -> None:
    """Another API has its own for the same records."""
    for path in (PACKAGE / folder).rglob("*.py"):
        found = [text for text in strings(path) if re.search(r"org[./](virtbridge|libvirt)", text)]
        assert found == [], path


# What bus/ has of org.virtbridge1 alone. All else in bus/ serves any API.
OURS = {
    *{"errors", "names", "paths", "reference", "stats_watches", "tables", "virtbridge1", "watches"},
    *{f"handlers.{name}" for name in ("demand", "manager", "objects", "statistics")},
}


def test_what_serves_any_api_knows_nothing_of_ours() -> None:
    bus = PACKAGE / "bus"
    for path in bus.rglob("*.py"):
        if ".".join(path.relative_to(bus).with_suffix("").parts) not in OURS:
            known = {name.removeprefix("virtbridge.bus.") for name in imports(path)}
            assert not [name for name in known if any(f"{name}.".startswith(f"{each}.") for each in OURS)], (
                path
            )
            assert not [text for text in strings(path) if re.search(r"org[./]virtbridge1/?$", text)], path
