"""Evaluation of one XPath expression over many documents.

Evaluation has no bound in time, so it runs in a process of its own that can be killed (xpath.py). Pure.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from lxml import etree

from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.model.xml import BadXml, Element, parse_root
from virtbridge.model.xpath import BadExpression, check_expression

EXPRESSION_BYTES_MAX = 1024
NAMESPACES_BYTES_MAX = 4096

_NO_MEMORY = 2  # libxml2's XML_ERR_NO_MEMORY
# What evaluation may say of it, beside its XML_XPATH_ errors MEMORY_ERROR, STACK_ERROR, OP_LIMIT_EXCEEDED and
# RECURSION_LIMIT_EXCEEDED.
_TOO_MUCH = frozenset((_NO_MEMORY, 1215, 1223, 1225, 1226))


@dataclass(frozen=True, slots=True)
class Query:
    """tag: the tag of every root element. namespaces: URI by prefix, for the prefixes in the expression."""

    tag: str
    expression: str
    namespaces: Mapping[str, str] = field(default_factory=dict)

    def compiled(self) -> etree.XPath:
        """Compile the expression.

        Raises InvalidArgument when it is too long, is not XPath 1.0, or calls a function that XPath 1.0 does
        not define. The functions are checked before lxml sees the expression.
        """
        _check_size("an expression", EXPRESSION_BYTES_MAX, self.expression)
        _check_size("namespaces", NAMESPACES_BYTES_MAX, *self.namespaces, *self.namespaces.values())
        try:
            check_expression(self.expression)
            return etree.XPath(self.expression, namespaces=self.namespaces, regexp=False, smart_strings=False)
        # TypeError: an empty prefix.
        except (BadExpression, etree.XPathError, ValueError, TypeError) as error:
            text = f"not an XPath 1.0 expression: {error}"
            raise BridgeError(ErrorKind.INVALID_ARGUMENT, text) from None


def evaluate(query: Query, documents: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Iterator[str]]]:
    """Return the matches of each document that can be read, by the documents' keys. Only one document at a
    time is in memory.

    Raises InvalidArgument, and LimitExceeded when memory or a limit of libxml2 ends the evaluation.
    """
    expression = query.compiled()
    for key, xml in documents:
        try:
            root = _root(xml, query.tag)
            if root is not None:
                yield key, _strings(_value(expression, root))
        except MemoryError:
            raise BridgeError(ErrorKind.LIMIT_EXCEEDED, "the query took too much memory") from None


def _check_size(what: str, most: int, *texts: str) -> None:
    if sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) > most:
        raise BridgeError(ErrorKind.INVALID_ARGUMENT, f"{what} may have at most {most} bytes")


def _root(xml: str, tag: str) -> Element | None:
    try:
        return parse_root(xml, tag)
    except BadXml as error:
        if getattr(error.__cause__, "code", None) == _NO_MEMORY:
            raise MemoryError from None
        return None


def _value(expression: etree.XPath, root: Element) -> Any:
    try:
        return expression(root)
    except etree.XPathError as error:
        if any(entry.type in _TOO_MUCH for entry in error.error_log):
            raise MemoryError from None
        raise BridgeError(ErrorKind.INVALID_ARGUMENT, f"the expression failed: {error}") from None


def _strings(result: Any) -> Iterator[str]:
    """Convert XPath's four types: a node set, a boolean, a number (written as XPath's string() does) or a
    string.
    """
    if isinstance(result, bool):
        yield "true" if result else "false"
    elif isinstance(result, float):
        yield _number(result)
    elif isinstance(result, str):
        if result:
            yield result
    else:
        yield from map(_text, result)


def _number(value: float) -> str:
    """Write a number without an exponent, which XPath does not know."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")


def _text(node: Any) -> str:
    if isinstance(node, tuple):  # the namespace axis gives (prefix, uri)
        return str(node[1])
    if isinstance(node, str):
        return node
    return etree.tostring(node, encoding="unicode", with_tail=False)
