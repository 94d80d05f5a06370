"""Lines of keys, compared with tomllib: what it finds, the scan finds too, and on the right line."""

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtbridge.config.lines import KeyPath, key_lines, line_of

_TEXT = '''\
# [not.a.table]
title = """
[connections.fake]
uri = "no" """""   # a quote more than the end
site.name = 'a # b'

[connections.lab]  # the lab
uri = "qemu:///system" # = "x"
"read only" = [ "]", # ]
  [1, 2], 'x',
]
  [ connections . "a.b" ]
'events' = true
inner = { keepalive.count = 3, "k\\u00e9y" = { deep = [{}] } , last="}" }
after = 1979-05-27 07:32:00
[[many]]
one = 1
[[many]]
two = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("site",), 5),
        (("site", "name"), 5),
        (("connections",), 7),
        (("connections", "lab"), 7),
        (("connections", "lab", "uri"), 8),
        (("connections", "lab", "read only"), 9),
        (("connections", "a.b"), 12),
        (("connections", "a.b", "events"), 13),
        (("connections", "a.b", "inner", "keepalive", "count"), 14),
        (("connections", "a.b", "inner", "kéy", "deep"), 14),
        (("connections", "a.b", "inner", "last"), 14),
        (("connections", "a.b", "after"), 15),
        (("many", "one"), 17),
        (("many", "two"), 19),
    ],
)
def test_every_way_to_write_a_key(path: KeyPath, line: int) -> None:
    tomllib.loads(_TEXT)
    assert key_lines(_TEXT)[path] == line


def test_nothing_but_keys_is_found() -> None:
    assert set(key_lines(_TEXT)) == set(_paths(tomllib.loads(_TEXT)))


def test_windows_line_ends_and_no_last_line_end() -> None:
    assert key_lines("a = 1\r\n[b]\r\nc = '''\r\n'''\r\nd=2") == {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "d"): 5,
    }


def test_an_unknown_key_has_its_tables_line() -> None:
    lines = key_lines("\n[connections.lab]\nevents = true\n")
    assert line_of(lines, ("connections", "lab", "uri")) == 2
    assert line_of(lines, ("limits", "queries")) == 1


_KEYS = st.text(max_size=6)
_STRINGS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_ARRAYS = st.lists(st.integers() | _STRINGS, max_size=3)
_DOCUMENTS = st.recursive(
    st.dictionaries(_KEYS, st.integers() | st.booleans() | _STRINGS | _ARRAYS, max_size=4),
    lambda inner: st.dictionaries(_KEYS, inner | st.integers() | _STRINGS, max_size=3),
    max_leaves=8,
)


@given(document=_DOCUMENTS, inline=st.booleans())
def test_any_document_gives_the_lines_it_was_written_on(document: dict[str, Any], inline: bool) -> None:
    text, lines = _written(document, inline=inline)
    assert tomllib.loads(text) == document
    assert key_lines(text) == lines


def _written(document: dict[str, Any], *, inline: bool) -> tuple[str, dict[KeyPath, int]]:
    """The document as TOML, and the line of every key of it."""
    rows: list[str] = ["# a comment with ] and = and \"'"]
    lines: dict[KeyPath, int] = {}

    def table(path: KeyPath, values: dict[str, Any]) -> None:
        plain = {key: value for key, value in values.items() if inline or not isinstance(value, dict)}
        for key, value in plain.items():
            rows.append(f"{_quoted(key)} = {_value(value)}")
            lines.update(dict.fromkeys(_paths({key: value}, path), len(rows)))
        for key in values.keys() - plain.keys():
            rows.append(f"[{'.'.join(map(_quoted, (*path, key)))}] # ]")
            lines[*path, key] = len(rows)
            table((*path, key), values[key])

    table((), document)
    return "\n".join(rows), lines


def _paths(values: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from _paths(value, (*path, key))
        elif path == () and key == "many":
            yield from ((*path, key, name) for each in value for name in each)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)}={_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    if isinstance(value, str):
        return _quoted(value)
    return str(value).lower()


def _quoted(text: str) -> str:
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in plain) + '"'
