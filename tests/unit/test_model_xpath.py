"""XPath expressions as text: no function but XPath 1.0's own passes, and all that is XPath 1.0 does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from virtbridge.model.xpath import CORE_FUNCTIONS, BadExpression, check_expression

# https://exslt.org, https://gnome.pages.gitlab.gnome.org/libxslt, and what libxml2 has of XPointer.
FUNCTIONS_BY_NAMESPACE = {
    "http://exslt.org/common": "node-set object-type document",
    "http://exslt.org/crypto": "md4 md5 sha1 rc4_encrypt rc4_decrypt",
    "http://exslt.org/dates-and-times": (
        "add add-duration date date-time day-abbreviation day-in-month day-in-week day-in-year day-name"
        " day-of-week-in-month difference duration format-date hour-in-day leap-year minute-in-hour"
        " month-abbreviation month-in-year month-name parse-date second-in-minute seconds sum time"
        " week-in-month week-in-year year"
    ),
    "http://exslt.org/dynamic": "closure evaluate map max min sum",
    "http://exslt.org/functions": "function result script",
    "http://exslt.org/math": (
        "abs acos asin atan atan2 constant cos exp highest log lowest max min power random sin sqrt tan"
    ),
    "http://exslt.org/random": "random-sequence",
    "http://exslt.org/regular-expressions": "match replace test",
    "http://exslt.org/sets": "difference distinct has-same-node intersection leading trailing",
    "http://exslt.org/strings": "align concat decode-uri encode-uri padding replace split tokenize",
    "http://icl.com/saxon": "eval evaluate expression line-number systemId",
    "http://xmlsoft.org/XSLT/namespace": "debug test",
    "http://www.w3.org/2002/08/xquery-functions": "escape-uri",
    "http://www.w3.org/2005/xpath-functions": "concat string count",
    "urn:none": " ".join(sorted(CORE_FUNCTIONS)),
}
PREFIXED = sorted({name for names in FUNCTIONS_BY_NAMESPACE.values() for name in names.split()})
# XSLT's and XPointer's.
UNPREFIXED = [
    *(
        "current",
        "document",
        "element-available",
        "format-number",
        "function-available",
        "generate-id",
        "key",
    ),
    *("system-property", "unparsed-entity-uri", "end-point", "here", "origin", "range", "range-inside"),
    *("range-to", "start-point", "string-range", "unique", "padding", "node-set", "div", "and", "ancestor"),
]
REFUSED = r"is not a function of XPath 1\.0"
ARGUMENTS = ["", "1", "'a'", "//*", "'a', 'b'", "1, 'a'"]
EXSLT = {"s": "http://exslt.org/strings", "d": "http://exslt.org/dates-and-times", "x": "urn:x"}
EXSLT |= {"m": "http://exslt.org/math", "t": "http://exslt.org/sets", "r": "http://exslt.org/dynamic"}


@pytest.mark.parametrize("name", PREFIXED)
def test_no_function_of_a_namespace_passes(name: str) -> None:
    for arguments in ARGUMENTS:
        for call in (
            f"p:{name}({arguments})",
            f"//*[p:{name}\n ({arguments})]",
            f"1 div p:{name} ({arguments})",
        ):
            with pytest.raises(BadExpression, match=REFUSED):
                check_expression(call)


@pytest.mark.parametrize("name", UNPREFIXED)
def test_no_function_of_others_passes(name: str) -> None:
    for arguments in ARGUMENTS:
        with pytest.raises(BadExpression, match=REFUSED):
            check_expression(f"//*[{name} ({arguments})]")


@pytest.mark.parametrize(
    "text",
    ["$x", "a[$s:padding]", "'a", 'a"', "a : b", "x:y:z(1)", ":a", "#", "a{}", "\u00a0a", "a\0", "\ud800"],
)
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(BadExpression):
        check_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "1div(2)",
        "1 and (2)",
        "div div (div)",
        "*[*]*(2)",
        "and and (and or (or))",
        "'s:padding(1)' = \"s:padding('')\"",
        "self :: node ()",
        "ancestor-or-self::x:*[@x:a mod (2)]",
        "//processing-instruction('s:padding(')",
        ".5 * (.) * (..)",
    ],
)
def test_names_that_are_operators_and_text_that_is_none(text: str) -> None:
    check_expression(text)
    etree.XPath(text, namespaces=EXSLT)


spaces = st.sampled_from(["", " ", "\n", "\t "])
literals = st.sampled_from(["''", "'a'", '"it\'s"', "'s:padding('", '"d:date()"', "'é😀'"])
numbers = st.sampled_from(["0", "1", "1.", ".5", "3.25"])
names = st.sampled_from(
    ["a", "div", "and", "or", "mod", "text", "node", "count", "é", "x:a", "s:padding", "a-b.c"]
)
tests = names | st.sampled_from(
    ["*", "x:*", "text()", "node()", "comment ( )", "processing-instruction('a')"]
)
axes = st.sampled_from(["", "@", "child::", "ancestor-or-self :: ", "self::", "following-sibling::"])
ARITIES = {"last": (), "position": (), "true": (), "string": (1,), "count": ("set",), "not": (1,), "id": (1,)}
ARITIES |= {"concat": (1, 1, 1), "translate": (1, 1, 1), "name": ("set",), "round": (1,), "contains": (1, 1)}


def _steps(expressions: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    predicates = st.just("") | expressions.map("[{}]".format)
    plain = st.builds("{}{}{}".format, axes, tests, predicates)
    return plain | st.sampled_from([".", ".."])


def _paths(expressions: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    steps = st.lists(_steps(expressions), min_size=1, max_size=3)
    return st.builds("{}{}".format, st.sampled_from(["", "/", "//"]), steps.map("/".join))


@st.composite
def _calls(draw: st.DrawFn, expressions: st.SearchStrategy[str]) -> str:
    name = draw(st.sampled_from(sorted(ARITIES)))
    arguments = [draw(_paths(expressions) if kind == "set" else expressions) for kind in ARITIES[name]]
    return f"{name}{draw(spaces)}({draw(spaces)}{' , '.join(arguments)})"


def _extended(expressions: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from([" div ", " and ", " or ", " mod ", " * ", " - ", "=", "<=", "!=", "+"])
    return (
        _paths(expressions)
        | _calls(expressions)
        | st.builds("{}{}{}".format, expressions, operators, expressions)
        | st.builds("{}({}){}".format, spaces, expressions, spaces)
        | expressions.map("-{}".format)
    )


valid = st.recursive(literals | numbers | _paths(numbers), _extended, max_leaves=8)
soups = st.lists(
    st.sampled_from(
        [
            *(
                "s",
                "d",
                "m",
                "t",
                "x",
                "a",
                "padding",
                "date",
                "max",
                "distinct",
                "div",
                "and",
                "text",
                "count",
            ),
            *(":", "::", "(", ")", "[", "]", ",", ".", "..", "/", "//", "@", "*", "+", "-", "=", "|", "$"),
            *("'", '"', " ", "\n", "é", "·", "\u00a0", "1", "1e5", ".5", "ancestor::", "count("),
            *("s:padding", "d:date", "m:abs", "t:distinct(/*)", "s:padding(1,'a')", "d:year()"),
        ]
    ),
    max_size=12,
).map("".join)


@given(valid)
def test_all_that_is_xpath_passes(text: str) -> None:
    etree.XPath(text, namespaces=EXSLT)  # else the strategy is wrong
    check_expression(text)


@given(soups | st.text(max_size=20) | valid)
def test_what_passes_means_the_same_whatever_the_namespaces_are(text: str) -> None:
    """Had any function of theirs been evaluated, the two would differ."""
    try:
        check_expression(text)
    except BadExpression:
        return
    plain = {prefix: f"urn:{prefix}" for prefix in EXSLT}
    assert _outcome(text, EXSLT) == _outcome(text, plain)


def _outcome(text: str, namespaces: dict[str, str]) -> object:
    root = etree.fromstring("<a><b c='1'>text</b></a>")
    try:
        found = etree.XPath(text, namespaces=namespaces, regexp=False, smart_strings=False)(root)
    except (etree.XPathError, ValueError) as error:
        return str(error)
    return [getattr(each, "tag", each) for each in found] if isinstance(found, list) else repr(found)
