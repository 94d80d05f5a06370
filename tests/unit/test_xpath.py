"""QueryXml's evaluation: what comes back for each type of result, and that nothing can hold it up."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from virtbridge.cache import xpath
from virtbridge.cache.xpath import Query
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.limiter import ROOT, Portions

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = {
    "/a": "<domain><name>a</name><devices><disk dev='vda'/><disk dev='vdb'/></devices></domain>",
    "/b": "<domain><name>b</name><m:x xmlns:m='urn:m'>text</m:x></domain>",
    "/unread": "",
    "/broken": "<domain>",
}


def queries_of(at_a_time: int) -> xpath.Queries:
    """One of each client, as the service has them."""
    return xpath.Queries(Portions().of(at_a_time, per_client=1))


def documents() -> dict[str, str]:
    return DOCUMENTS


FOREVER = "//*"
for _ in range(40):
    FOREVER = f"//*[count({FOREVER}) > 0]"
DISKS, ENDLESS = Query("domain", "//disk/@dev"), Query("domain", FOREVER)
LARGE = {"/a": f"<domain>{'<a><b/></a>' * 400}</domain>"}


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
    assert xpath.evaluate(Query("domain", expression), DOCUMENTS) == matches


def test_prefixes_stand_for_the_namespaces_that_are_given() -> None:
    assert xpath.evaluate(Query("domain", "//m:x/text()", {"m": "urn:m"}), DOCUMENTS) == {"/b": ["text"]}
    for namespaces in ({}, {"": "urn:m"}, {"m": "\0"}):
        with pytest.raises(BridgeError) as caught:
            xpath.evaluate(Query("domain", "//m:x", namespaces), DOCUMENTS)
        assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


async def test_the_child_answers_the_same() -> None:
    assert await queries_of(1).run(ROOT, "me", DISKS, documents, 30) == {"/a": ["vda", "vdb"]}


async def test_the_working_directory_is_no_place_for_its_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*filter(None, sys.path), str(REPOSITORY)])
    assert await queries_of(1).run(ROOT, "me", Query("domain", "count(//disk)"), documents, 10) == {
        "/a": ["2"],
        "/b": ["0"],
    }


@pytest.mark.parametrize("expression", ["", "//[", "a b", "\0"])
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(BridgeError) as caught:
        Query("domain", expression).compiled()
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize("expression", ["$x", "unknown()", "document('/etc/passwd')", "re:test(., 'a')"])
async def test_functions_beyond_xpath_are_refused_by_the_child(expression: str) -> None:
    with pytest.raises(BridgeError) as caught:
        await queries_of(1).run(ROOT, "me", Query("domain", expression), documents, 30)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


async def test_an_expression_that_takes_for_ever_is_cut_off_and_leaves_nobody() -> None:
    before = children()
    with pytest.raises(BridgeError) as caught:
        await queries_of(1).run(ROOT, "me", ENDLESS, lambda: LARGE, 1)
    assert caught.value.kind is ErrorKind.TIMEOUT
    await asyncio.sleep(0)
    assert children() == before


async def test_who_comes_later_waits_within_its_own_time() -> None:
    queries = queries_of(2)
    work = [queries.run(ROOT, client, DISKS, documents, 30) for client in "aabbc"]
    assert await asyncio.gather(*work) == [{"/a": ["vda", "vdb"]}] * 5


async def test_who_waits_costs_nothing_but_that() -> None:
    queries, given = queries_of(1), []

    def giving() -> dict[str, str]:
        given.append(LARGE)
        return LARGE

    work = [asyncio.create_task(queries.run(ROOT, client, ENDLESS, giving, 20)) for client in "aabb"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert given == [LARGE]
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)


async def test_one_client_cannot_keep_all_others_from_asking() -> None:
    queries = queries_of(2)
    greedy = [asyncio.create_task(queries.run(ROOT, "greedy", ENDLESS, lambda: LARGE, 20)) for _ in range(4)]
    await asyncio.sleep(0)
    assert await queries.run(ROOT, "other", DISKS, documents, 10) == {"/a": ["vda", "vdb"]}
    for task in greedy:
        task.cancel()
    assert all(
        isinstance(end, asyncio.CancelledError)
        for end in await asyncio.gather(*greedy, return_exceptions=True)
    )


async def test_one_user_cannot_keep_all_others_from_asking() -> None:
    queries = xpath.Queries(Portions(50).of(2, per_client=1))
    greedy = [
        asyncio.create_task(queries.run(1000, f"greedy{number}", ENDLESS, lambda: LARGE, 20))
        for number in range(4)
    ]
    await asyncio.sleep(0)
    assert await queries.run(1001, "other", DISKS, documents, 10) == {"/a": ["vda", "vdb"]}
    for task in greedy:
        task.cancel()
    await asyncio.gather(*greedy, return_exceptions=True)
    assert await queries.run(1000, "greedy0", DISKS, documents, 10) == {"/a": ["vda", "vdb"]}


def test_too_much_is_refused() -> None:
    large = {f"/{number}": f"<domain>{'x' * (1 << 20)}</domain>" for number in range(17)}
    with pytest.raises(BridgeError) as caught:
        xpath.evaluate(Query("domain", "/domain/text()"), large)
    assert caught.value.kind is ErrorKind.LIMIT_EXCEEDED


def children() -> set[str]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return set(file.read().split())


def test_there_are_no_functions_but_xpaths_own() -> None:
    exslt = {"re": "http://exslt.org/regular-expressions"}
    with pytest.raises(BridgeError) as caught:
        xpath.evaluate(Query("domain", "re:test('a', 'a')", exslt), {"/d": "<domain/>"})
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
