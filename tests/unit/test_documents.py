"""What the documents say is so: every key with its default and bounds, and every link leads somewhere."""

import json
import re
import shutil
import subprocess
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest

from virtbridge.command import main
from virtbridge.config import BusConfig, ConnectionConfig, LimitsConfig, RefreshConfig, StatsConfig

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "docs" / "configuration.md"
MANUALS = sorted((ROOT / "docs" / "man").iterdir())
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
TABLES = {
    "connections.NAME": ConnectionConfig,
    "bus": BusConfig,
    "limits": LimitsConfig,
    "refresh": RefreshConfig,
    "stats": StatsConfig,
}
_MANUAL_TABLE = re.compile(r"^\.SS \[(.*)\]\n((?:(?!\.S[SH]).*\n)*)", re.M)
_MANUAL_KEY = re.compile(r"^\.TP\n\.B (\w+)\n((?:(?!\.TP).*\n)*)", re.M)
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


def _keys() -> dict[str, tuple[str, str]]:
    return {
        f"{table}.{field.name}": (_default(field), _bounds(field))
        for table, kind in TABLES.items()
        for field in fields(kind)
        if (table, field.name) != ("connections.NAME", "name")
    }


def test_every_key_with_its_default_and_bounds() -> None:
    said = {key: (default, bounds) for key, default, bounds in _ROW.findall(CONFIGURATION.read_text("utf-8"))}
    assert said == _keys()


def _manual_values(default: str, bounds: str) -> str:
    """What the manual page says at the end of a key's text."""
    shown = {"": "", '`""`': "Default: empty"}.get(default, f"Default: {default.strip('`')}")
    return ", ".join(filter(None, (shown, bounds and f"from {bounds}")))


def test_the_manual_page_has_every_key_too() -> None:
    page = (ROOT / "docs" / "man" / "virtbridge.toml.5").read_text("utf-8")
    said = {
        f"{table}.{key}": next((line[:-1] for line in text.splitlines() if line.startswith("Default: ")), "")
        for table, entries in _MANUAL_TABLE.findall(page)
        for key, text in _MANUAL_KEY.findall(entries)
    }
    assert said == {key: _manual_values(*values) for key, values in _keys().items()}


def test_the_manual_page_has_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "man" / "virtbridge.8").read_text("utf-8").replace("\\-", "-")
    with pytest.raises(SystemExit):
        main(["--help"])
    helped = set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out))
    for section in (".SH SYNOPSIS", ".SH OPTIONS"):
        named = set(re.findall(r"--[a-z][\w-]*", page.partition(section)[2].partition(".SH ")[0]))
        assert helped - named <= ({"--help", "--version"} if section == ".SH SYNOPSIS" else set())
        assert named <= helped


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff shows manual pages")
@pytest.mark.parametrize("page", MANUALS, ids=lambda page: page.name)
def test_a_manual_page_has_no_mistakes(page: Path) -> None:
    command = ["groff", "-man", "-ww", "-z", "-Tutf8", str(page)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stderr == ""


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
