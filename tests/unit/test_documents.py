"""What the documents say is so: every key with its default and bounds, and every link leads somewhere."""

import json
import re
import subprocess
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest

from virtbridge import command
from virtbridge.config import BusConfig, ConnectionConfig, LimitsConfig, RefreshConfig, StatsConfig

ROOT = Path(__file__).parents[2]
MANUAL = ROOT / "man"
CONFIGURATION = ROOT / "docs" / "configuration.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
TABLES = {
    "connections.NAME": ConnectionConfig,
    "bus": BusConfig,
    "limits": LimitsConfig,
    "refresh": RefreshConfig,
    "stats": StatsConfig,
}
_ROW = re.compile(
    r"^\| `((?:connections\.NAME|bus|limits|refresh|stats)\.\w+)` \| (.*?) ?\| (.*?) ?\| \S.* \|$", re.M
)


def _default(field: Field[Any]) -> str:
    if field.default is MISSING:
        return ""
    value = int(field.default) if isinstance(field.default, float) else field.default
    return f"`{json.dumps(value)}`"


def _bounds(field: Field[Any]) -> str:
    bounds = field.metadata.get("bounds")
    return f"{bounds.low:.15g} to {bounds.high:.15g}" if bounds else ""


def test_every_key_with_its_default_and_bounds() -> None:
    said = {key: (default, bounds) for key, default, bounds in _ROW.findall(CONFIGURATION.read_text("utf-8"))}
    assert said == {
        f"{table}.{field.name}": (_default(field), _bounds(field))
        for table, kind in TABLES.items()
        for field in fields(kind)
        if (table, field.name) != ("connections.NAME", "name")
    }


def test_the_manual_page_has_every_key_with_its_default_and_bounds() -> None:
    page = (MANUAL / "virtbridge.toml.5").read_text("utf-8")
    tables = re.split(r"^\.Ss .*$", page, flags=re.M)[1:]
    assert len(tables) == len(TABLES)
    for kind, table in zip(TABLES.values(), tables, strict=True):
        said = dict(re.findall(r"^\.It Li (\w+)\n(.*?)(?=^\.It|^\.El)", table, re.M | re.S))
        expected = {field.name: field for field in fields(kind) if field.name != "name"}
        assert said.keys() == expected.keys()
        for name, field in expected.items():
            default = _default(field).strip("`").replace('""', "empty")
            bounds = f" ({_bounds(field)})" if _bounds(field) else ""
            assert not default or said[name].endswith(f"Default: {default}{bounds}.\n"), name


def test_the_manual_page_has_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])
    options = set(re.findall(r"--([a-z-]+)", capsys.readouterr().out))
    page = (MANUAL / "virtbridge.8").read_text("utf-8")
    assert set(re.findall(r"^\.It Fl -([a-z-]+)", page, re.M)) == options


@pytest.mark.parametrize("page", sorted(MANUAL.iterdir()), ids=lambda page: page.name)
def test_a_manual_page_is_rendered_without_warnings(page: Path) -> None:
    done = subprocess.run(
        ["groff", "-ww", "-mdoc", "-Tutf8", "-z", page],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def _headings(document: Path) -> set[str]:
    titles = re.findall(r"^#+ ([\w ,-]+)$", document.read_text("utf-8"), re.M)
    return {title.lower().replace(",", "").replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", document.read_text("utf-8")):
        name, _, heading = target.partition("#")
        file = document.parent / name if name else document
        assert file.exists(), target
        assert not heading or heading in _headings(file), target


def test_the_readme_leads_to_every_document() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [file.name for file in DOCUMENTS if f"{file.relative_to(ROOT)}" not in readme] == ["README.md"]
