"""QueryXml's processes: what one takes is bounded, whatever is asked, and nothing is left of it."""

import asyncio
import errno
import os
import resource
import signal
import socket
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.until import until
from virtbridge.bus import query_server
from virtbridge.cache import forking
from virtbridge.cache.evaluation import Query
from virtbridge.cache.query_bounds import ANSWER_BYTES_MAX
from virtbridge.cache.xpath import Queries
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.limiter import ROOT, Bounds, Portions
from virtbridge.wire.transport import marshal, unmarshal

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = {
    "/a": "<domain><name>a</name><devices><disk dev='vda'/><disk dev='vdb'/></devices></domain>",
    "/b": "<domain><name>b</name><m:x xmlns:m='urn:m'>text</m:x></domain>",
    "/unread": "",
    "/broken": "<domain>",
    "/of-another-kind": "<network/>",
    "/no-text": "<domain>\ud800</domain>",
}
FOREVER = "//*"
for _ in range(40):
    FOREVER = f"//*[count({FOREVER}) > 0]"
DISKS, ENDLESS = Query("domain", "//disk/@dev"), Query("domain", FOREVER)
LARGE = {"/a": f"<domain>{'<a><b/></a>' * 400}</domain>"}
MIB = 1 << 20


def documents() -> dict[str, str]:
    return DOCUMENTS


def kind_of(caught: pytest.ExceptionInfo[BridgeError]) -> ErrorKind:
    return caught.value.kind


def text_of(file: str) -> str:
    return Path(file).read_text()


def children(pid: int) -> list[int]:
    return [int(word) for word in text_of(f"/proc/{pid}/task/{pid}/children").split()]


def working() -> list[int]:
    """The processes of queries: the children of the server, which is ours."""
    return [child for server in children(os.getpid()) for child in children(server)]


@pytest_asyncio.fixture
async def make() -> AsyncIterator[Callable[[int | Bounds], Queries]]:
    with ExitStack() as stack:

        def made(bounds: int | Bounds) -> Queries:
            """A number: one of each client, as the service has them."""
            if isinstance(bounds, int):
                bounds = Portions().of(bounds, per_client=1)
            queries = Queries(bounds, query_server.__name__)
            stack.callback(queries.close)
            return queries

        yield made


@pytest_asyncio.fixture
async def ask(
    make: Callable[[int | Bounds], Queries],
) -> Callable[..., Coroutine[Any, Any, dict[str, list[str]]]]:
    queries = make(1)

    async def asked(
        query: Query, texts: Callable[[], dict[str, str]] = documents, timeout_s: float = 30
    ) -> dict[str, list[str]]:
        (rows,) = unmarshal("a{oas}", bytes(await queries.run(ROOT, "me", query, texts, timeout_s)))
        assert isinstance(rows, dict)
        return rows

    return asked


Ask = Callable[..., Coroutine[Any, Any, dict[str, list[str]]]]
Make = Callable[[int | Bounds], Queries]


async def test_a_process_answers_the_same(ask: Ask) -> None:
    assert await ask(DISKS) == {"/a": ["vda", "vdb"]}
    assert await ask(Query("domain", "//nothing")) == {}


async def test_what_only_evaluation_shows_is_told(ask: Ask) -> None:
    with pytest.raises(BridgeError, match="the expression failed") as caught:
        await ask(Query("domain", "count(1)"))
    assert kind_of(caught) is ErrorKind.INVALID_ARGUMENT


async def test_the_working_directory_is_no_place_for_its_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*filter(None, sys.path), str(REPOSITORY)])
    assert await ask(Query("domain", "count(//disk)")) == {"/a": ["2"], "/b": ["0"]}


async def test_an_expression_that_takes_for_ever_is_cut_off_and_leaves_nobody(ask: Ask) -> None:
    with pytest.raises(BridgeError) as caught:
        await ask(ENDLESS, lambda: LARGE, 1)
    assert kind_of(caught) is ErrorKind.TIMEOUT
    await until(lambda: not working())
    assert await ask(DISKS) == {"/a": ["vda", "vdb"]}


async def test_a_process_is_bounded_and_stands_back(ask: Ask) -> None:
    query = asyncio.create_task(ask(ENDLESS, lambda: LARGE, 20))
    await until(working)
    (pid,) = working()

    def limits() -> dict[str, list[str]]:
        lines = text_of(f"/proc/{pid}/limits").splitlines()[1:]
        return {line[:26].strip(): line[26:].split()[:2] for line in lines}

    await until(lambda: limits()["Max address space"] == [str(256 * MIB)] * 2)  # the last that is set
    assert limits()["Max cpu time"] == ["21", "22"]
    assert limits()["Max file size"] == [str(ANSWER_BYTES_MAX)] * 2
    assert limits()["Max core file size"] == ["0", "0"]
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
    assert text_of(f"/proc/{pid}/oom_score_adj") == "1000\n"
    query.cancel()
    await asyncio.gather(query, return_exceptions=True)
    await until(lambda: not working())


async def kind_or_size(asked: Coroutine[Any, Any, dict[str, list[str]]]) -> Any:
    """The error's kind, or the bytes of all matches."""
    try:
        rows = await asked
    except BridgeError as error:
        return error.kind
    return sum(len(text.encode()) for matches in rows.values() for text in matches)


BIG = f"<domain>{'x' * (7 * MIB)}{'<a/>' * 1000}</domain>"
BOMBS = {
    "concat": f"concat({','.join(['.'] * 500)})",
    "concat of concats": f"concat({','.join(['concat(.,.,.,.,.,.,.,.,.)'] * 9)})",
    "four bytes for one": "translate(., 'x', '😀')",
    "strings compared": "//*[string(/) = string(/domain)]",
    "all pairs": "count(//*[count(//*[count(//*[count(//*) > 1]) > 1]) > 1])",
    "serialized again and again": "ancestor-or-self::* | //*/ancestor::* | //*",
    "unions": "|".join(["//*/following::*"] * 60),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_what_takes_all_it_can_get_gets_no_more_than_its_bounds(name: str, ask: Ask) -> None:
    """And the next one is served."""
    deep = {f"/{number}": BIG for number in range(3)}
    ended = await kind_or_size(ask(Query("domain", BOMBS[name]), lambda: deep, 2))
    assert ended in (ErrorKind.LIMIT_EXCEEDED, ErrorKind.TIMEOUT) or ended < ANSWER_BYTES_MAX
    await until(lambda: not working())
    assert await ask(DISKS) == {"/a": ["vda", "vdb"]}


@pytest.mark.parametrize(
    "expression", [f"{'(' * 500}1{')' * 500}", "-" * 1000 + "1", f"a{'[a' * 300}{']' * 300}"]
)
async def test_what_is_deep_is_answered(expression: str, ask: Ask) -> None:
    ended = await kind_or_size(ask(Query("domain", expression)))
    assert ended in (ErrorKind.INVALID_ARGUMENT, ErrorKind.LIMIT_EXCEEDED) or ended < 100


async def test_a_document_beyond_memory_is_not_left_out_silently(ask: Ask) -> None:
    with pytest.raises(BridgeError, match="memory") as caught:
        await ask(Query("domain", "count(//a)"), lambda: {"/a": f"<domain>{'<a/>' * 1_900_000}</domain>"})
    assert kind_of(caught) is ErrorKind.LIMIT_EXCEEDED


@pytest.mark.parametrize("character", ["x", "😀"])
async def test_matches_are_counted_in_bytes(character: str, make: Make) -> None:
    queries, query = make(1), Query("domain", "/domain/text()")
    half = f"<domain>{character * ((8 * MIB - 64) // len(character.encode()))}</domain>"
    assert len(await queries.run(ROOT, "me", query, lambda: {"/a": half, "/b": half}, 30)) > 15 * MIB
    with pytest.raises(BridgeError, match="16 MiB") as caught:
        await queries.run(ROOT, "me", query, lambda: {"/a": half, "/b": half, "/c": half}, 30)
    assert kind_of(caught) is ErrorKind.LIMIT_EXCEEDED


async def test_an_answer_is_never_copied(make: Make) -> None:
    """Only its file in memory holds it, and nothing is left afterwards."""
    queries = make(1)
    many = {f"/{number}": f"<domain>{'😀' * 40_000}</domain>" for number in range(80)}
    await queries.run(ROOT, "me", DISKS, documents, 30)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        answer = await queries.run(ROOT, "me", Query("domain", "/domain/text()"), lambda: many, 30)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(answer) > 12 * MIB
    assert peak - before < 2 * MIB
    assert after - before < MIB // 4


async def test_who_comes_later_waits_within_its_own_time(make: Make) -> None:
    queries = make(2)
    work = [queries.run(ROOT, client, DISKS, documents, 30) for client in "aabbc"]
    expected = marshal("a{oas}", [{"/a": ["vda", "vdb"]}])
    assert [bytes(each) for each in await asyncio.gather(*work)] == [expected] * 5


async def test_who_waits_costs_nothing_but_that(make: Make) -> None:
    queries, given_away = make(1), []

    def giving() -> dict[str, str]:
        given_away.append(LARGE)
        return LARGE

    work = [asyncio.create_task(queries.run(ROOT, client, ENDLESS, giving, 20)) for client in "aabb"]
    await until(working)
    assert given_away == [LARGE]
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)
    await until(lambda: not working())


async def test_one_caller_cannot_keep_all_others_from_asking(make: Make) -> None:
    queries = make(2)
    greedy = [asyncio.create_task(queries.run(ROOT, "greedy", ENDLESS, lambda: LARGE, 20)) for _ in range(4)]
    await asyncio.sleep(0)
    assert await queries.run(ROOT, "other", DISKS, documents, 10)
    for task in greedy:
        task.cancel()
    ends = await asyncio.gather(*greedy, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    await until(lambda: not working())


async def test_one_user_cannot_keep_all_others_from_asking(make: Make) -> None:
    queries = make(Portions(50).of(2, per_client=1))
    greedy = [
        asyncio.create_task(queries.run(1000, f"greedy{number}", ENDLESS, lambda: LARGE, 20))
        for number in range(4)
    ]
    await asyncio.sleep(0)
    assert await queries.run(1001, "other", DISKS, documents, 10)
    for task in greedy:
        task.cancel()
    await asyncio.gather(*greedy, return_exceptions=True)
    assert await queries.run(1000, "greedy0", DISKS, documents, 10)


async def test_a_server_that_died_is_started_anew(ask: Ask) -> None:
    await ask(DISKS)
    (server,) = children(os.getpid())
    os.kill(server, signal.SIGKILL)
    await until(lambda: text_of(f"/proc/{server}/stat").rpartition(")")[2].split()[0] == "Z")
    assert await ask(DISKS) == {"/a": ["vda", "vdb"]}
    assert children(os.getpid()) != [server]


async def test_a_process_that_dies_is_no_answer(ask: Ask) -> None:
    query = asyncio.create_task(ask(ENDLESS, lambda: LARGE, 20))
    await until(working)
    os.kill(working()[0], signal.SIGKILL)
    with pytest.raises(BridgeError) as caught:
        await query
    assert kind_of(caught) is ErrorKind.LIMIT_EXCEEDED


async def test_a_program_that_does_not_start_is_not_the_querys_fault() -> None:
    queries = Queries(Portions().of(1), "virtbridge.no_such_module")
    for _ in range(2):
        with pytest.raises(BridgeError, match="could not be started") as caught:
            await queries.run(ROOT, "me", DISKS, documents, 30)
        assert kind_of(caught) is ErrorKind.OPERATION_FAILED
    queries.close()


@pytest.fixture
def few_descriptors() -> Iterator[Callable[[int], None]]:
    """Leaves so many to be had; all again afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []

    def leave(count: int) -> None:
        while taken:
            os.close(taken.pop())
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
        while True:
            try:
                taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        for _ in range(count):
            os.close(taken.pop())

    yield leave
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for fd in taken:
        os.close(fd)


@pytest.mark.parametrize("started", [True, False])
async def test_without_descriptors_it_is_said_and_nothing_leaks(
    started: bool, make: Make, few_descriptors: Callable[[int], None]
) -> None:
    queries = make(1)
    if started:
        await queries.run(ROOT, "me", DISKS, documents, 30)
    failures: list[OSError] = []
    count = 0
    while True:
        few_descriptors(count)
        before = len(os.listdir("/proc/self/fd")) if count else 0
        try:
            await queries.run(ROOT, "me", DISKS, documents, 30)
            break
        except OSError as error:
            failures.append(error)
        assert not count or len(os.listdir("/proc/self/fd")) == before
        count += 1
    assert {error.errno for error in failures} == {errno.EMFILE}
    assert len(failures) >= 4
    await until(lambda: not working())


def test_a_fork_that_fails_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, "no")

    monkeypatch.setattr(os, "fork", fork)
    link, theirs = socket.socketpair()
    control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with link, theirs, control, other:
        forking.fork_for(control, query_server.answer_query, 1, 0, 1, theirs.fileno())
        assert b"".join((link.recv(6), link.recv(6))) == forking.TAKEN + str(errno.EAGAIN).encode()
