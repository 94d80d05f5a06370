"""What the documents say is so: every key with its default and bounds, and every link leads somewhere."""

import json
import re
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest

from virtbridge.config import (
    BusConfig,
    ConnectionConfig,
    JobsConfig,
    LimitsConfig,
    RefreshConfig,
    StatsConfig,
)

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "docs" / "configuration.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
TABLES = {
    "connections.NAME": ConnectionConfig,
    "bus": BusConfig,
    "limits": LimitsConfig,
    "refresh": RefreshConfig,
    "stats": StatsConfig,
    "jobs": JobsConfig,
}
_ROW = re.compile(
    r"^\| `((?:connections\.NAME|bus|limits|refresh|stats|jobs)\.\w+)` \| (.*?) ?\| (.*?) ?\| \S.* \|$", re.M
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
