"""The API reference: `make docs` writes the contract's files and their comments as Markdown to dbus/API.md.

It is a program of its own that the daemon never runs: `python -m virtbridge.bus.reference`. It reads the
files and writes standard output, nothing else. A comment belongs to the element right below it and starts
with that element's name, up to a colon.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from lxml import etree

from virtbridge.bus.contract import STANDARD_FILE, BadContract, Interface, contract_files, load_interfaces
from virtbridge.bus.errors import NAME_OF_KIND
from virtbridge.bus.left_out import LEFT_OUT, LeftOut
from virtbridge.bus.names import NAME
from virtbridge.bus.permissions import WORDS, Permission, permissions
from virtbridge.errors import ErrorKind

_INTRODUCTION = """\
# org.virtbridge1: the interfaces

Made by `make docs` from `dbus/org.virtbridge1.*.xml`, the files that the service binds and that Introspect
answers from. A change belongs there, not here.

- The bus name is `org.virtbridge1`. The object `/org/virtbridge1` has Manager, Metrics and D-Bus's
  ObjectManager for all objects below it.
- Every method ends with `options` (`a{sv}`). An option that the method does not name is `InvalidArgument`.
  A `timeout` above ten minutes is ten minutes.
- An enumeration is a string: libvirt's constant without its prefix, in lower case, with `-` for `_`. A value
  that this version has no name for is its number in decimal.
- Memory and sizes are in bytes, times in microseconds since the epoch, durations in milliseconds.
- What is absent is an empty string, an empty array or a value that the description names.
- An `a{sv}` whose keys are listed here, alone or in an `aa{sv}`, describes something: it has no key whose
  value is an empty string, an empty array, 0 or false, so a missing key means that value. In the list stand
  each key, its type and its meaning; a key with a dot belongs to the dictionaries of the key before the dot.
- An `a{sv}` that is called a report has every key that libvirt gave, whatever its value, since a value of 0
  means something else than no value: a missing key means that libvirt did not report it. All statistics and
  the details of all events are reports.
- Properties are always all there, in GetAll, GetManagedObjects and `Manager.Select`.
- Right: what a caller needs. Everybody has `read`; polkit is asked for all others on the system bus. On a
  session bus its user has all of them. [Rights](#rights) has the reasons.
- A system bus carries 32 MiB in one message. GetManagedObjects of many thousand domains may be more, and is
  `LimitExceeded` then; `Manager.Select` asks for less, of one connection or of some properties.
- Code is made from these files, which are installed in `share/dbus-1/interfaces`, with gdbus-codegen or with
  qdbusxml2cpp. The latter needs a header (`-i`) with the types of what Qt has none for: `VirtbridgeErrorText`
  (`(ss)`), `VirtbridgeDiskUsers` (`a(oss)`), `VirtbridgeMacUsers` (`a(os)`), `VirtbridgeStatsHistory`
  (`a(ta{sv})`).
- Changes: how a changed property is announced: by the `signal` PropertiesChanged, or `never`, as it does not
  change.
"""
_RIGHTS = """\
## Rights

Everybody on the machine has the right `read`. It lets a caller do what libvirt lets everybody do on a
read-only connection, as far as libvirt's access control calls that reading, and no more; the service's own
connections can do everything. The other rights are root's, and
on a session bus its user's. On the system bus polkit is asked for them, each by an action of its own, and
[configuration.md](../docs/configuration.md#who-may-do-what) tells how its rules grant them:

- `control` (`org.virtbridge1.control`): what changes or disturbs a running domain, questions to the agent in
  its guest among them, for which libvirt asks for `domain:write`. It is not `configure`, as they reach
  nothing on the host.
- `configure` (`org.virtbridge1.configure`): definitions, and with them everything that a definition can name:
  files, devices and programs of the host. On `qemu:///system` that is as good as being root there. It
  includes `control`.
- `delete` (`org.virtbridge1.delete`): what is lost for ever: definitions, volumes, snapshots.
- `read-secrets` (`org.virtbridge1.read-secrets`): XML with its passwords, the values of secrets, and what is
  in memory or on disks.
- `console` (`org.virtbridge1.console`): the screen, the keyboard and the consoles of a domain.
- `connections` (`org.virtbridge1.connections`): which connections there are, and what the service connects
  to.

A right that polkit refuses is `NotAuthorized`. Where polkit would say yes after somebody has authenticated,
a call without the flag ALLOW_INTERACTIVE_AUTHORIZATION gets
`org.freedesktop.DBus.Error.InteractiveAuthorizationRequired`; with it, the reply comes when that has been
done, which may take minutes. Where polkit does not answer at all, it is `AuthorizationFailed`.

The table has the libvirt calls behind each member, with the permissions that libvirt's access control asks of
its own callers. An option that is not in it needs no more than its method does.

Two rows have `read` although libvirt refuses a call in them on a read-only connection:

- GetDomainCapabilities: libvirt refuses it because of one argument, the path of an emulator, which libvirtd
  then runs (CVE-2019-10167). Here this argument has a right of its own, unless it is empty or a path that the
  host's capabilities list, which libvirtd runs anyway. libvirt compares the architecture, the machine and the
  type with what it knows, and does nothing else with them.
- Reading NodeDevice.Autostart: libvirt's access control calls virNodeDeviceGetAutostart() reading.

"""
_RIGHTS_TABLE = """
| Interface | Member | Option | Right | libvirt's calls and permissions |
|---|---|---|---|---|
"""
_LEFT_OUT_TITLE = "libvirt's methods without a member"
_LEFT_OUT = f"""## {_LEFT_OUT_TITLE}

Every method of libvirt-python 9.0 is behind a member, is called when objects are read, or is in this table.

| Why | Methods |
|---|---|
"""
_CHANGES = {
    "true": "signal",
    "const": "never",
    "invalidates": "signal, without the value",
    "false": "unannounced",
}
_MEANINGS = {
    ErrorKind.NO_SUCH_OBJECT: "what is named is not there, or not any more",
    ErrorKind.INVALID_ARGUMENT: "an argument or an option that cannot be; the text says which",
    ErrorKind.INVALID_XML: "a definition that libvirt cannot read",
    ErrorKind.ALREADY_EXISTS: "the name or UUID is taken",
    ErrorKind.NOT_SUPPORTED: "the driver, or libvirt there, cannot do this at all",
    ErrorKind.OPERATION_INVALID: "not in the state that the object is in",
    ErrorKind.OPERATION_FAILED: "it was tried, and failed",
    ErrorKind.BUSY: "libvirt is at something that excludes this; later it may do",
    ErrorKind.TIMEOUT: "no answer in time; what was begun may still happen",
    ErrorKind.NOT_CONNECTED: "the connection is not open now (Connection.State)",
    ErrorKind.NOT_AUTHORIZED: "the caller, or the service at the host, may not do this",
    ErrorKind.AUTHORIZATION_FAILED: "polkit did not say whether the caller may do this; nothing was done",
    ErrorKind.CANCELLED: "given up: the service is ending, or libvirt's side cancelled it",
    ErrorKind.LIMIT_EXCEEDED: (
        "more than the service takes: a call that is too long (64 KiB) or one of too many that wait, an"
        " answer longer than the bus carries, one more than there may be; the configuration has the limits"
    ),
    ErrorKind.LIBVIRT: "any other error of libvirt's",
}
_ACCESS = {"read": "read", "write": "write", "readwrite": "read, write"}
# What a comment may explain as `label: text` beside the arguments.
_LABELS = ("options", "Options", "Errors")
_GROUP = re.compile(r"(\w+(?:, \w+)*):")
_KEY = re.compile(r"([a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*)?) \(([a-z{}]+)\): (.+)")


@dataclass(frozen=True, slots=True)
class Comment:
    """text: up to `Since`, without the name. notes: what follows, one for each line that is not indented."""

    text: str
    since: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DocumentedKey:
    """One key of a dictionary. name: `outer.inner` for one in the dictionaries of a key."""

    name: str
    signature: str
    meaning: str


@dataclass(frozen=True, slots=True)
class KeyGroup:
    """of: the types of dictionaries that have these keys; empty where all dictionaries have the same keys."""

    of: tuple[str, ...]
    keys: tuple[DocumentedKey, ...]


def reference(files: Sequence[Path]) -> str:
    """Return the complete document. Raises BadContract, saying where, when a comment is missing or belongs
    elsewhere.
    """
    chapters = [_chapter(file, element) for file in files for element in _interfaces(file)]
    titles = [chapter.partition("\n")[0].removeprefix("## ") for chapter in chapters]
    contents = "".join(f"- [{title}](#{title.replace('.', '').lower()})\n" for title in titles)
    contents += f"- [Rights](#rights)\n- [{_LEFT_OUT_TITLE}](#libvirts-methods-without-a-member)\n"
    contents += "- [Errors](#errors)\n"
    return "\n".join([_INTRODUCTION, contents, *chapters, _rights(files), _left_out(), _errors()])


def comment_of(element: etree._Element, file: str) -> Comment:
    """Read the comment right above an element. file: named in BadContract."""
    name = element.get("name", "")
    above = element.getprevious()
    text = dedent(above.text or "").strip() if isinstance(above, etree._Comment) else ""
    if not text.startswith(f"{name}: "):
        raise BadContract(f"{file}: {element.tag} {name} has no comment that starts with `{name}: `")
    since = re.search(r"\bSince (\d+(?:\.\d+)*)\.", text)
    if since is None:
        raise BadContract(f"{file}: the comment of {element.tag} {name} does not say since which version")
    said = " ".join(text[: since.start()].split()).removeprefix(f"{name}: ")
    notes = re.split(r"\n(?! )", text[since.end() :].strip())
    return Comment(said, since[1], tuple(" ".join(note.split()) for note in notes if note))


def keys_of(comment: Comment) -> tuple[KeyGroup, ...]:
    """Return the keys of a dictionary from a list with a line `key (signature): meaning` for each.

    A line `type, type:` begins the keys of dictionaries of these types. The result is empty where the notes
    are something else.
    """
    groups: list[tuple[tuple[str, ...], list[DocumentedKey]]] = [((), [])]
    for note in comment.notes:
        if head := _GROUP.fullmatch(note):
            groups.append((tuple(head[1].split(", ")), []))
        elif key := _KEY.fullmatch(note):
            groups[-1][1].append(DocumentedKey(*key.groups()))
        else:
            return ()
    return tuple(KeyGroup(of, tuple(keys)) for of, keys in groups if keys)


def _interfaces(file: Path) -> Iterator[etree._Element]:
    root = etree.parse(str(file), etree.XMLParser(remove_blank_text=True)).getroot()
    yield from root.iterfind("interface")


def _chapter(file: Path, element: etree._Element) -> str:
    interface = load_interfaces(file)[element.get("name", "")]
    comment = comment_of(element, file.name)
    parts = [f"## {interface.name}\n\nSince {comment.since}: {_markdown(comment.text)}\n"]
    parts += [f"{_markdown(note)}\n" for note in comment.notes]
    if interface.properties:
        parts.append(_properties(element, interface, file.name, comment.since))
    for member in element.iterfind("method"):
        right = interface.methods[member.get("name", "")].access
        parts.append(_member(member, file.name, comment.since, (f"Right: `{right}`",)))
    parts += [_member(member, file.name, comment.since, ()) for member in element.iterfind("signal")]
    return "\n".join(parts)


def _properties(element: etree._Element, interface: Interface, file: str, since: str) -> str:
    rows = ["| Property | Type | Access | Changes | |", "|---|---|---|---|---|"]
    for child in element.iterfind("property"):
        prop = interface.properties[child.get("name", "")]
        comment = comment_of(child, file)
        access = _ACCESS[child.get("access", "")] + (f" (right `{prop.access}`)" if prop.access else "")
        notes = () if keys_of(comment) else comment.notes
        words = " ".join([comment.text, *notes, *_later(comment, since)])
        text = _markdown(words).replace("|", r"\|")
        rows.append(f"| `{prop.name}` | `{prop.signature}` | {access} | {_CHANGES[prop.emits]} | {text} |")
    return "### Properties\n\n" + "\n".join(rows) + "\n" + "".join(_property_keys(element, file))


def _property_keys(element: etree._Element, file: str) -> Iterator[str]:
    for child in element.iterfind("property"):
        groups = keys_of(comment_of(child, file))
        if groups:
            yield f"\n#### Keys of {child.get('name')}\n"
        for group in groups:
            if group.of:
                yield f"\n{', '.join(f'`{kind}`' for kind in group.of)}:\n"
            yield "\n" + "".join(f"- {line}\n" for line in _key_lines(group))


def _key_lines(group: KeyGroup) -> list[str]:
    return [f"`{each.name}` (`{each.signature}`): {_markdown(each.meaning)}" for each in group.keys]


def _member(element: etree._Element, file: str, since: str, more: tuple[str, ...]) -> str:
    """Describe a method or a signal. since: its interface's. more: what stands at the end, one item each."""
    comment = comment_of(element, file)
    name = element.get("name", "")
    names = [arg.get("name", "") for arg in element.iterfind("arg")]
    text, *labelled = _split(comment.text, (*names, *_LABELS))
    groups = keys_of(comment)
    notes = [] if groups else [f"  - {_markdown(note)}" for note in comment.notes]
    items = [f"- {_item(each)}" for each in labelled] + notes
    items += ["- Keys:"] * bool(groups) + [f"  - {line}" for group in groups for line in _key_lines(group)]
    items += [f"- {each}" for each in (*more, *_later(comment, since))]
    lines = [f"### {name} ({element.tag})", "", "```", _call(name, element), "```", ""]
    lines += [_markdown(text[:1].upper() + text[1:]), ""] if text else []
    return "\n".join(lines + items) + ("\n" if items else "")


def _call(name: str, element: etree._Element) -> str:
    """Show a member with its arguments on one line: `List(kind s, options a{sv}) → objects ao`."""
    given: list[str] = []
    returned: list[str] = []
    for arg in element.iterfind("arg"):
        (returned if arg.get("direction") == "out" else given).append(f"{arg.get('name')} {arg.get('type')}")
    return f"{name}({', '.join(given)})" + (f" → {', '.join(returned)}" if returned else "")


def _later(comment: Comment, since: str) -> list[str]:
    """Say since when, only where it differs from the interface."""
    return [] if comment.since == since else [f"Since {comment.since}"]


def _split(text: str, labels: Iterable[str]) -> list[str]:
    """Cut a comment before its labels; the first part is what stands before them all."""
    alternatives = "|".join(map(re.escape, labels))
    return [part.strip() for part in re.split(rf"(?:^|(?<=[.…] ))(?=(?:{alternatives}): )", text)]


def _item(labelled: str) -> str:
    label, _, text = labelled.partition(": ")
    return f"{label if label in _LABELS else f'`{label}`'}: {_markdown(text)}"


def _markdown(text: str) -> str:
    """Return text that reads as it was written: Markdown's own characters are escaped, except in `code`."""
    parts = text.split("`")
    parts[::2] = [
        re.sub(r"[*\\\[\]]|(?<!\w)_|_(?!\w)", r"\\\g<0>", part).replace("<", "&lt;") for part in parts[::2]
    ]
    return "`".join(parts)


def _rights(files: Sequence[Path]) -> str:
    words = "".join(f"- `{word}`: {meaning}.\n" for word, meaning in WORDS.items())
    rows = permissions([*files, STANDARD_FILE])
    return _RIGHTS + words + _RIGHTS_TABLE + "".join(map(_right, rows))


def _right(row: Permission) -> str:
    calls = ", ".join(f"{call} (`{' '.join(asked)}`)" for call, asked in row.calls.items()) or f"`{row.word}`"
    option = f"`{row.option}`" if row.option else ""
    right = f"`{row.right}`" + (f" unless {_markdown(row.unless)}" if row.unless else "")
    interface = row.interface.rpartition(".")[2]
    return f"| {interface} | {row.member} | {option} | {right} | {calls} |\n"


def _left_out() -> str:
    return _LEFT_OUT + "".join(f"| {each.reason} | {_methods(each)} |\n" for each in LEFT_OUT)


def _methods(group: LeftOut) -> str:
    return ", ".join(f"`{owner}.{name}`" for owner, names in group.methods.items() for name in names.split())


def _errors() -> str:
    names = "".join(f"- `{NAME_OF_KIND[kind]}`: {_MEANINGS[kind]}\n" for kind in ErrorKind)
    return (
        "## Errors\n\n"
        "The names are to be matched; the text is for people, and where the error is libvirt's own\n"
        "it ends with libvirt's number. A call that fits no object, member or signature gets D-Bus's own\n"
        "`org.freedesktop.DBus.Error.…`. Any call can get `Cancelled` and `LimitExceeded`, any that asks\n"
        f"libvirt whatever libvirt answers.\n\n{names}"
    )


def main() -> int:
    document = reference(contract_files(NAME))
    sys.stdout.buffer.write(document.encode())  # UTF-8 whatever the locale says
    return 0


if __name__ == "__main__":
    sys.exit(main())
