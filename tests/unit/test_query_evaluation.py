"""XPath over documents, without a process: what comes back for each type of result, and how it travels."""

import io
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_model_xpath import FUNCTIONS_BY_NAMESPACE
from virtbridge.bus import query_server
from virtbridge.cache.evaluation import EXPRESSION_BYTES_MAX, NAMESPACES_BYTES_MAX, Query, evaluate
from virtbridge.cache.query_files import read_work, write_work
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.wire.transport import marshal

DOCUMENTS = {
    "/a": "<domain><name>a</name><devices><disk dev='vda'/><disk dev='vdb'/></devices></domain>",
    "/b": "<domain><name>b</name><m:x xmlns:m='urn:m'>text</m:x></domain>",
    "/unread": "",
    "/broken": "<domain>",
    "/of-another-kind": "<network/>",
    "/no-text": "<domain>\ud800</domain>",
}


def found(query: Query) -> dict[str, list[str]]:
    """Whatever has matches."""
    rows = {path: list(matches) for path, matches in evaluate(query, DOCUMENTS.items())}
    return {path: matches for path, matches in rows.items() if matches}


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ("/domain/name/text()", {"/a": ["a"], "/b": ["b"]}),
        ("//disk/@dev", {"/a": ["vda", "vdb"]}),
        ("//disk[1]", {"/a": ['<disk dev="vda"/>']}),
        ("count(//disk)", {"/a": ["2"], "/b": ["0"]}),
        ("count(//disk) div 4", {"/a": ["0.5"], "/b": ["0"]}),
        ("count(//disk) div 0", {"/a": ["Infinity"], "/b": ["NaN"]}),
        ("-1 div 0", {"/a": ["-Infinity"], "/b": ["-Infinity"]}),
        ("1 div 10000000", {"/a": ["0.0000001"], "/b": ["0.0000001"]}),
        ("boolean(//disk)", {"/a": ["true"], "/b": ["false"]}),
        ("string(//disk/@dev)", {"/a": ["vda"]}),
        ("//*[local-name()='x']/text()", {"/b": ["text"]}),
        ("//namespace::*[. = 'urn:m']", {"/b": ["urn:m"]}),
        ("//nothing", {}),
    ],
)
def test_every_type_of_result(expression: str, matches: dict[str, list[str]]) -> None:
    assert found(Query("domain", expression)) == matches


def test_prefixes_stand_for_the_namespaces_that_are_given() -> None:
    assert found(Query("domain", "//m:x/text()", {"m": "urn:m"})) == {"/b": ["text"]}
    for namespaces in ({}, {"": "urn:m"}, {"m": "\0"}):
        with pytest.raises(BridgeError) as caught:
            found(Query("domain", "//m:x", namespaces))
        assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize("expression", ["", "//[", "a b", "\0", "$x", "re:test(., 'a')", "document('/a')"])
def test_what_is_no_expression_is_refused_at_once(expression: str) -> None:
    with pytest.raises(BridgeError) as caught:
        Query("domain", expression).compiled()
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize("uri", FUNCTIONS_BY_NAMESPACE)
def test_no_function_of_a_namespace_is_evaluated(uri: str) -> None:
    for name in FUNCTIONS_BY_NAMESPACE[uri].split():
        for arguments in ("", "1", "'a'", "//*", "'a', 'b'", "1, 'a'"):
            with pytest.raises(BridgeError, match="is not a function of XPath") as caught:
                found(Query("domain", f"p:{name}({arguments})", {"p": uri}))
            assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_sizes_are_counted_in_bytes() -> None:
    for fits, namespaces in (("'" + "é" * 511 + "'", {}), ("a", {"p": "u" * (NAMESPACES_BYTES_MAX - 1)})):
        query = Query("domain", fits, namespaces)
        query.compiled()
        assert len(fits.encode()) in (1, EXPRESSION_BYTES_MAX)
        longer = Query("domain", f" {fits}", {prefix: f"{uri}é" for prefix, uri in namespaces.items()})
        with pytest.raises(BridgeError, match="at most") as caught:
            longer.compiled()
        assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
rows = st.dictionaries(st.sampled_from(["/a", "/a/b_2d", "/org/c"]), st.lists(texts, max_size=3))


@given(rows)
def test_the_body_is_the_librarys(found_rows: dict[str, list[str]]) -> None:
    file = io.BytesIO()
    query_server.write_body(file, ((path, iter(matches)) for path, matches in found_rows.items()))
    assert file.getvalue() == marshal("a{oas}", [{path: m for path, m in found_rows.items() if m}])


@given(rows, st.integers(8, 90))
def test_no_body_is_longer_than_it_may_be(found_rows: dict[str, list[str]], most: int) -> None:
    whole = marshal("a{oas}", [{path: matches for path, matches in found_rows.items() if matches}])
    file = io.BytesIO()
    each = ((path, iter(matches)) for path, matches in found_rows.items())
    with pytest.raises(BridgeError, match="MiB") if len(whole) > most else nullcontext():
        query_server.write_body(file, each, most)
    assert len(file.getvalue()) <= most


@given(st.dictionaries(texts, st.text(max_size=9)))
def test_the_work_is_read_as_it_was_written(given_texts: dict[str, str]) -> None:
    file, query = io.BytesIO(), Query("domain", "//é", {"m": "urn:m"})
    write_work(file, query, given_texts)
    read, each = read_work(file)
    assert (read, dict(each)) == (query, given_texts)
