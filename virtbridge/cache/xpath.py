"""XPath over many documents, in a process of its own that can be killed.

A thread would do for the main loop's sake, but nothing can stop an expression that takes for ever, and any
local user may send one. The child reads its work as JSON from standard input and answers as JSON, a line for
each document with matches: this module, run as a program, is that child.
"""

import asyncio
import json
import math
import os
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, BinaryIO

from lxml import etree

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.limiter import Bounds, Limiter
from virtbridge.model.xml import BadXml, parse_root
from virtbridge.turns import Turns, grant, turn

MAX_MATCHES_BYTES = 16 << 20
_MEMORY_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Query:
    """tag: of every root element. namespaces: by the prefixes that stand for them in the expression."""

    tag: str
    expression: str
    namespaces: Mapping[str, str] = field(default_factory=dict)

    def compiled(self) -> etree.XPath:
        """Raises InvalidArgument with the parser's own words."""
        try:
            return etree.XPath(self.expression, namespaces=self.namespaces, regexp=False, smart_strings=False)
        except (etree.XPathError, ValueError, TypeError) as error:  # TypeError: an empty prefix
            text = f"not an XPath 1.0 expression: {error}"
            raise BridgeError(ErrorKind.INVALID_ARGUMENT, text) from None


class Queries:
    """So many children at a time, of each client and user as well, or endless queries of one of them would be
    all children that there may be; who comes later waits, within the same timeout.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._turns: Turns[asyncio.Future[None]] = Turns(grant, Limiter("queries", bounds))

    async def run(
        self,
        user: int,
        client: str,
        query: Query,
        documents: Callable[[], Mapping[str, str]],
        timeout_s: float,
    ) -> dict[str, list[str]]:
        """The matches of each document that has any, by the documents' own keys. documents: asked for when it
        is this query's turn, as thousands may wait.

        Raises Timeout, LimitExceeded (too much found) or InvalidArgument (what only evaluation shows).
        """
        try:
            async with asyncio.timeout(timeout_s), turn(self._turns, user, client):
                # In memory: through a pipe, the main loop would have to copy it.
                with _file_in_memory() as work:
                    await asyncio.to_thread(_write, work, query, documents())
                    return await _ask_child(work, timeout_s)
        except TimeoutError:
            raise BridgeError(ErrorKind.TIMEOUT, f"the query took longer than {timeout_s:g} s") from None


def _file_in_memory() -> BinaryIO:
    return open(os.memfd_create("query"), "w+b")


async def _ask_child(work: BinaryIO, timeout_s: float) -> dict[str, list[str]]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # no module from the working directory, whoever may write there
        "-m",
        __name__,
        str(math.ceil(timeout_s) + 1),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=work,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        output, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise BridgeError(ErrorKind.LIMIT_EXCEEDED, "the query took too much time or memory")
    return await asyncio.to_thread(_decode, output)


def _decode(output: bytes) -> dict[str, list[str]]:
    """Line by line, for the same reason as _write(). Raises the child's error, if it answers with one."""
    matches: dict[str, list[str]] = {}
    for line in output.splitlines():
        key, found = json.loads(line)
        if key is None:
            raise BridgeError(ErrorKind(found[0]), found[1])
        matches[key] = found
    return matches


def evaluate(query: Query, documents: Mapping[str, str]) -> dict[str, list[str]]:
    """Pure. Raises InvalidArgument and LimitExceeded."""
    expression = query.compiled()
    matches: dict[str, list[str]] = {}
    size = 0
    for key, xml in documents.items():
        try:
            found = _strings(expression(parse_root(xml, query.tag)))
        except BadXml:
            continue
        except etree.XPathError as error:
            raise BridgeError(ErrorKind.INVALID_ARGUMENT, f"the expression failed: {error}") from None
        size += sum(len(text) for text in found)
        if size > MAX_MATCHES_BYTES:
            raise BridgeError(ErrorKind.LIMIT_EXCEEDED, f"more than {MAX_MATCHES_BYTES >> 20} MiB of matches")
        if found:
            matches[key] = found
    return matches


def _strings(result: Any) -> list[str]:
    """XPath's four types: a node set, a boolean, a number (as XPath's string() writes it) or a string."""
    if isinstance(result, bool):
        return ["true" if result else "false"]
    if isinstance(result, float):
        return [_number(result)]
    if isinstance(result, str):
        return [result] if result else []
    return [_text(node) for node in result]


def _number(value: float) -> str:
    """XPath knows no exponents."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")


def _text(node: Any) -> str:
    if isinstance(node, tuple):  # the namespace axis gives (prefix, uri)
        return str(node[1])
    if isinstance(node, str):
        return node
    return etree.tostring(node, encoding="unicode", with_tail=False)


def _write(file: BinaryIO, query: Query, documents: Mapping[str, str]) -> None:
    """Piece by piece: in one go the encoder would keep the interpreter's lock, and the main loop, waiting."""
    file.write(f'{{"query":{json.dumps(asdict(query))},"documents":{{'.encode())
    for number, (key, xml) in enumerate(documents.items()):
        file.write(f"{',' if number else ''}{json.dumps(key)}:{json.dumps(xml)}".encode())
    file.write(b"}}")
    file.seek(0)


def main(cpu_seconds: str) -> None:
    """The child. Bounded by the kernel too, should the parent die before it can kill."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds), int(cpu_seconds) + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    work = json.load(sys.stdin)
    try:
        matches = evaluate(Query(**work["query"]), work["documents"])
        lines: list[tuple[str | None, list[str]]] = list(matches.items())
    except BridgeError as error:
        lines = [(None, [error.kind.value, error.message])]
    for line in lines:
        print(json.dumps(line))


if __name__ == "__main__":
    main(sys.argv[1])
