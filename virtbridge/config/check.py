"""The contents of files are compared with what can be set: the result is every mistake, or a Config.

Pure. The rules are the dataclasses of __init__.py: their fields' names, types and bounds; what spans fields
is in one table here. Source: the tables of virtbridge.toml as tomllib reads them.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from types import MappingProxyType
from typing import Any

from virtbridge.config import (
    BusConfig,
    Config,
    ConnectionConfig,
    JobsConfig,
    LimitsConfig,
    RefreshConfig,
    StatsConfig,
)
from virtbridge.config.lines import KeyPath
from virtbridge.uri_checks import uri_problem

NAME_LENGTH_MAX = 64
RESERVED_NAMES = frozenset({"job"})  # object paths right below the root that are no connections
_TABLES: Mapping[str, type] = MappingProxyType(
    {
        "bus": BusConfig,
        "limits": LimitsConfig,
        "refresh": RefreshConfig,
        "stats": StatsConfig,
        "jobs": JobsConfig,
    }
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one key, in words that follow the key."""

    path: KeyPath
    text: str


@dataclass(frozen=True, slots=True)
class Settings:
    """One file's good values; with_defaults() makes a Config of several.

    names: of all its connections, the bad ones too. tables: table, then key.
    """

    names: tuple[str, ...] = ()
    connections: Mapping[str, ConnectionConfig] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def check_document(document: Mapping[str, Any]) -> tuple[Settings, list[Problem]]:
    """Check one file's contents. Keys with mistakes are left out of the settings."""
    problems = list(_unknown_keys((), document, ["connections", *_TABLES]))
    connections: dict[str, ConnectionConfig] = {}
    given = _table(document, ("connections",), problems)
    for name, values in given.items():
        config = _check_connection(name, values, problems)
        if config is not None:
            connections[name] = config
    tables = {
        name: _check_fields((name,), kind, _table(document, (name,), problems), problems)
        for name, kind in _TABLES.items()
        if name in document
    }
    return Settings(tuple(given), connections, tables), problems


def with_defaults(files: Iterable[Settings]) -> Config:
    """Join settings: later files win, key by key. The caller has refused connections that are
    in two files.
    """
    connections: dict[str, ConnectionConfig] = {}
    tables: dict[str, dict[str, Any]] = {name: {} for name in _TABLES}
    for settings in files:
        connections.update(settings.connections)
        for name, values in settings.tables.items():
            tables[name].update(values)
    return Config(
        MappingProxyType(connections),
        **{name: kind(**tables[name]) for name, kind in _TABLES.items()},
    )


def check_together(config: Config) -> Iterator[tuple[Problem, ...]]:
    """For each relation between keys that does not hold, return what is wrong with each of its keys."""
    return (problems for holds, problems in _RELATIONS if not holds(config))


def connection_name_problem(name: str) -> str | None:
    """Return why a connection cannot have this name, or None. Files and clients are checked alike."""
    if not 1 <= len(name) <= NAME_LENGTH_MAX:
        return f"a connection's name has 1 to {NAME_LENGTH_MAX} characters"
    if "/" in name:
        return "a connection's name has no slash"
    if name in RESERVED_NAMES:
        return f"the name {name!r} is the service's own"
    if not name.isprintable():
        return "a connection's name has no control or other unprintable characters"
    return None


def show_key(path: KeyPath) -> str:
    """Return a key as TOML would write it, always on one line."""
    return ".".join(part if _BARE_KEY.fullmatch(part) else json.dumps(part) for part in path)


_RELATIONS: tuple[tuple[Callable[[Config], bool], tuple[Problem, ...]], ...] = (
    (
        lambda config: config.refresh.reconnect_min_s <= config.refresh.reconnect_max_s,
        (
            Problem(("refresh", "reconnect_max_s"), "is less than reconnect_min_s"),
            Problem(("refresh", "reconnect_min_s"), "is more than reconnect_max_s"),
        ),
    ),
    (
        lambda config: len(config.connections) <= config.limits.connections,
        (Problem(("limits", "connections"), "is less than the number of connections configured"),),
    ),
)


def _check_connection(name: str, values: Any, problems: list[Problem]) -> ConnectionConfig | None:
    path = ("connections", name)
    before = len(problems)
    if text := connection_name_problem(name):
        problems.append(Problem(path, text))
    if not isinstance(values, dict):
        problems.append(Problem(path, f"must be a table, not {_described(values)}"))
        return None
    given = _check_fields(path, ConnectionConfig, values, problems, without=("name",))
    if "uri" not in values:
        problems.append(Problem(path, "has no uri"))
    return ConnectionConfig(name=name, **given) if len(problems) == before else None


def _check_fields(
    path: KeyPath,
    kind: type,
    values: Mapping[str, Any],
    problems: list[Problem],
    without: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the good values among these, by field."""
    known = {each.name: each for each in fields(kind) if each.name not in without}
    problems += _unknown_keys(path, values, list(known))
    good = {}
    for name, value in values.items():
        if name in known and (text := _value_problem(known[name], value)):
            problems.append(Problem((*path, name), text))
        elif name in known:
            good[name] = float(value) if known[name].type is float else value
    return good


def _value_problem(known: Field[Any], value: Any) -> str | None:
    words, fits = _TYPES[known.type]
    if not fits(value):
        return f"must be {words}, not {_described(value)}"
    bounds = known.metadata.get("bounds")
    if bounds and not bounds.low <= value <= bounds.high:
        shown = _described(value) if isinstance(value, int) else value
        return f"must be from {bounds.low:.15g} to {bounds.high:.15g}, not {shown}"
    check = _CHECKS.get(known.name)
    return check(value) if check else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: Mapping[Any, tuple[str, Callable[[Any], bool]]] = MappingProxyType(
    {
        str: ("a string", lambda value: isinstance(value, str)),
        bool: ("true or false", lambda value: isinstance(value, bool)),
        int: ("a whole number", lambda value: _is_number(value) and isinstance(value, int)),
        float: ("a number", _is_number),
    }
)


def _address_problem(address: str) -> str | None:
    if not address or re.fullmatch(r"(?:[a-z]+:[!-~]*(?:;|$))+", address):
        return None
    return "is not a D-Bus address, as in unix:path=/run/dbus/system_bus_socket"


_CHECKS: Mapping[str, Callable[[str], str | None]] = MappingProxyType(
    {"uri": uri_problem, "address": _address_problem}
)


def _table(document: Mapping[str, Any], path: KeyPath, problems: list[Problem]) -> Mapping[str, Any]:
    values = document.get(path[0], {})
    if isinstance(values, dict):
        return values
    problems.append(Problem(path, f"must be a table, not {_described(values)}"))
    return {}


def _unknown_keys(path: KeyPath, values: Mapping[str, Any], known: list[str]) -> Iterator[Problem]:
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            yield Problem((*path, name), f"unknown key; {hint}")


def _described(value: Any) -> str:
    """Describe a wrong value for an error: short, on one line, and never a string's text, which may be a
    secret.
    """
    if isinstance(value, str | list | dict):
        return {str: "a string", list: "an array", dict: "a table"}[type(value)]
    if isinstance(value, int) and value.bit_length() > 64:  # in decimal it may be too long for str()
        return "a number of more than 64 bits"
    return json.dumps(value, default=str)
