"""The lines of a TOML text on which its keys stand, since tomllib does not report them.

Pure, and only for text that tomllib has parsed: this scan trusts the grammar, reads nothing but keys, and
steps over values. Arrays are stepped over as one, since none of our keys lies in an array.
Source: https://toml.io/en/v1.0.0
"""

import re
import tomllib
from collections.abc import Iterator

KeyPath = tuple[str, ...]

_STRING = r'"{3}(?:\\.|[^\\])*?"{3,5}' r"|'{3}.*?'{3,5}" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'"
_KEY_PART = re.compile(rf"{_STRING}|[A-Za-z0-9_-]+", re.DOTALL)
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_TEXT = re.compile(_STRING, re.DOTALL)
_SCALAR = re.compile(r"[^,\]}\n#]*")
_ARRAY_TOKEN = re.compile(rf"{_STRING}|#[^\n]*|[^\[\]\"'#]+|[\[\]]", re.DOTALL)


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, where each key and table is first written."""
    return _Scan(text).document()


def last_key(text: str) -> KeyPath:
    """Return the key or table that is written last, as in a text that ends with one that must
    not be there.
    """
    scan = _Scan(text)
    scan.document()
    return scan.path


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int:
    """Return the line of a key, or of the nearest table around it that has one."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return 1


class _Scan:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.path: KeyPath = ()
        self._line, self._counted = 1, 0  # the line at the place up to which line ends are counted
        self._lines: dict[KeyPath, int] = {}

    def document(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self._skip_blank()
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip_blank()
        return self._lines

    def _header(self) -> KeyPath:
        """Read `[a.b]` or `[[a.b]]`."""
        self._take("[[") or self._take("[")
        path = self._key(())
        self._take("]]") or self._take("]")
        return path

    def _pair(self, table: KeyPath) -> None:
        path = self._key(table)
        self._take("=")
        self._value(path)

    def _key(self, table: KeyPath) -> KeyPath:
        """Read a bare, quoted or dotted key below table, keep its line, and stop behind it."""
        path = table
        start = self._skip_blank()
        self._line += self._text.count("\n", self._counted, start)
        self._counted = start
        for part in self._key_parts():
            path = (*path, part)
            self._lines.setdefault(path, self._line)
        self.path = path
        return path

    def _key_parts(self) -> Iterator[str]:
        while found := _KEY_PART.match(self._text, self._skip_blank()):
            self._at = found.end()
            token = found.group()
            # Quoted keys have escapes; the one who knows them all is tomllib.
            yield tomllib.loads(f"key = {token}")["key"] if token[0] in "\"'" else token
            if not self._take("."):
                return

    def _value(self, path: KeyPath) -> None:
        start = self._text[self._skip_blank() : self._at + 1]
        if start == "{":
            self._inline_table(path)
        elif start == "[":
            self._skip_array()
        else:
            found = _TEXT.match(self._text, self._at) or _SCALAR.match(self._text, self._at)
            self._at = found.end() if found else len(self._text)

    def _inline_table(self, path: KeyPath) -> None:
        self._take("{")
        while not self._take("}") and self._at < len(self._text):
            self._pair(path)
            self._take(",")

    def _skip_array(self) -> None:
        depth = 0
        while token := _ARRAY_TOKEN.match(self._text, self._at):
            self._at = token.end()
            depth += {"[": 1, "]": -1}.get(token.group(), 0)
            if not depth:
                return

    def _take(self, token: str) -> bool:
        """Step over token, and what is blank before it, if it comes next."""
        if not self._text.startswith(token, self._skip_blank()):
            return False
        self._at += len(token)
        return True

    def _skip_blank(self) -> int:
        found = _BLANK.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._at
