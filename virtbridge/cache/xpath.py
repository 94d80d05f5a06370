"""XPath over many documents, each query in a process of its own: how many there are, and who has one.

A thread would do for the main loop's sake, but nothing can stop an expression that takes for ever, and any
local user may send one. Documents go to the process, and its answer comes back, in files in memory: whatever
the answer's size, this process only maps it. Main thread only.
"""

import asyncio
import math
import mmap
import os
from collections.abc import Callable, Mapping
from typing import BinaryIO

from virtbridge.cache.evaluation import Query
from virtbridge.cache.fork_server import ForkServer
from virtbridge.cache.forking import DONE, REFUSED
from virtbridge.cache.query_files import read_error, write_work
from virtbridge.errors import BridgeError, ErrorKind
from virtbridge.limiter import Bounds, Limiter
from virtbridge.turns import Turns, grant, turn


class Queries:
    """The processes of queries are bounded in all, for each user and for each client: otherwise the endless
    queries of one client would take all of them.

    program: the module that evaluates; the answer's format is its own.
    """

    def __init__(self, bounds: Bounds, program: str) -> None:
        self._server = ForkServer(program)
        self._turns: Turns[asyncio.Future[None]] = Turns(grant, Limiter("queries", bounds))

    async def run(
        self,
        user: int,
        client: str,
        query: Query,
        documents: Callable[[], Mapping[str, str]],
        timeout_s: float,
    ) -> memoryview:
        """The program's answer. Who comes later waits, within the same timeout.

        documents: asked for when it is this query's turn, as thousands may wait. Raises Timeout,
        LimitExceeded (too much found, or too much memory) and InvalidArgument (what only evaluation shows);
        OSError when the system has no process left.
        """
        try:
            async with asyncio.timeout(timeout_s), turn(self._turns, user, client):
                with _file_in_memory() as work, _file_in_memory() as answer:
                    await asyncio.to_thread(write_work, work, query, documents())
                    # A second more: it is the timeout that ends it, or this where the processor is its alone.
                    ended = await self._server.run(math.ceil(timeout_s) + 1, work, answer)
                    return _answer_of(ended, answer)
        except TimeoutError:
            raise BridgeError(ErrorKind.TIMEOUT, f"the query took longer than {timeout_s:g} s") from None

    def close(self) -> None:
        """Queries must have ended."""
        self._server.close()


def _file_in_memory() -> BinaryIO:
    return open(os.memfd_create("query"), "w+b")


def _answer_of(ended: bytes, answer: BinaryIO) -> memoryview:
    """ended: what the process said last."""
    if ended == DONE:
        return memoryview(mmap.mmap(answer.fileno(), 0, prot=mmap.PROT_READ))
    if ended == REFUSED:
        raise read_error(answer)
    raise BridgeError(ErrorKind.LIMIT_EXCEEDED, "the query took too much time or memory")
