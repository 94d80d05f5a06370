"""XPath 1.0 as text: which functions an expression calls, so that none but XPath's own is ever evaluated.

An XPath processor may know more functions than the standard: lxml adds EXSLT's as soon as a caller binds
their namespace to a prefix, and some of them make 100,000 characters out of a few. What is refused here never
reaches a processor. Only tokens are judged; whether they make an expression is for the processor to say.
Pure.
Source: https://www.w3.org/TR/1999/REC-xpath-19991116/#exprlex and #corelib
"""

import re
from collections.abc import Iterator
from functools import cache

CORE_FUNCTIONS = frozenset(
    (
        "last",
        "position",
        "count",
        "id",
        "local-name",
        "namespace-uri",
        "name",
        "string",
        "concat",
        "starts-with",
        "contains",
        "substring-before",
        "substring-after",
        "substring",
        "string-length",
        "normalize-space",
        "translate",
        "boolean",
        "not",
        "true",
        "false",
        "lang",
        "number",
        "sum",
        "floor",
        "ceiling",
        "round",
    )
)
NODE_TYPES = frozenset(("comment", "text", "processing-instruction", "node"))
_OPERATOR_NAMES = frozenset(("and", "or", "mod", "div"))

# Names of XML's fifth edition, which are more than some processors know: what is a name here and not there is
# refused there.
_START = (
    "A-Z_a-z\xc0-\xd6\xd8-\xf6\xf8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c\u200d\u2070-\u218f\u2c00-\u2fef"
    "\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
_NAME = rf"[{_START}][{_START}\-.0-9\xb7\u0300-\u036f\u203f\u2040]*"
_BLANKS = " \t\r\n"
# After one of these, or nothing, a name or an asterisk begins an operand; else the two are operators.
_BEFORE_OPERANDS = frozenset(("", "::", "//", "!=", "<=", ">=", *"([@,/|+=<>-$"))


class BadExpression(ValueError):
    """The text cannot be an XPath 1.0 expression, or uses what is not XPath 1.0's own."""


def check_expression(text: str) -> None:
    """Raises BadExpression on a function that is not in XPath's core library, on a variable, as there are
    none, and on what is no token.
    """
    before = ""
    for kind, token in _tokens(text):
        if token == "(" and kind == "symbol" and before not in _BEFORE_OPERANDS:
            _check_call(before)
        if token == "$" and kind == "symbol":
            raise BadExpression("there are no variables")
        before = _as_before(kind, token, before)


@cache
def _token() -> re.Pattern[str]:
    """One token. It is compiled for the first query, as that takes 6 ms, and most services never see one."""
    return re.compile(
        rf"""[ \t\r\n]*(?:
            (?P<literal> "[^"]*" | '[^']*' )
          | (?P<number> [0-9]+(?:\.[0-9]*)? | \.[0-9]+ )
          | (?P<name> {_NAME}(?::(?:{_NAME}|\*))? )
          | (?P<symbol> :: | \.\. | // | != | <= | >= | [][()@,./|+=<>*$-] )
        )""",
        re.VERBOSE,
    )


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, token) in their order."""
    token = _token()
    at, end = 0, len(text.rstrip(_BLANKS))
    while at < end:
        found = token.match(text, at)
        if found is None or found.lastgroup is None:
            raise BadExpression(f"what begins at character {at + 1} is none of its tokens")
        yield found.lastgroup, found[found.lastgroup]
        at = found.end()


def _as_before(kind: str, token: str, before: str) -> str:
    """Return what the next token has before it: a symbol or a name as it is, an operator that is a word as
    "+", and "." for any other operand.
    """
    if kind == "name":
        is_operator = before not in _BEFORE_OPERANDS and token in _OPERATOR_NAMES
        return "+" if is_operator else token
    if token == "*":
        return "." if before in _BEFORE_OPERANDS else "+"
    return token if kind == "symbol" else "."


def _check_call(name: str) -> None:
    """name: what stands before a parenthesis, where an operand has ended."""
    if name[0] in ").]":
        return  # no call, nor anything else: the processor refuses it
    if name not in CORE_FUNCTIONS and name not in NODE_TYPES:
        raise BadExpression(f"{name} is not a function of XPath 1.0")
