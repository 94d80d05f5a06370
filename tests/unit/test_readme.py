"""What README.md says is so: every key with its default and bounds, headings and files that it points to."""

import json
import re
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from virtbridge.config import BusConfig, ConnectionConfig, LimitsConfig, RefreshConfig, StatsConfig

README = Path(__file__).parents[2] / "README.md"
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
    said = {key: (default, bounds) for key, default, bounds in _ROW.findall(README.read_text("utf-8"))}
    assert said == {
        f"{table}.{field.name}": (_default(field), _bounds(field))
        for table, kind in TABLES.items()
        for field in fields(kind)
        if (table, field.name) != ("connections.NAME", "name")
    }


def test_the_headings_that_it_points_to_are_there() -> None:
    text = README.read_text("utf-8")
    headings = {title.lower().replace(" ", "-") for title in re.findall(r"^#+ ([\w -]+)$", text, re.M)}
    pointed = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert pointed
    assert pointed <= headings


def test_the_files_that_it_names_are_there() -> None:
    named = re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text("utf-8"))
    assert "dbus/API.md" in named
    assert [name for name in named if not (README.parent / name).exists()] == []
