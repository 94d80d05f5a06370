"""The configuration's files: virtbridge.toml, the conf.d beside it and --connect are read into one Config.

The only module that reads configuration files. Every mistake of every file is reported, in the order of
the files and their lines. Files in conf.d are read in the order of their names; a later file's setting wins
over an earlier one's, but a connection may be defined once only: two files that mean different hosts by one
name are a mistake, not a choice.
Source: TOML 1.0; --connect NAME=URI.
"""

import contextlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from virtbridge.config import Config, ConnectionConfig
from virtbridge.config.check import (
    Problem,
    Settings,
    check_document,
    check_together,
    show_key,
    with_defaults,
)
from virtbridge.config.lines import KeyPath, key_lines, last_key, line_of

DEFAULT_FILE = Path("/etc/virtbridge/virtbridge.toml")
FILE_BYTES_MAX = 4 << 20
_COMMAND_LINE = "--connect"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One line for whoever wrote the file. line: 0 when the mistake concerns the file itself; key: empty
    likewise.
    """

    file: str
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}: {self.text}" if self.key else f"{where}: {self.text}"


class BadConfig(Exception):
    """The configuration has mistakes, and nothing of it is used."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True)
class _Read:
    """One file, or the command line: its good settings, and the line of each key."""

    file: str
    settings: Settings
    lines: Mapping[KeyPath, int]
    mistakes: tuple[Mistake, ...] = ()


def load_config(file: Path | None = None, connect: Sequence[str] = ()) -> Config:
    """Read everything together. Raises BadConfig.

    file: what --config names, None for DEFAULT_FILE. Its directory's conf.d/*.toml is read after it either
    way. DEFAULT_FILE may be absent, a named file may not. connect: NAME=URI, each a connection with defaults.
    """
    reads = list(_read_all(file))
    reads += [_read_argument(argument) for argument in connect]
    mistakes = [mistake for read in reads for mistake in read.mistakes]
    mistakes += _duplicates(reads)
    config = with_defaults(read.settings for read in reads)
    wrong = {mistake.key for mistake in mistakes}  # and left out of the Config
    for problems in check_together(config):
        if wrong.isdisjoint(show_key(problem.path) for problem in problems):
            mistakes.append(_located(reads, problems))
    if mistakes:
        order = {read.file: place for place, read in enumerate(reads)}
        raise BadConfig(sorted(mistakes, key=lambda mistake: (order.get(mistake.file, 0), mistake.line)))
    return config


def _read_all(file: Path | None) -> Iterator[_Read]:
    main = file or DEFAULT_FILE
    if file is not None or _is_there(main):
        yield _read_file(main)
    directory = main.parent / "conf.d"
    if not _is_there(directory):
        return
    try:
        # Hidden ones are an editor's: Emacs leaves `.#lab.toml` while someone types.
        found = sorted(each for each in directory.iterdir() if each.suffix == ".toml" and each.name[0] != ".")
    except OSError as error:
        yield _unread(_one_line(str(directory)), 0, f"cannot be read: {error.strerror}")
    else:
        yield from map(_read_drop_in, found)


def _read_drop_in(path: Path) -> _Read:
    """Read a file of conf.d. Nobody has named it, so it must be a regular file: a FIFO would never end."""
    with contextlib.suppress(OSError):  # reading says why
        if path.is_fifo():
            return _unread(_one_line(str(path)), 0, "is not a regular file")
    return _read_file(path)


def _is_there(path: Path) -> bool:
    """Return whether someone means it to be read: a dangling link or a forbidden directory is, and then
    fails.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _read_file(path: Path) -> _Read:
    file = _one_line(str(path))
    try:
        text = _text_of(path)
        document = tomllib.loads(text)
    except OSError as error:
        return _unread(file, 0, f"cannot be read: {error.strerror or error}")
    except UnicodeDecodeError as error:
        return _unread(file, error.object.count(b"\n", 0, error.start) + 1, "is not UTF-8")
    except tomllib.TOMLDecodeError as error:
        return _unread(file, *_syntax_error(error, text))
    except ValueError:  # of int(), which takes some thousand digits at most
        found = re.search(r"[0-9_]{4000}", text)
        return _unread(file, text.count("\n", 0, found.start()) + 1 if found else 0, "has too long a number")
    except RecursionError:
        return _unread(file, 0, "is nested too deeply")
    settings, problems = check_document(document)
    lines = key_lines(text)
    mistakes = (Mistake(file, line_of(lines, each.path), show_key(each.path), each.text) for each in problems)
    return _Read(file, settings, lines, tuple(mistakes))


def _text_of(path: Path) -> str:
    with path.open("rb") as source:
        content = source.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise OSError(None, f"it is longer than {FILE_BYTES_MAX >> 20} MiB")
    return content.decode("utf-8-sig")  # some editors start a file with a byte order mark


def _unread(file: str, line: int, text: str, key: str = "") -> _Read:
    return _Read(file, Settings(), {}, (Mistake(file, line, key, text),))


def _syntax_error(error: tomllib.TOMLDecodeError, text: str) -> tuple[int, str, str]:
    """Line, what is wrong, and the key where that is a key which was there before.

    tomllib says where only in words, in Python 3.11 to 3.13: `… (at line 3, column 5)`.
    """
    words = _one_line(str(error))
    found = re.search(r" \(at line (\d+), column \d+\)$", words)
    if not found:
        return text.count("\n") + 1, words.removesuffix(" (at end of document)"), ""
    line, words = int(found[1]), words[: found.start()]
    if not words.startswith("Cannot "):
        return line, words, ""
    until_then = "\n".join(text.split("\n")[:line])
    return line, re.sub(r" \(.*\)", "", words), show_key(last_key(until_then))


def _read_argument(argument: str) -> _Read:
    name, separator, uri = argument.partition("=")
    if ":/" in name:  # not shown: it may have a password
        return _unread(_COMMAND_LINE, 0, "a URI without a name: must be NAME=URI")
    if not separator:
        return _unread(_COMMAND_LINE, 0, f"{_one_line(argument)}: must be NAME=URI")
    settings, problems = check_document({"connections": {name: {"uri": uri}}})
    mistakes = (Mistake(_COMMAND_LINE, 0, show_key(each.path), each.text) for each in problems)
    return _Read(_COMMAND_LINE, settings, {}, tuple(mistakes))


def _duplicates(reads: Sequence[_Read]) -> Iterator[Mistake]:
    first: dict[str, _Read] = {}
    for read in reads:
        for name in read.settings.names:
            earlier = first.setdefault(name, read)
            if earlier is not read:
                path = ("connections", name)
                place = _mistake(earlier, path, "")
                where = f"{place.file}:{place.line}" if place.line else place.file
                yield _mistake(read, path, f"is already defined in {where}")


def _located(reads: Sequence[_Read], problems: Sequence[Problem]) -> Mistake:
    """Return the place of the last file that sets one of the keys; where none does, of the
    first key's table.
    """
    for read in reversed(reads):
        for problem in problems:
            if problem.path in read.lines:
                return _mistake(read, problem.path, problem.text)
    path, text = problems[0].path, problems[0].text
    for read in reversed(reads):
        if path[:1] in read.lines:
            return _mistake(read, path, text)
    return Mistake(reads[-1].file, 0, show_key(path), text)


def _mistake(read: _Read, path: KeyPath, text: str) -> Mistake:
    line = line_of(dict(read.lines), path) if read.lines else 0
    return Mistake(read.file, line, show_key(path), text)


def _one_line(text: str) -> str:
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def changed_connections(
    old: Mapping[str, ConnectionConfig], new: Mapping[str, ConnectionConfig]
) -> tuple[list[str], list[ConnectionConfig]]:
    """Return what a reload closes and what it then opens; a connection that is equal in both is
    in neither.
    """
    close = [name for name, config in old.items() if new.get(name) != config]
    start = [config for name, config in new.items() if old.get(name) != config]
    return close, start
